"""Where photos come from, and which are held out.

A source is entries separated by commas: "embedded" (photos inside the scikit-image and scikit-learn
wheels), "tfds:NAME" (TensorFlow Datasets, which needs a network once), or a folder, which is
searched at any depth. "hr:FOLDER" holds HR images, "lr:FOLDER" LR images that have no HR, and
"pairs:FOLDER" has `HR/` and `LRx{scale}/`; a folder alone is told from what is in it.
"""

import hashlib
import importlib.util
import itertools
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kdgan_jax.config.settings import DataConfig
from kdgan_jax.data import embedded
from kdgan_jax.data.photos import (
    Box,
    Photo,
    check_pair,
    copies,
    encoded,
    report_unusable,
    too_many,
)
from kdgan_jax.pictures import codec
from kdgan_jax.runtime.errors import UserError, missing

log = logging.getLogger("kdgan_jax")

DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}  # by import name


def installed(paths: Sequence[str], scale: int) -> list[Photo]:
    """Returns photos from installed packages, with `paths` as in `data.embedded`.

    Raises:
      UserError: a package is not installed.
    """
    photos = []
    for path in paths:
        package, _, below = path.partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise missing(DISTRIBUTIONS[package], "config.data.source='embedded'")
        file = Path(spec.submodule_search_locations[0]) / below
        photos.append(_photo(file, None, scale, file.stem))
    return photos


def _photo(hr: Path, lr: Path | None, scale: int, name: str) -> Photo:
    height, width = codec.size(hr)
    size = height - height % scale, width - width % scale
    if lr is not None:
        check_pair(lr, codec.size(lr), (height, width), scale)
    return Photo(name, hr, lr, size)


def _lr_photo(lr: Path, scale: int, name: str) -> Photo:
    height, width = codec.size(lr)
    return Photo(name, None, lr, (height * scale, width * scale))


def lr_folder(folder: Path, scale: int) -> Path | None:
    """Returns the folder of LR images that belongs to `folder`/HR, or None."""
    for name in (f"LRx{scale}", f"LR_x{scale}", "LR"):
        if (folder / name).is_dir():
            return folder / name
    return None


def roots(
    path: str | Path, scale: int, kind: str = "", plain: str = "hr"
) -> tuple[Path | None, Path | None]:
    """Returns where the HR and the LR images of a folder are; None for those that are not used.

    Args:
      path: of the folder.
      scale: HR size over LR size.
      kind: one of `KINDS`, or "" to tell from what is in the folder: `HR/` with a folder of LR
        images makes pairs, and a folder of LR images alone has no HR.
      plain: what a folder holds that has neither, "hr" or "lr".

    Raises:
      UserError: the folder lacks what its kind needs.
    """
    root = Path(path)
    has_hr, lr_root = (root / "HR").is_dir(), lr_folder(root, scale)
    kind = kind or (("pairs" if has_hr else "lr") if lr_root else "hr" if has_hr else plain)
    if kind == "lr":
        return None, lr_root or root
    if kind == "pairs" and not (has_hr and lr_root):
        raise UserError(f"{root}: pairs need HR/ and LRx{scale}/ in it; add what is missing")
    return root / "HR" if has_hr else root, lr_root if kind == "pairs" else None


def folder(
    path: str | Path, scale: int, kind: str = "", plain: str = "hr"
) -> tuple[list[Photo], list[str]]:
    """Returns the photos below a folder, and a message for each file that cannot be used.

    A photo's name is its path below the folder, without the suffix unless two files share the rest.

    Args:
      path: of the folder.
      scale: HR size over LR size.
      kind: as for `roots`.
      plain: as for `roots`.

    Raises:
      UserError: the folder is missing, holds no image, or lacks what its kind needs.
    """
    hr_root, lr_root = roots(path, scale, kind, plain)
    image_root = hr_root or lr_root or Path(path)
    photos, unusable = [], []
    files = codec.find(image_root)
    stems = Counter(file.with_suffix("") for file in files)
    for file in files:
        below = file.relative_to(image_root)
        name = str(below.with_suffix("") if stems[file.with_suffix("")] == 1 else below)
        try:
            if hr_root is None:
                photos.append(_lr_photo(file, scale, name))
            else:
                lr = lr_of(file, hr_root, lr_root, scale) if lr_root else None
                photos.append(_photo(file, lr, scale, name))
        except UserError as error:
            unusable.append(str(error))
    return photos, unusable


