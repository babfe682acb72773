"""Photos: pairs of HR and LR, how they are read, and copies of them with degraded LR."""

import functools
import hashlib
import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from kdgan_jax.data import colours, degradations
from kdgan_jax.pictures import bicubic, codec
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import sha256

log = logging.getLogger("kdgan_jax")
Decoded = TypeVar("Decoded")
Image = Path | np.ndarray  # a file, or uint8 RGB (H, W, 3) that is already decoded


class Box(NamedTuple):
    """A part of an image, in HR pixels; all four are multiples of the scale."""

    top: int
    left: int
    height: int
    width: int


class Copy(NamedTuple):
    """How a copy differs from its photo, above all in LR: see `degradations.degrade`.

    Attributes:
      level: of the degradation.
      photo: the photo's name.
      number: tells the copies of a photo apart.
      recoloured: whether it is in other colours: see `colours.vary`.
    """

    level: str
    photo: str
    number: int
    recoloured: bool = False

    def random(self, purpose: str) -> np.random.Generator:
        """Returns the copy's random numbers for one purpose; the same wherever it is made."""
        return degradations.generator(zlib.crc32(encoded(f"{purpose} {self.photo}")), self.number)


class Photo(NamedTuple):
    """A photo: an HR image, an LR image, or a pair of them.

    Attributes:
      name: path below its folder, without the suffix.
      hr: the HR image, or None if there is none.
      lr: the LR image, or None if it is made from HR.
      full_size: (height, width) of the HR image, cropped to a multiple of the scale; without one,
        of the image that a network makes from LR.
      part: the part of the photo that is used, or None for all of it.
      copy: how its LR image is degraded, or None if it is not.
      entry: number of the entry of the source that it comes from.
    """

    name: str
    hr: Image | None
    lr: Image | None
    full_size: tuple[int, int]
    part: Box | None = None
    copy: Copy | None = None
    entry: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the part that is used, in HR pixels."""
        return (self.part.height, self.part.width) if self.part else self.full_size

    @property
    def place(self) -> Image:
        """The image that messages name: HR, or else LR."""
        image = self.lr if self.hr is None else self.hr
        assert image is not None
        return image


def pixels(image: Image) -> np.ndarray:
    """Returns an image as uint8 RGB (H, W, 3)."""
    return image if isinstance(image, np.ndarray) else codec.read_rgb(image)


def image_digest(image: Image | None) -> str | None:
    """Returns the SHA-256 of a file's bytes, or of a decoded image's; None for no image."""
    if isinstance(image, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()
    return sha256(image) if image else None


def load(photo: Photo, scale: int) -> dict[str, np.ndarray]:
    """Returns a photo's images by name: "lr" (H / scale, W / scale, 3) and, if any, "hr" (H, W, 3).

    Images are uint8. HR is cropped to a multiple of `scale`. LR is read, or made by MATLAB's
    bicubic; that of a copy is degraded.

    Raises:
      UserError: a file cannot be read, or HR and LR do not match.
    """
    images = {"lr": _read_lr(photo, scale)} if photo.hr is None else _read_hr(photo, scale)
    if "lr" not in images:
        images["lr"] = bicubic.downscale(images["hr"], scale)
    if photo.copy and photo.copy.recoloured:
        images = colours.vary(images, photo.copy.random("colours"))
    if photo.copy and photo.copy.level != "none":
        height, width = images["lr"].shape[:2]
        image, random = images.get("hr", images["lr"]), photo.copy.random("degradation")
        images["lr"] = degradations.degrade(image, (height, width), photo.copy.level, random)
    return images


def load_pair(photo: Photo, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (HR (H, W, 3), LR (H / scale, W / scale, 3)) like `load`.

    Raises:
      UserError: a file cannot be read, there is no HR, or HR and LR do not match.
    """
    if photo.hr is None:
        raise UserError(f"{photo.lr}: has no HR image; add it, or use photos that have HR images")
    images = load(photo, scale)
    return images["hr"], images["lr"]


@functools.lru_cache(maxsize=4)
def _kept(path: Path, modified: int) -> np.ndarray:
    """Decodes a file once for all copies of a photo, which are read one after another."""
    return codec.read_rgb(path)


def _read(photo: Photo, image: Image) -> np.ndarray:
    if photo.copy and isinstance(image, Path) and image.is_file():
        return _kept(image, image.stat().st_mtime_ns)
    return pixels(image)


