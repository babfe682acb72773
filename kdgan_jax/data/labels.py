"""Outputs of teachers that are computed once and stored: one image of HR size per photo.

A folder holds three files for each teacher: NAME.json (what the labels were made from, and at the
end their SHA-256), NAME.rows (the rows of all photos, see `data.buffers`), and while labels are
being made NAME.done, a byte for each photo. So a stopped run continues, with any number of
processes.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from kdgan_jax.data.buffers import Buffers
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import read_json, sha256, write_json

Facts = Mapping[str, Any]  # what labels are made from, as JSON values


class Labels(NamedTuple):
    """The labels of one teacher in a folder.

    Attributes:
      folder: that holds them.
      name: of their files, without suffix.
      facts: what they are made from; labels of other facts are refused.
      ends: (N,) int64, the end of each photo's rows.
      channels: numbers in a row, 3 * scale².
      dtype: "uint8" or "float16".
    """

    folder: Path
    name: str
    facts: Facts
    ends: np.ndarray
    channels: int
    dtype: str

    @property
    def bytes(self) -> int:
        """The number of bytes of all rows."""
        return int(self.ends[-1]) * self.channels * np.dtype(self.dtype).itemsize

    def _path(self, suffix: str) -> Path:
        return self.folder / f"{self.name}.{suffix}"

    def begin(self) -> None:
        """Makes the files unless they exist, with all the space that they will take.

        Raises:
          UserError: the labels there were made from something else, or the disk is too small.
        """
        if self._state() != "new":
            return
        for suffix, size in {"rows": self.bytes, "done": len(self.ends)}.items():
            with self._changing(suffix) as file:
                file.truncate(0)
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                file.truncate(size)
        write_json(self._path("json"), dict(self.facts))

    def missing(self) -> list[int]:
        """Returns the photos that have no label yet; none if the labels are sealed."""
        if self._state() == "complete":
            return []
        done = np.fromfile(self._path("done"), np.uint8)
        return np.flatnonzero(done == 0).tolist()

    @contextlib.contextmanager
    def _changing(self, suffix: str) -> Iterator[BinaryIO]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._path(suffix).touch()
            with self._path(suffix).open("rb+") as file:
                yield file
        except OSError as error:
            raise UserError(
                f"{self._path(suffix)}: cannot be written ({error}); the labels need"
                f" {self.bytes / 2**20:,.0f} MB: free some space, or set config.data.labels to a"
                " folder elsewhere, and run the same command to continue"
            ) from None

    def write(self, photo: int, rows: np.ndarray) -> None:
        """Stores the rows (P, channels) of one photo."""
        begin = 0 if photo == 0 else int(self.ends[photo - 1])
        row_bytes = self.channels * np.dtype(self.dtype).itemsize
        with self._changing("rows") as file:
            file.seek(begin * row_bytes)
            file.write(np.ascontiguousarray(rows, self.dtype).data)
        with self._changing("done") as file:
            file.seek(photo)
            file.write(b"\1")

    def finish(self) -> None:
        """Seals the labels, unless they are, after all photos have one."""
        if self._state() == "complete":
            return
        digest = sha256(self._path("rows"))
        write_json(self._path("json"), {**self.facts, "sha256": digest})
        self._path("done").unlink(missing_ok=True)

    def load(self) -> np.ndarray:
        """Returns all rows (P, channels), memory-mapped.

        Raises:
          UserError: the labels are incomplete, damaged, or made from something else.
        """
        path = self._path("rows")
        facts = read_json(self._path("json")) if self._state() == "complete" else {}
        if path.stat().st_size != self.bytes or sha256(path) != facts.get("sha256"):
            raise UserError(
                f"{path}: the labels are damaged; remove {self.name}.* in {self.folder}"
            )
        return np.memmap(path, self.dtype, "r", 0, (int(self.ends[-1]), self.channels))

    def _state(self) -> str:
        """Returns "new", "partial" or "complete".

        Raises:
          UserError: the labels there were made from something else.
        """
        try:
            facts = read_json(self._path("json"))
        except ValueError:
            return "new"
        complete = facts.pop("sha256", None) is not None
        for name, value in self.facts.items():
            if facts.get(name) != value:
                raise UserError(
                    f"{self._path('json')}: these labels were made with another {name}"
                    f" ({facts.get(name)!r} there, {value!r} now); remove {self.name}.* there, or"
                    " set config.data.labels to another folder"
                )
        return "complete" if complete else "partial"


def photos_digest(photos: Buffers) -> str:
    """Returns the SHA-256 of the LR images of photos, which are all that a teacher sees."""
    digest = hashlib.sha256(np.ascontiguousarray(photos.sides).data)
    pixels = photos.sides[:, 0] * photos.sides[:, 1]
    for begin, length in zip(photos.begins["lr"], pixels, strict=True):
        digest.update(np.ascontiguousarray(photos.rows["lr"][begin : begin + length]).data)
    return digest.hexdigest()


def joined(photos: Buffers, rows_by_name: Mapping[str, np.ndarray]) -> Buffers:
    """Returns photos with labels as further images, by the names of their teachers."""
    pixels = photos.sides[:, 0] * photos.sides[:, 1]
    begins = dict.fromkeys(rows_by_name, np.cumsum(pixels) - pixels)
    return photos._replace(rows={**photos.rows, **rows_by_name}, begins={**photos.begins, **begins})
