"""Photos: where they come from, which are held out, and how pairs of HR and LR are made.

A source is "embedded" (photos inside the scikit-image and scikit-learn wheels), "tfds:NAME"
(TensorFlow Datasets, which needs a network once), or folders separated by commas. A folder is
searched at any depth. "hr:FOLDER" holds HR images, "lr:FOLDER" LR images that have no HR, and
"pairs:FOLDER" has `HR/` and `LRx{scale}/`; a folder alone is told from what is in it.
"""

import functools
import hashlib
import importlib.util
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from kdgan_jax.config.settings import DataConfig
from kdgan_jax.data import degradations, embedded
from kdgan_jax.pictures import bicubic, codec
from kdgan_jax.runtime.errors import UserError, missing
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
    """How the LR image of a photo is degraded: see `degradations.degrade`.

    Attributes:
      level: of the degradation.
      photo: the photo's name.
      number: tells the copies of a photo apart.
    """

    level: str
    photo: str
    number: int

    def random(self, purpose: str) -> np.random.Generator:
        """Returns the copy's random numbers for one purpose; the same wherever it is made."""
        return degradations.generator(zlib.crc32(_encoded(f"{purpose} {self.photo}")), self.number)


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
    """

    name: str
    hr: Image | None
    lr: Image | None
    full_size: tuple[int, int]
    part: Box | None = None
    copy: Copy | None = None

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
    return image if isinstance(image, np.ndarray) else codec.read(image).rgb


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
    return codec.read(path).rgb


def _read(photo: Photo, image: Image) -> np.ndarray:
    if photo.copy and isinstance(image, Path) and image.is_file():
        return _kept(image, image.stat().st_mtime_ns)
    return pixels(image)


def _part(image: np.ndarray, part: Box | None, scale: int) -> np.ndarray:
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
    return _part(lr, photo.part, scale)


def _read_hr(photo: Photo, scale: int) -> dict[str, np.ndarray]:
    hr = bicubic.crop_to_multiple(_read(photo, photo.place), scale)
    if hr.shape[:2] != photo.full_size:
        raise UserError(
            f"{photo.hr}: decodes to {hr.shape[1]}x{hr.shape[0]}, but its header says"
            f" {photo.full_size[1]}x{photo.full_size[0]}; save it again or remove it"
        )
    images = {"hr": _part(hr, photo.part, 1)}
    if photo.lr is not None:
        lr = _read(photo, photo.lr)
        _check_pair(photo.lr, lr.shape[:2], photo.full_size, scale)
        images["lr"] = _part(lr, photo.part, scale)
    return images


def copies(
    photos: Sequence[Photo], levels: Sequence[str], number: int, scale: int, crop: int = 0
) -> list[Photo]:
    """Returns `number` degraded copies of each photo, in the order of the photos.

    A copy depends on its photo's name, so it stays the same when other photos come or go.

    Args:
      photos: to copy.
      levels: of degradation, which the copies of a photo take in turn.
      number: of copies.
      scale: HR size over LR size.
      crop: largest side of a copy in LR pixels, cut at a random place; 0 for whole photos.
    """
    return [
        _copy(photo, Copy(levels[i % len(levels)], photo.name, i), scale, crop * scale)
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


def _encoded(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def _check_pair(lr: Image, lr_size: tuple[int, ...], hr_size: tuple[int, int], scale: int) -> None:
    if lr_size != (hr_size[0] // scale, hr_size[1] // scale):
        raise UserError(
            f"{lr}: LR of {lr_size[1]}x{lr_size[0]} does not match HR of {hr_size[1]}x{hr_size[0]}"
            f" at scale {scale}; replace one, so that HR is {scale} times as large"
        )


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
        _check_pair(lr, codec.size(lr), (height, width), scale)
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


def folder(path: str | Path, scale: int, kind: str = "") -> tuple[list[Photo], list[str]]:
    """Returns the photos below a folder, and a message for each file that cannot be used.

    A photo's name is its path below the folder, without the suffix unless two files share the rest.

    Args:
      path: of the folder.
      scale: HR size over LR size.
      kind: one of `KINDS`, or "" to tell from what is in the folder: `HR/` with a folder of LR
        images makes pairs, a folder of LR images alone has no HR, and anything else is HR.

    Raises:
      UserError: the folder is missing, holds no image, or lacks what its kind needs.
    """
    root = Path(path)
    has_hr, lr_root = (root / "HR").is_dir(), lr_folder(root, scale)
    kind = kind or ("hr" if lr_root is None else "pairs" if has_hr else "lr")
    if kind == "pairs" and not (has_hr and lr_root):
        raise UserError(f"{root}: pairs need HR/ and LRx{scale}/ in it; add what is missing")
    image_root = (lr_root or root) if kind == "lr" else root / "HR" if has_hr else root
    photos, unusable = [], []
    files = codec.find(image_root)
    stems = Counter(file.with_suffix("") for file in files)
    for file in files:
        below = file.relative_to(image_root)
        name = str(below.with_suffix("") if stems[file.with_suffix("")] == 1 else below)
        try:
            if kind == "lr":
                photos.append(_lr_photo(file, scale, name))
            else:
                pair = kind == "pairs" and lr_root
                lr = lr_of(file, image_root, lr_root, scale) if pair and lr_root else None
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
      UserError: no photo is left, or more than `data.max_bad_fraction` of them are unusable.
    """
    unusable: list[str] = []
    if data.source == "embedded":
        split = Photos(installed(embedded.TRAIN, scale), installed(embedded.HOLDOUT, scale))
    elif data.source.startswith("tfds:"):
        from kdgan_jax.data import tfds  # imports TensorFlow

        pairs = tfds.pairs(data.source.removeprefix("tfds:"), scale, data.memory_mb)
        split = _hold_out([Photo(n, hr, lr, hr.shape[:2]) for n, hr, lr in pairs], data.holdout)
    else:
        photos, unusable = folders(data.source, scale)
        if _too_many(unusable, len(photos), data.max_bad_fraction):  # the reason for too few
            _report_unusable(data.source, unusable, len(photos), data.max_bad_fraction)
        split = _hold_out(photos, data.holdout)
    train = large_enough(
        split.train, largest_patch, len(split.holdout), data.max_bad_fraction, data.source, unusable
    )
    if not data.copied:
        return Photos(train, split.holdout)
    return Photos(
        copies(train, data.levels, data.copies, scale, data.crop),
        copies(split.holdout, data.levels[:1], 1, scale, 2 * data.crop),
    )


