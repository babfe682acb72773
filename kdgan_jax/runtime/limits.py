"""How much memory reading a file may take, whatever the file says of itself."""

from pathlib import Path

MOST_PER_BYTE = 16  # bytes of arrays for each of the file's: what is stored may be compressed,
SLACK = 2**26  # or one number for many, of which small files have their share


def most_bytes(path: str | Path) -> int:
    """Returns how many bytes of arrays may come out of a file, or out of all files in a folder."""
    path = Path(path)
    files = path.rglob("*") if path.is_dir() else [path]
    return SLACK + MOST_PER_BYTE * sum(file.stat().st_size for file in files if file.is_file())
