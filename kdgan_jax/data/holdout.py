"""Which photos are held out: whole ones of many, a part of each of a few."""

import hashlib
import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kdgan_jax.data.photos import Box, Photo, encoded
from kdgan_jax.runtime.errors import UserError

log = logging.getLogger("kdgan_jax")

FEW = 5  # files: of fewer, none is held out as a whole
GAPS = range(16, 33)  # LR pixels between the parts of a divided photo; the most that fit are taken


class Photos(NamedTuple):
    """The photos of a run: for training, and held out for evaluation; disjoint."""

    train: list[Photo]
    holdout: list[Photo]


def hold_out(photos: Sequence[Photo], number: int, scale: int, lr_patch: int) -> Photos:
    """Holds out the `number` files whose names have the lowest hashes, and at most a fifth.

    Thus a photo stays on its side when others come or go, and when the patch size changes. A file
    that serves as HR and as LR is on one side. Few files are divided instead.

    Args:
      photos: all of them.
      number: of files; `config.data.holdout`.
      scale: HR size over LR size.
      lr_patch: side of the largest patch in LR pixels, which must fit into the parts of a file.

    Raises:
      UserError: the number is below 1.
    """
    if number < 1:
        raise UserError(f"config.data.holdout={number} must be at least 1")
    files = [file_of(photo) for photo in photos]
    hashes = {file: _hash(photo) for file, photo in zip(files, photos, strict=True)}
    if len(hashes) < FEW:
        return _divide(photos, files, scale, lr_patch)
    most = len(hashes) // 5
    if number > most:
        log.info(
            "held out %d of %d photos; config.data.holdout=%d would be more than a fifth",
            *(most, len(hashes), number),
        )
    lowest = set(sorted(hashes, key=lambda file: hashes[file])[: min(number, most)])
    return Photos(
        [photo for file, photo in zip(files, photos, strict=True) if file not in lowest],
        [photo for file, photo in zip(files, photos, strict=True) if file in lowest],
    )


def none_divided(source: str, photos: Sequence[Photo], scale: int, lr_patch: int) -> str:
    """Returns the message about few photos of which none can be divided; it names a fitting patch.

    Args:
      source: names the photos.
      photos: all of them.
      scale: HR size over LR size.
      lr_patch: side of the largest patch in LR pixels.
    """
    least = next(n for n in itertools.count(5 * lr_patch) if _lengths(n, lr_patch))
    files = {file_of(photo) for photo in photos}
    sides = sorted({f"{p.full_size[1] // scale}x{p.full_size[0] // scale}" for p in photos})
    fits = [n for n in range(1, lr_patch) if len(_undividable(photos, scale, n)) < len(files)]
    value = f"set lr_patch to {fits[-1]} or less, " if fits else ""
    return (
        f"{source}: of fewer than {FEW} photos ({len(files)}), none can be divided into a part for"
        f" training and a held-out one, which takes {least}x{lr_patch} LR pixels, and there are"
        f" {' and '.join(sides)}; {value}add photos, or use larger ones"
    )


def _divide(
    photos: Sequence[Photo], files: Sequence[Path | int], scale: int, lr_patch: int
) -> Photos:
    """Holds out a part of each photo; those that are too small serve training only."""
    parts = [_parts(photo, scale, lr_patch) for photo in photos]
    small = _undividable(photos, scale, lr_patch)
    divided = [both for file, both in zip(files, parts, strict=True) if both and file not in small]
    whole = [photo for file, photo in zip(files, photos, strict=True) if file in small]
    if divided:
        log.info(
            "fewer than %d photos: %d of %d are divided, and the last fifth of each is held out%s",
            *(FEW, len(divided), len(photos)),
            f"; too small for that: {', '.join(photo.name for photo in whole)}" if whole else "",
        )
    return Photos([train for train, _ in divided] + whole, [held for _, held in divided])


def _undividable(photos: Sequence[Photo], scale: int, lr_patch: int) -> set[Path | int]:
    """Returns the files that are too small to be divided.

    A file that serves as HR and as LR is divided in both roles or in none.
    """
    return {file_of(photo) for photo in photos if not _parts(photo, scale, lr_patch)}


def _lengths(side: int, lr_patch: int) -> tuple[int, int] | None:
    """Returns how much of a photo's longer side is for training and held out, in LR pixels.

    It is None if a patch does not fit into both.
    """
    held_out = side // 5
    gap = min(side - held_out - lr_patch, GAPS[-1])
    return (side - held_out - gap, held_out) if held_out >= lr_patch and gap in GAPS else None


def _parts(photo: Photo, scale: int, lr_patch: int) -> tuple[Photo, Photo] | None:
    """Returns a photo's part for training and its held-out part, or None if it is too small."""
    height, width = photo.full_size
    side = max(height, width)
    lengths = _lengths(side // scale, lr_patch)
    if not lengths or min(height, width) < lr_patch * scale:
        return None
    train, held_out = (length * scale for length in lengths)
    if height == side:
        boxes = Box(0, 0, train, width), Box(side - held_out, 0, held_out, width)
    else:
        boxes = Box(0, 0, height, train), Box(0, side - held_out, height, held_out)
    return photo._replace(part=boxes[0]), photo._replace(part=boxes[1])


def at_most(photos: list[Photo], most: int) -> list[Photo]:
    """Returns `most` of the photos, in their order: those whose names have the highest hashes.

    They are the last that would be held out. 0 takes all.
    """
    if not 0 < most < len(photos):
        return photos
    chosen = sorted(range(len(photos)), key=lambda i: _hash(photos[i]))[-most:]
    return [photos[i] for i in sorted(chosen)]


def _hash(photo: Photo) -> str:
    return hashlib.sha256(encoded(photo.name)).hexdigest()


def file_of(photo: Photo) -> Path | int:
    """Returns what tells a photo's file, or its decoded image, from others."""
    return photo.place.resolve() if isinstance(photo.place, Path) else id(photo.place)
