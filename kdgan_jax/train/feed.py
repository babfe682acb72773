"""Where batches come from: photos on the devices, or tf.data on the host.

Both cut the same patches (see `data.sampling`). The first needs no TensorFlow and moves no data to
the devices during training. LR patches that are degraded on the fly come from the host.
"""

from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

import numpy as np

from kdgan_jax.config.settings import BatchConfig, DataConfig
from kdgan_jax.data import buffers, patches, sampling
from kdgan_jax.data.batches import Batch
from kdgan_jax.data.buffers import Buffers
from kdgan_jax.data.labels import joined
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


Labels = Mapping[str, np.ndarray]  # rows of stored images of all photos, by teacher
# (seed, a phase's batches, labels) to the phase's feed
MakeFeed = Callable[[int, BatchConfig, Labels], Feed]


class FeedFactory(NamedTuple):
    """Makes the feed of every phase of a run.

    Attributes:
      photos: decoded, or None if they are decoded on the fly.
      names: of the photos.
      make: of one phase.
    """

    photos: Buffers | None
    names: list[str]
    make: MakeFeed

    def __call__(self, seed: int, batches: BatchConfig, labels: Labels | None = None) -> Feed:
        """Returns the feed of a phase.

        Args:
          seed: of the phase.
          batches: of the phase.
          labels: stored outputs of its teachers.
        """
        return self.make(seed, batches, labels or {})


def feed_factory(
    data: DataConfig,
    scale: int,
    photos: list[Photo],
    prepared: Buffers | None,
    number: int,
    *,
    with_hr: bool = True,
    stored: int = 0,
) -> FeedFactory:
    """Returns what makes the feed of every phase; decodes the photos and places them once.

    Args:
      data: where patches are cut, and how they are drawn.
      scale: HR size over LR size.
      photos: to train on.
      prepared: the same photos, decoded earlier into a file, or None.
      number: of devices.
      with_hr: whether a phase reads HR images.
      stored: bytes that stored images of teachers take for each number of an HR image, at most.

    Raises:
      UserError: the photos do not fit where the config wants them, or too many are unusable.
    """
    with_hr = with_hr or data.fresh  # LR is made from it
    if prepared and not with_hr:
        prepared = prepared.only({"lr"})
    size = prepared.bytes if prepared else buffers.size(photos, scale, with_hr)
    lr_pixels = sum(photo.size[0] * photo.size[1] for photo in photos) // scale**2
    if data.fresh:
        backend = "tfdata"
        console.log.info("Patches are cut and degraded by tf.data on the host.")
    else:
        backend = _backend(data.backend, size + stored * lr_pixels * 3 * scale**2, number)
    if prepared is None and (backend == "device" or size <= data.memory_mb * 2**20):
        prepared, photos = decoded(photos, scale, data.max_bad_fraction, with_hr)
        processes.agree([photo.name for photo in photos], "set of photos that can be decoded")
    if stored and prepared is None:
        raise UserError(
            f"config.data.memory_mb={data.memory_mb}: photos with stored outputs of a teacher must"
            " be decoded once; raise it, or decode them with python -m kdgan_jax.prepare"
        )
    if backend == "device":
        assert prepared is not None
        make = _on_devices(prepared, photos, data, scale, number)
    else:
        make = _on_host(prepared, photos, data, scale, number)
    return FeedFactory(prepared, [photo.name for photo in photos], make)


def decoded(
    photos: list[Photo], scale: int, max_bad_fraction: float, with_hr: bool
) -> tuple[Buffers, list[Photo]]:
    """Returns what `buffers.build` does, with a progress bar."""
    with console.progress("decoding", len(photos)) as bar:
        return buffers.build(photos, scale, max_bad_fraction, on_photo=bar.advance, with_hr=with_hr)


def _entries(photos: list[Photo]) -> np.ndarray:
    """Returns the number of each photo's entry of the source, (N,)."""
    return np.array([photo.entry for photo in photos], np.int64)


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


def _on_devices(
    decoded: Buffers, photos: list[Photo], data: DataConfig, scale: int, number: int
) -> MakeFeed:
    on_every_device = devices.replicate(patches.arrays(decoded), number)
    lane = devices.split(np.arange(number, dtype=np.uint32), number)

    def make(seed: int, batches: BatchConfig, labels: Labels) -> Feed:
        placed = on_every_device
        if labels:
            labelled = patches.arrays(joined(decoded, labels).only(labels))
            rows, begins = devices.replicate((labelled.rows, labelled.begins), number)
            placed = placed._replace(
                rows={**placed.rows, **rows}, begins={**placed.begins, **begins}
            )
        size, share = batches.hr_patch // scale, batches.batch // number
        table = sampling.tabulate(
            *(decoded.sides, size, data.sampling, data.weights, _entries(photos))
        )
        table = devices.replicate(table, number)

        def cut(arrays: Any, item: Any, step: Any) -> Batch:
            first = step.astype(np.uint32) * batches.batch + item["lane"] * share
            index = first + np.arange(share, dtype=np.uint32)
            return patches.batch(
                arrays["photos"], arrays["table"], seed, index, size, batches.margin
            )

        def stream(start: int) -> Generator[Any]:
            while True:
                yield {"lane": lane}

        return Feed({"photos": placed, "table": table}, cut, stream, on_device=True)

    return make


def _on_host(
    decoded: Buffers | None, photos: list[Photo], data: DataConfig, scale: int, number: int
) -> MakeFeed:
    try:
        from kdgan_jax.data.pipeline import PatchSource, read_all
    except ImportError:
        raise missing("tensorflow", "tf.data (config.data.backend)") from None

    if decoded is None:
        usable = decode(photos, read_all, data.max_bad_fraction, "the training photos")
        photos = [photo for photo, _ in usable]
        processes.agree([photo.name for photo in photos], "set of photos that can be decoded")
    entries = _entries(photos)
    whole = PatchSource(decoded or photos, data, scale, entries)

    def make(seed: int, batches: BatchConfig, labels: Labels) -> Feed:
        source = whole
        if labels:
            assert decoded is not None
            source = PatchSource(joined(decoded, labels), data, scale, entries)

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
