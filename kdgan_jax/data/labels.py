"""Outputs of teachers that are computed once and stored: one image of HR size per photo.

A folder holds two files for each set of labels: NAME.json (what they were made from, and at the end
the SHA-256 of the rows) and NAME.rows (the rows of all photos, see `data.buffers`). While they are
being made there is also NAME.done, with a checksum of each photo's rows. So a stopped run
continues, with any number of processes, and computes again what did not reach the disk.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdgan_jax.data.buffers import Buffers
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import read_json, sha256, write_json
from kdgan_jax.workdir import lock

Facts = Mapping[str, Any]  # what labels are made from, as JSON values

CHECKSUM = np.dtype("<u8")  # of a photo's rows in NAME.done; 0 for a photo without a label
WITHOUT_ALLOCATION = errno.EINVAL, errno.EOPNOTSUPP  # of file systems that cannot reserve space


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
        return int(self.ends[-1]) * self._row_bytes

    @property
    def complete(self) -> bool:
        """Whether all labels are there and sealed.

        Raises:
          UserError: the labels there were made from something else.
        """
        return "sha256" in (self._saved() or {})

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Makes the folder, and keeps other commands from writing to it inside the block.

        Raises:
          UserError: another command writes to it, or it cannot be made.
        """
        with self._explained():
            self.folder.mkdir(parents=True, exist_ok=True)
        with lock.alone(self.folder):
            yield

    def begin(self) -> None:
        """Makes the files unless they exist, with all the space that they will take.

        Raises:
          UserError: the labels there were made from something else, or the disk is too small.
        """
        if self._saved() is not None:
            return
        rows, done = self._path("rows"), self._path("done")
        with self._explained():
            for path in rows, done:
                path.unlink(missing_ok=True)
            free = shutil.disk_usage(self.folder).free
            if free < self.bytes:
                raise OSError(errno.ENOSPC, f"only {free / 2**20:,.0f} MB are free")
            try:
                _allocate(rows, self.bytes)
                done.write_bytes(bytes(self._done_bytes))
                write_json(self._path("json"), dict(self.facts))
            except OSError:
                rows.unlink(missing_ok=True)
                raise

    def missing(self) -> list[int]:
        """Returns the photos without an intact label; none if the labels are sealed.

        Raises:
          UserError: the labels are damaged, or made from something else.
        """
        if self.complete:
            return []
        self._check_size("rows", self.bytes)
        self._check_size("done", self._done_bytes)
        rows = self._mapped()
        checksums = np.fromfile(self._path("done"), CHECKSUM).tolist()
        return [
            photo
            for photo, checksum in enumerate(checksums)
            if not checksum or checksum != _checksum(rows[self._begin(photo) : self.ends[photo]])
        ]

    def write(self, photo: int, rows: np.ndarray) -> None:
        """Stores the rows (P, channels) of one photo.

        Raises:
          UserError: they cannot be written.
        """
        rows = np.ascontiguousarray(rows, self.dtype)
        places = {
            "rows": (self._begin(photo) * self._row_bytes, rows.tobytes()),
            "done": (photo * CHECKSUM.itemsize, np.array(_checksum(rows), CHECKSUM).tobytes()),
        }
        with self._explained():
            for suffix, (place, content) in places.items():
                with self._path(suffix).open("rb+") as file:
                    file.seek(place)
                    file.write(content)

    def finish(self) -> None:
        """Seals the labels, unless they are.

        Raises:
          UserError: a photo has no label, or the seal cannot be written.
        """
        if self.complete:
            return
        if missing := self.missing():
            raise UserError(
                f"{self._path('rows')}: {len(missing)} of {len(self.ends)} photos have no label;"
                " run the same command to continue"
            )
        with self._explained():
            with self._path("rows").open("rb+") as file:
                os.fsync(file.fileno())
            digest = sha256(self._path("rows"))
            write_json(self._path("json"), {**self.facts, "sha256": digest})
            self._path("done").unlink(missing_ok=True)

    def load(self) -> np.ndarray:
        """Returns all rows (P, channels), memory-mapped.

        Raises:
          UserError: the labels are incomplete, damaged, or made from something else.
        """
        self._check_size("rows", self.bytes)
        if sha256(self._path("rows")) != (self._saved() or {}).get("sha256"):
            raise self._damaged("rows", "its bytes do not match the SHA-256 beside it")
        return self._mapped()

    @property
    def _row_bytes(self) -> int:
        return self.channels * np.dtype(self.dtype).itemsize

    @property
    def _done_bytes(self) -> int:
        return len(self.ends) * CHECKSUM.itemsize

    def _begin(self, photo: int) -> int:
        return int(self.ends[photo - 1]) if photo else 0

    def _path(self, suffix: str) -> Path:
        return self.folder / f"{self.name}.{suffix}"

    def _mapped(self) -> np.ndarray:
        shape = int(self.ends[-1]), self.channels
        return np.memmap(self._path("rows"), self.dtype, "r", 0, shape)

    def _check_size(self, suffix: str, wanted: int) -> None:
        path = self._path(suffix)
        size = path.stat().st_size if path.is_file() else 0
        if size != wanted:
            raise self._damaged(suffix, f"it has {size:,} bytes instead of {wanted:,}")

    def _damaged(self, suffix: str, reason: str) -> UserError:
        return UserError(
            f"{self._path(suffix)}: the labels are damaged ({reason}); remove {self.name}.* there"
            " and run the same command to make them again"
        )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns errors of the disk into a UserError."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.folder}: the labels {self.name} cannot be written ({error}); they need"
                f" {self.bytes / 2**20:,.0f} MB; those already made are kept, so free some space"
                " and run the same command to continue, or choose another folder for labels"
            ) from None

    def _saved(self) -> dict[str, Any] | None:
        """Returns the facts of the labels there, None if there are none.

        Raises:
          UserError: they were made from something else, or their file is damaged.
        """
        if not self._path("json").exists():
            return None
        try:
            saved = read_json(self._path("json"))
        except ValueError as error:
            raise self._damaged("json", str(error)) from None
        for name, value in self.facts.items():
            if saved.get(name) != value:
                what = " (the LR images that config.data describes)" if name == "photos" else ""
                raise UserError(
                    f"{self._path('json')}: these labels were made with another {name!r}{what}:"
                    f" {_short(saved.get(name))} there, {_short(value)} now; choose another folder"
                    f" for labels, or remove {self.name}.* there"
                )
        return saved


def _allocate(path: Path, size: int) -> None:
    """Makes a file of `size` bytes, all zero, and reserves its space where the system can."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno not in WITHOUT_ALLOCATION:
                    raise
        file.truncate(size)


def _checksum(rows: np.ndarray) -> int:
    """Returns a number above 0 that tells rows from others."""
    return zlib.crc32(rows.data) + 1


def _short(value: Any) -> str:
    """Returns a value as text; of a long one, such as a digest, the beginning."""
    text = str(value)
    return f"{text[:12]}..." if len(text) > 32 else text


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
