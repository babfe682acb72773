"""How HR and LR images lie in folders: the one place that tells which HR goes with which LR.

Names of folders tell (`HR` with `LRx4`, `DIV2K_train_HR` with `DIV2K_train_LR_bicubic/X4`), and
names of files beside each other (`baby_HR.png` with `baby_LR.png`). What could be read in two ways
is refused.
"""

import difflib
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kdgan_jax.data import places
from kdgan_jax.data.names import (
    Role,
    hr_base,
    is_lr,
    named_scale,
    role_of,
    scale_alone,
    tag_of,
)
from kdgan_jax.pictures import codec
from kdgan_jax.pictures.folders import SUFFIXES, find, listing
from kdgan_jax.runtime.errors import UserError

SCALES = 2, 3, 4, 8  # that files without HR are likely to be named after
SAMPLES = 3  # files of a folder whose sizes are compared


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


def missing(hr: Path, layout: Layout, scale: int) -> str:
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


# What a path names.


class _Asked(NamedTuple):
    """What an entry of a source asks for: see `at`."""

    scale: int
    kind: str
    plain: str

    @property
    def is_open(self) -> bool:
        """Whether images are HR only because nothing says otherwise."""
        return not self.kind and self.plain == "hr"


def at(text: str, scale: int, kind: str = "", plain: str = "hr") -> Found:
    """Returns what a path names: a folder, a file, what matches a pattern, or two folders.

    Args:
      text: the path; for pairs also "HR_FOLDER:LR_FOLDER".
      scale: HR size over LR size.
      kind: one of `places.KINDS`, or "" to tell from the names.
      plain: what images are whose names say nothing, "hr" or "lr".

    Raises:
      UserError: it does not exist, holds no image of its kind, or could be read in two ways; says
        what to write.
    """
    path, asked = Path(text), _Asked(scale, kind, plain)
    if path.is_dir():
        return _of_folder(path, asked)
    if kind == "pairs" and (two := places.two(text)):
        return of_two(*two, scale)
    paths = [path] if path.exists() else places.matches(text)
    if not paths:
        raise UserError(places.nothing_at(text))
    folders = [p for p in paths if p.is_dir()]
    files = [p for p in paths if p not in folders and p.suffix.lower() in SUFFIXES]
    if not folders and not files:
        raise UserError(
            f"{paths[0]}: is no image; name a folder of images, and unpack it first if it is an"
            " archive"
        )
    if kind == "pairs" and files:
        raise UserError(f"pairs:{text}: names files; write pairs:HR_FOLDER:LR_FOLDER instead")
    below = places.before_pattern(text)
    found = [_of_folder(p, asked) for p in folders] + [_of_files(below, files, asked)]
    return Found(
        [layout for one in found for layout in one.layouts],
        below,
        [p for one in found for p in one.beside],
        [p for one in found for p in one.others],
    )


def _of_folder(folder: Path, asked: _Asked) -> Found:
    images = _images(folder)
    if not images:
        find(folder)  # says so
    found = _structure(folder, asked)
    if not found and asked.kind == "pairs" and (lr_folders := _lr_beside(folder)):
        found = _set(folder, lr_folders, asked)
    if not found and (asked.is_open or asked.kind == "lr") and is_lr(folder):
        found = Found([_lr_alone([folder], asked)], folder)
    if not found:
        found = _below(folder, asked)
    elif len(found.layouts) == 1:
        layout = found.layouts[0]
        found = found._replace(below=layout.hr_root or layout.lr_root or folder)
    if not found.layouts:
        raise UserError(f"{folder}: {_lacking(folder, asked)}")
    if asked.is_open:
        _refuse_unnamed(found, images, asked.scale)
    used = {path for layout in found.layouts for path in layout.files}
    return found._replace(others=[path for path in images if path not in used])


