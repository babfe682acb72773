"""Decoded photos in one file, which is mapped into memory: a second run starts in seconds.

The file is a line that names the format, a line of JSON, and the bytes of the arrays of `Buffers`.
The JSON has the photos with hashes of the files that they were made of, the scale, and a SHA-256 of
its other entries and the bytes.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kdgan_jax.config.settings import DataConfig
from kdgan_jax.data import buffers as flat
from kdgan_jax.data import embedded
from kdgan_jax.data import photos as sources
from kdgan_jax.data.buffers import Buffers
from kdgan_jax.data.photos import Photo, Photos
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import replacing

FORMAT = "kdgan_jax.photos 1, LR by MATLAB's bicubic"
LONGEST_HEADER = 2**28  # bytes; about a million photos
# What reading a file leads to that is missing, or whose JSON is of another form.
UNUSABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)


def _facts(photo: Photo, role: str) -> dict[str, Any]:
    return {
        "name": photo.name,
        "role": role,
        "size": list(photo.size),
        "hr": sources.digest(photo.hr),
        "lr": sources.digest(photo.lr),
    }


def _digest(header: dict[str, Any], arrays: Iterable[np.ndarray]) -> str:
    """Returns the SHA-256 of what a header says, but for "sha256", and of the arrays."""
    said = {name: value for name, value in header.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(said).encode())
    for array in arrays:
        digest.update(array.data)
    return digest.hexdigest()


def save(
    path: str | Path,
    photos: Photos,
    data: DataConfig,
    scale: int,
    on_photo: Callable[[str], None] = lambda name: None,
) -> int:
    """Decodes the photos of a run and writes them; returns the file's bytes.

    Args:
      path: the file, which appears when it is complete.
      photos: of `photos.gather`.
      data: where the photos come from.
      scale: HR over LR.
      on_photo: called with the name of each photo that is decoded.

    Raises:
      UserError: too many photos cannot be used.
    """
    both = [*photos.train, *photos.holdout]
    built, kept = flat.build(both, scale, data.max_bad_fraction, "the photos", on_photo)
    held_out = {id(photo) for photo in photos.holdout}  # names may be the same in two folders
    header = {
        "scale": scale,
        "source": _absolute(data.source),
        "found": len(_found(_absolute(data.source), scale)),
        "photos": [_facts(p, "holdout" if id(p) in held_out else "train") for p in kept],
        "images": {name: list(array.shape) for name, array in built.rows.items()},
    }
    header["sha256"] = _digest(header, built.rows.values())
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(f"{FORMAT}\n{json.dumps(header)}\n".encode())
        for array in built.rows.values():
            file.write(array.data)
    return Path(path).stat().st_size


def _absolute(source: str) -> str:
    """Returns `source` with folders by their whole paths, to find them again."""
    if source == "embedded" or source.startswith("tfds:"):
        return source
    return ",".join(str(Path(folder.strip()).resolve()) for folder in source.split(","))


def load(path: str | Path, scale: int) -> tuple[Buffers, Photos]:
    """Returns the photos of a file, all in one; `Photos.train` come first.

    HR of photos to train on is their path alone; those held out are decoded.

    Raises:
      UserError: the file is missing, of another format or scale, cut short, altered, or made of
        photos that are here and have changed.
    """
    path = Path(path)
    try:
        header, start = _header(path)
        if header["scale"] != scale:
            raise ValueError(f"it is for scale {header['scale']}, config.scale is {scale}")
        rows = _rows(path, start, header)
        names, sizes, roles = _listed(header)
        _refuse_stale(path, header)
    except UserError:
        raise
    except UNUSABLE as error:
        raise UserError(
            f"{path}: is no file of prepared photos that can be used ({error}); make it with"
            " python -m kdgan_jax.prepare"
        ) from None
    sides = np.array(sizes, np.int64).reshape(-1, 2) // scale
    ends = np.cumsum(sides[:, 0] * sides[:, 1])
    whole = Buffers(rows, sides, dict.fromkeys(rows, ends - sides[:, 0] * sides[:, 1]))
    train, holdout = [], []
    for i, name in enumerate(names):
        if roles[i] == "train":
            train.append(Photo(name, Path(name), None, sizes[i]))
        else:
            hr, lr = whole.image("hr", i), whole.image("lr", i)
            holdout.append(Photo(name, hr, lr, sizes[i]))
    return whole.select(list(range(len(train)))), Photos(train, holdout)


def open_for(data: DataConfig, scale: int, largest_patch: int) -> tuple[Buffers, Photos]:
    """Returns the photos of the file `data.prepared` for a run; `Buffers` are those to train on.

    Photos smaller than the patch are named, skipped and counted.

    Args:
      data: names the file.
      scale: HR over LR.
      largest_patch: side of the largest HR patch that will be cut.

    Raises:
      UserError: the file cannot be used, or too many of its photos.
    """
    decoded, photos = load(data.prepared, scale)
    train = sources.large_enough(
        photos.train, largest_patch, len(photos.holdout), data.max_bad_fraction, data.prepared
    )
    kept = {id(photo) for photo in train}
    which = [i for i, photo in enumerate(photos.train) if id(photo) in kept]
    return decoded.select(which), Photos(train, photos.holdout)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Returns the JSON of a file, and where its arrays begin."""
    if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would be waited for
        raise ValueError("it is no file")
    with path.open("rb") as file:
        first = file.readline(len(FORMAT) + 1)
        if first != f"{FORMAT}\n".encode():
            raise ValueError(f"it does not begin with {FORMAT!r}")
        line = file.readline(LONGEST_HEADER)
        if not line.endswith(b"\n"):
            raise ValueError("it is cut short")
        return json.loads(line), file.tell()


