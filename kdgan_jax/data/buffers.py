"""Decoded photos as flat arrays, where a patch of HR lies at the same rows as its patch of LR.

There is one row for every LR pixel, photo after photo, line after line: three numbers for LR, and
3 * scale² for HR, the square of pixels that the LR pixel stands for. So one index cuts all images,
and 2**31 rows, which is what an accelerator's 32-bit indices reach, are 100 GB of HR at x4. Further
images, such as a teacher's output, are more entries of the same form. A photo may lack any image
but LR, and takes no rows of an image that it lacks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kdgan_jax.data import photos as sources
from kdgan_jax.data.photos import Photo
from kdgan_jax.runtime.errors import UserError

MOST_ROWS = 2**31 - 1
LONGEST_SIDE = 2**16 - 1  # of an LR image, so that places are drawn with 32-bit integers


class Buffers(NamedTuple):
    """Photos in flat form.

    Attributes:
      rows: images by name, (P, 3) for those of LR size and (P, 3 * scale²) for those of HR size,
        uint8, or floats of a stored output; P may differ. "lr" is there.
      sides: (N, 2) height and width of each photo's LR image.
      begins: (N,) int64 for each image: every photo's first row, -1 where the photo lacks the
        image. No photo lacks "lr".
    """

    rows: dict[str, np.ndarray]
    sides: np.ndarray
    begins: dict[str, np.ndarray]

    @property
    def bytes(self) -> int:
        """Bytes of the images."""
        return sum(array.nbytes for array in self.rows.values())

    def select(self, which: list[int]) -> "Buffers":
        """Returns these photos alone; the arrays are shared, up to the last row that is used."""
        sides = self.sides[which]
        begins = {name: of_image[which] for name, of_image in self.begins.items()}
        ends = {
            name: max((of_image + sides[:, 0] * sides[:, 1])[of_image >= 0], default=0)
            for name, of_image in begins.items()
        }
        rows = {name: array[: ends[name]] for name, array in self.rows.items()}
        return Buffers(rows, sides, begins)

    def has(self, name: str) -> np.ndarray:
        """Returns which photos have the image `name`, (N,) bool."""
        return self.begins[name] >= 0

    def gaps(self) -> dict[str, np.ndarray]:
        """Returns which photos have it, (N,) bool, for every image that some photos lack."""
        there = {name: self.has(name) for name in self.rows}
        return {name: known for name, known in there.items() if not known.all()}

    def image(self, name: str, photo: int) -> np.ndarray:
        """Returns one image of one photo, (H, W, 3).

        Raises:
          LookupError: the photo lacks it.
        """
        height, width = self.sides[photo]
        begin = self.begins[name][photo]
        if begin < 0:
            raise LookupError(f"photo {photo} has no image {name!r}")
        rows = self.rows[name][begin : begin + height * width]
        return to_image(rows.reshape(height, width, -1))


def size(photos: list[Photo], scale: int) -> int:
    """Returns the bytes that the HR and LR images of `photos` take."""
    pixels = sum(p.size[0] * p.size[1] for p in photos)
    return 3 * (pixels + pixels // scale**2)


def to_rows(image: np.ndarray, scale: int) -> np.ndarray:
    """Returns (H, W, 3) as (h * w, 3 * scale²), h = H / scale; scale is 1 for an image of LR size.

    Within a row: line in the square, column in the square, colour.
    """
    height, width = image.shape[0] // scale, image.shape[1] // scale
    squares = image.reshape(height, scale, width, scale, 3).transpose(0, 2, 1, 3, 4)
    return squares.reshape(height * width, 3 * scale**2)


def factor(rows: Any) -> int:
    """Returns how many pixels a side the squares in `rows` (..., 3 * factor²) have."""
    return round((rows.shape[-1] // 3) ** 0.5)


def to_image(rows: Any) -> Any:
    """Returns (..., h, w, 3 * scale²) as (..., h * scale, w * scale, 3), of NumPy or of JAX."""
    *more, height, width, _ = rows.shape
    scale, n = factor(rows), len(more)
    squares = rows.reshape(*more, height, width, scale, scale, 3)
    image = squares.transpose(*range(n), n, n + 2, n + 1, n + 3, n + 4)
    return image.reshape(*more, height * scale, width * scale, 3)


def build(
    photos: list[Photo],
    scale: int,
    max_bad_fraction: float,
    what: str = "the training photos",
    on_photo: Callable[[str], None] = lambda name: None,
) -> tuple[Buffers, list[Photo]]:
    """Returns the decoded photos, and which they are: damaged ones are named, skipped and counted.

    Args:
      photos: what to decode; LR is made by MATLAB's bicubic where there is none.
      scale: HR over LR.
      max_bad_fraction: `config.data.max_bad_fraction`.
      what: the photos' name in messages.
      on_photo: called with the name of each photo that is done.

    Raises:
      UserError: too many photos cannot be used, one is too large, or all are together.
    """
    total = sum(p.size[0] * p.size[1] for p in photos) // scale**2
    if total > MOST_ROWS:
        raise UserError(
            f"{what} have {total:,} LR pixels, more than the {MOST_ROWS:,} that can be indexed;"
            " take fewer, or set config.data.backend to 'tfdata' and lower config.data.memory_mb"
        )
    for photo in photos:
        if max(photo.size) // scale > LONGEST_SIDE:
            raise UserError(f"{photo.name}: is wider or higher than {LONGEST_SIDE * scale} pixels")
    rows = {"lr": np.empty((total, 3), np.uint8), "hr": np.empty((total, 3 * scale**2), np.uint8)}
    kept: list[Photo] = []
    ends = [0]
    pairs = sources.decode(photos, lambda photo: sources.load(photo, scale), max_bad_fraction, what)
    for photo, (hr, lr) in pairs:
        begin, end = ends[-1], ends[-1] + lr.shape[0] * lr.shape[1]
        rows["lr"][begin:end], rows["hr"][begin:end] = to_rows(lr, 1), to_rows(hr, scale)
        ends.append(end)
        kept.append(photo)
        on_photo(photo.name)
    sides = np.array([(p.size[0] // scale, p.size[1] // scale) for p in kept], np.int64)
    rows = {name: array[: ends[-1]] for name, array in rows.items()}
    begins = np.array(ends[:-1], np.int64)
    return Buffers(rows, sides.reshape(-1, 2), dict.fromkeys(rows, begins)), kept
