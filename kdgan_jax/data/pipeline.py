"""Batches of aligned patches by tf.data; every batch is a pure function of (seed, step).

The patches are those of `sampling.draw`, so that a resumed run sees the batches of an unbroken one,
and both backends cut the same patches. Only this one can degrade LR patches on the fly
(`DataConfig.fresh`); the sample's number draws how.
"""

import functools
import threading
from collections.abc import Generator
from typing import Any

import jax
import numpy as np

from kdgan_jax.config.settings import BatchConfig, DataConfig
from kdgan_jax.data import degradations, sampling, windows
from kdgan_jax.data.batches import Batch
from kdgan_jax.data.buffers import Buffers, square_side
from kdgan_jax.data.photos import Photo, load, part_of, pixels
from kdgan_jax.data.tensorflow import tf
from kdgan_jax.data.windows import Cut
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import UserError

DRAWN_AT_ONCE = 2**16  # samples


class PatchSource:
    """The training photos of a run, decoded or to be decoded on the fly."""

    def __init__(
        self,
        photos: Buffers | list[Photo],
        data: DataConfig,
        scale: int,
        entries: np.ndarray | None = None,
    ) -> None:
        self.scale = scale
        self._data = data
        self._entries = entries  # of the source, one number for each photo; needed for weights
        self._unreadable: set[int] = set()  # photos that could be read when the run began
        self._lock = threading.Lock()  # TensorFlow decodes on its own threads
        self._buffers = photos if isinstance(photos, Buffers) else None
        self._photos = [] if isinstance(photos, Buffers) else photos
        self._failure: UserError | None = None
        self._rows: dict[str, Any] = {}  # for TensorFlow; none if NumPy makes the patches
        if self._buffers and not data.fresh:
            self._rows = {name: tf.constant(rows) for name, rows in self._buffers.rows.items()}
        if self._buffers:
            self._present = self._buffers.incomplete()
            self._sides = self._buffers.sides
            if data.fresh and "hr" not in self._buffers.rows:
                self._present["hr"] = np.zeros(len(self._sides), bool)
        else:
            sides = [(p.size[0] // scale, p.size[1] // scale) for p in self._photos]
            self._sides = np.array(sides, np.int64)
            has_hr = np.array([photo.hr is not None for photo in self._photos])
            self._present = {} if has_hr.all() else {"hr": has_hr}

    def batches(
        self,
        config: BatchConfig,
        *,
        seed: int,
        start: int = 0,
        process: int = 0,
        processes: int = 1,
    ) -> Generator[Batch]:
        """Yields this process's share of the batches from `start` on, as NumPy arrays.

        Close the generator (contextlib.closing) before the interpreter exits, when TensorFlow's
        threads that decode on the fly would wait for Python.

        Args:
          config: the global batch, of which each process gets an equal share, its patches and
            margins, and the number of steps.
          seed: determines the batches, with the step.
          start: the first step.
          process: index of this process.
          processes: their number.

        Raises:
          UserError: while iterating, if too many photos can no longer be read.
        """
        if config.batch % processes:
            raise ValueError(f"batch={config.batch} is not divisible by the {processes} processes")
        share, size = config.batch // processes, config.hr_patch // self.scale
        table = sampling.tabulate(
            *(self._sides, size, self._data.sampling, self._data.weights, self._entries)
        )
        draw = jax.jit(lambda index: sampling.draw(seed, index, table))
        chunk = max(1, DRAWN_AT_ONCE // share)
        for first in range(start, config.steps, chunk):
            steps = np.arange(first, min(first + chunk, config.steps))
            numbers = steps[:, None] * config.batch + process * share + np.arange(share)
            index = numbers.astype(np.uint32).ravel()
            with jax.default_device(jax.local_devices(backend="cpu")[0]):
                places = [np.asarray(a, np.int64) for a in draw(index)]
            yield from self._cut_batches(seed, index, places, share, size, config.margin)

    def _cut_batches(
        self,
        seed: int,
        index: np.ndarray,
        places: list[np.ndarray],
        share: int,
        size: int,
        margin: int,
    ) -> Generator[Batch]:
        """Yields the samples `index`, whose patches are at `places`, `share` at a time."""

        def sample(number: Any, photo: Any, top: Any, left: Any, turn: Any) -> Batch:
            if self._rows:
                upright = {
                    name: self._gather(name, photo, top, left, size, margin) for name in self._rows
                }
            else:
                lr, hr = tf.numpy_function(
                    lambda n, p, t, c: self._patches((seed, int(n)), p, t, c, size, margin),
                    [number, photo, top, left],
                    [tf.uint8, tf.uint8],
                )
                side = size + 2 * margin
                upright = {
                    "lr": tf.ensure_shape(lr, (side, side, 3)),
                    "hr": tf.ensure_shape(hr, (side * self.scale, side * self.scale, 3)),
                }
            images = {name: _turned(image, turn) for name, image in upright.items()}
            valid = {name: tf.gather(present, photo) for name, present in self._present.items()}
            return Batch(images.pop("lr"), images, valid, number)

        dataset = (
            tf.data.Dataset.from_tensor_slices((index, *places))
            .map(sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .batch(share, drop_remainder=True)
            .prefetch(2)
        )
        iterator = dataset.as_numpy_iterator()
        try:
            yield from iterator
        except tf.errors.OpError:
            if self._failure is not None:
                raise self._failure from None
            raise
        finally:
            del iterator, dataset

    def _gather(self, name: str, photo: Any, top: Any, left: Any, size: int, margin: int) -> Any:
        """Cuts a patch of one image from the buffers; zeros where the photo lacks it."""
        assert self._buffers is not None
        rows = self._rows[name]
        begin = tf.gather(tf.constant(self._buffers.begins[name]), photo)
        height, width = tf.unstack(tf.gather(tf.constant(self._sides), photo))
        side = (size + 2 * margin) * square_side(rows)

        def cut() -> Any:
            if margin:
                return _padded(rows, begin, height, width, top, left, size, margin)
            return _within(rows, begin, width, top, left, size)

        if name not in self._present:
            return cut()
        return tf.cond(begin < 0, lambda: tf.zeros((side, side, 3), rows.dtype), cut)

    def _patches(
        self, sample: tuple[int, int], photo: int, top: int, left: int, size: int, margin: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the (LR, HR) patches of a sample, which is named by its seed and number.

        They are from the photo, or from the next readable one if it can no longer be read.
        """
        for offset in range(len(self._sides)):
            i = int(photo + offset) % len(self._sides)
            if i in self._unreadable:
                continue
            place = [
                int(min(p, s - size)) for p, s in zip((top, left), self._sides[i], strict=True)
            ]
            try:
                return self._cut(sample, i, place, size, margin)
            except UserError as error:
                self._skip(i, error)
        raise AssertionError("no photo can be read, which is more than is allowed")

    def _skip(self, photo: int, error: UserError) -> None:
        """Counts a photo that can no longer be read.

        Raises:
          UserError: there are too many.
        """
        with self._lock:
            if photo not in self._unreadable:
                self._unreadable.add(photo)
                log.warning("skipped from now on: %s", error)
            unreadable, total = len(self._unreadable), len(self._photos)
            if unreadable > self._data.max_bad_fraction * total:
                # Kept, because TensorFlow passes on only errors of its own.
                self._failure = UserError(
                    f"{error}; {unreadable} of {total} photos can no longer be read, more than"
                    f" config.data.max_bad_fraction={self._data.max_bad_fraction} allows; restore"
                    " them and start the run again to continue"
                )
                raise self._failure

    def _cut(
        self, sample: tuple[int, int], photo: int, place: list[int], size: int, margin: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the (LR, HR) patches of a photo; HR is zeros if the photo has none."""
        sides = self._sides[photo].tolist()
        window, beyond = windows.clipped(place, size, margin, sides)
        images = self._images(photo)
        levels = self._data.levels if self._data.fresh else ("none",)
        level = levels[sample[1] % len(levels)]
        if level == "none":
            lr = images["lr"](window)
        else:
            cut = images.get("hr", images["lr"])
            lr = windows.degraded(cut, window, sides, level, degradations.generator(*sample))
        lr = windows.extended(lr, beyond, 1)
        if "hr" not in images:
            side = (size + 2 * margin) * self.scale
            return lr, np.zeros((side, side, 3), np.uint8)
        return lr, windows.extended(images["hr"](window), beyond, self.scale)

    def _images(self, photo: int) -> dict[str, Cut]:
        """Returns functions that cut the LR and, if any, the HR image of a photo, by name.

        Raises:
          UserError: the photo can no longer be read.
        """
        decoded = self._buffers
        if decoded:
            names = [name for name in decoded.rows if decoded.begins[name][photo] >= 0]
            return {name: functools.partial(decoded.image, name, photo) for name in names}
        source, scale = self._photos[photo], self.scale
        if source.hr is None or source.copy:  # a copy is degraded as a whole
            scales = {"lr": 1, "hr": scale}
            images = load(source, scale)
            return {n: functools.partial(windows.inside, i, scales[n]) for n, i in images.items()}
        hr = part_of(bicubic.crop_to_multiple(pixels(source.hr), scale), source.part, 1)
        lr = functools.partial(windows.downscaled, hr, scale)
        if source.lr is not None:
            own = part_of(pixels(source.lr), source.part, scale)
            lr = functools.partial(windows.inside, own, 1)
        return {"lr": lr, "hr": functools.partial(windows.inside, hr, scale)}


def read_all(photo: Photo) -> None:
    """Decodes the images of `photo`, so that damage is found before training."""
    for image in (photo.hr, photo.lr):
        if image is not None:
            pixels(image)


def _within(rows: Any, begin: Any, width: Any, top: Any, left: Any, size: int) -> Any:
    """Returns a patch (P, P, 3) from the rows of a photo, without copying the photo."""
    lines = begin + (top + tf.range(size, dtype=tf.int64)) * width + left
    patch = tf.gather(rows, lines[:, None] + tf.range(size, dtype=tf.int64))
    scale = square_side(rows)
    squares = tf.reshape(patch, (size, size, scale, scale, 3))
    image = tf.transpose(squares, (0, 2, 1, 3, 4))
    return tf.reshape(image, (size * scale, size * scale, 3))


def _padded(
    rows: Any, begin: Any, height: Any, width: Any, top: Any, left: Any, size: int, margin: int
) -> Any:
    """Returns a patch with margins, gathered pixel by pixel with the edge repeated."""
    scale = square_side(rows)

    def along(first: Any, length: Any) -> tuple[Any, Any]:
        """Returns LR coordinates, and offsets in their squares, along one side of the patch."""
        hr = (first - margin) * scale + tf.range((size + 2 * margin) * scale, dtype=tf.int64)
        hr = tf.clip_by_value(hr, 0, length * scale - 1)
        return hr // scale, hr % scale

    y, line = along(top, height)
    x, column = along(left, width)
    row = begin + y[:, None] * width + x
    return tf.gather(tf.reshape(rows, (-1, 3)), row * scale**2 + line[:, None] * scale + column)


def _turned(image: Any, turn: Any) -> Any:
    """Applies one of the eight flips and rotations, numbered 0 to 7."""
    image = tf.cond(turn % 2 == 1, lambda: tf.reverse(image, [1]), lambda: image)
    image = tf.cond(turn // 2 % 2 == 1, lambda: tf.reverse(image, [0]), lambda: image)
    return tf.cond(turn // 4 == 1, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
