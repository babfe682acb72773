"""Finds the pictures in folders."""

import importlib.util
from pathlib import Path

from kdgan_jax.runtime.errors import UserError

SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".mpo", ".webp", ".avif", ".gif"),
    *(".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm"),
}
if importlib.util.find_spec("pillow_heif"):
    SUFFIXES |= {".heic", ".heif", ".hif"}
# Folders that desktops, file servers and archivers leave, beside those that begin with a dot.
_TOOLS = {
    *("@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin"),
    *("__macosx", "__pycache__", "lost+found", "system volume information"),
}


def listing(folder: Path) -> tuple[list[Path], list[Path]]:
    """Returns the folders and the image files right in `folder`, sorted.

    What is hidden or a tool's own is passed over. Links count as what they lead to.

    Raises:
      UserError: the folder cannot be read.
    """
    folders, images = [], []
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.name.lower() in _TOOLS:
                continue
            if path.is_dir():
                folders.append(path)
            elif path.suffix.lower() in SUFFIXES and path.is_file():
                images.append(path)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be read ({error.strerror}); allow reading it, or move it elsewhere"
        ) from None
    return folders, images


def find(folder: str | Path) -> list[Path]:
    """Returns the image files below `folder`, at any depth, sorted by path.

    Hidden files and folders and those of tools are passed over, unless `folder` itself is one;
    links to folders are not followed.

    Raises:
      UserError: the folder is missing, cannot be read, or holds no image.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give an existing folder of images")
    paths, ahead = [], [root]
    while ahead:
        folders, images = listing(ahead.pop())
        paths += images
        ahead += [path for path in folders if not path.is_symlink()]
    if not paths:
        raise UserError(
            f"{root}: holds no image at any depth; supported are {', '.join(sorted(SUFFIXES))}"
        )
    return sorted(paths)
