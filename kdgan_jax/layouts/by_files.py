"""Sets found by the names of files: `baby_HR.png` beside `baby_LR.png`, and what is left over."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from kdgan_jax.layouts.names import hr_base, tag_of
from kdgan_jax.layouts.sets import Asked, Layout, is_of
from kdgan_jax.pictures import codec
from kdgan_jax.runtime.errors import UserError

SCALES = 2, 3, 4, 8  # that files without HR are likely to be named after


def by_names(files: Iterable[Path], asked: Asked) -> tuple[list[Layout], list[Path]]:
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
        fitting = [path for path in lr if is_of(path, asked.scale)]
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


def unnamed(folder: Path, files: list[Path], asked: Asked) -> list[Layout]:
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
