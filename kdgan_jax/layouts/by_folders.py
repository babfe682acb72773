"""Sets found by the names of folders, such as `HR` with `LRx4`, or DIV2K's own."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kdgan_jax.layouts.by_files import by_names
from kdgan_jax.layouts.names import Role, is_lr, named_scale, role_of, scale_alone, tag_of
from kdgan_jax.layouts.sets import Asked, Found, Layout, images_in, is_of, partners
from kdgan_jax.pictures.folders import find, listing
from kdgan_jax.runtime.errors import UserError


def structure(folder: Path, asked: Asked) -> Found | None:
    """Returns the sets that the folders right in `folder` make by their names, if they make any."""
    folders, images = listing(folder)
    roles = {path: role for path in folders if (role := role_of(path))}
    hr = [path for path, role in roles.items() if role.is_hr]
    hr = [path for path in hr if roles[path].scale == asked.scale] or hr
    owners = {path: _owner(path, hr, roles) for path, role in roles.items() if not role.is_hr}
    if any(owners.values()) or any(roles[path].is_plain for path in hr):
        owned = {path: [lr for lr, of in owners.items() if of == path] for path in hr}
        sets = [
            (not owned[path] and structure(path, asked)) or set_of(path, owned[path], asked)
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
    if surely and images_in(folder, without=surely):
        return set_of(folder, surely, asked)
    if surely and asked.kind != "hr":
        return Found([lr_alone(surely, asked)] if asked.kind != "pairs" else [], folder)
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


def set_of(folder: Path, lr_folders: Sequence[Path], asked: Asked) -> Found:
    """Returns the set of a folder of HR images and of folders of LR images beside or in it."""
    root, inner = _hr_root(folder, asked)
    lr_folders = [*lr_folders, *(path for path in inner if path not in lr_folders)]
    hr = images_in(root, without=lr_folders)
    if not hr:
        find(root)  # says so
    if asked.kind == "lr":
        return Found([lr_alone(lr_folders, asked)] if lr_folders else [], folder)
    fitting = [
        fit for path in lr_folders for fit in fitting_sets(Layout(root, hr, path), asked.scale)
    ]
    if asked.kind == "hr" or not lr_folders:
        layouts, plain = by_names(hr, asked)
        if plain and asked.kind != "pairs":
            layouts.append(Layout(root, plain))
        return Found(layouts, folder, [fit.lr_root for fit in fitting if fit.lr_root])
    return Found([only_fitting(fitting, Layout(root, hr), lr_folders, asked.scale)], folder)


def _hr_root(folder: Path, asked: Asked) -> tuple[Path, list[Path]]:
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


def fitting_sets(layout: Layout, scale: int) -> list[Layout]:
    """Returns the pairs with the LR images in `lr_root`, or with those of folders in it that fit.

    Each has the LR files of the scale, some of which belong to HR files by their places and names.
    """
    assert layout.lr_root is not None
    if (named_scale(layout.lr_root) or scale) != scale:
        return []
    files = images_in(layout.lr_root)
    claimed = {lr for some in partners(layout._replace(lr=files), scale).values() for lr in some}
    if claimed:
        return [layout._replace(lr=[lr for lr in files if lr in claimed or is_of(lr, scale)])]
    folders, _ = listing(layout.lr_root)
    return [fit for f in folders for fit in fitting_sets(layout._replace(lr_root=f), scale)]


def only_fitting(
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
    files = [path for folder in lr_folders for path in images_in(folder)]
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


def lr_alone(folders: Sequence[Path], asked: Asked) -> Layout:
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
    files = images_in(fitting[0])
    tags = {path: tag for path in files if (tag := tag_of(path.stem))}
    bases = {tag.base for tag in tags.values() if tag.scale == asked.scale}
    others = {p for p, tag in tags.items() if tag.base in bases and not is_of(p, asked.scale)}
    return Layout(None, [], fitting[0], [path for path in files if path not in others])


def _parts(folder: Path, scale: int | None = None) -> list[tuple[Path, int | None]]:
    """Returns the folders in a folder of LR images whose names tell scales, or else itself."""
    scale = named_scale(folder) or scale
    parts = [part for path in listing(folder)[0] for part in _parts(path, scale)]
    named = [(path, of) for path, of in parts if of != scale]
    return named or [(folder, scale)]


def _of_scales(folder: Path, scales: Sequence[Path], asked: Asked) -> Found:
    """Returns the sets in a folder that holds nothing but folders such as "X2" and "X4"."""
    for path in scales:
        if scale_alone(path) == asked.scale and (found := structure(path, asked)):
            return found
    if asked.kind == "lr":
        return Found([lr_alone([folder], asked)], folder)
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


def lr_beside(folder: Path) -> list[Path]:
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


def _list(paths: Iterable[Path]) -> str:
    return " and ".join(map(str, paths))
