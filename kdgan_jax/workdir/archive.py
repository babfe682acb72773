"""Runs in zip archives: a workdir, the folder of a phase, or one checkpoint."""

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.limits import most_bytes
from kdgan_jax.workdir.checkpoint import MANIFEST, META

MOST_ENTRIES = 100_000
AGAIN = "copy it again, or pack the run again"


def is_run(path: Path) -> bool:
    """Returns whether `path` is a zip archive with a checkpoint in it.

    Raises:
      UserError: a file with the suffix .zip is damaged.
    """
    if not path.is_file():
        return False
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            if path.suffix.lower() == ".zip" and file.read(2) == b"PK":
                raise UserError(f"{path}: is not a whole zip archive; {AGAIN}")
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(_checkpoints(archive))
    except Exception as error:  # a hostile archive can raise anything
        raise _damaged(path, error) from None


def extract(path: Path, folder: Path, *, whole: bool = True) -> Path:
    """Writes the run in a zip archive below `folder` and returns where it is.

    Args:
      path: a zip archive of a workdir, the folder of a phase, or a checkpoint, at any depth in it.
      folder: an empty one.
      whole: whether to write all files of the run, or its checkpoints alone.

    Raises:
      UserError: there is no checkpoint in it, or those of several runs; it is damaged; it has paths
        that lead out of it; or it is larger than a run may be.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            checkpoints = _checkpoints(archive)
            root = _root(path, checkpoints)
            places = {root} if whole else set(map(_phase_of, checkpoints))
            members = [m for m in archive.infolist() if not m.is_dir()]
            names = [PurePosixPath(member.filename) for member in members]
            if wrong := [n for n in names if n.is_absolute() or ".." in n.parts]:
                raise UserError(f"{path}: has a path that leads out of it, {str(wrong[0])[:60]!r}")
            inside = [
                (member, name.relative_to(root))
                for member, name in zip(members, names, strict=True)
                if any(name.is_relative_to(place) for place in places)
            ]
            size, most = sum(member.file_size for member, _ in inside), most_bytes(path)
            if len(inside) > MOST_ENTRIES or size > most:
                raise UserError(
                    f"{path}: says that it holds {len(inside):,} files of {size:,} bytes; at most"
                    f" {MOST_ENTRIES:,} files of {most:,} bytes are unpacked; unpack it yourself"
                )
            target = folder / (root.name or path.stem)
            for member, name in inside:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as file, (target / name).open("xb") as copy:
                    shutil.copyfileobj(file, copy)
            return target
    except UserError:
        raise
    except Exception as error:  # a hostile archive can raise anything
        if isinstance(error, OSError) and error.errno is not None:
            raise UserError(
                f"{path}: cannot be unpacked into {folder} ({error.strerror}); make room there, or"
                " set TMPDIR to another folder"
            ) from None
        raise _damaged(path, error) from None


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yields a temporary folder with the checkpoints of the run in a zip archive.

    Raises:
      UserError: as `extract`. Also in place of one that names the temporary folder: it names the
        archive instead.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = extract(path, Path(folder), whole=False)
        try:
            yield run
        except UserError as error:
            raise UserError(str(error).replace(str(run), str(path))) from None


def _checkpoints(archive: zipfile.ZipFile) -> list[PurePosixPath]:
    """Returns the folders of the checkpoints in an archive."""
    paths = {PurePosixPath(name) for name in archive.namelist()}
    return sorted(p.parent for p in paths if p.name == META and p.parent / MANIFEST in paths)


def _root(path: Path, checkpoints: list[PurePosixPath]) -> PurePosixPath:
    """Returns the folder of the run, phase or checkpoint in the archive at `path`."""
    roots = list(dict.fromkeys(map(_root_of, checkpoints)))
    if len(roots) == 1:
        return roots[0]
    named = f" ({', '.join(str(root)[:60] for root in roots[:4])})" if roots else ""
    raise UserError(
        f"{path}: holds {len(roots) or 'no'} run{'s' * (len(roots) != 1)}{named}; give a zip of one"
        " workdir, or of the folder of one phase"
    )


def _root_of(checkpoint: PurePosixPath) -> PurePosixPath:
    phase = _phase_of(checkpoint)
    return phase.parent.parent if phase.parent.name == "checkpoints" else phase


def _phase_of(checkpoint: PurePosixPath) -> PurePosixPath:
    """Returns the folder of a checkpoint's phase, or of the checkpoint if it has no step's name."""
    return checkpoint.parent if checkpoint.name.isdecimal() else checkpoint


def _damaged(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(f"{path}: cannot be unpacked ({reason}); {AGAIN}")
