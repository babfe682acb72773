"""How HR and LR images lie in folders: the one place that tells which HR goes with which LR.

The names of folders tell (`by_folders`), or those of files beside each other (`by_files`). What
could be read in two ways is refused.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

from kdgan_jax.layouts import places
from kdgan_jax.layouts.by_files import by_names, unnamed
from kdgan_jax.layouts.by_folders import (
    fitting_sets,
    lr_alone,
    lr_beside,
    only_fitting,
    set_of,
    structure,
)
from kdgan_jax.layouts.names import hr_base, is_lr, tag_of
from kdgan_jax.layouts.sets import Asked, Found, Layout, images_in
from kdgan_jax.pictures import codec
from kdgan_jax.pictures.folders import SUFFIXES, find, listing
from kdgan_jax.runtime.errors import UserError

SAMPLES = 3  # files of a folder whose sizes are compared


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
    path, asked = Path(text), Asked(scale, kind, plain)
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


def of_two(hr_folder: Path, lr_folder: Path, scale: int) -> Found:
    """Returns the pairs of two folders, whatever their names.

    Raises:
      UserError: one is missing, holds no image, or LR images of other scales only.
    """
    find(lr_folder)
    layouts = _of_folder(hr_folder, Asked(scale, "hr", "hr")).layouts
    root = layouts[0].hr_root if len(layouts) == 1 and layouts[0].hr_root else hr_folder
    layout = Layout(root, images_in(root, without=[lr_folder]), lr_folder)
    if not layout.hr:
        find(hr_folder)
    fitting = fitting_sets(layout, scale)
    found = Found([only_fitting(fitting, layout, [lr_folder], scale)], root)
    return _with_others(found, images_in(lr_folder))


def _with_others(found: Found, images: Sequence[Path]) -> Found:
    """Returns what was found, with those of the images that no set uses."""
    used = {path for layout in found.layouts for path in layout.files}
    return found._replace(others=[path for path in images if path not in used])


def _of_folder(folder: Path, asked: Asked) -> Found:
    images = images_in(folder)
    if not images:
        find(folder)  # says so
    found = structure(folder, asked)
    if not found and asked.kind == "pairs" and (lr_folders := lr_beside(folder)):
        found = set_of(folder, lr_folders, asked)
    if not found and (asked.is_open or asked.kind == "lr") and is_lr(folder):
        found = Found([lr_alone([folder], asked)], folder)
    if not found:
        found = _below(folder, asked)
    elif len(found.layouts) == 1:
        layout = found.layouts[0]
        found = found._replace(below=layout.hr_root or layout.lr_root or folder)
    if not found.layouts:
        raise UserError(f"{folder}: {_lacking(folder, asked)}")
    if asked.is_open:
        _refuse_unnamed(found, images, asked.scale)
    return _with_others(found, images)


def _below(folder: Path, asked: Asked) -> Found:
    """Returns the sets in the folders below one, and its other images."""
    layouts, beside, rest = _searched(folder, asked, ())
    named, plain = by_names(rest, asked)
    layouts += named
    if asked.kind != "pairs":
        layouts += unnamed(folder, plain, asked)
    if len(layouts) == 1 and layouts[0].hr_root == folder:
        for path in lr_beside(folder):
            fits = fitting_sets(layouts[0]._replace(lr_root=path), asked.scale)
            beside += [fit.lr_root for fit in fits if fit.lr_root]
    return Found(layouts, folder, beside)


def _searched(
    folder: Path, asked: Asked, above: Collection[Path]
) -> tuple[list[Layout], list[Path], list[Path]]:
    """Returns the sets that names of folders make, LR folders that are unused, other images."""
    folders, rest = listing(folder)
    layouts: list[Layout] = []
    beside: list[Path] = []
    inside = {*above, folder.resolve()}
    for path in folders:
        if path.resolve() in inside:  # a link upwards
            continue
        found = structure(path, asked)
        if found:
            layouts, beside = [*layouts, *found.layouts], [*beside, *found.beside]
            continue
        more = _searched(path, asked, inside)
        layouts, beside, rest = layouts + more[0], beside + more[1], rest + more[2]
    return layouts, beside, rest


def _of_files(below: Path, files: list[Path], asked: Asked) -> Found:
    """Returns files that are named singly, or match a pattern."""
    inside = [path for path in files if is_lr(path.parent)]
    if inside and asked.is_open:
        raise UserError(
            f"{inside[0]}: lies in a folder of LR images, by its name; write lr: or hr: before what"
            " you name, or name folders"
        )
    layouts, plain = by_names(files, asked)
    found = Found(layouts + unnamed(below, plain, asked), below)
    return _with_others(found, files)


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


def _lacking(folder: Path, asked: Asked) -> str:
    """Returns what a folder lacks that has no image of its kind, and what to write."""
    if asked.kind == "pairs":
        return (
            f"pairs need HR/ and LRx{asked.scale}/ in it; add what is missing, or write"
            " pairs:HR_FOLDER:LR_FOLDER"
        )
    return "holds no LR images, by the names of its folders; name their folder"
