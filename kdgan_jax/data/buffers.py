"""Decoded photos as flat arrays in which an HR patch has the same row numbers as its LR patch.

Every LR pixel has one row, photo after photo, line after line. A row has 3 numbers for LR, and
3 * scale² for HR: the square of HR pixels that the LR pixel covers. So one index cuts all images,
and the 2**31 rows that an accelerator's 32-bit indices reach hold 100 GB of HR at x4. Further
images, such as a teacher's output, have the same form. A photo may lack any image except LR; an
image that it lacks takes no rows.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, TypeVar

import jax
import numpy as np

from kdgan_jax.data.photos import Photo, decode, load
from kdgan_jax.data.windows import Window, inside
from kdgan_jax.runtime.errors import UserError

MAX_ROWS = 2**31 - 1
MAX_SIDE = 2**16 - 1  # of an LR image, so that places are drawn with 32-bit integers
ArrayT = TypeVar("ArrayT", np.ndarray, jax.Array)


class Buffers(NamedTuple):
    """N decoded photos.

    Attributes:
      rows: images by name, (P, 3) at LR size and (P, 3 * scale²) at HR size, uint8, or float for
        stored outputs; P may differ between images. There is always "lr".
      sides: (N, 2) int64, height and width of each LR image.
      begins: (N,) int64 for each image: every photo's first row, -1 where the photo lacks the
        image. No photo lacks "lr".
    """

    rows: dict[str, np.ndarray]
    sides: np.ndarray
    begins: dict[str, np.ndarray]

    @property
    def bytes(self) -> int:
        """Number of bytes of all images."""
        return sum(array.nbytes for array in self.rows.values())

    def select(self, indices: list[int]) -> "Buffers":
        """Returns the photos with these indices; the rows are shared, up to the last one used."""
        sides = self.sides[indices]
        pixels = sides[:, 0] * sides[:, 1]
        begins = {name: first[indices] for name, first in self.begins.items()}
        ends = {
            name: max((first + pixels)[first >= 0], default=0) for name, first in begins.items()
        }
        rows = {name: array[: ends[name]] for name, array in self.rows.items()}
        return Buffers(rows, sides, begins)

    def only(self, names: Collection[str]) -> "Buffers":
        """Returns the photos with these of their images."""
        rows = {name: array for name, array in self.rows.items() if name in names}
        begins = {name: first for name, first in self.begins.items() if name in names}
        return self._replace(rows=rows, begins=begins)

    def has(self, name: str) -> np.ndarray:
        """Returns which photos have the image `name`, (N,) bool."""
        return self.begins[name] >= 0

    def incomplete(self) -> dict[str, np.ndarray]:
        """Returns which photos have the image, (N,) bool, for every image that some photos lack."""
        return {name: self.has(name) for name in self.rows if not self.has(name).all()}

    def image(self, name: str, photo: int, window: Window | None = None) -> np.ndarray:
        """Returns one image of one photo, (H, W, 3), or what is in a window of it.

        Raises:
          LookupError: the photo lacks it.
        """
        height, width = self.sides[photo]
        begin = self.begins[name][photo]
        if begin < 0:
            raise LookupError(f"photo {photo} has no image {name!r}")
        rows = self.rows[name][begin : begin + height * width]
        squares = rows.reshape(height, width, -1)
        return to_image(squares if window is None else inside(squares, 1, window))


def size(photos: Sequence[Photo], scale: int, with_hr: bool = True) -> int:
    """Returns the number of bytes of the decoded LR and, if wanted, HR images of `photos`."""
    hr = [(photo.hr is not None and with_hr) * scale**2 for photo in photos]
    return sum(_pixels(p, scale) * 3 * (1 + h) for p, h in zip(photos, hr, strict=True))


def _pixels(photo: Photo, scale: int) -> int:
    """Returns the number of LR pixels of a photo."""
    return photo.size[0] * photo.size[1] // scale**2


def to_rows(image: np.ndarray, scale: int) -> np.ndarray:
    """Returns an image (H, W, 3) as rows (h * w, 3 * scale²), with h = H / scale, w = W / scale.

    `scale` is 1 for an image of LR size. A row is ordered by line, column and colour.
    """
    height, width = image.shape[0] // scale, image.shape[1] // scale
    squares = image.reshape(height, scale, width, scale, 3).transpose(0, 2, 1, 3, 4)
    return squares.reshape(height * width, 3 * scale**2)


def square_side(rows: np.ndarray | jax.Array) -> int:
    """Returns the side in pixels of the squares in `rows` (..., 3 * side²)."""
    return round((rows.shape[-1] // 3) ** 0.5)


def to_image(rows: ArrayT) -> ArrayT:
    """Returns rows (..., h, w, 3 * scale²) as images (..., h * scale, w * scale, 3)."""
    *leading, height, width, _ = rows.shape
    scale, n = square_side(rows), len(leading)
    squares = rows.reshape(*leading, height, width, scale, scale, 3)
    image = squares.transpose(*range(n), n, n + 2, n + 1, n + 3, n + 4)
    return image.reshape(*leading, height * scale, width * scale, 3)


def build(
    photos: Sequence[Photo],
    scale: int,
    max_bad_fraction: float,
    label: str = "the training photos",
    on_photo: Callable[[str], None] = lambda name: None,
    with_hr: bool = True,
) -> tuple[Buffers, list[Photo]]:
    """Decodes photos; returns the buffers and the photos in them, without the damaged ones.

    Damaged photos are logged and skipped.

    Args:
      photos: to decode; where a photo has no LR, it is made by MATLAB's bicubic.
      scale: HR size over LR size.
      max_bad_fraction: `config.data.max_bad_fraction`.
      label: names the photos in messages.
      on_photo: called with the name of each decoded photo.
      with_hr: whether to keep HR images.

    Raises:
      UserError: too many photos cannot be used, one is too large, or all together are.
    """
    total = sum(_pixels(photo, scale) for photo in photos)
    if total > MAX_ROWS:
        raise UserError(
            f"{label} have {total:,} LR pixels, but only {MAX_ROWS:,} can be indexed; use fewer"
            " photos, or set config.data.backend to 'tfdata' and lower config.data.memory_mb"
        )
    for photo in photos:
        if max(photo.size) // scale > MAX_SIDE:
            raise UserError(
                f"{photo.name}: is wider or higher than {MAX_SIDE * scale} pixels; split it or"
                " remove it"
            )
    rows = {"lr": np.empty((total, 3), np.uint8)}
    hr_rows = sum(_pixels(photo, scale) for photo in photos if photo.hr is not None)
    if hr_rows and with_hr:
        rows["hr"] = np.empty((hr_rows, 3 * scale**2), np.uint8)
    ends = dict.fromkeys(rows, 0)
    begins: dict[str, list[int]] = {name: [] for name in rows}
    decoded: list[Photo] = []
    for photo, images in decode(photos, lambda p: load(p, scale), max_bad_fraction, label):
        for name, array in rows.items():
            if name not in images:
                begins[name].append(-1)
                continue
            image_rows = to_rows(images[name], square_side(array))
            begin, ends[name] = ends[name], ends[name] + len(image_rows)
            array[begin : ends[name]] = image_rows
            begins[name].append(begin)
        decoded.append(photo)
        on_photo(photo.name)
    sides = np.array([(p.size[0] // scale, p.size[1] // scale) for p in decoded], np.int64)
    return Buffers(
        {name: array[: ends[name]] for name, array in rows.items()},
        sides.reshape(-1, 2),
        {name: np.array(firsts, np.int64) for name, firsts in begins.items()},
    ), decoded
