"""Reads pictures from files: the one place that decodes pixels.

The pixels decide: a picture whose pixels can be decoded is read, whatever else in its file is
damaged, and one warning says what. EXIF orientations are applied. For upscaling, pictures keep
their depth and their colours; for training and measuring they become 8-bit sRGB.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from kdgan_jax.pictures import kinds, opening, profiles, samples
from kdgan_jax.pictures.picture import Picture
from kdgan_jax.pictures.samples import Samples
from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import UserError

BYTES_PER_PIXEL = 32  # most that reading takes; a picture has up to `Image.MAX_IMAGE_PIXELS`


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turns errors of decoders into a UserError that names the file."""
    try:
        yield
    except UserError:
        raise
    except samples.Unsupported as error:
        raise UserError(f"{path}: {error}") from None
    except MemoryError:
        raise UserError(f"{path}: takes more memory than there is; reduce its size") from None
    except Image.DecompressionBombError:
        raise UserError(
            f"{path}: more than {Image.MAX_IMAGE_PIXELS:,} pixels are not decoded; reduce its size"
        ) from None
    except Exception as error:  # damage makes Pillow raise struct.error, IndexError, EOFError, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        if reason.startswith("Unsupported"):  # Pillow's word
            raise UserError(f"{path}: {reason}; save it again as PNG or JPEG") from None
        raise UserError(
            f"{path}: truncated or damaged ({reason}); replace it by a sound copy"
        ) from None


@contextlib.contextmanager
def _file(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """Yields an open file and the name of its format.

    Raises:
      UserError: there is no such file, or it is of no format that is read; says what it is.
    """
    if not path.is_file():  # opening a pipe would wait for a writer
        raise UserError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    with _naming(path), path.open("rb") as file:
        head = file.read(kinds.HEAD)
        name = kinds.format_of(head)
        if not name:
            what = kinds.description(head)
            if what:
                raise samples.Unsupported(f"is {what}")
            what = "unknown format" if head else "it is empty"
            raise UserError(
                f"{path}: cannot be read as an image ({what}); save it again as PNG or JPEG"
            )
        yield file, name


def size(path: str | Path) -> tuple[int, int]:
    """Returns the (height, width) that `read` will give, from the file's header alone.

    Raises:
      UserError: the file is missing or is not an image; names it.
    """
    with _file(Path(path)) as (file, name):
        height, width, orientation = opening.HEADS[name](file)
        opening.check_size(height, width)
        return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


# What is done to rows and columns, by EXIF orientation.
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda a: a[::-1, ::-1],
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


def _picture(found: Samples, path: Path) -> Picture:
    """Returns a picture as it is seen; warns once of all that the user is to know."""
    remarks = [*found.remarks]
    pixels, icc = profiles.as_rgb(found.values, found.mode, found.icc, remarks.append)
    if remarks:
        console.warn_once(f"{path}: {'; '.join(remarks)}")
    turn = _TURNS.get(found.orientation, lambda array: array)
    alpha = None if found.alpha is None else np.ascontiguousarray(turn(found.alpha))
    pixels = np.ascontiguousarray(turn(pixels))
    return Picture(pixels, alpha, found.mode == "L", icc, found.details)


def read(path: str | Path) -> Picture:
    """Returns the picture in `path`, turned as its EXIF orientation says.

    Of a file with several pictures only the first is read. One warning says so, and what in the
    file is damaged beside the pixels.

    Raises:
      UserError: the file is missing, truncated, not an image, or too large to decode; names it.
    """
    path = Path(path)
    with _file(path) as (file, name):
        return _picture(opening.READERS[name](file), path)


def read_rgb(path: str | Path) -> np.ndarray:
    """Returns the picture in `path` as training and measuring see it: 8-bit sRGB, (H, W, 3) uint8.

    Raises:
      UserError: as for `read`.
    """
    picture = read(path)
    with _naming(Path(path)):
        # What is kept as a profile has been found usable.
        return profiles.to_srgb(samples.rounded(picture.pixels), picture.icc, lambda _: None)


def frame_count(path: str | Path) -> int:
    """Returns the number of frames of a GIF, WebP or APNG; 1 for every other picture.

    Raises:
      UserError: as for `size`.
    """
    with _file(Path(path)) as (file, name):
        found = opening.animation(file, name)
        return len(found.numbers) if found else 1


def frames(path: str | Path) -> Iterator[tuple[Picture, float]]:
    """Yields the frames of a GIF, WebP or APNG as they are seen, with their milliseconds.

    Frames have 8 bits. Those without transparency have no alpha. Of other files, yields the
    picture, with 0.

    Raises:
      UserError: as for `read`.
    """
    path = Path(path)
    with _file(path) as (file, name):
        found = opening.animation(file, name)
        if found:
            for frame, duration in opening.frames(found):
                yield _picture(frame, path), duration
            return
    yield read(path), 0.0
