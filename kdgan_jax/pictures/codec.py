"""Reads pictures from files: the one place that decodes pixels.

The pixels decide: a picture whose pixels can be decoded is read, whatever else in its file is
damaged, and one warning says what. EXIF orientations are applied. For upscaling, pictures keep
their depth and their colours; for training and measuring they become 8-bit sRGB.
"""

import contextlib
import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile

from kdgan_jax.pictures import details, gif, jpeg, kinds, png, pnm, profiles, samples, tiff, webp
from kdgan_jax.pictures.picture import Details, Picture
from kdgan_jax.pictures.samples import Samples
from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import UserError

# The formats that Pillow may open, whatever a file's name. It knows more; one (EPS) runs a program.
FORMATS = "PNG", "JPEG", "WEBP", "AVIF", "BMP", "DIB", "TIFF", "GIF", "PPM"
BYTES_PER_PIXEL = 32  # most that reading takes; a picture has up to `Image.MAX_IMAGE_PIXELS`
_JPEG_HEAD = 2**18  # bytes in which the header of a JPEG usually is
_ORIENTATION = 0x0112  # the EXIF tag
_EXIF_ITEM = re.compile(rb"(infe.{8})Exif", re.DOTALL)  # of an AVIF
_SEVERAL = "holds several pictures or frames; only the first is read"

_filters = threading.Lock()  # warning filters belong to the process; threads read photos


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences Pillow's warnings of damage and of size, which name no file.

    Damaged metadata is ignored, and pictures that are too large are refused.
    """
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


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
        raise UserError(
            f"{path}: truncated or damaged ({reason}); replace it by a sound copy"
        ) from None


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"it states a size of {width}x{height}")
    if width * height > (Image.MAX_IMAGE_PIXELS or float("inf")):
        raise Image.DecompressionBombError


def _opened(source: BinaryIO, *formats: str) -> ImageFile.ImageFile:
    """Returns Pillow's view of a file, of which nothing is decoded yet."""
    with _quiet():  # Pillow warns above its limit, and refuses above twice that
        try:
            image = Image.open(source, formats=formats)
        except Image.UnidentifiedImageError:
            raise ValueError("its header cannot be read") from None
    try:
        _check_size(image.height, image.width)
    except Exception:
        image.close()
        raise
    return image


def _exif_orientation(image: Image.Image) -> int:
    """Returns the orientation of Pillow's EXIF or XMP, 1 if they cannot be read."""
    try:
        with _quiet():
            return int(Image.Image.getexif(image).get(_ORIENTATION, 1))
    except Exception:  # whatever damage raises, it is no pixel
        return 1


def _readable_exif(image: Image.Image) -> bool:
    """Returns whether EXIF, if there is any, can be read."""
    data = image.info.get("exif")
    if not data:
        return True
    try:
        with _quiet():
            Image.Exif().load(data)
        return data.removeprefix(b"Exif\0\0")[:2] in (b"II", b"MM")
    except Exception:
        return False


def _details(image: ImageFile.ImageFile, chunks: "dict[bytes, Sequence[bytes]]") -> Details:
    with _quiet():
        return details.of_image(image, chunks)


# Formats. Each has a reader of the header, which returns (height, width, orientation), and one of
# the pixels.

Head = tuple[int, int, int]


def _head_of(image: ImageFile.ImageFile) -> Head:
    with image:
        return image.height, image.width, _exif_orientation(image)


def _png_info(head: png.Png) -> Image.Image:
    """Returns an image of which only the metadata matters."""
    image = Image.new("1", (1, 1))
    with contextlib.suppress(Exception):  # damaged text
        image.info.update(png.exif(head))
    return image


def _png_head(file: BinaryIO) -> Head:
    head = png.scan(file)
    return head.height, head.width, _exif_orientation(_png_info(head))


