"""Where batches come from: photos that lie on the devices, or tf.data on the host.

Both cut the same patches (`data.sampling`). The first needs no TensorFlow and moves nothing to the
devices while it trains.
"""

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import numpy as np

from kdgan_jax.config.settings import BatchConfig, DataConfig
from kdgan_jax.data import buffers, patches, sampling
from kdgan_jax.data import photos as sources
from kdgan_jax.data.batches import Batch
from kdgan_jax.data.buffers import Buffers
from kdgan_jax.data.photos import Photo
from kdgan_jax.runtime import console, devices, processes
from kdgan_jax.runtime.errors import UserError, missing

SHARE = 0.5  # of a device's memory that photos may take; of the machine's, on a CPU


class Feed(NamedTuple):
    """What gives a phase its batches.

    Attributes:
      arrays: what lies on every device, whole.
      cut: (arrays, given, step) -> one device's share of the batch; traced into the train step.
      given: from a step on, what each call of the train step gets: (devices, ...) each, of those
        of this process, or an array over those of all.
      on_device: whether a call may make several steps.
    """

    arrays: Any
    cut: Callable[[Any, Any, Any], Batch]
    given: Callable[[int], Generator[Any]]
    on_device: bool


Source = Callable[[int, BatchConfig], Feed]  # (seed of the batches, a phase's batches) -> its feed


def source(
    data: DataConfig, scale: int, photos: list[Photo], prepared: Buffers | None, number: int
) -> Source:
    """Returns what gives every phase its feed; photos are decoded here, and placed once.

    Args:
      data: who cuts patches, and how they are drawn.
      scale: HR over LR.
      photos: to train on.
      prepared: them decoded, out of a file, or None.
      number: of devices.

    Raises:
      UserError: they do not fit where the config wants them, or too many cannot be used.
    """
    needed = prepared.bytes if prepared else buffers.size(photos, scale)
    backend = _backend(data.backend, needed, number)
    if prepared is None and (backend == "device" or needed <= data.memory_mb * 2**20):
        with console.progress("decoding", len(photos)) as bar:
            prepared, photos = buffers.build(
                photos, scale, data.max_bad_fraction, on_photo=bar.advance
            )
        processes.agree([photo.name for photo in photos], "set of photos that can be decoded")
    if backend == "device":
        assert prepared is not None
        return _on_devices(prepared, scale, data.sampling, number)
    return _on_host(prepared, photos, data, scale, number)


def _backend(wanted: str, needed: int, number: int) -> str:
    """Returns "device" or "tfdata", and says which and why.

    On a CPU all devices share the machine's memory, so each has its own copy there.
    """
    copies = number if devices.on_cpu() else 1
    there = int(SHARE * devices.memory())
    fits = all(processes.exchange(needed * copies <= there))
    what = (
        f"photos need {needed * copies / 2**20:,.0f} MB{f' ({copies} copies)' * (copies > 1)};"
        f" up to {there / 2**20:,.0f} MB (half of {'' if devices.on_cpu() else 'device '}memory)"
        " may be used"
    )
    if wanted == "device" and not fits:
        raise UserError(
            f"config.data.backend='device': {what}; set it to 'tfdata', or use fewer photos or"
            " devices"
        )
    chosen = ("device" if fits else "tfdata") if wanted == "auto" else wanted
    where = {"device": "on the device", "tfdata": "by tf.data on the host"}[chosen]
    console.log.info("Patches are cut %s: %s.", where, what)
    return chosen


def _on_devices(photos: Buffers, scale: int, uniform_over: str, number: int) -> Source:
    fixed, sides = devices.replicate(patches.arrays(photos), number), photos.sides
    lane = devices.split(np.arange(number, dtype=np.uint32), number)

    def feed(seed: int, wanted: BatchConfig) -> Feed:
        size, share = wanted.hr_patch // scale, wanted.batch // number
        table = devices.replicate(sampling.table(sides, size, uniform_over), number)

        def cut(arrays: Any, given: Any, step: Any) -> Batch:
            first = step.astype(np.uint32) * wanted.batch + given["lane"] * share
            index = first + np.arange(share, dtype=np.uint32)
            return patches.batch(
                arrays["photos"], arrays["table"], seed, index, size, wanted.margin
            )

        def given(start: int) -> Generator[Any]:
            while True:
                yield {"lane": lane}

        return Feed({"photos": fixed, "table": table}, cut, given, on_device=True)

    return feed


def _on_host(
    decoded: Buffers | None, photos: list[Photo], data: DataConfig, scale: int, number: int
) -> Source:
    try:
        from kdgan_jax.data.pipeline import PatchSource, readable
    except ImportError:
        raise missing("tensorflow", "config.data.backend: tf.data") from None

    if decoded is None:
        good = sources.decode(photos, readable, data.max_bad_fraction, "the training photos")
        photos = [photo for photo, _ in good]
        processes.agree([photo.name for photo in photos], "set of photos that can be decoded")
    source = PatchSource(decoded or photos, data, scale)

    def feed(seed: int, wanted: BatchConfig) -> Feed:
        def given(start: int) -> Generator[Any]:
            stream = source.batches(
                wanted,
                seed=seed,
                start=start,
                process=processes.index(),
                processes=processes.number(),
            )
            try:
                for batch in stream:
                    yield devices.shard(batch, number)
            finally:
                stream.close()

        return Feed({}, lambda arrays, given, step: given, given, on_device=False)

    return feed
