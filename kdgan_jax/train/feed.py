"""Where batches come from: photos on the devices, or tf.data on the host.

Both cut the same patches (see `data.sampling`). The first needs no TensorFlow and moves no data to
the devices during training.
"""

from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

import numpy as np

from kdgan_jax.config.settings import BatchConfig, DataConfig
from kdgan_jax.data import buffers, patches, sampling
from kdgan_jax.data.batches import Batch
from kdgan_jax.data.buffers import Buffers
from kdgan_jax.data.photos import Photo, decode
from kdgan_jax.runtime import console, devices, processes
from kdgan_jax.runtime.errors import UserError, missing

SHARE = 0.5  # of a device's memory that photos may take; on a CPU, of the machine's


class Feed(NamedTuple):
    """Supplies the batches of a phase.

    Attributes:
      arrays: trees of arrays of which every device has a whole copy.
      cut: (arrays, item, step) to one device's share of the batch; traced into the train step.
      stream: yields one item per call of the train step, beginning with a given step. Its leaves
        are (devices, ...): NumPy arrays for this process's devices, or JAX arrays over all devices.
      on_device: whether a call may make several steps.
    """

    arrays: Mapping[str, Any]
    cut: Callable[[Any, Any, Any], Batch]
    stream: Callable[[int], Generator[Any]]
    on_device: bool


FeedFactory = Callable[[int, BatchConfig], Feed]  # (seed, a phase's batches) to the phase's feed


def feed_factory(
    data: DataConfig, scale: int, photos: list[Photo], prepared: Buffers | None, number: int
) -> FeedFactory:
    """Returns what makes the feed of every phase; decodes the photos and places them once.

    Args:
      data: where patches are cut, and how they are drawn.
      scale: HR size over LR size.
      photos: to train on.
      prepared: the same photos, decoded earlier into a file, or None.
      number: of devices.

    Raises:
      UserError: the photos do not fit where the config wants them, or too many are unusable.
    """
    size = prepared.bytes if prepared else buffers.size(photos, scale)
    backend = _backend(data.backend, size, number)
    if prepared is None and (backend == "device" or size <= data.memory_mb * 2**20):
        with console.progress("decoding", len(photos)) as bar:
            prepared, photos = buffers.build(
                photos, scale, data.max_bad_fraction, on_photo=bar.advance
            )
        processes.agree([photo.name for photo in photos], "set of photos that can be decoded")
    if backend == "device":
        assert prepared is not None
        return _on_devices(prepared, scale, data.sampling, number)
    return _on_host(prepared, photos, data, scale, number)


def _backend(wanted: str, size: int, number: int) -> str:
    """Returns "device" or "tfdata" for photos of `size` bytes, and logs which and why.

    CPU devices share the machine's memory, which then holds a copy of the photos for each.
    """
    copies = number if devices.on_cpu() else 1
    available = int(SHARE * devices.memory())
    fits = all(processes.exchange(size * copies <= available))
    sizes = (
        f"photos need {size * copies / 2**20:,.0f} MB{f' ({copies} copies)' * (copies > 1)};"
        f" up to {available / 2**20:,.0f} MB (half of"
        f" {'' if devices.on_cpu() else 'device '}memory) may be used"
    )
    if wanted == "device" and not fits:
        raise UserError(
            f"config.data.backend='device': {sizes}; set it to 'tfdata', or use fewer photos or"
            " devices"
        )
    backend = ("device" if fits else "tfdata") if wanted == "auto" else wanted
    place = {"device": "on the device", "tfdata": "by tf.data on the host"}[backend]
    console.log.info("Patches are cut %s: %s.", place, sizes)
    return backend


def _on_devices(photos: Buffers, scale: int, uniform_over: str, number: int) -> FeedFactory:
    on_every_device, sides = devices.replicate(patches.arrays(photos), number), photos.sides
    lane = devices.split(np.arange(number, dtype=np.uint32), number)

    def make(seed: int, batches: BatchConfig) -> Feed:
        size, share = batches.hr_patch // scale, batches.batch // number
        table = devices.replicate(sampling.tabulate(sides, size, uniform_over), number)

        def cut(arrays: Any, item: Any, step: Any) -> Batch:
            first = step.astype(np.uint32) * batches.batch + item["lane"] * share
            index = first + np.arange(share, dtype=np.uint32)
            return patches.batch(
                arrays["photos"], arrays["table"], seed, index, size, batches.margin
            )

        def stream(start: int) -> Generator[Any]:
            while True:
                yield {"lane": lane}

        return Feed({"photos": on_every_device, "table": table}, cut, stream, on_device=True)

    return make


def _on_host(
    decoded: Buffers | None, photos: list[Photo], data: DataConfig, scale: int, number: int
) -> FeedFactory:
    try:
        from kdgan_jax.data.pipeline import PatchSource, read_all
    except ImportError:
        raise missing("tensorflow", "tf.data (config.data.backend)") from None

    if decoded is None:
        usable = decode(photos, read_all, data.max_bad_fraction, "the training photos")
        photos = [photo for photo, _ in usable]
        processes.agree([photo.name for photo in photos], "set of photos that can be decoded")
    source = PatchSource(decoded or photos, data, scale)

    def make(seed: int, batches: BatchConfig) -> Feed:
        def stream(start: int) -> Generator[Any]:
            host_batches = source.batches(
                batches,
                seed=seed,
                start=start,
                process=processes.index(),
                processes=processes.number(),
            )
            try:
                for batch in host_batches:
                    yield devices.shard(batch, number)
            finally:
                host_batches.close()

        return Feed({}, lambda arrays, item, step: item, stream, on_device=False)

    return make