def _key_alpha(values: np.ndarray, key: Sequence[int], depth: int) -> np.ndarray:
    """Returns 0 where samples equal the transparent ones, full scale elsewhere."""
    step = 255 // (2**depth - 1) if depth < 8 else 1  # Pillow stretches samples to 8 bits
    clear = (values == np.array(key, values.dtype) * step).all(axis=-1, keepdims=True)
    full = np.iinfo(values.dtype).max
    return np.where(clear, 0, full).astype(values.dtype)


def _read_png(file: BinaryIO) -> Samples:
    head = png.scan(file)
    _check_size(head.height, head.width)
    remarks = list(head.remarks)
    data = png.pixels(file, head)

    def opened() -> ImageFile.ImageFile:
        return _opened(io.BytesIO(data), "PNG")

    with opened() as image:
        said = _details(image, dict(head.chunks))
        if head.depth == 16:
            values, mode, alpha = samples.of_deep(image, opened)
        else:
            values, mode, alpha = samples.of_image(image)
    if head.key:
        alpha = _key_alpha(values, head.key, head.depth)
    info = _png_info(head)
    if not _readable_exif(info):
        remarks.append("its EXIF cannot be read")
    if len(said.text) < png.texts(head):
        remarks.append("text of it is damaged or too long and is left out")
    if head.frames > 1:
        remarks.append(_SEVERAL)
    orientation = _exif_orientation(info)
    icc = profiles.of_png(head.firsts)
    return Samples(values, mode, alpha, icc, orientation, said, tuple(remarks))


def _jpeg_parsed(file: BinaryIO) -> tuple[jpeg.Jpeg, bytes]:
    """Returns the segments of a JPEG and as much of the file as was read for them."""
    file.seek(0)
    data = file.read(_JPEG_HEAD)
    with _quiet():
        found = jpeg.parse(data)
        if found is None or found.remarks:  # long metadata, or damage
            data += file.read()
            found = jpeg.parse(data)
    if found is None:
        raise ValueError("it ends before its pixels")
    return found, data


def _jpeg_image(found: jpeg.Jpeg, body: bytes) -> ImageFile.ImageFile:
    found = found if found.frame.bits == 8 else jpeg.as_8_bits(found)
    try:
        return _opened(io.BytesIO(found.start + body), "JPEG")
    except ValueError:  # metadata that looks sound
        return _opened(io.BytesIO(found.plain + body), "JPEG")


def _jpeg_head(file: BinaryIO) -> Head:
    found, _ = _jpeg_parsed(file)
    with _jpeg_image(found, jpeg.EMPTY_SCAN) as image:
        return found.frame.height, found.frame.width, _exif_orientation(image)


def _read_jpeg(file: BinaryIO) -> Samples:
    found, data = _jpeg_parsed(file)
    data += file.read()
    height, width = found.frame.height, found.frame.width
    _check_size(height, width)
    heads, end = jpeg.scans(data, found.scans)
    most = Image.MAX_IMAGE_PIXELS or float("inf")
    if len(heads) * width * height > jpeg.MOST_SCANS * most:
        raise samples.Unsupported(
            f"has {len(heads)} scans of {width}x{height} pixels, which take too long to decode"
        )
    remarks = list(found.remarks)
    if end is None:
        remarks.append("its end mark is missing")
    body = jpeg.body(found, data, heads, end)
    del data
    with _jpeg_image(found, body) as image:
        if found.frame.bits == 8:
            values, mode, alpha = samples.of_image(image)
        else:
            values, alpha = jpeg.deep(found, body), None
            mode = "L" if values.shape[-1] == 1 else "RGB"
        orientation, said = _exif_orientation(image), _details(image, {})
        icc = image.info.get("icc_profile")
    return Samples(values, mode, alpha, icc, orientation, said, tuple(remarks))


def _webp_image(file: BinaryIO) -> tuple[ImageFile.ImageFile, tuple[str, ...]]:
    file.seek(0)
    data, info, remarks = webp.split(file.read())
    image = _opened(io.BytesIO(data), "WEBP")
    image.info.update(info)
    return image, remarks