def part_of(image: np.ndarray, part: Box | None, scale: int) -> np.ndarray:
    """Returns the part of an image that is 1 / `scale` as large as HR."""
    if part is None:
        return image
    top, left, height, width = (side // scale for side in part)
    return image[top : top + height, left : left + width]


def _read_lr(photo: Photo, scale: int) -> np.ndarray:
    lr = _read(photo, photo.place)
    if lr.shape[:2] != (photo.full_size[0] // scale, photo.full_size[1] // scale):
        raise UserError(
            f"{photo.lr}: decodes to {lr.shape[1]}x{lr.shape[0]}, which is not the size in its"
            " header; save it again or remove it"
        )
    return part_of(lr, photo.part, scale)


def _read_hr(photo: Photo, scale: int) -> dict[str, np.ndarray]:
    hr = bicubic.crop_to_multiple(_read(photo, photo.place), scale)
    if hr.shape[:2] != photo.full_size:
        raise UserError(
            f"{photo.hr}: decodes to {hr.shape[1]}x{hr.shape[0]}, but its header says"
            f" {photo.full_size[1]}x{photo.full_size[0]}; save it again or remove it"
        )
    images = {"hr": part_of(hr, photo.part, 1)}
    if photo.lr is not None:
        lr = _read(photo, photo.lr)
        check_pair(photo.lr, lr.shape[:2], photo.full_size, scale)
        images["lr"] = part_of(lr, photo.part, scale)
    return images


def copies(
    photos: Sequence[Photo],
    levels: Sequence[str],
    number: int,
    scale: int,
    crop: int = 0,
    recoloured: bool = False,
) -> list[Photo]:
    """Returns `number` degraded copies of each photo, in the order of the photos.

    A copy depends on its photo's name, so it stays the same when other photos come or go.

    Args:
      photos: to copy.
      levels: of degradation, which the copies of a photo take in turn.
      number: of copies.
      scale: HR size over LR size.
      crop: largest side of a copy in LR pixels, cut at a random place; 0 for whole photos.
      recoloured: whether the copies are in other colours.
    """
    return [
        _copy(photo, Copy(levels[i % len(levels)], photo.name, i, recoloured), scale, crop * scale)
        for photo in photos
        for i in range(number)
    ]


def _copy(photo: Photo, copy: Copy, scale: int, crop: int) -> Photo:
    whole = photo.part or Box(0, 0, *photo.full_size)
    part = photo.part
    if crop and max(whole.height, whole.width) > crop:
        random = copy.random("place")
        height, width = min(whole.height, crop), min(whole.width, crop)
        top = whole.top + scale * int(random.integers((whole.height - height) // scale + 1))
        left = whole.left + scale * int(random.integers((whole.width - width) // scale + 1))
        part = Box(top, left, height, width)
    return photo._replace(name=f"{photo.name}#{copy.number}", part=part, copy=copy)


def encoded(name: str) -> bytes:
    """Returns a photo's name as bytes, whatever bytes its path has."""
    return name.encode(errors="surrogateescape")


def check_pair(lr: Image, lr_size: tuple[int, ...], hr_size: tuple[int, int], scale: int) -> None:
    """Raises a UserError if an LR image of one (height, width) does not belong to HR of another."""
    if lr_size != (hr_size[0] // scale, hr_size[1] // scale):
        others = [n for n in range(1, 17) if lr_size == (hr_size[0] // n, hr_size[1] // n)]
        known = f", but at scale {others[0]}" if others else ""
        raise UserError(
            f"{lr}: LR of {lr_size[1]}x{lr_size[0]} does not match HR of {hr_size[1]}x{hr_size[0]}"
            f" at scale {scale}{known}; replace one, so that HR is {scale} times as large"
        )


def too_many(unusable: list[str], usable: int, max_bad_fraction: float) -> bool:
    """Returns whether unusable files are too many, or all, beside the number of usable ones."""
    return not usable or len(unusable) > max_bad_fraction * (len(unusable) + usable)


def report_unusable(source: str, unusable: list[str], usable: int, max_bad_fraction: float) -> None:
    """Logs which photos are skipped.

    Raises:
      UserError: they are too many or all.
    """
    for message in unusable[:10]:
        log.warning("skipped: %s", message)
    total = len(unusable) + usable
    if unusable:
        log.warning("skipped %d of %d files of %s", len(unusable), total, source)
    if too_many(unusable, usable, max_bad_fraction):
        raise UserError(
            f"{unusable[0] if unusable else source}; {len(unusable)} of {total} files cannot be"
            f" used, more than config.data.max_bad_fraction={max_bad_fraction} allows"
        )


def decode(
    photos: Sequence[Photo],
    read: Callable[[Photo], Decoded],
    max_bad_fraction: float,
    label: str,
) -> Iterator[tuple[Photo, Decoded]]:
    """Yields (photo, read(photo)) in order for each photo that can be decoded, using threads.

    Damaged photos are logged and skipped.

    Args:
      photos: to decode.
      read: decodes one photo, e.g. by `load_pair`; raises UserError if the photo is damaged.
      max_bad_fraction: `config.data.max_bad_fraction`.
      label: names the photos in messages.

    Raises:
      UserError: after the last photo, if more than `max_bad_fraction` of them were damaged.
    """

    def attempt(photo: Photo) -> tuple[list[Decoded], str]:
        try:
            return [read(photo)], ""
        except UserError as error:
            return [], str(error)

    unusable: list[str] = []
    with ThreadPoolExecutor() as pool:
        for photo, (decoded, message) in zip(photos, pool.map(attempt, photos), strict=True):
            if decoded:
                yield photo, decoded[0]
            else:
                unusable.append(message)
    report_unusable(label, unusable, len(photos) - len(unusable), max_bad_fraction)
