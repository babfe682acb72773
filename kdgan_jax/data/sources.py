"""Where photos come from.

A source is entries separated by commas: "embedded" (photos inside the scikit-image and scikit-learn
wheels), "tfds:NAME" (TensorFlow Datasets, which needs a network once), or what `layouts.at` takes:
a folder, which is searched at any depth, a file, a pattern. "hr:" before it says that it is HR,
"lr:" that it is LR without HR, "pairs:" that it is both; otherwise names tell.
"""

import importlib.util
import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from kdgan_jax import layouts
from kdgan_jax.config.settings import DataConfig
from kdgan_jax.data import embedded
from kdgan_jax.data.holdout import Photos, at_most, file_of, hold_out, none_divided
from kdgan_jax.data.photos import Photo, check_pair, copies, report_unusable, too_many
from kdgan_jax.layouts import places
from kdgan_jax.layouts.sets import Found, Layout, no_partner, partners
from kdgan_jax.pictures import codec
from kdgan_jax.runtime.console import counted
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


def folder(
    path: str | Path, scale: int, kind: str = "", plain: str = "hr"
) -> tuple[list[Photo], list[str]]:
    """Returns the photos that a path names, and a message for each file that cannot be used.

    A photo's name is its path below the folder, without the suffix unless two files share the rest;
    bytes that are not UTF-8 are escaped.

    Args:
      path: of a folder, or another that `layouts.at` takes.
      scale: HR size over LR size.
      kind: as for `layouts.at`.
      plain: as for `layouts.at`.

    Raises:
      UserError: as for `layouts.at`.
    """
    return _photos(layouts.at(str(path), scale, kind, plain), scale)


def _photos(found: Found, scale: int) -> tuple[list[Photo], list[str]]:
    photos: list[Photo] = []
    unusable: list[str] = []
    images = [path for layout in found.layouts for path in layout.hr or layout.lr]
    stems = Counter(path.with_suffix("") for path in images)

    def name(image: Path, stem: str) -> str:
        if stems[image.with_suffix("")] > 1:
            stem += image.suffix
        return places.printable(str(image.relative_to(found.below).with_name(stem)))

    for layout in found.layouts:
        for image, lr_images in images_of(layout, scale):
            try:
                if not layout.hr:
                    photos.append(_lr_photo(image, scale, name(image, image.stem)))
                elif not layout.lr:
                    photos.append(_photo(image, None, scale, name(image, image.stem)))
                elif not lr_images:
                    raise UserError(no_partner(image, layout, scale))
                for lr in lr_images:
                    stem = image.stem if len(lr_images) == 1 else lr.stem
                    photos.append(_photo(image, lr, scale, name(image, stem)))
            except UserError as error:
                unusable.append(str(error))
    return photos, unusable


def images_of(layout: Layout, scale: int) -> list[tuple[Path, list[Path]]]:
    """Returns the images that the photos of a set are named after, each with its LR files."""
    if layout.hr and layout.lr:
        return list(partners(layout, scale).items())
    return [(path, []) for path in layout.hr or layout.lr]