def _webp_head(file: BinaryIO) -> Head:
    return _head_of(_webp_image(file)[0])


def _tiff_head(file: BinaryIO) -> Head:
    page, _ = tiff.choose(tiff.pages(file))
    return *page.size, page.orientation


def _read_tiff(file: BinaryIO) -> Samples:
    page, several = tiff.choose(tiff.pages(file))
    _check_size(*page.size)
    read, image = tiff.read(page, _opened), tiff.metadata(page, _opened)
    remarks = [*read.remarks]
    if page.damaged or image is None:
        remarks.append("metadata of it cannot be read")
    if several:
        remarks.append(_SEVERAL)
    return read._replace(
        icc=page.icc,
        orientation=page.orientation,
        details=_details(image, {}) if image else Details(),
        remarks=tuple(remarks),
    )


def _pnm_head(file: BinaryIO) -> Head:
    file.seek(0)
    head = pnm.header(file.read(pnm.HEADER))
    return head.height, head.width, 1


def _read_pnm(file: BinaryIO) -> Samples:
    head = _pnm_head(file)
    _check_size(*head[:2])
    file.seek(0)
    return pnm.read(file.read())


def _pillow_head(*formats: str) -> Callable[[BinaryIO], Head]:
    def head(file: BinaryIO) -> Head:
        file.seek(0)
        return _head_of(_opened(file, *formats))

    return head


def _of_pillow(image: ImageFile.ImageFile, remarks: Sequence[str] = ()) -> Samples:
    remarks = list(remarks)
    with image:
        orientation, said = _exif_orientation(image), _details(image, {})
        icc = image.info.get("icc_profile")
        if not _readable_exif(image):
            remarks.append("its EXIF cannot be read")
        with contextlib.suppress(Exception), _quiet():  # what follows may be damaged
            if getattr(image, "is_animated", False):
                remarks.append(_SEVERAL)
        values, mode, alpha = samples.of_image(image)
    return Samples(values, mode, alpha, icc, orientation, said, tuple(remarks))


def _read_pillow(*formats: str) -> Callable[[BinaryIO], Samples]:
    def read(file: BinaryIO) -> Samples:
        file.seek(0)
        return _of_pillow(_opened(file, *formats))

    return read


def _gif_image(file: BinaryIO) -> tuple[ImageFile.ImageFile, tuple[str, ...]]:
    file.seek(0)
    data = gif.repaired(file.read())
    if data is None:
        file.seek(0)
        return _opened(file, "GIF"), ()
    return _opened(io.BytesIO(data), "GIF"), ("a block of it is damaged",)


def _avif_image(file: BinaryIO, loaded: bool = True) -> tuple[ImageFile.ImageFile, tuple[str, ...]]:
    """Returns Pillow's view and remarks; the decoder refuses pictures whose EXIF is damaged."""

    def opened(data: bytes) -> ImageFile.ImageFile:
        image = _opened(io.BytesIO(data), "AVIF")
        if loaded:
            image.load()
        return image

    file.seek(0)
    data = file.read()
    try:
        return opened(data), ()
    except Image.DecompressionBombError:
        raise
    except Exception:
        bare = _EXIF_ITEM.sub(rb"\1skip", data)
        if bare == data:
            raise
        return opened(bare), ("its EXIF cannot be read",)


def _gif_head(file: BinaryIO) -> Head:
    return _head_of(_gif_image(file)[0])


def _avif_head(file: BinaryIO) -> Head:
    return _head_of(_avif_image(file, loaded=False)[0])


def _heif(file: BinaryIO) -> ImageFile.ImageFile:
    """Returns Pillow's view of a HEIC picture, which pillow-heif turns itself."""
    try:
        import pillow_heif
    except ImportError:
        advice = "run pip install pillow-heif to read it, or save it as PNG or JPEG"
        raise samples.Unsupported("is a HEIC picture", advice) from None
    pillow_heif.register_heif_opener()
    file.seek(0)
    return _opened(file, "HEIF")


