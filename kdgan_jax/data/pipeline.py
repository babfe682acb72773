"""Batches of aligned patches by tf.data; every batch is a pure function of (seed, step).

Patches are those of `sampling.draw`, so a resumed run sees the batches that it would have seen, and
the device backend the same ones.
"""

import threading
from collections.abc import Generator
from typing import Any

import jax
import numpy as np

from kdgan_jax import bicubic
from kdgan_jax.data import photos as sources
from kdgan_jax.data import sampling
from kdgan_jax.data.buffers import Buffers
from kdgan_jax.data.photos import Photo
from kdgan_jax.data.tensorflow import tf
from kdgan_jax.errors import UserError
from kdgan_jax.io.logs import log

BORDER = 4  # LR pixels beyond a patch that reach it through the bicubic kernel
DRAWN = 2**16  # samples whose places are drawn at once


class PatchSource:
    """The photos of a run: decoded, or to be decoded on the fly."""

    def __init__(
        self,
        photos: Buffers | list[Photo],
        scale: int,
        uniform_over: str,
        max_bad_fraction: float = 0.0,
    ) -> None:
        self.scale = scale
        self._uniform_over = uniform_over
        self._max_bad_fraction = max_bad_fraction
        self._bad: set[int] = set()  # photos that could no longer be read
        self._lock = threading.Lock()  # TensorFlow decodes on threads of its own
        self._buffers = photos if isinstance(photos, Buffers) else None
        self._photos = [] if isinstance(photos, Buffers) else photos
        self._failure: UserError | None = None
        if self._buffers:
            self._rows = {name: tf.constant(rows) for name, rows in self._buffers.rows.items()}
            self._sides = self._buffers.sides
        else:
            sides = [(p.size[0] // scale, p.size[1] // scale) for p in self._photos]
            self._sides = np.array(sides, np.int64)

    def batches(
        self,
        *,
        seed: int,
        start: int,
        stop: int,
        batch: int,
        hr_patch: int,
        process: int = 0,
        processes: int = 1,
    ) -> Generator[dict[str, np.ndarray]]:
        """Yields {"lr": (n, p, p, 3), "hr": (n, P, P, 3)} uint8 for steps start to stop - 1.

        Close it (contextlib.closing) rather than leave it to the interpreter's exit: TensorFlow's
        threads wait for Python there when they decode on the fly.

        Args:
          seed: with the step it determines the batch.
          start: the first step.
          stop: the step after the last.
          batch: global batch size; this process gets n = batch / processes of it.
          hr_patch: P, a multiple of the scale; p = P / scale.
          process: index of this process.
          processes: their number.
        """
        if batch % processes:
            raise ValueError(f"batch={batch} is not divisible by the {processes} processes")
        share = batch // processes
        known = sampling.table(self._sides, hr_patch // self.scale, self._uniform_over)
        draw = jax.jit(lambda index: sampling.draw(seed, index, known))
        chunk = max(1, DRAWN // share)
        for first in range(start, stop, chunk):
            steps = np.arange(first, min(first + chunk, stop))
            index = steps[:, None] * batch + process * share + np.arange(share)
            with jax.default_device(jax.local_devices(backend="cpu")[0]):
                places = [np.asarray(a, np.int64) for a in draw(index.astype(np.uint32).ravel())]
            yield from self._cut_batches(places, share, hr_patch)

    def _cut_batches(
        self, places: list[np.ndarray], share: int, hr_patch: int
    ) -> Generator[dict[str, np.ndarray]]:
        """Yields the patches at `places`, `share` at a time."""
        size = hr_patch // self.scale

        def sample(photo: Any, top: Any, left: Any, turn: Any) -> dict[str, Any]:
            if self._buffers:
                found = {
                    name: self._gather(rows, photo, top, left, size)
                    for name, rows in self._rows.items()
                }
            else:
                lr, hr = tf.numpy_function(
                    lambda p, t, c: self._decode(p, t, c, size),
                    [photo, top, left],
                    [tf.uint8, tf.uint8],
                )
                found = {"lr": lr, "hr": hr}
            sides = {name: size if name == "lr" else hr_patch for name in found}
            return {
                name: tf.ensure_shape(_turned(image, turn), (sides[name], sides[name], 3))
                for name, image in found.items()
            }

        dataset = (
            tf.data.Dataset.from_tensor_slices(tuple(places))
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

    def _gather(self, rows: Any, photo: Any, top: Any, left: Any, size: int) -> Any:
        """Cuts a patch out of the flat photos, without copying a photo."""
        assert self._buffers is not None
        begin = tf.gather(tf.constant(self._buffers.begins), photo)
        width = tf.gather(tf.constant(self._sides[:, 1]), photo)
        lines = begin + (top + tf.range(size, dtype=tf.int64)) * width + left
        found = tf.gather(rows, lines[:, None] + tf.range(size, dtype=tf.int64))
        factor = round((rows.shape[1] // 3) ** 0.5)
        squares = tf.reshape(found, (size, size, factor, factor, 3))
        image = tf.transpose(squares, (0, 2, 1, 3, 4))
        return tf.reshape(image, (size * factor, size * factor, 3))

    def _decode(self, photo: int, top: int, left: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Cuts a patch; where its photo can no longer be read, out of the next one that can be."""
        for offset in range(len(self._photos)):
            i = int(photo + offset) % len(self._photos)
            if i in self._bad:
                continue
            highest, leftmost = self._sides[i] - size
            try:
                return self._cut(i, min(top, highest), min(left, leftmost), size)
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
            if bad > self._max_bad_fraction * all_of_them:
                self._failure = UserError(  # TensorFlow passes on its own kind of error only
                    f"{error}; {bad} of {all_of_them} photos can no longer be read, more than"
                    f" config.data.max_bad_fraction={self._max_bad_fraction} allows; bring them"
                    " back and start again to go on"
                )
                raise self._failure

    def _cut(self, photo: int, top: int, left: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads one photo and cuts a patch; LR is made of the patch and what borders on it."""
        source, scale = self._photos[photo], self.scale
        hr = bicubic.crop_to_multiple(sources.pixels(source.hr), scale)
        patch = hr[top * scale : (top + size) * scale, left * scale : (left + size) * scale]
        if source.lr is not None:
            return sources.pixels(source.lr)[top : top + size, left : left + size], patch
        first_row, first_column = max(top - BORDER, 0), max(left - BORDER, 0)
        around = hr[
            first_row * scale : (top + size + BORDER) * scale,
            first_column * scale : (left + size + BORDER) * scale,
        ]
        lr = bicubic.downscale(around, scale)[top - first_row :, left - first_column :]
        return lr[:size, :size], patch


def readable(photo: Photo) -> None:
    """Reads the files of `photo` to the end, so that damage is found before training."""
    for source in (photo.hr, photo.lr):
        if source is not None:
            sources.pixels(source)


def _turned(image: Any, turn: Any) -> Any:
    """Applies one of the eight flips and rotations, numbered 0 to 7."""
    image = tf.cond(turn % 2 == 1, lambda: tf.reverse(image, [1]), lambda: image)
    image = tf.cond(turn // 2 % 2 == 1, lambda: tf.reverse(image, [0]), lambda: image)
    return tf.cond(turn // 4 == 1, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