def gather(
    data: DataConfig,
    scale: int,
    largest_patch: int,
    apart: Callable[[Photos], Photos] = lambda photos: photos,
) -> Photos:
    """Returns the run's photos, with the header of every file checked.

    Files that cannot be read and photos smaller than the patch are logged and skipped. The log says
    what is taken from each entry of the source.

    Args:
      data: where the photos come from.
      scale: HR size over LR size.
      largest_patch: side of the run's largest HR patch.
      apart: returns photos without those to train on that show what held-out ones show.

    Raises:
      UserError: no photo is left to train on or to hold out, or more than
        `data.max_bad_fraction` of them are unusable.
    """
    taken = [_taken(word, scale, data.plain, data.memory_mb) for word in entries(data.source)]
    photos, unusable = _joined(taken)
    if too_many(unusable, len(photos), data.max_bad_fraction):  # the reason for too few
        report_unusable(data.source, unusable, len(photos), data.max_bad_fraction)
    lr_patch = -(-largest_patch // scale)
    split = _split(photos, data, scale, lr_patch)
    whole = sum(photo.part is None for photo in split.holdout)
    train = large_enough(
        split.train, largest_patch, scale, whole, data.max_bad_fraction, data.source, unusable
    )
    for number, entry in enumerate(taken):
        used = [photo for photo in (*train, *split.holdout) if photo.entry == number]
        log.info("%s", described(entry, used, scale, data.levels))
    if not split.holdout:
        raise UserError(none_divided(data.source, photos, scale, lr_patch))
    train, holdout = apart(Photos(train, split.holdout))
    if not train:
        raise UserError(
            f"{data.source}: all photos to train on show what the {len(holdout)} held-out ones"
            " show; add other photos"
        )
    train = at_most(train, data.most)
    check_weights(data.weights, train, data.source)
    if not data.copied:
        return Photos(train, holdout)
    return Photos(
        train
        if data.fresh
        else copies(train, data.levels, data.copies, scale, data.crop, data.recolour),
        copies(holdout, data.levels, data.holdout_copies, scale, data.crop),
    )


# Photos in installed packages; of the second, none is held out.
PACKAGED = {
    "embedded": (*embedded.TRAIN, *embedded.HOLDOUT),
    "embedded:train": embedded.TRAIN,
}
TFDS = "tfds:"


def entries(source: str) -> list[str]:
    """Returns the entries of a source; a path that exists is one entry, even with commas in it.

    Raises:
      UserError: one is empty.
    """

    def exists(entry: str) -> bool:
        kind, path = split_kind(entry)
        return places.exists(path, kind)

    words = places.between_commas(source, exists)
    if not all(words):
        raise UserError(
            f"config.data.source={source!r}: an entry is missing beside a comma; remove the comma"
        )
    return words


def split_kind(entry: str) -> tuple[str, str]:
    """Returns (kind, path) of an entry of a source, such as "lr:photos"; kind "" if not given."""
    kind, colon, path = entry.strip().partition(":")
    kind, path = (kind, path) if colon and kind in places.KINDS else ("", entry.strip())
    return kind, os.path.expanduser(path)


class Taken(NamedTuple):
    """What an entry of a source gives.

    Attributes:
      entry: the entry.
      photos: in order.
      unusable: messages about files that cannot be used.
      found: where they are, unless they come from a package.
    """

    entry: str
    photos: list[Photo]
    unusable: list[str]
    found: Found | None = None


def of_source(
    source: str, scale: int, plain: str = "hr", memory_mb: int = 0
) -> tuple[list[Photo], list[str]]:
    """Returns the photos of all entries of a source, and messages like `folder`.

    A file is one photo for each of its LR images; it is another if one entry takes it as HR and
    another as LR at its own size.

    Args:
      source: as in the config.
      scale: HR size over LR size.
      plain: as for `layouts.at`.
      memory_mb: what the photos of a TFDS entry may take; 0 leaves them out.

    Raises:
      UserError: an entry has no photos.
    """
    return _joined([_taken(entry, scale, plain, memory_mb) for entry in entries(source)])


def _joined(taken: Sequence[Taken]) -> tuple[list[Photo], list[str]]:
    """Returns the photos of all entries; those of a file are the ones of the last that names it."""
    photos: dict[tuple[Path | int, bool], dict[Path | None, Photo]] = {}
    for number, entry in enumerate(taken):
        of_entry: dict[tuple[Path | int, bool], dict[Path | None, Photo]] = {}
        for p in entry.photos:
            lr = p.lr if isinstance(p.lr, Path) else None
            of_entry.setdefault((file_of(p), p.hr is None), {})[lr] = p._replace(entry=number)
        photos |= of_entry
    return (
        [photo for of_file in photos.values() for photo in of_file.values()],
        [message for entry in taken for message in entry.unusable],
    )


def _taken(entry: str, scale: int, plain: str, memory_mb: int) -> Taken:
    if entry in PACKAGED:
        return Taken(entry, installed(PACKAGED[entry], scale), [])
    if not entry.startswith(TFDS):
        kind, path = split_kind(entry)
        return of_place(entry, kind, path, scale, plain)
    if not memory_mb:
        return Taken(entry, [], [])
    from kdgan_jax.data import tfds  # imports TensorFlow

    pairs = tfds.pairs(entry.removeprefix(TFDS), scale, memory_mb)
    return Taken(entry, [Photo(name, hr, lr, hr.shape[:2]) for name, hr, lr in pairs], [])


def of_place(entry: str, kind: str, path: str, scale: int, plain: str = "hr") -> Taken:
    """Returns what a path gives, under the name of an entry; the rest is as for `layouts.at`."""
    found = layouts.at(path, scale, kind, plain)
    return Taken(entry, *_photos(found, scale), found)


def described(
    taken: Taken, used: Sequence[Photo], scale: int, levels: Sequence[str] = ("none",)
) -> str:
    """Returns a line that says what is taken from an entry, and what is not.

    Args:
      taken: the entry.
      used: those of its photos that are used.
      scale: HR size over LR size.
      levels: of degradation; all but "none" make LR from HR.
    """
    files = {file_of(photo) for photo in used}
    alone = {file_of(photo) for photo in used if photo.hr is None}
    pairs = [photo for photo in used if photo.hr is not None and photo.lr is not None]
    given = len({file_of(photo) for photo in pairs})
    sets = taken.found.layouts if taken.found else []
    place = ", from " + _listed([s.lr_root for s in sets if s.lr_root]) if sets else ""
    words = [f"{taken.entry}: {counted(len(files), 'photo')}"]
    if alone:
        words.append(f"LR without HR{place if alone == files else f': {len(alone)}'}")
    if pairs:
        each = f" ({len(pairs)} LR images)" if len(pairs) > given else ""
        words.append(f"LR given for {'all' if given == len(files) else given}{each}{place}")
    if made := len(files) - len(alone) - given:
        others = "" if made == len(files) else f" for {made}"
        words.append(f"LR made by MATLAB's bicubic{others}")
    notes = [", ".join(words)]
    if pairs and (degrading := [level for level in levels if level != "none"]):
        notes.append(f"the levels {', '.join(degrading)} of config.data.degradation do not use it")
    return "; ".join(notes + (unused(taken.found, scale) if taken.found else []))


def unused(found: Found, scale: int, lr_strays: bool = True) -> list[str]:
    """Returns what is said of the images that are there and are not used.

    Args:
      found: in a folder.
      scale: HR size over LR size.
      lr_strays: whether LR images of the scale that belong to no HR image are meant, too.
    """
    notes, others = [], list(found.others)
    for layout in found.layouts:
        if lr_strays and layout.hr and layout.lr:
            claimed = {lr for _, lr_images in images_of(layout, scale) for lr in lr_images}
            others += [lr for lr in layout.lr if lr not in claimed]
    if found.beside:
        others = [path for path in others if not set(found.beside) & set(path.parents)]
        hr_root = found.layouts[0].hr_root
        notes.append(
            f"LR in {_listed(found.beside)} is not used; pairs:{hr_root}:{found.beside[0]} takes it"
        )
    if others:
        notes.append(f"{counted(len(others), 'other image')} not used, such as {others[0]}")
    return notes


def _listed(places: Sequence[Path]) -> str:
    """Returns the names of folders, or of the first and how many more there are."""
    names = list(dict.fromkeys(map(str, places)))
    return " and ".join(names) if len(names) < 4 else f"{names[0]} and {len(names) - 1} others"


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
    scale: int,
    held_out: int,
    max_bad_fraction: float,
    source: str,
    unusable: Sequence[str] = (),
) -> list[Photo]:
    """Returns the training photos that a patch fits into.

    Args:
      photos: for training.
      patch: side of an HR patch.
      scale: HR size over LR size.
      held_out: number of held-out photos, which count as usable.
      max_bad_fraction: `config.data.max_bad_fraction`.
      source: names the photos in messages.
      unusable: messages about photos that are unusable for other reasons.

    Raises:
      UserError: none is left, or too few.
    """
    small = [_too_small(p, patch, scale) for p in photos if min(p.size) < patch]
    large = [p for p in photos if min(p.size) >= patch]
    if small and not large:
        largest = max(photos, key=lambda photo: min(photo.size))
        raise UserError(
            f"{_too_small(largest, patch, scale)}; so are all {len(photos)} photos of"
            f" {source} to train on, and it is the largest ({held_out} more are held out)"
        )
    usable = len(large) + held_out
    report_unusable(source, [*unusable, *small], usable, max_bad_fraction)
    return large


def _too_small(photo: Photo, patch: int, scale: int) -> str:
    height, width = photo.size
    size = f"{width}x{height}{'' if photo.hr is not None else ' when enlarged'}"
    return (
        f"{photo.place}: {size} is smaller than the HR patch {patch}; set lr_patch to"
        f" {min(photo.size) // scale} or less"
    )


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
    split = hold_out(others, data.holdout, scale, lr_patch) if others else Photos([], [])
    return Photos(
        [photo for photo in own if photo.name not in held_out] + split.train,
        [photo for photo in own if photo.name in held_out] + split.holdout,
    )
