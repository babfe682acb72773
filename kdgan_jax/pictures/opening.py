"""The formats of pictures: readers of their headers and of their pixels.

The pixels decide: a picture whose pixels can be decoded is read, whatever else in its file is
damaged, and remarks say what.
"""

import contextlib
import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageFile

from kdgan_jax.pictures import details, gif, jpeg, png, pnm, profiles, samples, tiff, webp
from kdgan_jax.pictures.picture import Details
from kdgan_jax.pictures.samples import Samples

_JPEG_HEAD = 2**18  # bytes in which the header of a JPEG usually is
_ORIENTATION = 0x0112  # the EXIF tag
_EXIF_ITEM = re.compile(rb"(infe.{8})Exif", re.DOTALL)  # of an AVIF
_TELEVISION = 1, 2, 6  # transfer characteristics of ITU-T H.273; 2 is unknown
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


def check_size(height: int, width: int) -> None:
    """Refuses sizes of pictures that are not decoded.

    Raises:
      ValueError: a side has no pixels.
      Image.DecompressionBombError: there are too many.
    """
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
        check_size(image.height, image.width)
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
    check_size(head.height, head.width)
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
        row = head.last_row
        if not image.crop((0, row, image.width, row + 1)).getbbox(alpha_only=False):
            png.check_whole(data, head)
    if head.key:
        alpha = _key_alpha(values, head.key, head.depth)
    info = _png_info(head)
    if not _readable_exif(info):
        remarks.append("its EXIF cannot be read")
    if len(said.text) + bool(said.xmp) < png.texts(head):
        remarks.append("text of it is damaged or too long and is left out")
    if head.frames > 1:
        remarks.append(_SEVERAL)
    orientation = _exif_orientation(info)
    icc = profiles.of_png(head.colours)
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
    check_size(height, width)
    heads, end = jpeg.scans(data, found.scans)
    most = Image.MAX_IMAGE_PIXELS or float("inf")
    if len(heads) * width * height > jpeg.MOST_SCANS * most:
        raise samples.Unsupported(
            f"has {len(heads)} scans of {width}x{height} pixels, which take too long to decode"
        )
    remarks = list(found.remarks)
    if end is None:
        remarks.append("its end mark is missing")
    elif not jpeg.every_bit(found.frame, heads):
        remarks.append("scans of it are missing; it may have been cut")
    body = jpeg.body(found, data, heads, end)
    del data
    with _jpeg_image(found, body) as image:
        if found.frame.bits == 8:
            jpeg.check_whole(found, body, image)
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
    check_size(*page.size)
    read = tiff.read(page, _opened)
    remarks = [*read.remarks]
    if page.damaged:
        remarks.append("metadata of it cannot be read")
    if several:
        remarks.append(_SEVERAL)
    return read._replace(
        icc=page.icc,
        orientation=page.orientation,
        details=details.of_tiff(tiff.metadata(page)),
        remarks=tuple(remarks),
    )


def _pnm_head(file: BinaryIO) -> Head:
    file.seek(0)
    head = pnm.header(file.read(pnm.HEADER))
    return head.height, head.width, 1


def _read_pnm(file: BinaryIO) -> Samples:
    head = _pnm_head(file)
    check_size(*head[:2])
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
        found = _of_pillow(_opened(file, *formats))
        # Many a bitmap with a place for transparency leaves it empty.
        clear = found.alpha is not None and not found.alpha.any()
        return found._replace(alpha=None) if clear else found

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


def _avif_depth(data: bytes) -> int:
    """Returns the bits of an AVIF's samples, as the configuration of its decoder says."""
    place = data.find(b"av1C")
    flags = data[place + 6] if 0 <= place < len(data) - 6 else 0
    return (12 if flags & 0x20 else 10) if flags & 0x40 else 8


def _avif_colours(data: bytes) -> bytes | None:
    """Returns the profile of an AVIF that has none but says what it is, None for sRGB.

    Such files call sRGB by the name of television's curve.
    """
    place = data.find(b"colrnclx")
    codes = data[place + 8 : place + 14 : 2], data[place + 9 : place + 14 : 2]
    if place < 0 or any(codes[0]) or len(codes[1]) < 2:
        return None
    primaries, transfer = codes[1][:2]
    transfer = 13 if transfer in _TELEVISION else transfer
    return profiles.of_png({b"cICP": bytes([primaries, transfer, 0, 1])})


def _read_avif(file: BinaryIO) -> Samples:
    found = _of_pillow(*_avif_image(file))
    file.seek(0)
    data = file.read()
    depth, icc = _avif_depth(data), found.icc or _avif_colours(data)
    if depth == 8:
        return found._replace(icc=icc)
    import imagecodecs  # Pillow rounds to 8 bits

    values = imagecodecs.avif_decode(data, index=0)
    values = values.reshape(*found.values.shape[:2], -1)
    values = samples.scaled(values, 2**depth - 1, np.uint16)
    channels = values.shape[-1]
    alpha = values[..., -1:] if channels in (2, 4) else None
    colours = values[..., : channels - (alpha is not None)]
    mode = "L" if colours.shape[-1] == 1 else "RGB"
    return found._replace(values=colours, mode=mode, alpha=alpha, icc=icc)


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


HEADS: dict[str, Callable[[BinaryIO], Head]] = {
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
READERS: dict[str, Callable[[BinaryIO], Samples]] = {
    "PNG": _read_png,
    "JPEG": _read_jpeg,
    "WEBP": lambda file: _of_pillow(*_webp_image(file)),
    "TIFF": _read_tiff,
    "PPM": _read_pnm,
    "HEIF": lambda file: _of_pillow(_heif(file)),
    "GIF": lambda file: _of_pillow(*_gif_image(file)),
    "AVIF": _read_avif,
    **{name: _read_pillow(name) for name in ("BMP", "DIB")},
}


# Animations


class Animation(NamedTuple):
    """Pillow's view of an animation, the numbers of its frames, its profile, and remarks."""

    image: ImageFile.ImageFile
    numbers: range
    icc: bytes | None
    remarks: tuple[str, ...]


def animation(file: BinaryIO, name: str) -> Animation | None:
    """Returns the animation in a file of the format `name`, None for other pictures."""
    icc: bytes | None = None
    remarks: tuple[str, ...] = ()
    if name == "PNG":
        head = png.scan(file)
        check_size(head.height, head.width)
        if head.frames < 2:
            return None
        image = _opened(io.BytesIO(png.pixels(file, head, animated=True)), "PNG")
        icc, remarks = profiles.of_png(head.colours), tuple(head.remarks)
    elif name == "WEBP":
        image, remarks = _webp_image(file)
        icc = image.info.get("icc_profile")
    elif name == "GIF":
        image, remarks = _gif_image(file)
    else:
        return None
    # An APNG's picture for other programs may be none of its frames.
    numbers = range(bool(getattr(image, "default_image", False)), getattr(image, "n_frames", 1))
    return Animation(image, numbers, icc, remarks) if len(numbers) > 1 else None


def frames(found: Animation) -> Iterator[tuple[Samples, float]]:
    """Yields the frames as they are seen, with their milliseconds."""
    image, remarks = found.image, found.remarks
    said = _details(image, {})
    for number in found.numbers:
        image.seek(number)
        values, mode, alpha = samples.of_image(image.copy())
        if alpha is not None and alpha.min() == 255:
            alpha = None
        frame = Samples(values, mode, alpha, found.icc, details=said, remarks=remarks)
        yield frame, float(image.info.get("duration") or 0)
