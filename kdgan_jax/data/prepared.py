"""A file of decoded photos that is mapped into memory, so that a second run starts in seconds.

The file consists of a line that names the format, a line of JSON (the header), and the bytes of the
rows of `Buffers`. The header lists the photos with hashes of their files, the scale, how the photos
were copied, and a SHA-256 of its other entries and the rows.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kdgan_jax.config.settings import DataConfig
from kdgan_jax.data import buffers
from kdgan_jax.data.buffers import Buffers
from kdgan_jax.data.holdout import Photos
from kdgan_jax.data.photos import Photo, image_digest
from kdgan_jax.data.sources import (
    PACKAGED,
    TFDS,
    check_weights,
    entries,
    large_enough,
    of_source,
    split_kind,
)
from kdgan_jax.formats.reading import UNUSABLE
from kdgan_jax.layouts import places
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import replacing

FORMAT = "kdgan_jax.photos 1, LR by MATLAB's bicubic"
MAX_HEADER = 2**28  # bytes; about a million photos
COMMAND = "python -m kdgan_jax.prepare"
# How files are made that do not say so, since they are older.
OLD = {
    **{"degradation": "none", "copies": 1, "holdout_copies": 1, "crop": 0},
    **{"recolour": False, "plain": "hr", "entries": 1},
}


def _entry(photo: Photo, role: str, digests: dict[int, str | None]) -> dict[str, Any]:
    entry = {
        "name": photo.name,
        "role": role,
        "size": list(photo.size),
        "hr": digests[id(photo.hr)],
        "lr": digests[id(photo.lr)],
        "entry": photo.entry,
    }
    return entry | ({"photo": photo.copy.photo} if photo.copy else {})


def _digest(header: dict[str, Any], arrays: Iterable[np.ndarray]) -> str:
    """Returns the SHA-256 of a header without its "sha256", and of the arrays."""
    entries = {name: value for name, value in header.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(entries).encode())
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
    """Decodes the photos of a run and writes them; returns the number of bytes of the file.

    Args:
      path: of the file, which appears only when it is complete.
      photos: from `sources.gather`.
      data: the source of the photos, and how they are copied.
      scale: HR size over LR size.
      on_photo: called with the name of each decoded photo.

    Raises:
      UserError: too many photos cannot be used.
    """
    decoded, kept = buffers.build(
        [*photos.train, *photos.holdout], scale, data.max_bad_fraction, "the photos", on_photo
    )
    held_out = {id(photo) for photo in photos.holdout}  # two folders may hold the same names
    source = _absolute(data.source)
    images = {id(image): image for photo in kept for image in (photo.hr, photo.lr)}
    digests = {key: image_digest(image) for key, image in images.items()}  # once for all copies
    header = {
        "scale": scale,
        "source": source,
        "plain": data.plain,
        "entries": len(entries(source)),
        **_copying(data),
        "found": len(_current(source, scale, data.plain)),
        "photos": [_entry(p, "holdout" if id(p) in held_out else "train", digests) for p in kept],
        "images": {name: list(rows.shape) for name, rows in decoded.rows.items()},
    }
    header["sha256"] = _digest(header, decoded.rows.values())
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(f"{FORMAT}\n{json.dumps(header)}\n".encode())
        for rows in decoded.rows.values():
            file.write(rows.data)
    return Path(path).stat().st_size


def _absolute(source: str) -> str:
    """Returns `source` with absolute paths of folders."""
    absolute = []
    for entry in entries(source):
        kind, path = split_kind(entry)
        is_folder = entry not in PACKAGED and not entry.startswith(TFDS)
        paths = ":".join(os.path.abspath(root) for root in _named(path, kind))
        absolute.append(f"{kind}:{paths}".lstrip(":") if is_folder else entry)
    return ",".join(absolute)


def _named(path: str, kind: str) -> list[str]:
    """Returns the path, or the two of the pairs in two folders."""
    two = places.roots(path, kind)
    return [path] if len(two) == 1 else [str(root) for root in two]


def _copying(data: DataConfig) -> dict[str, Any]:
    """Returns how photos are copied."""
    return {
        "degradation": ",".join(data.levels),
        "copies": data.copies,
        "holdout_copies": data.holdout_copies if data.copied else 1,
        "crop": data.crop,
        "recolour": data.recolour,
    }


def load(path: str | Path, scale: int, data: DataConfig | None = None) -> tuple[Buffers, Photos]:
    """Returns the training photos of a file, decoded, and a list of all its photos.

    In the list, training photos are only named, and held-out photos are decoded.

    Args:
      path: of the file.
      scale: HR size over LR size.
      data: what the run asks for; None takes any.

    Raises:
      UserError: the file is missing, of another format or scale, truncated or altered, its photos
        still exist and have changed, or it was made for another `data`.
    """
    path = Path(path)
    try:
        header, start = _header(path)
        if header["scale"] != scale:
            raise ValueError(f"it is for scale {header['scale']}, config.scale is {scale}")
        rows = _rows(path, start, header)
        names, sizes, roles, numbers = _listed(header)
        sides = np.array(sizes, np.int64).reshape(-1, 2) // scale
        if data:
            _refuse_other(path, header, data)
        _refuse_changed(path, header)
    except UserError:
        raise
    except UNUSABLE as error:
        raise UserError(
            f"{path}: cannot be used as a file of prepared photos ({error}); make it with {COMMAND}"
        ) from None
    lengths = sides[:, 0] * sides[:, 1]
    begins = {name: _begins(lengths, _has(header, name)) for name in rows}
    decoded = Buffers(rows, sides, begins)
    train, holdout = [], []
    for i, (name, size, role) in enumerate(zip(names, sizes, roles, strict=True)):
        has_hr = "hr" in rows and decoded.has("hr")[i]
        photo = Photo(name, Path(name) if has_hr else None, Path(name), size, entry=numbers[i])
        if role == "train":
            train.append(photo)
        else:
            hr = decoded.image("hr", i) if has_hr else None
            holdout.append(photo._replace(hr=hr, lr=decoded.image("lr", i)))
    return decoded.select(list(range(len(train)))), Photos(train, holdout)


def open_for(data: DataConfig, scale: int, largest_patch: int) -> tuple[Buffers, Photos]:
    """Returns what `load` does for the file `data.prepared`, without photos that are too small.

    Training photos smaller than the patch are logged and skipped.

    Args:
      data: names the file, and how its photos are to be copied and weighted.
      scale: HR size over LR size.
      largest_patch: side of the run's largest HR patch.

    Raises:
      UserError: the file cannot be used, or too many of its photos cannot.
    """
    decoded, photos = load(data.prepared, scale, data)
    train = large_enough(
        photos.train,
        largest_patch,
        scale,
        len(photos.holdout),
        data.max_bad_fraction,
        data.prepared,
    )
    check_weights(data.weights, train, data.prepared)
    kept = {id(photo) for photo in train}
    indices = [i for i, photo in enumerate(photos.train) if id(photo) in kept]
    return decoded.select(indices), Photos(train, photos.holdout)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Returns the header of a file, and the position where its rows begin."""
    if path.exists() and not (path.is_file() or path.is_dir()):  # opening a pipe would wait
        raise ValueError("it is not a file")
    with path.open("rb") as file:
        first = file.readline(len(FORMAT) + 1)
        if first != f"{FORMAT}\n".encode():
            raise ValueError(f"it does not begin with {FORMAT!r}")
        line = file.readline(MAX_HEADER)
        if not line.endswith(b"\n"):
            raise ValueError("its header is truncated")
        return json.loads(line), file.tell()


