"""Photos: where they come from, which are held out, how a pair of HR and LR is made.

A source is a word: "embedded" (photos inside the scikit-image and scikit-learn wheels),
"tfds:NAME" (TensorFlow Datasets, needs a network once), or folders separated by commas. A folder
is searched at any depth for HR images; a folder that has `HR/` and `LRx{scale}/` gives pairs.
"""

import hashlib
import importlib.util
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from kdgan_jax.config.settings import DataConfig
from kdgan_jax.data import embedded
from kdgan_jax.pictures import bicubic, codec
from kdgan_jax.runtime.errors import UserError, missing
from kdgan_jax.runtime.files import sha256

log = logging.getLogger("kdgan_jax")
Made = TypeVar("Made")


class Photo(NamedTuple):
    """One photo: HR, and LR where the source has it; files, or arrays already decoded."""

    name: str
    hr: Path | np.ndarray
    lr: Path | np.ndarray | None
    size: tuple[int, int]  # of the HR image, cropped to a multiple of the scale


def pixels(source: Path | np.ndarray) -> np.ndarray:
    """Returns uint8 RGB (H, W, 3) of a file or of an array already decoded."""
    return source if isinstance(source, np.ndarray) else codec.read(source).rgb


def digest(source: Path | np.ndarray | None) -> str | None:
    """Returns the SHA-256 of a file's bytes, or of those of an array already decoded."""
    if isinstance(source, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(source).data).hexdigest()
    return sha256(source) if source else None


