"""Finds the pictures in folders."""

import importlib.util
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kdgan_jax.pictures import codec
from kdgan_jax.runtime.errors import UserError

SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".mpo", ".webp", ".avif", ".gif"),
    *(".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm"),
}
_HEIF = {".heic", ".heif", ".hif"}
KNOWN = SUFFIXES | _HEIF  # of pictures, whether or not they are read here
if importlib.util.find_spec("pillow_heif"):
    SUFFIXES |= _HEIF
# Folders that desktops, file servers and archivers leave, beside those that begin with a dot.
_TOOLS = {
    *("@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin"),
    *("__macosx", "__pycache__", "lost+found", "system volume information"),
}


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Returns the folders and everything else right in `folder`, sorted, without what is hidden."""
    folders: list[Path] = []
    others: list[Path] = []
    try:
        for path in sorted(folder.iterdir()):
            if not path.name.startswith(".") and path.name.lower() not in _TOOLS:
                (folders if path.is_dir() else others).append(path)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be read ({error.strerror}); allow reading it, or move it elsewhere"
        ) from None
    return folders, others


def _what(path: Path) -> str:
    """Returns what an entry is that is left out: the suffix of a file, or a few words."""
    if path.is_file():
        return path.suffix.lower() or "without a suffix"
    return "broken link" if path.is_symlink() else "pipe or device"


def _has_suffix(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def listing(folder: Path) -> tuple[list[Path], list[Path]]:
    """Returns the folders and the image files right in `folder`, sorted.

    What is hidden or a tool's own is passed over. Links count as what they lead to.

    Raises:
      UserError: the folder cannot be read.
    """
    folders, others = _entries(folder)
    return folders, [path for path in others if _has_suffix(path)]


class Found(NamedTuple):
    """What is in a folder.

    Attributes:
      images: sorted by path.
      left_out: how many other files there are, by their suffixes in small letters.
    """

    images: list[Path]
    left_out: Counter[str]


def survey(
    root: Path,
    is_image: Callable[[Path], bool],
    enter: Callable[[Path], bool] = lambda folder: True,
) -> Found:
    """Returns the images and the other files below `root`, at any depth.

    Hidden files and folders and those of tools are passed over, unless `root` itself is one; links
    to folders are not followed.

    Args:
      root: a folder.
      is_image: whether a file is one.
      enter: whether to look into a folder.

    Raises:
      UserError: a folder is missing or cannot be read.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give an existing folder of images")
    images: list[Path] = []
    left_out: Counter[str] = Counter()
    ahead = [root]
    while ahead:
        folders, others = _entries(ahead.pop())
        for path in others:
            if is_image(path):
                images.append(path)
            else:
                left_out[_what(path)] += 1
        ahead += [path for path in folders if not path.is_symlink() and enter(path)]
    return Found(sorted(images), left_out)


def find(folder: str | Path) -> list[Path]:
    """Returns the image files below `folder` by their suffixes, at any depth, sorted by path.

    Raises:
      UserError: the folder is missing, cannot be read, or holds no image.
    """
    root = Path(folder)
    images = survey(root, _has_suffix).images
    if not images:
        raise UserError(
            f"{root}: holds no image at any depth; supported are {', '.join(sorted(SUFFIXES))}"
        )
    return images


def is_read(path: Path) -> bool:
    """Returns whether a file is to be read as a picture, by its suffix or else by its content."""
    if _has_suffix(path):
        return True
    try:
        codec.size(path)
    except UserError:
        return False
    return True
