"""Limits on the memory that reading a file may take, whatever the file claims to contain."""

from pathlib import Path

# Bytes of arrays per byte of a file: stored data may be compressed.
MOST_PER_BYTE = 16
# A small file may store one number that stands for many; this much is always allowed.
SLACK = 2**26


def most_bytes(path: str | Path) -> int:
    """Returns how many bytes of arrays may come out of a file, or of all files in a folder."""
    path = Path(path)
    files = path.rglob("*") if path.is_dir() else [path]
    return SLACK + MOST_PER_BYTE * sum(file.stat().st_size for file in files if file.is_file())