def load(photo: Photo, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (HR (H, W, 3), LR (H / scale, W / scale, 3)), uint8.

    HR is cropped to a multiple of `scale`; LR is read, or made by MATLAB's bicubic.

    Raises:
      UserError: a file cannot be read, or HR and LR do not match.
    """
    hr = bicubic.crop_to_multiple(pixels(photo.hr), scale)
    if hr.shape[:2] != photo.size:
        raise UserError(
            f"{photo.hr}: decodes to {hr.shape[1]}x{hr.shape[0]} where its header said"
            f" {photo.size[1]}x{photo.size[0]}; save it anew or remove it"
        )
    if photo.lr is None:
        return hr, bicubic.downscale(hr, scale)
    lr = pixels(photo.lr)
    _check_pair(photo.lr, lr.shape[:2], photo.size, scale)
    return hr, lr


def _check_pair(lr: Any, lr_size: tuple[int, ...], hr_size: tuple[int, int], scale: int) -> None:
    if lr_size != (hr_size[0] // scale, hr_size[1] // scale):
        raise UserError(
            f"{lr}: LR of {lr_size[1]}x{lr_size[0]} does not match HR of {hr_size[1]}x{hr_size[0]}"
            f" at scale {scale}; HR must be {scale} times as large"
        )


DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}  # that packages come in


def installed(paths: Sequence[str], scale: int) -> list[Photo]:
    """Returns photos out of installed packages, `paths` as in `data.embedded`."""
    found = []
    for path in paths:
        package, _, rest = path.partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise missing(DISTRIBUTIONS[package], "config.data.source='embedded'")
        file = Path(spec.submodule_search_locations[0]) / rest
        found.append(_photo(file, None, scale, file.stem))
    return found


def _photo(hr: Path, lr: Path | None, scale: int, name: str) -> Photo:
    height, width = codec.size(hr)
    size = height - height % scale, width - width % scale
    if lr is not None:
        _check_pair(lr, codec.size(lr), (height, width), scale)
    return Photo(name, hr, lr, size)


def lr_folder(folder: Path, scale: int) -> Path | None:
    """Returns the folder of LR images that belongs to `folder`/HR, where there is one."""
    for name in (f"LRx{scale}", f"LR_x{scale}", "LR"):
        if (folder / name).is_dir():
            return folder / name
    return None


def folder(path: str | Path, scale: int) -> tuple[list[Photo], list[str]]:
    """Returns the photos below a folder, and a line for each file that cannot be used.

    A photo's name is its path below the folder, without its suffix unless two differ in that alone.

    Raises:
      UserError: the folder is missing or holds no image.
    """
    root = Path(path)
    hr_root = root / "HR" if (root / "HR").is_dir() else root
    lr_root = lr_folder(root, scale) if hr_root != root else None
    found, bad = [], []
    files = codec.find(hr_root)
    stems = Counter(hr.with_suffix("") for hr in files)
    for hr in files:
        below = hr.relative_to(hr_root)
        name = str(below.with_suffix("") if stems[hr.with_suffix("")] == 1 else below)
        try:
            lr = lr_of(hr, hr_root, lr_root, scale) if lr_root else None
            found.append(_photo(hr, lr, scale, name))
        except UserError as error:
            bad.append(str(error))
    return found, bad


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
    raise UserError(f"{hr}: has no LR image {hr.stem}x{scale}{hr.suffix} in {below}; add or remove")


class Photos(NamedTuple):
    """The photos of a run: to train on, and held out for its evaluation; disjoint."""

    train: list[Photo]
    holdout: list[Photo]


def gather(data: DataConfig, scale: int, largest_patch: int) -> Photos:
    """Returns the run's photos, every file looked at, before training starts.

    Photos smaller than the patch and files that cannot be read are named, skipped and counted.

    Args:
      data: where they come from.
      scale: HR size over LR size.
      largest_patch: side of the largest HR patch that will be cut.

    Raises:
      UserError: no photo is left, or more than `data.max_bad_fraction` of them are bad.
    """
    bad: list[str] = []
    if data.source == "embedded":
        split = Photos(installed(embedded.TRAIN, scale), installed(embedded.HOLDOUT, scale))
    elif data.source.startswith("tfds:"):
        from kdgan_jax.data import tfds  # imports TensorFlow

        arrays = tfds.pairs(data.source.removeprefix("tfds:"), scale, data.memory_mb)
        split = _hold_out([Photo(n, hr, lr, hr.shape[:2]) for n, hr, lr in arrays], data.holdout)
    else:
        found, bad = folders(data.source, scale)
        if _too_many(bad, len(found), data.max_bad_fraction):  # said before too few to hold out
            _refuse(data.source, bad, len(found), data.max_bad_fraction)
        split = _hold_out(found, data.holdout)
    train = large_enough(
        split.train, largest_patch, len(split.holdout), data.max_bad_fraction, data.source, bad
    )
    return Photos(train, split.holdout)


def folders(source: str, scale: int) -> tuple[list[Photo], list[str]]:
    """Returns the photos of all folders named, each file once, and a line per unusable file."""
    found: dict[Path, Photo] = {}
    bad: list[str] = []
    for path in source.split(","):
        good, unusable = folder(path.strip(), scale)
        found |= {Path(str(photo.hr)).resolve(): photo for photo in good}
        bad += unusable
    return list(found.values()), bad


def large_enough(
    photos: list[Photo],
    patch: int,
    held_out: int,
    max_bad_fraction: float,
    source: str,
    bad: Sequence[str] = (),
) -> list[Photo]:
    """Returns those of `photos`, to train on, that a patch fits into.

    Args:
      photos: to train on.
      patch: side of an HR patch.
      held_out: number of the others.
      max_bad_fraction: `config.data.max_bad_fraction`.
      source: their name in messages.
      bad: lines about those that are unusable for other reasons.

    Raises:
      UserError: none is left, or too few.
    """
    small = [
        f"{p.hr}: {p.size[1]}x{p.size[0]} is smaller than the HR patch {patch}; lower hr_patch"
        for p in photos
        if min(p.size) < patch
    ]
    good = [p for p in photos if min(p.size) >= patch]
    count = len(good) + held_out if good else 0
    _refuse(source, [*bad, *small], count, max_bad_fraction)
    return good


def _too_many(bad: list[str], good: int, max_fraction: float) -> bool:
    return not good or len(bad) > max_fraction * (len(bad) + good)


def _refuse(source: str, bad: list[str], good: int, max_fraction: float) -> None:
    """Names what is skipped; stops where it is too much or all."""
    for line in bad[:10]:
        log.warning("skipped: %s", line)
    if bad:
        log.warning("skipped %d of %d files of %s", len(bad), len(bad) + good, source)
    if _too_many(bad, good, max_fraction):
        raise UserError(
            f"{bad[0] if bad else source}; {len(bad)} of {len(bad) + good} files cannot be used,"
            f" more than config.data.max_bad_fraction={max_fraction} allows"
        )


def _hold_out(photos: list[Photo], number: int) -> Photos:
    """Holds out `number` photos: those whose names have the lowest hashes.

    So a photo stays where it is when others come or go, and when the patch changes.
    """
    if not 0 < number < len(photos):
        raise UserError(
            f"config.data.holdout={number} must be at least 1 and below the {len(photos)} photos"
            " that can be used"
        )
    hashes = [
        hashlib.sha256(photo.name.encode(errors="surrogateescape")).hexdigest() for photo in photos
    ]
    chosen = set(sorted(range(len(photos)), key=lambda i: hashes[i])[:number])
    return Photos(
        [p for i, p in enumerate(photos) if i not in chosen],
        [p for i, p in enumerate(photos) if i in chosen],
    )


def decode(
    photos: list[Photo], make: Callable[[Photo], Made], max_bad_fraction: float, what: str
) -> Iterator[tuple[Photo, Made]]:
    """Yields each photo that can be decoded with what `make` makes of it, in order.

    Damaged ones are named, skipped and counted.

    Args:
      photos: what to decode, on as many threads as pay.
      make: reads one photo, e.g. by `load`.
      max_bad_fraction: `config.data.max_bad_fraction`.
      what: the photos' name in messages.

    Raises:
      UserError: at the end, if more than `max_bad_fraction` of the photos were bad.
    """

    def attempt(photo: Photo) -> tuple[Made | None, str]:
        try:
            return make(photo), ""
        except UserError as error:
            return None, str(error)

    bad: list[str] = []
    with ThreadPoolExecutor() as pool:
        for photo, (made, reason) in zip(photos, pool.map(attempt, photos), strict=True):
            if reason:
                bad.append(reason)
            else:
                yield photo, cast(Made, made)
    _refuse(what, bad, len(photos) - len(bad), max_bad_fraction)