def _refuse_unnamed(found: Found, images: Sequence[Path], scale: int) -> None:
    """Refuses a folder whose images are those of another folder reduced, which its name hides."""
    owners: dict[str, list[Path]] = defaultdict(list)
    for layout in found.layouts:
        for path in layout.hr if not layout.lr else ():
            owners[hr_base(path.stem) or path.stem].append(path)
    taken = {path for layout in found.layouts for path in layout.lr}
    groups: dict[Path, list[Path]] = defaultdict(list)
    for path in images:
        if path not in taken:
            groups[path.parent].append(path)
    for folder, group in groups.items():
        tags = {path: tag_of(path.stem) for path in group[:SAMPLES]}
        pairs = [
            (hr, path)
            for path, tag in tags.items()
            for hr in owners[tag.base if tag else path.stem]
            if hr.parent != folder and _is_reduced(path, hr, scale)
        ]
        if {path for _, path in pairs} == set(tags):
            hr, lr = pairs[0]
            raise UserError(
                f"{lr}: is named like {hr} and {scale} times smaller, as LR is; write"
                f" pairs:{hr.parent}:{folder} to take it so, or name folders with hr: before them"
            )


def _is_reduced(lr: Path, hr: Path, scale: int) -> bool:
    try:
        return codec.size(lr) == tuple(side // scale for side in codec.size(hr))
    except UserError:
        return False


def _of_files(below: Path, files: list[Path], asked: _Asked) -> Found:
    """Returns files that are named singly, or match a pattern."""
    inside = [path for path in files if is_lr(path.parent)]
    if inside and asked.is_open:
        raise UserError(
            f"{inside[0]}: lies in a folder of LR images, by its name; write lr: or hr: before what"
            " you name, or name folders"
        )
    layouts, plain = _by_names(files, asked)
    found = Found(layouts + _plain(below, plain, asked), below)
    used = {path for layout in found.layouts for path in layout.files}
    return found._replace(others=[path for path in files if path not in used])


def _images(folder: Path, without: Collection[Path] = ()) -> list[Path]:
    """Returns the images at any depth, sorted, without those below `without`; follows links."""
    return sorted(image for place in _places(folder, without, ()) for image in place)


def _places(
    folder: Path, without: Collection[Path], above: Collection[Path]
) -> Iterator[list[Path]]:
    """Yields the images of each folder."""
    folders, images = listing(folder)
    yield images
    inside = {*above, folder.resolve()}
    for path in folders:
        if path not in without and path.resolve() not in inside:  # links may lead upwards
            yield from _places(path, without, inside)


# Folders that are told by names of folders.


def _structure(folder: Path, asked: _Asked) -> Found | None:
    """Returns the sets that the folders right in `folder` make by their names, if they make any."""
    folders, images = listing(folder)
    roles = {path: role for path in folders if (role := role_of(path))}
    hr = [path for path, role in roles.items() if role.is_hr]
    hr = [path for path in hr if roles[path].scale == asked.scale] or hr
    owners = {path: _owner(path, hr, roles) for path, role in roles.items() if not role.is_hr}
    if any(owners.values()) or any(roles[path].is_plain for path in hr):
        owned = {path: [lr for lr, of in owners.items() if of == path] for path in hr}
        sets = [
            (not owned[path] and _structure(path, asked)) or _set(path, owned[path], asked)
            for path in hr
        ]
        strays = [lr for lr, of in owners.items() if not of and roles[lr].is_sure]
        if strays and not any(owners.values()) and asked.kind != "hr":
            raise UserError(
                f"{strays[0]}: holds LR images, by its name, but of none of {_list(hr)} by theirs;"
                f" write pairs:{hr[0]}:{strays[0]}, or hr:{folder} to do without"
            )
        sets = [found for found in sets if found.layouts]
        return Found(
            [layout for s in sets for layout in s.layouts],
            folder,
            [p for s in sets for p in s.beside],
        )
    surely = [path for path in owners if roles[path].is_sure]
    if surely and _images(folder, without=surely):
        return _set(folder, surely, asked)
    if surely and asked.kind != "hr":
        return Found([_lr_alone(surely, asked)] if asked.kind != "pairs" else [], folder)
    scales = [path for path in folders if scale_alone(path)]
    if scales and scales == folders and not images and asked.kind != "hr" and not is_lr(folder):
        return _of_scales(folder, scales, asked)
    return None


def _owner(lr: Path, hr: Sequence[Path], roles: Mapping[Path, Role]) -> Path | None:
    """Returns the HR folder to which an LR folder belongs: that with whose name it shares most.

    Raises:
      UserError: there are two.
    """
    fitting = [path for path in hr if roles[path].words <= roles[lr].words]
    most = max((len(roles[path].words) for path in fitting), default=0)
    fitting = [path for path in fitting if len(roles[path].words) == most]
    if len(fitting) > 1:
        raise UserError(
            f"{lr}: belongs to {_list(fitting)}, by their names; write pairs:{fitting[0]}:{lr} for"
            " one of them"
        )
    return fitting[0] if fitting else None


def _set(folder: Path, lr_folders: Sequence[Path], asked: _Asked) -> Found:
    """Returns the set of a folder of HR images and of folders of LR images beside or in it."""
    root, inner = _hr_root(folder, asked)
    lr_folders = [*lr_folders, *(path for path in inner if path not in lr_folders)]
    hr = _images(root, without=lr_folders)
    if not hr:
        find(root)  # says so
    if asked.kind == "lr":
        return Found([_lr_alone(lr_folders, asked)] if lr_folders else [], folder)
    fitting = [fit for path in lr_folders for fit in _fitting(Layout(root, hr, path), asked.scale)]
    if asked.kind == "hr" or not lr_folders:
        layouts, plain = _by_names(hr, asked)
        if plain and asked.kind != "pairs":
            layouts.append(Layout(root, plain))
        return Found(layouts, folder, [fit.lr_root for fit in fitting if fit.lr_root])
    return Found([_only(fitting, Layout(root, hr), lr_folders, asked.scale)], folder)


def _hr_root(folder: Path, asked: _Asked) -> tuple[Path, list[Path]]:
    """Returns where the images of a folder of HR images begin, and the LR folders in it.

    An archive that is unpacked into a folder of its name makes two folders of one name.
    """
    folders, images = listing(folder)
    roles = {path: role for path in folders if (role := role_of(path))}
    scales = {scale_alone(path): path for path in folders}
    if len(folders) == len(roles) == 1 and not images and roles[folders[0]].is_hr:
        return _hr_root(folders[0], asked)
    if not images and asked.scale in scales and None not in scales:
        return scales[asked.scale], []
    return folder, [p for p, role in roles.items() if not role.is_hr and role.is_sure]


def _fitting(layout: Layout, scale: int) -> list[Layout]:
    """Returns the pairs with the LR images in `lr_root`, or with those of folders in it that fit.

    Each has the LR files of the scale, some of which belong to HR files by their places and names.
    """
    assert layout.lr_root is not None
    if (named_scale(layout.lr_root) or scale) != scale:
        return []
    files = _images(layout.lr_root)
    claimed = {lr for some in partners(layout._replace(lr=files), scale).values() for lr in some}
    if claimed:
        return [layout._replace(lr=[lr for lr in files if lr in claimed or _is_of(lr, scale)])]
    folders, _ = listing(layout.lr_root)
    return [fit for f in folders for fit in _fitting(layout._replace(lr_root=f), scale)]


def _only(
    fitting: Sequence[Layout], layout: Layout, lr_folders: Sequence[Path], scale: int
) -> Layout:
    """Returns the one of `fitting`; refuses none and several."""
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        both = [fit.lr_root for fit in fitting if fit.lr_root]
        raise UserError(
            f"{layout.hr_root}: LR images of x{scale} are in {_list(both)}; write"
            f" pairs:{layout.hr_root}:{both[0]} for those of one"
        )
    files = [path for folder in lr_folders for path in _images(folder)]
    if not files:
        raise UserError(
            f"{lr_folders[0]}: holds no image, but is a folder of LR images, by its name; fill or"
            " remove it"
        )
    scales = {path: _scale_of(path, lr_folders) for path in files}
    fit = [path for path, of in scales.items() if of in (None, scale)]
    if not fit:
        others = {f"x{of}": path for path, of in scales.items()}
        there = ", ".join(f"{of} (such as {path})" for of, path in sorted(others.items()))
        raise UserError(
            f"{layout.hr_root}: LR images are there for {there}, but not for x{scale}; choose that"
            f" scale, or write hr:{layout.hr_root} to make LR from HR"
        )
    raise UserError(
        f"{fit[0]}: belongs to no HR image in {layout.hr_root} by its name, nor do the other LR"
        f" images; name them like {layout.hr[0].stem}x{scale}.png for {layout.hr[0].name}, or write"
        f" hr:{layout.hr_root} to make LR from HR"
    )


def _lr_alone(folders: Sequence[Path], asked: _Asked) -> Layout:
    """Returns the LR images of folders, which have no HR: all, or those of the scale.

    Raises:
      UserError: there are several folders of that scale, or only others.
    """
    parts = [part for folder in folders for part in _parts(folder)]
    fitting = [path for path, scale in parts if scale in (None, asked.scale)]
    if not fitting and asked.kind == "lr" and len(parts) == 1:
        fitting = [parts[0][0]]  # whatever its name says
    if len(fitting) != 1:
        there = fitting or [path for path, _ in parts]
        what = f"of x{asked.scale} are in" if fitting else f"of x{asked.scale} are not in"
        raise UserError(
            f"{folders[0]}: LR images {what} {_list(there)}, by name; write lr:{there[0]} to take"
            " what is there"
        )
    files = _images(fitting[0])
    tags = {path: tag for path in files if (tag := tag_of(path.stem))}
    bases = {tag.base for tag in tags.values() if tag.scale == asked.scale}
    others = {p for p, tag in tags.items() if tag.base in bases and not _is_of(p, asked.scale)}
    return Layout(None, [], fitting[0], [path for path in files if path not in others])


def _parts(folder: Path, scale: int | None = None) -> list[tuple[Path, int | None]]:
    """Returns the folders in a folder of LR images whose names tell scales, or else itself."""
    scale = named_scale(folder) or scale
    parts = [part for path in listing(folder)[0] for part in _parts(path, scale)]
    named = [(path, of) for path, of in parts if of != scale]
    return named or [(folder, scale)]


def _of_scales(folder: Path, scales: Sequence[Path], asked: _Asked) -> Found:
    """Returns the sets in a folder that holds nothing but folders such as "X2" and "X4"."""
    for path in scales:
        if scale_alone(path) == asked.scale and (found := _structure(path, asked)):
            return found
    if asked.kind == "lr":
        return Found([_lr_alone([folder], asked)], folder)
    raise UserError(
        f"{folder}: {_list(scales)} hold LR images, by their names; write lr:{scales[0]}, or"
        f" hr:{scales[0]} if they are HR"
    )


def _scale_of(lr: Path, folders: Sequence[Path]) -> int | None:
    """Returns the scale of an LR file in one of `folders`, by its name and those of its folders."""
    if (tag := tag_of(lr.stem)) and tag.scale:
        return tag.scale
    for folder in lr.parents:
        if scale := named_scale(folder):
            return scale
        if folder in folders:
            break
    return None


def _is_of(lr: Path, scale: int) -> bool:
    """Returns whether a file's name says the scale, or none."""
    tag = tag_of(lr.stem)
    return not tag or tag.scale in (None, scale)


def _lacking(folder: Path, asked: _Asked) -> str:
    """Returns what a folder lacks that has no image of its kind, and what to write."""
    if asked.kind == "pairs":
        return (
            f"pairs need HR/ and LRx{asked.scale}/ in it; add what is missing, or write"
            " pairs:HR_FOLDER:LR_FOLDER"
        )
    return "holds no LR images, by the names of its folders; name their folder"


def _list(paths: Iterable[Path]) -> str:
    return " and ".join(map(str, paths))


# Folders whose names say nothing, and files in them whose names may.


def _below(folder: Path, asked: _Asked) -> Found:
    """Returns the sets in the folders below one, and its other images."""
    layouts, beside, rest = _searched(folder, asked, ())
    by_names, plain = _by_names(rest, asked)
    layouts += by_names
    if asked.kind != "pairs":
        layouts += _plain(folder, plain, asked)
    if len(layouts) == 1 and layouts[0].hr_root == folder:
        for path in _lr_beside(folder):
            fits = _fitting(layouts[0]._replace(lr_root=path), asked.scale)
            beside += [fit.lr_root for fit in fits if fit.lr_root]
    return Found(layouts, folder, beside)


def _searched(
    folder: Path, asked: _Asked, above: Collection[Path]
) -> tuple[list[Layout], list[Path], list[Path]]:
    """Returns the sets that names of folders make, LR folders that are unused, other images."""
    folders, rest = listing(folder)
    layouts: list[Layout] = []
    beside: list[Path] = []
    inside = {*above, folder.resolve()}
    for path in folders:
        if path.resolve() in inside:  # a link upwards
            continue
        found = _structure(path, asked)
        if found:
            layouts, beside = [*layouts, *found.layouts], [*beside, *found.beside]
            continue
        more = _searched(path, asked, inside)
        layouts, beside, rest = layouts + more[0], beside + more[1], rest + more[2]
    return layouts, beside, rest


def _plain(folder: Path, files: list[Path], asked: _Asked) -> list[Layout]:
    """Returns the images whose names say nothing, as HR or LR.

    Raises:
      UserError: all of them are named like LR images, and nothing says that they are HR.
    """
    if not files:
        return []
    if asked.kind == "lr" or (not asked.kind and asked.plain == "lr"):
        return [Layout(None, [], folder, files)]
    tags = [tag_of(path.stem) for path in files]
    if asked.is_open and all(tag and (tag.says_lr or tag.scale in SCALES) for tag in tags):
        raise UserError(
            f"{files[0]}: is named like an LR image, as all in {folder} are; write lr:{folder}, or"
            f" hr:{folder} if they are HR"
        )
    return [Layout(folder, files)]


def _by_names(files: Iterable[Path], asked: _Asked) -> tuple[list[Layout], list[Path]]:
    """Returns the sets of files beside each other, such as a_HR.png and a_LR.png, and the others.

    Raises:
      UserError: LR images are there for other scales only.
    """
    layouts, plain, unfit = [], [], []
    groups: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        groups[path.parent].append(path)
    for folder, group in groups.items():
        hr, lr = _told_apart(group)
        fitting = [path for path in lr if _is_of(path, asked.scale)]
        if not lr:
            plain += group
        elif asked.kind == "hr":
            layouts.append(Layout(folder, hr))
        elif not fitting:
            unfit.append((hr[0], lr[0]))
        elif asked.kind == "lr":
            layouts.append(Layout(None, [], folder, fitting))
        else:
            layouts.append(Layout(folder, hr, folder, fitting))
    if unfit and not layouts:
        hr_file, lr_file = unfit[0]
        raise UserError(
            f"{lr_file}: is the LR image of {hr_file}, but not of x{asked.scale}, and there are no"
            f" others; choose its scale, or write hr:{hr_file.parent} to make LR from HR"
        )
    return layouts, sorted(plain)


def _told_apart(group: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Returns the HR and the LR files of one folder; no LR files if their names say nothing."""
    tags = {path: tag for path in group if (tag := tag_of(path.stem))}
    others = [path for path in group if path not in tags or not tags[path].says_lr]
    owners = {path.stem: path for path in others}
    owners |= {base: path for path in others if (base := hr_base(path.stem))}
    lr = [
        path
        for path, tag in tags.items()
        if tag.base in owners and (tag.says_lr or _is_smaller(path, owners[tag.base]))
    ]
    if not lr:
        return [], []
    lr = [path for path in group if path in lr or (path in tags and tags[path].says_lr)]
    hr = [path for path in group if path not in lr]
    return [path for path in hr if hr_base(path.stem)] or hr, lr


def _is_smaller(lr: Path, hr: Path) -> bool:
    """Returns whether an image is smaller than another; enlarged ones are named "a_x4.png", too."""
    try:
        return codec.size(lr) < codec.size(hr)
    except UserError:
        return False


def _lr_beside(folder: Path) -> list[Path]:
    """Returns the folders of LR images beside a folder that belong to it, by their names."""
    folder = Path(os.path.normpath(folder))
    role = role_of(folder)
    if not role or not role.is_hr:
        return []
    try:
        folders, _ = listing(folder.parent)
    except UserError:
        return []
    near = {path: of for path in folders if (of := role_of(path)) and not of.is_hr}
    return [path for path, of in near.items() if role.words <= of.words]


def of_two(hr_folder: Path, lr_folder: Path, scale: int) -> Found:
    """Returns the pairs of two folders, whatever their names.

    Raises:
      UserError: one is missing, holds no image, or LR images of other scales only.
    """
    find(lr_folder)
    layouts = _of_folder(hr_folder, _Asked(scale, "hr", "hr")).layouts
    root = layouts[0].hr_root if len(layouts) == 1 and layouts[0].hr_root else hr_folder
    layout = Layout(root, _images(root, without=[lr_folder]), lr_folder)
    if not layout.hr:
        find(hr_folder)
    fitting = _fitting(layout, scale)
    found = Found([_only(fitting, layout, [lr_folder], scale)], root)
    used = set(found.layouts[0].files)
    return found._replace(others=[p for p in _images(lr_folder) if p not in used])
