"""Batches of aligned patches by tf.data; every batch is a pure function of (seed, step).

Patches are those of `sampling.draw`, so a resumed run sees the batches that it would have seen, and
the device backend the same ones.
"""

import threading
from collections.abc import Generator
from typing import Any

import jax
import numpy as np

from kdgan_jax.config.settings import BatchConfig, DataConfig
from kdgan_jax.data import photos as sources
from kdgan_jax.data import sampling
from kdgan_jax.data.batches import Batch
from kdgan_jax.data.buffers import Buffers, factor
from kdgan_jax.data.photos import Photo
from kdgan_jax.data.tensorflow import tf
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import UserError

BORDER = 4  # LR pixels beyond a patch that reach it through the bicubic kernel
DRAWN = 2**16  # samples whose places are drawn at once


class PatchSource:
    """The photos of a run: decoded, or to be decoded on the fly."""

    def __init__(self, photos: Buffers | list[Photo], data: DataConfig, scale: int) -> None:
        self.scale = scale
        self._data = data
        self._bad: set[int] = set()  # photos that could no longer be read
        self._lock = threading.Lock()  # TensorFlow decodes on threads of its own
        self._buffers = photos if isinstance(photos, Buffers) else None
        self._photos = [] if isinstance(photos, Buffers) else photos
        self._failure: UserError | None = None
        if self._buffers:
            self._rows = {name: tf.constant(rows) for name, rows in self._buffers.rows.items()}
            self._there = self._buffers.gaps()
            self._sides = self._buffers.sides
        else:
            sides = [(p.size[0] // scale, p.size[1] // scale) for p in self._photos]
            self._sides = np.array(sides, np.int64)
            self._there = {}

    def batches(
        self,
        wanted: BatchConfig,
        *,
        seed: int,
        start: int = 0,
        process: int = 0,
        processes: int = 1,
    ) -> Generator[Batch]:
        """Yields this process's share of the batches from `start` on, as NumPy arrays.

        Close it (contextlib.closing) rather than leave it to the interpreter's exit: TensorFlow's
        threads wait for Python there when they decode on the fly.

        Args:
          wanted: size of the whole batch, of which each process gets an equal share, of patches
            and their margins, and the number of steps.
          seed: with the step it determines the batch.
          start: the first step.
          process: index of this process.
          processes: their number.
        """
        if wanted.batch % processes:
            raise ValueError(f"batch={wanted.batch} is not divisible by the {processes} processes")
        share, size = wanted.batch // processes, wanted.hr_patch // self.scale
        known = sampling.table(self._sides, size, self._data.sampling)
        draw = jax.jit(lambda index: sampling.draw(seed, index, known))
        chunk = max(1, DRAWN // share)
        for first in range(start, wanted.steps, chunk):
            steps = np.arange(first, min(first + chunk, wanted.steps))
            numbers = steps[:, None] * wanted.batch + process * share + np.arange(share)
            index = numbers.astype(np.uint32).ravel()
            with jax.default_device(jax.local_devices(backend="cpu")[0]):
                places = [np.asarray(a, np.int64) for a in draw(index)]
            yield from self._cut_batches(index, places, share, size, wanted.margin)

    def _cut_batches(
        self, index: np.ndarray, places: list[np.ndarray], share: int, size: int, margin: int
    ) -> Generator[Batch]:
        """Yields the samples `index`, whose patches are at `places`, `share` at a time."""

        def sample(number: Any, photo: Any, top: Any, left: Any, turn: Any) -> Batch:
            if self._buffers:
                found = {
                    name: self._gather(name, photo, top, left, size, margin) for name in self._rows
                }
            else:
                lr, hr = tf.numpy_function(
                    lambda p, t, c: self._decode(p, t, c, size, margin),
                    [photo, top, left],
                    [tf.uint8, tf.uint8],
                )
                side = size + 2 * margin
                found = {
                    "lr": tf.ensure_shape(lr, (side, side, 3)),
                    "hr": tf.ensure_shape(hr, (side * self.scale, side * self.scale, 3)),
                }
            images = {name: _turned(image, turn) for name, image in found.items()}
            valid = {name: tf.gather(known, photo) for name, known in self._there.items()}
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
        """Cuts a patch of one image out of the flat photos; zeros where the photo lacks it."""
        assert self._buffers is not None
        rows = self._rows[name]
        begin = tf.gather(tf.constant(self._buffers.begins[name]), photo)
        height, width = tf.unstack(tf.gather(tf.constant(self._sides), photo))
        side = (size + 2 * margin) * factor(rows)

        def cut() -> Any:
            if margin:
                return _padded(rows, begin, height, width, top, left, size, margin)
            return _within(rows, begin, width, top, left, size)

        if name not in self._there:
            return cut()
        return tf.cond(begin < 0, lambda: tf.zeros((side, side, 3), rows.dtype), cut)

    def _decode(
        self, photo: int, top: int, left: int, size: int, margin: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cuts a patch; where its photo can no longer be read, out of the next one that can be."""
        for offset in range(len(self._photos)):
            i = int(photo + offset) % len(self._photos)
            if i in self._bad:
                continue
            highest, leftmost = self._sides[i] - size
            try:
                return self._cut(i, min(top, highest), min(left, leftmost), size, margin)
            except UserError as error:
                self._skip(i, error)
        raise AssertionError("all photos are bad, which is more than is allowed")

    def _skip(self, photo: int, error: UserError) -> None:
        """Counts a photo that could be read when the run began.

        Raises:
          UserError: there are too many.
        """
        with self._lock:
            if photo not in self._bad:
                self._bad.add(photo)
                log.warning("skipped from now on: %s", error)
            bad, all_of_them = len(self._bad), len(self._photos)
            if bad > self._data.max_bad_fraction * all_of_them:
                self._failure = UserError(  # TensorFlow passes on its own kind of error only
                    f"{error}; {bad} of {all_of_them} photos can no longer be read, more than"
                    f" config.data.max_bad_fraction={self._data.max_bad_fraction} allows; bring"
                    " them back and start again to go on"
                )
                raise self._failure

    def _cut(
        self, photo: int, top: int, left: int, size: int, margin: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads one photo and cuts a patch; LR is made of the patch and what borders on it."""
        source, scale = self._photos[photo], self.scale
        hr = bicubic.crop_to_multiple(sources.pixels(source.hr), scale)
        inside, beyond = [], []
        for first, side in zip((top, left), self._sides[photo].tolist(), strict=True):
            start, stop = int(first) - margin, int(first) + size + margin
            inside.append((max(start, 0), min(stop, side)))
            beyond.append((max(-start, 0), max(stop - side, 0)))
        patch = _part(hr, inside, scale)
        if source.lr is None:
            lr = _reduced(hr, inside, scale)
        else:
            lr = _part(sources.pixels(source.lr), inside, 1)
        return _extended(lr, beyond, 1), _extended(patch, beyond, scale)


def readable(photo: Photo) -> None:
    """Reads the files of `photo` to the end, so that damage is found before training."""
    for source in (photo.hr, photo.lr):
        if source is not None:
            sources.pixels(source)


Window = list[tuple[int, int]]  # in LR pixels, of lines and of columns


def _part(image: np.ndarray, window: Window, scale: int) -> np.ndarray:
    """Returns the pixels of an image, `scale` times LR, that lie in a window."""
    (top, bottom), (left, right) = window
    return image[top * scale : bottom * scale, left * scale : right * scale]


def _reduced(hr: np.ndarray, window: Window, scale: int) -> np.ndarray:
    """Returns the window's part of MATLAB's bicubic of the whole of `hr`."""
    (top, bottom), (left, right) = window
    around = [(max(start - BORDER, 0), stop + BORDER) for start, stop in window]
    lr = bicubic.downscale(_part(hr, around, scale), scale)
    y, x = top - around[0][0], left - around[1][0]
    return lr[y : y + bottom - top, x : x + right - left]


def _extended(image: np.ndarray, beyond: list[tuple[int, int]], scale: int) -> np.ndarray:
    """Repeats the edge of `image` as far as a patch reaches beyond the photo, in LR pixels."""
    if not any(map(any, beyond)):
        return image
    widths = [(before * scale, after * scale) for before, after in beyond]
    return np.pad(image, [*widths, (0, 0)], mode="edge")


def _within(rows: Any, begin: Any, width: Any, top: Any, left: Any, size: int) -> Any:
    """Cuts a patch (P, P, 3) out of the rows of a photo, without copying the photo."""
    lines = begin + (top + tf.range(size, dtype=tf.int64)) * width + left
    found = tf.gather(rows, lines[:, None] + tf.range(size, dtype=tf.int64))
    scale = factor(rows)
    squares = tf.reshape(found, (size, size, scale, scale, 3))
    image = tf.transpose(squares, (0, 2, 1, 3, 4))
    return tf.reshape(image, (size * scale, size * scale, 3))


def _padded(
    rows: Any, begin: Any, height: Any, width: Any, top: Any, left: Any, size: int, margin: int
) -> Any:
    """Cuts a patch with margins pixel by pixel; beyond the photo, its edge is repeated."""
    scale = factor(rows)

    def along(first: Any, length: Any) -> tuple[Any, Any]:
        """Returns LR pixels, and places in their squares, along one side of the patch."""
        pixels = (first - margin) * scale + tf.range((size + 2 * margin) * scale, dtype=tf.int64)
        pixels = tf.clip_by_value(pixels, 0, length * scale - 1)
        return pixels // scale, pixels % scale

    y, line = along(top, height)
    x, column = along(left, width)
    row = begin + y[:, None] * width + x
    return tf.gather(tf.reshape(rows, (-1, 3)), row * scale**2 + line[:, None] * scale + column)


def _turned(image: Any, turn: Any) -> Any:
    """Applies one of the eight flips and rotations, numbered 0 to 7."""
    image = tf.cond(turn % 2 == 1, lambda: tf.reverse(image, [1]), lambda: image)
    image = tf.cond(turn // 2 % 2 == 1, lambda: tf.reverse(image, [0]), lambda: image)
    return tf.cond(turn // 4 == 1, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