def _heif_head(file: BinaryIO) -> Head:
    return _head_of(_heif(file))


_HEADS: dict[str, Callable[[BinaryIO], Head]] = {
    "PNG": _png_head,
    "JPEG": _jpeg_head,
    "WEBP": _webp_head,
    "TIFF": _tiff_head,
    "PPM": _pnm_head,
    "HEIF": _heif_head,
    "GIF": _gif_head,
    "AVIF": _avif_head,
    **{name: _pillow_head(name) for name in ("BMP", "DIB")},
}
_READERS: dict[str, Callable[[BinaryIO], Samples]] = {
    "PNG": _read_png,
    "JPEG": _read_jpeg,
    "WEBP": lambda file: _of_pillow(*_webp_image(file)),
    "TIFF": _read_tiff,
    "PPM": _read_pnm,
    "HEIF": lambda file: _of_pillow(_heif(file)),
    "GIF": lambda file: _of_pillow(*_gif_image(file)),
    "AVIF": lambda file: _of_pillow(*_avif_image(file)),
    **{name: _read_pillow(name) for name in ("BMP", "DIB")},
}


# What callers use.


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
        height, width, orientation = _HEADS[name](file)
        _check_size(height, width)
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
    pixels, icc = profiles.as_rgb(found.values, found.mode, found.icc, path)
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
        found = _READERS[name](file)
        if found.remarks:
            console.warn_once(f"{path}: {'; '.join(found.remarks)}")
        return _picture(found, path)


def read_rgb(path: str | Path) -> np.ndarray:
    """Returns the picture in `path` as training and measuring see it: 8-bit sRGB, (H, W, 3) uint8.

    Raises:
      UserError: as for `read`.
    """
    picture = read(path)
    with _naming(Path(path)):
        return profiles.to_srgb(samples.rounded(picture.pixels), picture.icc, Path(path))


# Animations


@contextlib.contextmanager
def _animation(path: Path) -> Iterator[tuple[ImageFile.ImageFile | None, bytes | None]]:
    """Yields Pillow's view of an animation, None for other files, and its colour profile."""
    with _file(path) as (file, name):
        file.seek(0)
        icc: bytes | None = None
        if name == "PNG":
            head = png.scan(file)
            _check_size(head.height, head.width)
            image = None
            if head.frames > 1:
                image = _opened(io.BytesIO(png.pixels(file, head, animated=True)), "PNG")
                icc = profiles.of_png(head.firsts)
        elif name == "WEBP":
            image = _webp_image(file)[0]
            icc = image.info.get("icc_profile")
        else:
            image = _gif_image(file)[0] if name == "GIF" else None
        yield image if image and len(_numbers(image)) > 1 else None, icc


def _numbers(image: ImageFile.ImageFile) -> range:
    """Returns the numbers of the frames; an APNG's picture for other programs may be none."""
    return range(bool(getattr(image, "default_image", False)), getattr(image, "n_frames", 1))


def frame_count(path: str | Path) -> int:
    """Returns the number of frames of a GIF, WebP or APNG; 1 for every other picture.

    Raises:
      UserError: as for `size`.
    """
    with _animation(Path(path)) as (image, _):
        return 1 if image is None else len(_numbers(image))


def frames(path: str | Path) -> Iterator[tuple[Picture, float]]:
    """Yields the frames of a GIF, WebP or APNG as they are seen, with their milliseconds.

    Frames have 8 bits. Those without transparency have no alpha. Of other files, yields the
    picture, with 0.

    Raises:
      UserError: as for `read`.
    """
    path = Path(path)
    with _animation(path) as (image, icc):
        if image is not None:
            said = _details(image, {})
            for number in _numbers(image):
                image.seek(number)
                values, mode, alpha = samples.of_image(image.copy())
                if alpha is not None and alpha.min() == 255:
                    alpha = None
                picture = _picture(Samples(values, mode, alpha, icc, details=said), path)
                yield picture, float(image.info.get("duration") or 0)
            return
    yield read(path), 0.0