def lr_of(hr: Path, hr_root: Path, lr_root: Path, scale: int) -> Path:
    """Returns the LR file below `lr_root` that belongs to the file `hr` below `hr_root`.

    Raises:
      UserError: there is none.
    """
    below = lr_root / hr.relative_to(hr_root).parent
    for stem in (f"{hr.stem}x{scale}", hr.stem):
        for suffix in (hr.suffix, ".png"):
            if (below / (stem + suffix)).is_file():
                return below / (stem + suffix)
    raise UserError(
        f"{hr}: has no LR image {hr.stem}x{scale}{hr.suffix} in {below}; add it or remove the HR"
        " image"
    )


class Photos(NamedTuple):
    """The photos of a run: for training, and held out for evaluation; disjoint."""

    train: list[Photo]
    holdout: list[Photo]


def gather(data: DataConfig, scale: int, largest_patch: int) -> Photos:
    """Returns the run's photos, with the header of every file checked.

    Files that cannot be read and photos smaller than the patch are logged and skipped.

    Args:
      data: where the photos come from.
      scale: HR size over LR size.
      largest_patch: side of the run's largest HR patch.

    Raises:
      UserError: no photo is left to train on or to hold out, or more than
        `data.max_bad_fraction` of them are unusable.
    """
    photos, unusable = of_source(data.source, scale, data.plain, data.memory_mb)
    if too_many(unusable, len(photos), data.max_bad_fraction):  # the reason for too few
        report_unusable(data.source, unusable, len(photos), data.max_bad_fraction)
    lr_patch = -(-largest_patch // scale)
    split = _split(photos, data, scale, lr_patch)
    whole = sum(photo.part is None for photo in split.holdout)
    train = large_enough(
        split.train, largest_patch, whole, data.max_bad_fraction, data.source, unusable
    )
    if not split.holdout:
        least = next(n for n in itertools.count(5 * lr_patch) if _lengths(n, lr_patch))
        raise UserError(
            f"{data.source}: of fewer than {FEW} photos ({len(photos)}), none can be divided into a"
            f" part for training and a held-out one, which takes {least}x{lr_patch} LR pixels; add"
            " photos, use larger ones, or lower hr_patch"
        )
    train = _some(train, data.most)
    check_weights(data.weights, train, data.source)
    if not data.copied:
        return Photos(train, split.holdout)
    return Photos(
        train
        if data.fresh
        else copies(train, data.levels, data.copies, scale, data.crop, data.recolour),
        copies(split.holdout, data.levels, data.holdout_copies, scale, data.crop),
    )


def _some(photos: list[Photo], most: int) -> list[Photo]:
    """Returns `most` of the photos, in their order: those whose names have the highest hashes."""
    if not 0 < most < len(photos):
        return photos
    chosen = sorted(range(len(photos)), key=lambda i: _hash(photos[i]))[-most:]
    return [photos[i] for i in sorted(chosen)]


# Photos in installed packages; of the second, none is held out.
PACKAGED = {
    "embedded": (*embedded.TRAIN, *embedded.HOLDOUT),
    "embedded:train": embedded.TRAIN,
}
TFDS = "tfds:"
KINDS = "hr", "lr", "pairs"  # of folders


def entries(source: str) -> list[str]:
    """Returns the entries of a source.

    Raises:
      UserError: one is empty.
    """
    words = [word.strip() for word in source.split(",")]
    if not all(words):
        raise UserError(
            f"config.data.source={source!r}: an entry is missing beside a comma; remove the comma"
        )
    return words


def split_kind(entry: str) -> tuple[str, str]:
    """Returns (kind, folder) of an entry of a source, such as "lr:photos"; kind "" if not given."""
    kind, colon, path = entry.strip().partition(":")
    return (kind, path) if colon and kind in KINDS else ("", entry.strip())


def of_source(
    source: str, scale: int, plain: str = "hr", memory_mb: int = 0
) -> tuple[list[Photo], list[str]]:
    """Returns the photos of all entries of a source, and messages like `folder`.

    A file is one photo; it is two if one entry takes it as HR and another as LR at its own size.

    Args:
      source: as in the config.
      scale: HR size over LR size.
      plain: as for `roots`.
      memory_mb: what the photos of a TFDS entry may take; 0 leaves them out.

    Raises:
      UserError: an entry has no photos.
    """
    photos: dict[tuple[Path | int, bool], Photo] = {}
    unusable: list[str] = []
    for number, entry in enumerate(entries(source)):
        found, messages = _of_entry(entry, scale, plain, memory_mb)
        photos |= {(_file(p), p.hr is None): p._replace(entry=number) for p in found}
        unusable += messages
    return list(photos.values()), unusable


def _of_entry(entry: str, scale: int, plain: str, memory_mb: int) -> tuple[list[Photo], list[str]]:
    if entry in PACKAGED:
        return installed(PACKAGED[entry], scale), []
    if not entry.startswith(TFDS):
        kind, path = split_kind(entry)
        return folder(path, scale, kind, plain)
    if not memory_mb:
        return [], []
    from kdgan_jax.data import tfds  # imports TensorFlow

    pairs = tfds.pairs(entry.removeprefix(TFDS), scale, memory_mb)
    return [Photo(name, hr, lr, hr.shape[:2]) for name, hr, lr in pairs], []


def check_weights(weights: Sequence[float], photos: Sequence[Photo], source: str) -> None:
    """Raises a UserError if an entry of the source has a weight and no training photos."""
    empty = set(range(len(weights))) - {photo.entry for photo in photos}
    if empty:
        raise UserError(
            f"config.data.weights={tuple(weights)}: entry {min(empty) + 1} of {source} has no"
            " photos to train on; leave out the entry and its weight"
        )


def large_enough(
    photos: list[Photo],
    patch: int,
    held_out: int,
    max_bad_fraction: float,
    source: str,
    unusable: Sequence[str] = (),
) -> list[Photo]:
    """Returns the training photos that a patch fits into.

    Args:
      photos: for training.
      patch: side of an HR patch.
      held_out: number of held-out photos, which count as usable.
      max_bad_fraction: `config.data.max_bad_fraction`.
      source: names the photos in messages.
      unusable: messages about photos that are unusable for other reasons.

    Raises:
      UserError: none is left, or too few.
    """
    small = [_too_small(p, patch) for p in photos if min(p.size) < patch]
    large = [p for p in photos if min(p.size) >= patch]
    usable = len(large) + held_out if large else 0
    report_unusable(source, [*unusable, *small], usable, max_bad_fraction)
    return large


def _too_small(photo: Photo, patch: int) -> str:
    height, width = photo.size
    size = f"{width}x{height}{'' if photo.hr is not None else ' when enlarged'}"
    return f"{photo.place}: {size} is smaller than the HR patch {patch}; lower hr_patch or lr_patch"


FEW = 5  # files: of fewer, none is held out as a whole
GAPS = range(16, 33)  # LR pixels between the parts of a divided photo; the most that fit are taken


def _split(photos: Sequence[Photo], data: DataConfig, scale: int, lr_patch: int) -> Photos:
    """Holds out photos; those in installed packages have a split of their own.

    Args:
      photos: of the source.
      data: names the source and the number to hold out.
      scale: HR size over LR size.
      lr_patch: side of the largest patch in LR pixels.
    """
    names = entries(data.source)
    fixed = {number for number, name in enumerate(names) if name in PACKAGED}
    own = [photo for photo in photos if photo.entry in fixed]
    others = [photo for photo in photos if photo.entry not in fixed]
    held_out = {Path(path).stem for path in embedded.HOLDOUT}
    split = _hold_out(others, data.holdout, scale, lr_patch) if others else Photos([], [])
    return Photos(
        [photo for photo in own if photo.name not in held_out] + split.train,
        [photo for photo in own if photo.name in held_out] + split.holdout,
    )


def _hold_out(photos: Sequence[Photo], number: int, scale: int, lr_patch: int) -> Photos:
    """Holds out the `number` files whose names have the lowest hashes, and at most a fifth.

    Thus a photo stays on its side when others come or go, and when the patch size changes. A file
    that serves as HR and as LR is on one side. Few files are divided instead.
    """
    if number < 1:
        raise UserError(f"config.data.holdout={number} must be at least 1")
    files = [_file(photo) for photo in photos]
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


def _divide(
    photos: Sequence[Photo], files: Sequence[Path | int], scale: int, lr_patch: int
) -> Photos:
    """Holds out a part of each photo; those that are too small serve training only."""
    parts = [_parts(photo, scale, lr_patch) for photo in photos]
    # A file that serves as HR and as LR is divided in both roles or in none.
    small = {file for file, both in zip(files, parts, strict=True) if not both}
    divided = [both for file, both in zip(files, parts, strict=True) if both and file not in small]
    whole = [photo for file, photo in zip(files, photos, strict=True) if file in small]
    log.info(
        "fewer than %d photos: %d of %d are divided, and the last fifth of each is held out%s",
        *(FEW, len(divided), len(photos)),
        f"; too small for that: {', '.join(photo.name for photo in whole)}" if whole else "",
    )
    return Photos([train for train, _ in divided] + whole, [held for _, held in divided])


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


def _hash(photo: Photo) -> str:
    return hashlib.sha256(encoded(photo.name)).hexdigest()


def _file(photo: Photo) -> Path | int:
    """Returns what tells a photo's file, or its decoded image, from others."""
    return photo.place.resolve() if isinstance(photo.place, Path) else id(photo.place)
