"""Batches of aligned patches by tf.data; every batch is a pure function of (seed, step).

The patches are those of `sampling.draw`, so that a resumed run sees the batches of an unbroken one,
and both backends cut the same patches.
"""

import threading
from collections.abc import Generator
from typing import Any

import jax
import numpy as np

from kdgan_jax.config.settings import BatchConfig, DataConfig
from kdgan_jax.data import sampling
from kdgan_jax.data.batches import Batch
from kdgan_jax.data.buffers import Buffers, square_side
from kdgan_jax.data.photos import Photo, load, part_of, pixels
from kdgan_jax.data.tensorflow import tf
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import UserError

BORDER = 4  # LR pixels around a patch that the bicubic kernel reaches
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
        if self._buffers:
            self._rows = {name: tf.constant(rows) for name, rows in self._buffers.rows.items()}
            self._present = self._buffers.incomplete()
            self._sides = self._buffers.sides
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
            yield from self._cut_batches(index, places, share, size, config.margin)

    def _cut_batches(
        self, index: np.ndarray, places: list[np.ndarray], share: int, size: int, margin: int
    ) -> Generator[Batch]:
        """Yields the samples `index`, whose patches are at `places`, `share` at a time."""

        def sample(number: Any, photo: Any, top: Any, left: Any, turn: Any) -> Batch:
            if self._buffers:
                upright = {
                    name: self._gather(name, photo, top, left, size, margin) for name in self._rows
                }
            else:
                lr, hr = tf.numpy_function(
                    lambda p, t, c: self._decode(p, t, c, size, margin),
                    [photo, top, left],
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

    def _decode(
        self, photo: int, top: int, left: int, size: int, margin: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cuts a patch from a photo, or from the next readable one if it can no longer be read."""
        for offset in range(len(self._photos)):
            i = int(photo + offset) % len(self._photos)
            if i in self._unreadable:
                continue
            last_top, last_left = self._sides[i] - size
            try:
                return self._cut(i, min(top, last_top), min(left, last_left), size, margin)
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
        self, photo: int, top: int, left: int, size: int, margin: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns an (LR, HR) patch of a photo that is read here.

        Where LR is made from HR, only the patch and its surroundings are downscaled.
        """
        source = self._photos[photo]
        inside, beyond = [], []
        for first, side in zip((top, left), self._sides[photo].tolist(), strict=True):
            start, stop = int(first) - margin, int(first) + size + margin
            inside.append((max(start, 0), min(stop, side)))
            beyond.append((max(-start, 0), max(stop - side, 0)))
        if source.hr is None or source.copy:  # a copy is degraded as a whole
            images = load(source, self.scale)
            lr, hr = _inside(images["lr"], inside, 1), images.get("hr")
        else:
            whole = bicubic.crop_to_multiple(pixels(source.hr), self.scale)
            hr = part_of(whole, source.part, 1)
            if source.lr is None:
                lr = _downscaled(hr, inside, self.scale)
            else:
                lr = _inside(part_of(pixels(source.lr), source.part, self.scale), inside, 1)
        if hr is None:
            side = (size + 2 * margin) * self.scale
            return _extended(lr, beyond, 1), np.zeros((side, side, 3), np.uint8)
        return _extended(lr, beyond, 1), _extended(
            _inside(hr, inside, self.scale), beyond, self.scale
        )


def read_all(photo: Photo) -> None:
    """Decodes the images of `photo`, so that damage is found before training."""
    for image in (photo.hr, photo.lr):
        if image is not None:
            pixels(image)


Window = list[tuple[int, int]]  # first and end, of lines and of columns, in LR pixels


def _inside(image: np.ndarray, window: Window, scale: int) -> np.ndarray:
    """Returns the pixels in a window of an image that is `scale` times as large as LR."""
    (top, bottom), (left, right) = window
    return image[top * scale : bottom * scale, left * scale : right * scale]


def _downscaled(hr: np.ndarray, window: Window, scale: int) -> np.ndarray:
    """Returns the pixels in a window of MATLAB's bicubic of the whole of `hr`."""
    (top, bottom), (left, right) = window
    around = [(max(start - BORDER, 0), stop + BORDER) for start, stop in window]
    lr = bicubic.downscale(_inside(hr, around, scale), scale)
    y, x = top - around[0][0], left - around[1][0]
    return lr[y : y + bottom - top, x : x + right - left]


def _extended(image: np.ndarray, beyond: list[tuple[int, int]], scale: int) -> np.ndarray:
    """Repeats the edge of `image` as far as the patch extends beyond the photo, in LR pixels."""
    if not any(map(any, beyond)):
        return image
    widths = [(before * scale, after * scale) for before, after in beyond]
    return np.pad(image, [*widths, (0, 0)], mode="edge")


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
