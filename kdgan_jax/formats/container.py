"""What a file is, told by its content: a format that is read, or the name of another."""

import contextlib
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from kdgan_jax.formats.reading import unreadable
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import read_json
from kdgan_jax.runtime.limits import most_bytes

HEAD = 1024  # bytes from which a file is told
MOST_INDEX = 2**26  # bytes of an index of shards
MOST_MEMBERS = 1000  # of a zip archive, among which a model is looked for
DOWNLOAD = "download the file again"
UNPACK = "unpack it, and give the file of weights"
JOIN = "join the shards into one file, and give that"
FLOATS = "give the float weights, as PyTorch or safetensors"
# By the first bytes of a format that is read, its name.
READ = {
    rb".{6}\0\0\{": "safetensors",  # after 8 bytes with the length of its header
    rb"PK\x03\x04": "zip",
    rb"\x80[\x02-\x05]": "PyTorch",
    rb"\x89HDF\r\n\x1a\n": "Keras",
    rb"\n[\x80-\xff]*[\0-\x7f]\n": "TensorFlow",  # a GraphDef: a node, which starts with its name
    rb"\s*7767517\s": "ncnn",
}
# By the first bytes of others, what they are and what to do.
OTHERS = {
    rb"\Z": ("an empty file", DOWNLOAD),
    rb"\s*version https://git-lfs": ("a pointer of Git LFS, not the file", "run git lfs pull"),
    rb"(\xef\xbb\xbf)?\s*<": ("a web page or XML text, not the file", DOWNLOAD),
    rb"\x08\x01\x12": ("TensorFlow's SavedModel", FLOATS),
    rb"\x08[\x02-\x1f](\x12[\x01-\x40][ -~]{2}|[\x1a-\x3a])": ("an ONNX model", FLOATS),
    rb"\x08[\x01-\x1f]\x12": ("a Core ML model", FLOATS),
    rb".{4}TFL3": ("a TensorFlow Lite model", FLOATS),
    rb"GGUF": ("a GGUF file", FLOATS),
    rb"\x93NUMPY": ("a NumPy array", FLOATS),
    rb"\x47\x6b\x30\x01": ("weights for ncnn", "give the .param beside it"),
    rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd": ("a packed archive", UNPACK),
    rb".{257}ustar": ("a tar archive", UNPACK),
    rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF.{4}WEBP|BM.{4}\0{4}": ("a picture", "give a file of weights"),
}


def kind(path: str | Path) -> str:
    """Returns the name of a file's format, as in `READ`; "" for all that is not read.

    A zip archive is "PyTorch" if PyTorch's pickle is in it, otherwise "zip".

    Raises:
      UserError: the file cannot be opened.
    """
    head = _head(path)
    for pattern, name in READ.items():
        if re.match(pattern, head, re.DOTALL):
            pickled = name == "zip" and (not zipfile.is_zipfile(path) or _members(path, "data.pkl"))
            return "PyTorch" if pickled else name
    return ""


def check_whole(path: Path) -> None:
    """Refuses one of several files of a model.

    Raises:
      UserError: the name says so.
    """
    shard = re.search(r"\b(\d+)-of-(\d+)\b", path.name)
    if shard and int(shard[2]) > 1:
        raise UserError(f"{path}: is shard {int(shard[1])} of {int(shard[2])} of a model; {JOIN}")


def refusal(path: Path) -> UserError:
    """Returns the error that says what a file of no format that is read is."""
    head = _head(path)
    for pattern, (what, advice) in OTHERS.items():
        if re.match(pattern, head, re.DOTALL):
            return UserError(f"{path}: is {what}; {advice}")
    with contextlib.suppress(TypeError, ValueError):
        is_short = head.lstrip().startswith(b"{") and path.stat().st_size < MOST_INDEX
        index = read_json(path) if is_short else {}
        shards = sorted({str(name)[:100] for name in dict(index.get("weight_map", {})).values()})
        if shards:
            return UserError(
                f"{path}: is an index of {len(shards)} shards ({', '.join(shards[:3])}) without"
                f" weights; {JOIN}"
            )
    if path.with_suffix(".param").is_file():
        return UserError(f"{path}: is a part of a model for ncnn; give the .param beside it")
    text = head.decode("utf-8", "ignore").strip()
    if text and all(c.isprintable() or c.isspace() for c in text) and b"\0" not in head:
        return UserError(f"{path}: is a text that starts with {text[:60]!r}; {DOWNLOAD}")
    known = ", ".join(name for name in dict.fromkeys(READ.values()) if name != "zip")
    return UserError(f"{path}: has none of the formats that are read ({known}); {DOWNLOAD}")


@contextlib.contextmanager
def unzipped(path: Path) -> Iterator[Path]:
    """Yields the one model in a zip archive as a temporary file.

    Raises:
      UserError: the archive holds no model or several, is damaged, or is larger than it says. Also
        in place of one that names the temporary file: it names the archive instead.
    """
    with tempfile.TemporaryDirectory() as folder:
        inner = _extract(path, Path(folder))
        try:
            yield inner
        except UserError as error:
            raise UserError(str(error).replace(str(inner), f"{path}: {inner.name}")) from None


def _head(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); give another") from None


def _members(path: str | Path, *names: str) -> list[str]:
    """Returns the paths in a zip archive that end in one of `names`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [n for n in archive.namelist() if PurePosixPath(n).name in names]
    except Exception as error:  # a hostile archive can raise anything
        raise unreadable(path, "a zip archive", error) from None


def _extract(path: Path, folder: Path) -> Path:
    """Writes the one model in a zip archive into `folder`; an ncnn model takes its .bin along."""
    limit = most_bytes(path)

    def write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, size: int = limit + 1) -> Path:
        target = folder / (PurePosixPath(member.filename).name or "model")
        with archive.open(member) as file:
            target.write_bytes(file.read(size))
        return target

    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()][:MOST_MEMBERS]
            models = [m for m in members if kind(write(archive, m, HEAD)) not in ("", "zip")]
            if len(models) != 1:
                names = ", ".join(m.filename[:60] for m in (models or members)[:4])
                raise UserError(
                    f"{path}: is a zip archive with {len(models) or 'no'} model"
                    f"{'s' * (len(models) != 1)} in it ({names}); {UNPACK}"
                )
            stem = PurePosixPath(models[0].filename).with_suffix("")
            beside = [m for m in members if m.filename == f"{stem}.bin" and m is not models[0]]
            for member in (*models, *beside):
                if write(archive, member).stat().st_size > limit:
                    raise ValueError(f"{member.filename[:60]} takes more than {limit:,} bytes")
            return folder / PurePosixPath(models[0].filename).name
    except UserError:
        raise
    except Exception as error:  # a hostile archive can raise anything
        raise unreadable(path, "a zip archive", error) from None
