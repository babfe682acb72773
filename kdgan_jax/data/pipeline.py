"""Batches of aligned patches by tf.data; every batch is a pure function of (seed, step).

Sample i of the run is cut from a photo and a place drawn with the key (seed, i), so a resumed run
starts its index there and sees the batches that it would have seen.
"""

from collections.abc import Generator
from typing import Any

import numpy as np

from kdgan_jax import bicubic
from kdgan_jax.data import photos as sources
from kdgan_jax.data.photos import Photo
from kdgan_jax.data.tensorflow import tf
from kdgan_jax.errors import UserError

BORDER = 4  # LR pixels beyond a patch that reach it through the bicubic kernel


def memory_bytes(photos: list[Photo], scale: int) -> int:
    """Returns the bytes that the decoded photos and their LR images take."""
    pixels = sum(p.size[0] * p.size[1] for p in photos)
    return 3 * (pixels + pixels // scale**2)


class PatchSource:
    """The photos of a run, decoded once where they fit the budget, else on the fly."""

    def __init__(self, photos: list[Photo], scale: int, memory_mb: int, max_bad: float) -> None:
        self.scale = scale
        self.in_memory = memory_bytes(photos, scale) <= memory_mb * 2**20
        if self.in_memory:
            photos, self._hr, self._lr = _flat_buffers(photos, scale, max_bad)
        else:
            good = sources.decode(photos, _readable, max_bad, "the training photos")
            photos = [photo for photo, _ in good]
        self.photos = photos
        self._failure: UserError | None = None
        # LR sides; HR sides are `scale` times as long.
        self._sides = np.array([(p.size[0] // scale, p.size[1] // scale) for p in photos], np.int64)

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
        size = hr_patch // self.scale
        sides = self._sides
        areas = np.cumsum((sides[:, 0] - size + 1) * (sides[:, 1] - size + 1))

        def sample(i: Any) -> dict[str, Any]:
            index = i // share * batch + process * share + i % share
            draw = tf.random.stateless_uniform(
                (4,), tf.stack([tf.cast(seed, tf.int64), index]), dtype=tf.float64
            )
            # Uniform over all places of a patch, hence over pixels and not over photos.
            area = tf.cast(draw[0] * areas[-1], tf.int64)
            photo = tf.searchsorted(tf.constant(areas), area[None], side="right")[0]
            free = tf.gather(tf.constant(sides), photo) - size + 1
            top, left = tf.unstack(tf.cast(draw[1:3] * tf.cast(free, tf.float64), tf.int64))
            if self.in_memory:
                lr = self._gather(self._lr, photo, top, left, size, 1)
                hr = self._gather(self._hr, photo, top, left, size, self.scale)
            else:
                lr, hr = tf.numpy_function(
                    lambda p, t, c: self._decode(p, t, c, size),
                    [photo, top, left],
                    [tf.uint8, tf.uint8],
                )
            turn = tf.cast(draw[3] * 8, tf.int32)
            lr, hr = _dihedral(lr, turn), _dihedral(hr, turn)
            return {
                "lr": tf.ensure_shape(lr, (size, size, 3)),
                "hr": tf.ensure_shape(hr, (hr_patch, hr_patch, 3)),
            }

        dataset = (
            tf.data.Dataset.range(start * share, stop * share)
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

    def _gather(self, flat: Any, photo: Any, top: Any, left: Any, size: int, factor: int) -> Any:
        """Cuts a patch out of the flat buffer of all photos, without copying the photo."""
        sides = self._sides * factor
        ends = np.cumsum(3 * sides[:, 0] * sides[:, 1])
        begin = tf.gather(tf.constant(np.concatenate([[0], ends[:-1]])), photo)
        width = tf.gather(tf.constant(sides[:, 1]), photo)
        rows = tf.range(size * factor, dtype=tf.int64) + top * factor
        starts = begin + 3 * (rows * width + left * factor)
        index = starts[:, None] + tf.range(3 * size * factor, dtype=tf.int64)
        return tf.reshape(tf.gather(flat, index), (size * factor, size * factor, 3))

    def _decode(self, photo: int, top: int, left: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        try:
            return self._cut(photo, top, left, size)
        except UserError as error:
            self._failure = error  # TensorFlow passes on its own kind of error only
            raise

    def _cut(self, photo: int, top: int, left: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads one photo and cuts a patch; LR is made of the patch and what borders on it."""
        source, scale = self.photos[photo], self.scale
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


def _readable(photo: Photo) -> None:
    """Reads the files of `photo` to the end, so that damage is found before training."""
    for source in (photo.hr, photo.lr):
        if source is not None:
            sources.pixels(source)


def _flat_buffers(photos: list[Photo], scale: int, max_bad: float) -> tuple[list[Photo], Any, Any]:
    """Returns the photos that decode and the bytes of all their HR and LR images, one by one."""
    hr_flat = np.empty(3 * sum(p.size[0] * p.size[1] for p in photos), np.uint8)
    lr_flat = np.empty(hr_flat.size // scale**2, np.uint8)
    kept, used = [], 0
    pairs = sources.decode(
        photos, lambda photo: sources.load(photo, scale), max_bad, "the training photos"
    )
    for photo, (hr, lr) in pairs:
        hr_flat[used : used + hr.size] = hr.ravel()
        lr_flat[used // scale**2 : used // scale**2 + lr.size] = lr.ravel()
        used += hr.size
        kept.append(photo)
    return kept, tf.constant(hr_flat[:used]), tf.constant(lr_flat[: used // scale**2])


def _dihedral(image: Any, turn: Any) -> Any:
    """Applies one of the eight flips and rotations, numbered 0 to 7."""
    image = tf.cond(turn % 2 == 1, lambda: tf.reverse(image, [1]), lambda: image)
    image = tf.cond(turn // 2 % 2 == 1, lambda: tf.reverse(image, [0]), lambda: image)
    return tf.cond(turn // 4 == 1, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
