"""Which pictures are upscaled, of the files and folders that a user names."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from kdgan_jax.pictures import folders
from kdgan_jax.runtime.console import counted, log
from kdgan_jax.runtime.errors import UserError, suggest
from kdgan_jax.upscaling.targets import Source, is_result


def gather(inputs: Sequence[str], out: Path | None, suffix: str = "") -> list[Source]:
    """Returns the pictures that `inputs` name.

    Folders are searched at any depth for whatever is read, and keep their structure. What a folder
    holds beside pictures is counted in one line. Nothing below `out` that a folder holds is a
    source; of files that are named, those are not that have the names of results.

    Args:
      inputs: files and folders.
      out: folder for results; None if they do not go to a folder.
      suffix: of results.

    Raises:
      UserError: an input is missing or empty, or a folder holds no picture.
    """
    sources: list[Source] = []
    results = 0
    for name in inputs:
        path = Path(name)
        if not name:
            raise UserError("an input is empty; give a file or a folder (is a variable not set?)")
        if path.is_dir():
            sources += [Source(found, found.relative_to(path)) for found in _in_folder(path, out)]
        elif not path.exists():
            raise UserError(f"{path}: no such file or folder{_near(path)}")
        elif out and _is_below(path, out) and is_result(path.name, suffix):
            results += 1
        else:
            sources.append(Source(path, Path(path.name)))
    if results:
        log.info("%s passed over: earlier results in %s", counted(results, "file"), out)
    if not sources:
        raise UserError(f"{inputs[0]}: is an earlier result, as are all inputs; name a picture")
    return list(dict.fromkeys(sources))


def _near(path: Path) -> str:
    """Returns a hint that names what is there."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    return suggest(path.name, names)


def _is_below(path: Path, out: Path) -> bool:
    """Returns whether a path, or what it links to, is `out` or below it."""
    roots = {out.absolute(), out.resolve()}
    return any(
        place.is_relative_to(root) for place in (path.absolute(), path.resolve()) for root in roots
    )


def _in_folder(folder: Path, out: Path | None) -> list[Path]:
    """Returns the pictures in a folder; says what is left out."""
    if out and _is_below(folder, out):
        raise UserError(
            f"{folder}: is in the folder for results ({out}), whose pictures are taken for results;"
            " choose another -o"
        )
    images, left_out = folders.survey(
        folder,
        lambda path: folders.is_read(path) and not (out and _is_below(path, out)),
        lambda inner: not (out and _is_below(inner, out)),
    )
    if left_out:
        log.info("%s: left out, since not read as pictures: %s", folder, _by_suffix(left_out))
    if not images:
        raise UserError(
            f"{folder}: holds no picture at any depth; PNG, JPEG, WebP, AVIF, TIFF, GIF, BMP and"
            " PPM are read"
        )
    return images


def _by_suffix(left_out: Counter[str]) -> str:
    ordered = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number} {what}" for what, number in ordered)
