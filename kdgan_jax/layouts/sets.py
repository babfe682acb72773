"""Sets of images: HR, LR or both, and which LR goes with which HR."""

import difflib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kdgan_jax.layouts.names import hr_base, tag_of
from kdgan_jax.pictures.folders import listing


class Layout(NamedTuple):
    """A set of images.

    Attributes:
      hr_root: the folder of HR images, or None if the set has none.
      hr: the HR files below it.
      lr_root: the folder of LR images, or None if LR is to be made from HR.
      lr: the LR files below it that are of the scale.
    """

    hr_root: Path | None
    hr: list[Path]
    lr_root: Path | None = None
    lr: Sequence[Path] = ()

    @property
    def files(self) -> list[Path]:
        """The images of the set, each of which is used."""
        return [*self.hr, *self.lr]


class Found(NamedTuple):
    """What an entry of a source names.

    Attributes:
      layouts: its sets.
      below: the folder that names of photos are relative to.
      beside: folders of LR images that belong to the HR images and are not used.
      others: images that are there and not used.
    """

    layouts: list[Layout]
    below: Path
    beside: Sequence[Path] = ()
    others: Sequence[Path] = ()


class Asked(NamedTuple):
    """What an entry of a source asks for: see `layouts.at`."""

    scale: int
    kind: str
    plain: str

    @property
    def is_open(self) -> bool:
        """Whether images are HR only because nothing says otherwise."""
        return not self.kind and self.plain == "hr"


def partners(layout: Layout, scale: int) -> dict[Path, list[Path]]:
    """Returns the LR files of each HR file: usually one, of DIV2K's wild images several.

    A file belongs to the one of its name, or of the name that is left without "x4", "_LR" and the
    like; in both roots it lies at the same place.

    Args:
      layout: with HR and LR images.
      scale: HR size over LR size.
    """
    assert layout.hr_root is not None
    assert layout.lr_root is not None
    same: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    tagged: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for lr in layout.lr:
        place, tag = lr.parent.relative_to(layout.lr_root), tag_of(lr.stem)
        same[place, lr.stem].append(lr)
        if tag is None or tag.scale in (None, scale):
            tagged[place, tag.base if tag else lr.stem].append(lr)
    places = {hr: (hr.parent.relative_to(layout.hr_root), hr.stem) for hr in layout.hr}
    if all(place in same for place in places.values()):  # HR may be named "a_x4.png", too
        return {hr: _one_each(same[place], hr) for hr, place in places.items()}
    result = {}
    for hr, (place, stem) in places.items():
        keys = (place, stem), (place, hr_base(stem) or stem)
        found = tagged.get(keys[0]) or tagged.get(keys[1]) or same[keys[0]]
        result[hr] = _one_each(found, hr)
    return result


def _one_each(files: Sequence[Path], hr: Path) -> list[Path]:
    """Returns one of the files of each name; the suffix is that of HR, or else PNG's, if it can."""
    best = sorted(files, key=lambda path: (path.suffix != hr.suffix, path.suffix != ".png", path))
    return sorted({path.stem: path for path in reversed(best)}.values())


def no_partner(hr: Path, layout: Layout, scale: int) -> str:
    """Returns the message about an HR file without LR; it names the file that is nearest to it."""
    assert layout.hr_root is not None
    assert layout.lr_root is not None
    place = layout.lr_root / hr.parent.relative_to(layout.hr_root)
    names = [lr.name for lr in layout.lr if lr.parent == place]
    near = difflib.get_close_matches(hr.name, names, n=1, cutoff=0.0)
    there = f"where there is {near[0]}" if near else "which has no image of this scale"
    return (
        f"{hr}: has no LR image {hr.stem}x{scale}{hr.suffix} or {hr.name} in {place}, {there}; add"
        " or rename it, or remove the HR image"
    )


def is_of(lr: Path, scale: int) -> bool:
    """Returns whether a file's name says the scale, or none."""
    tag = tag_of(lr.stem)
    return not tag or tag.scale in (None, scale)


def images_in(folder: Path, without: Collection[Path] = ()) -> list[Path]:
    """Returns the images at any depth, sorted, without those below `without`; follows links."""
    return sorted(image for place in _images_by_folder(folder, without, ()) for image in place)


def _images_by_folder(
    folder: Path, without: Collection[Path], above: Collection[Path]
) -> Iterator[list[Path]]:
    """Yields the images of each folder."""
    folders, images = listing(folder)
    yield images
    inside = {*above, folder.resolve()}
    for path in folders:
        if path not in without and path.resolve() not in inside:  # links may lead upwards
            yield from _images_by_folder(path, without, inside)