KINDS = "hr", "lr", "pairs"  # of folders


def split_kind(entry: str) -> tuple[str, str]:
    """Returns (kind, folder) of an entry of a source, such as "lr:photos"; kind "" if not given."""
    kind, colon, path = entry.strip().partition(":")
    return (kind, path) if colon and kind in KINDS else ("", entry.strip())


def folders(source: str, scale: int) -> tuple[list[Photo], list[str]]:
    """Returns the photos of all folders in `source`, and messages like `folder`.

    A file is one photo; it is two if one entry takes it as HR and another as LR at its own size.
    """
    photos: dict[tuple[Path, bool], Photo] = {}
    unusable: list[str] = []
    for entry in source.split(","):
        kind, path = split_kind(entry)
        of_folder, messages = folder(path, scale, kind)
        photos |= {(Path(str(p.place)).resolve(), p.hr is None): p for p in of_folder}
        unusable += messages
    return list(photos.values()), unusable


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
    _report_unusable(source, [*unusable, *small], usable, max_bad_fraction)
    return large


def _too_small(photo: Photo, patch: int) -> str:
    height, width = photo.size
    size = f"{width}x{height}{'' if photo.hr is not None else ' when enlarged'}"
    return f"{photo.place}: {size} is smaller than the HR patch {patch}; lower hr_patch"


def _too_many(unusable: list[str], usable: int, max_bad_fraction: float) -> bool:
    return not usable or len(unusable) > max_bad_fraction * (len(unusable) + usable)


def _report_unusable(
    source: str, unusable: list[str], usable: int, max_bad_fraction: float
) -> None:
    """Logs which photos are skipped.

    Raises:
      UserError: they are too many or all.
    """
    for message in unusable[:10]:
        log.warning("skipped: %s", message)
    total = len(unusable) + usable
    if unusable:
        log.warning("skipped %d of %d files of %s", len(unusable), total, source)
    if _too_many(unusable, usable, max_bad_fraction):
        raise UserError(
            f"{unusable[0] if unusable else source}; {len(unusable)} of {total} files cannot be"
            f" used, more than config.data.max_bad_fraction={max_bad_fraction} allows"
        )


def _hold_out(photos: list[Photo], number: int) -> Photos:
    """Holds out the `number` files whose names have the lowest hashes.

    Thus a photo stays on its side when others come or go, and when the patch size changes. A file
    that serves as HR and as LR is on one side.
    """
    files = [_file(photo) for photo in photos]
    hashes = {
        file: hashlib.sha256(_encoded(photo.name)).hexdigest()
        for file, photo in zip(files, photos, strict=True)
    }
    if not 0 < number < len(hashes):
        raise UserError(
            f"config.data.holdout={number} must be at least 1 and less than the {len(hashes)}"
            " usable photos"
        )
    lowest = set(sorted(hashes, key=lambda file: hashes[file])[:number])
    return Photos(
        [photo for file, photo in zip(files, photos, strict=True) if file not in lowest],
        [photo for file, photo in zip(files, photos, strict=True) if file in lowest],
    )


def _file(photo: Photo) -> Path | int:
    """Returns what tells a photo's file, or its decoded image, from others."""
    return photo.place.resolve() if isinstance(photo.place, Path) else id(photo.place)


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
    _report_unusable(label, unusable, len(photos) - len(unusable), max_bad_fraction)