def _listed(header: dict[str, Any]) -> tuple[list[str], list[tuple[int, int]], list[str]]:
    """Returns names, sizes and roles of the photos that a header lists."""
    names = [photo["name"] for photo in header["photos"]]
    sizes = [(height, width) for height, width in (photo["size"] for photo in header["photos"])]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("its photos have no names")
    if not all(type(side) is int and side >= 0 for size in sizes for side in size):
        raise ValueError("its photos have no sizes")
    return names, sizes, [photo["role"] for photo in header["photos"]]


def _rows(path: Path, start: int, header: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns the arrays, mapped; their number of bytes and hash are as they should be."""
    scale, photos = header["scale"], header["photos"]
    total = sum((h // scale) * (w // scale) for h, w in (photo["size"] for photo in photos))
    if [photo["role"] for photo in photos] != sorted((p["role"] for p in photos), reverse=True):
        raise ValueError("its photos are out of order")
    shapes = {name: tuple(map(int, shape)) for name, shape in header["images"].items()}
    if shapes != {"lr": (total, 3), "hr": (total, 3 * scale**2)}:
        raise ValueError("its images do not have the sizes of its photos")
    needed = start + sum(rows * numbers for rows, numbers in shapes.values())
    if path.stat().st_size != needed:
        raise ValueError(f"it has {path.stat().st_size:,} bytes instead of {needed:,}")
    arrays: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        arrays[name] = np.memmap(path, np.uint8, "r", start, shape)
        start += shape[0] * shape[1]
    if _digest(header, arrays.values()) != header["sha256"]:
        raise ValueError("it has been altered: another SHA-256")
    return arrays


def _found(source: str, scale: int) -> list[Photo]:
    """Returns the photos of `source` that are here; none of a TFDS data set, which has no files."""
    if source.startswith("tfds:"):
        return []
    try:
        if source == "embedded":
            return sources.installed([*embedded.TRAIN, *embedded.HOLDOUT], scale)
        return sources.folders(source, scale)[0]
    except (UserError, OSError):  # gone, or out of reach
        return []


def _refuse_stale(path: Path, header: dict[str, Any]) -> None:
    """Raises a UserError if the photos that the file was made of are here, and are others now."""
    found = _found(header["source"], header["scale"])
    if not found:
        return
    changed = ""
    if len(found) != header["found"]:
        changed = f"{len(found)} instead of {header['found']}"
    here = {(photo.name, sources.digest(photo.hr), sources.digest(photo.lr)) for photo in found}
    for known in header["photos"]:
        if (known["name"], known["hr"], known["lr"]) not in here:
            changed = repr(known["name"])
    if changed:
        raise UserError(
            f"{path}: was made of photos that are others now ({changed}); make it again with"
            " python -m kdgan_jax.prepare"
        )
