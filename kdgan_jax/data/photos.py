"""Photos: where they come from, which are held out, and how pairs of HR and LR are made.

A source is entries separated by commas: "embedded" (photos inside the scikit-image and scikit-learn
wheels), "tfds:NAME" (TensorFlow Datasets, which needs a network once), or a folder, which is
searched at any depth. "hr:FOLDER" holds HR images, "lr:FOLDER" LR images that have no HR, and
"pairs:FOLDER" has `HR/` and `LRx{scale}/`; a folder alone is told from what is in it.
"""

import functools
import hashlib
import importlib.util
import itertools
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
        _check_pair(photo.lr, lr.shape[:2], photo.full_size, scale)
        images["lr"] = part_of(lr, photo.part, scale)
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
    if _too_many(unusable, len(photos), data.max_bad_fraction):  # the reason for too few
        _report_unusable(data.source, unusable, len(photos), data.max_bad_fraction)
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
        copies(train, data.levels, data.copies, scale, data.crop),
        copies(split.holdout, data.levels[:1], 1, scale, data.crop),
    )


def _some(photos: list[Photo], most: int) -> list[Photo]:
    """Returns `most` of the photos, in their order: those whose names have the highest hashes."""
    if not 0 < most < len(photos):
        return photos
    chosen = sorted(range(len(photos)), key=lambda i: _hash(photos[i]))[-most:]
    return [photos[i] for i in sorted(chosen)]


EMBEDDED, TFDS = "embedded", "tfds:"
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
    if entry == EMBEDDED:
        return installed([*embedded.TRAIN, *embedded.HOLDOUT], scale), []
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


FEW = 5  # files: of fewer, none is held out as a whole
GAPS = range(16, 33)  # LR pixels between the parts of a divided photo; the most that fit are taken


def _split(photos: Sequence[Photo], data: DataConfig, scale: int, lr_patch: int) -> Photos:
    """Holds out photos; those of "embedded" have a split of their own.

    Args:
      photos: of the source.
      data: names the source and the number to hold out.
      scale: HR size over LR size.
      lr_patch: side of the largest patch in LR pixels.
    """
    names = entries(data.source)
    own = [photo for photo in photos if names[photo.entry] == EMBEDDED]
    others = [photo for photo in photos if names[photo.entry] != EMBEDDED]
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
    return hashlib.sha256(_encoded(photo.name)).hexdigest()


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