def _listed(
    header: dict[str, Any],
) -> tuple[list[str], list[tuple[int, int]], list[str], list[int]]:
    """Returns names, sizes, roles and entries of the source of the photos in a header."""
    names = [photo["name"] for photo in header["photos"]]
    sizes = [(height, width) for height, width in (photo["size"] for photo in header["photos"])]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("its photos have no names")
    if not all(type(side) is int and side >= 0 for size in sizes for side in size):
        raise ValueError("its photos have no sizes")
    numbers = [photo.get("entry", 0) for photo in header["photos"]]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("its photos are of no entry of the source")
    return names, sizes, [photo["role"] for photo in header["photos"]], numbers


def _has(header: dict[str, Any], name: str) -> np.ndarray:
    """Returns which photos of a header have an image, (N,) bool; LR is made where it is missing."""
    return np.array([name == "lr" or p[name] is not None for p in header["photos"]], bool)


def _begins(lengths: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Returns each photo's first row, -1 for those that lack the image."""
    used = np.where(present, lengths, 0)
    return np.where(present, np.cumsum(used) - used, -1)


def _rows(path: Path, start: int, header: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns the rows, memory-mapped, after checking their size and hash."""
    scale, photos = header["scale"], header["photos"]
    lengths = np.array([(p["size"][0] // scale) * (p["size"][1] // scale) for p in photos], object)
    if [photo["role"] for photo in photos] != sorted((p["role"] for p in photos), reverse=True):
        raise ValueError("its photos are out of order")
    shapes = {name: tuple(map(int, shape)) for name, shape in header["images"].items()}
    totals = {name: int(lengths[_has(header, name)].sum()) for name in ("lr", "hr")}
    expected_shapes = {"lr": (totals["lr"], 3), "hr": (totals["hr"], 3 * scale**2)}
    if shapes != {
        name: shape for name, shape in expected_shapes.items() if shape[0] or name == "lr"
    }:
        raise ValueError("the shapes of its images do not match the sizes of its photos")
    expected = start + sum(length * channels for length, channels in shapes.values())
    if path.stat().st_size != expected:
        raise ValueError(f"it has {path.stat().st_size:,} bytes instead of {expected:,}")
    rows: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        rows[name] = np.memmap(path, np.uint8, "r", start, shape)
        start += shape[0] * shape[1]
    if _digest(header, rows.values()) != header["sha256"]:
        raise ValueError("its contents do not match its SHA-256")
    return rows


def _current(source: str, scale: int, plain: str) -> list[Photo]:
    """Returns the photos that `source` has now, without those of TFDS, which have no files."""
    try:
        return of_source(source, scale, plain)[0]
    except (UserError, OSError):  # removed or inaccessible
        return []


def _refuse_other(path: Path, header: dict[str, Any], data: DataConfig) -> None:
    """Raises a UserError if a file was made for other copies, or for another number of weights."""
    made = OLD | header
    for field, value in _copying(data).items():
        if made[field] != value:
            raise UserError(
                f"{path}: was made with config.data.{field}={made[field]!r}, but the config asks"
                f" for {value!r}; set it to the same, or make the file again with {COMMAND}"
            )
    if data.weights and len(data.weights) != made["entries"]:
        raise UserError(
            f"{path}: was made from a source of {made['entries']} entries, but"
            f" config.data.weights={tuple(data.weights)} has {len(data.weights)}; give as many, or"
            f" make the file again with {COMMAND}"
        )


def _refuse_changed(path: Path, header: dict[str, Any]) -> None:
    """Raises a UserError if the photos of a file still exist and have changed."""
    current = _current(header["source"], header["scale"], header.get("plain", OLD["plain"]))
    if not current:
        return
    without_files = [n for n, word in enumerate(entries(header["source"])) if word.startswith(TFDS)]
    changed = ""
    if len(current) != header["found"]:
        changed = f"{len(current)} photos instead of {header['found']}"
    known = {(p.name, image_digest(p.hr), image_digest(p.lr)) for p in current}
    for entry in header["photos"]:
        name = entry.get("photo", entry["name"])
        if (
            entry.get("entry") not in without_files
            and (name, entry["hr"], entry["lr"]) not in known
        ):
            changed = repr(name)
    if changed:
        raise UserError(
            f"{path}: its photos have changed since it was made ({changed}); make it again with"
            f" {COMMAND}"
        )
