"""Writes pictures to files: the one place that encodes pixels."""

import functools
import io
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from kdgan_jax.pictures import exif, icc, png_writing
from kdgan_jax.pictures.picture import Details, Picture
from kdgan_jax.pictures.samples import rounded
from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import UserError, suggest
from kdgan_jax.runtime.files import replacing

_JPEG_SEGMENT = 65533  # bytes of the longest
_METRIC = 0.0128  # pixels per inch by which the whole numbers per metre of a PNG are off
_JPEG_EXIF, _JPEG_XMP = b"Exif\0\0", 29  # what stands before them in their segments: text, length
_PHOTOSHOP = b"Photoshop 3.0\0"
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_SIGNATURE = 8 + 25  # bytes of a PNG before its second chunk


class Options(NamedTuple):
    """How pictures are written.

    Attributes:
      quality: 1 to 100, for JPEG, WebP and AVIF; None for the format's default.
      strip: whether everything beside the pixels and their colours is left out.
      made_by: what is added: values by keywords of PNG, "Software" among them.
    """

    quality: int | None = None
    strip: bool = False
    made_by: Mapping[str, str] = MappingProxyType({})


AS_IT_IS = Options()


class _Content(NamedTuple):
    """What an encoder gets: samples (H, W, C) of 1 to 4 channels, and what stands beside them.

    An animation has the samples of further frames in `more`, and the milliseconds of each.
    """

    samples: np.ndarray
    icc: bytes | None
    details: Details
    options: Options
    more: Sequence[np.ndarray] = ()
    durations: Sequence[int] = ()


class Format(NamedTuple):
    """A format of results."""

    name: str
    encode: Callable[[_Content], bytes]
    quality: bool  # whether it can be lossy
    longest: int  # the most pixels of a side
    deep: bool = False  # whether it has 16 bits
    alpha: bool = True
    text: bool = False
    iptc: bool = False


def _squeezed(samples: np.ndarray) -> np.ndarray:
    """Returns one channel as (H, W), as encoders want it."""
    return np.ascontiguousarray(samples[..., 0] if samples.shape[2] == 1 else samples)


def _pillow(content: _Content, **options: Any) -> bytes:
    file = io.BytesIO()
    frames = [Image.fromarray(_squeezed(samples)) for samples in (content.samples, *content.more)]
    if len({frame.mode for frame in frames}) > 1:  # some are grey, or have no transparency
        frames = [frame.convert("RGBA") for frame in frames]
    options = {key: value for key, value in options.items() if value}
    if content.more:
        options |= {"save_all": True, "append_images": frames[1:], "loop": 0}
        options["duration"] = list(content.durations)
    frames[0].save(file, **options)
    return file.getvalue()


@functools.cache
def _srgb(channels: int) -> bytes:
    """Returns a profile of sRGB, for formats in which no profile leaves colours open."""
    if channels < 3:
        return icc.build_grey("sRGB grey", icc.SRGB_CURVE)
    return icc.build("sRGB", icc.SRGB_MATRIX, icc.SRGB_CURVE)


# EXIF


def _with_software(details: Details, options: Options) -> exif.Exif:
    """Returns the EXIF of the result, which names what has made it."""
    found = exif.read(details.exif)
    entries = dict(found.entries)
    if options.made_by:
        # A camera's own software stays where it is.
        tag = exif.PROCESSING_SOFTWARE if exif.SOFTWARE in entries else exif.SOFTWARE
        entries[tag] = exif.text("; ".join(options.made_by.values()))
    return found._replace(entries=entries)


def _with_resolution(found: exif.Exif, dpi: tuple[float, float] | None) -> exif.Exif:
    """Returns EXIF that says `dpi`, for formats without a field for it."""
    if dpi is None or exif.resolution(found) == dpi:
        return found
    return found._replace(entries=found.entries | exif.of_resolution(dpi, found.order))


# PNG


def _text_chunk(keyword: str, value: str) -> bytes:
    """Returns a text as the simplest chunk that can hold it, b"" for a keyword of no use."""
    value = value.replace("\0", "")
    name = " ".join(keyword.split()).encode("latin-1", "ignore")[:79].strip()
    if not name or not name.decode("latin-1").isprintable():
        return b""
    if value.isascii():
        return png_writing.chunk(b"tEXt", name + b"\0" + value.encode())
    return png_writing.chunk(b"iTXt", name + b"\0\0\0\0\0" + value.encode("utf-8", "replace"))


def _blocks(iptc: bytes) -> bytes:
    """Returns IPTC as the block of resources that Photoshop puts it into."""
    return b"8BIM\4\4\0\0" + struct.pack(">I", len(iptc)) + iptc + bytes(len(iptc) % 2)


def _png_chunks(content: _Content) -> Iterator[bytes]:
    details, made_by = content.details, content.options.made_by
    if content.icc:
        yield png_writing.chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(content.icc))
    else:
        yield png_writing.chunk(b"sRGB", b"\0")
    if details.dpi:
        per_metre = [min(round(value / 0.0254), 2**31 - 1) for value in details.dpi]
        yield png_writing.chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1))
    if details.exif:
        yield png_writing.chunk(b"eXIf", details.exif)
    if details.xmp:
        yield png_writing.chunk(b"iTXt", _XMP_KEYWORD + b"\0\0\0\0\0" + details.xmp)
    if details.iptc:  # as ImageMagick writes it
        blocks = _blocks(details.iptc)
        text = f"\niptc\n{len(blocks):8}\n{blocks.hex()}\n".encode()
        yield png_writing.chunk(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(text))
    # Of equal keywords, many programs show the last: the source's.
    for keyword, value in dict.fromkeys([*made_by.items(), *details.text]):
        yield _text_chunk(keyword, value)


def _png(content: _Content) -> bytes:
    if content.more:
        encoded = _pillow(content, format="PNG")
        return encoded[:_SIGNATURE] + b"".join(_png_chunks(content)) + encoded[_SIGNATURE:]
    head, *pixels = png_writing.encoded(content.samples)
    return b"".join([head, *_png_chunks(content), *pixels])


# JPEG, WebP, AVIF


def _jpeg(content: _Content) -> bytes:
    details, samples = content.details, content.samples
    found = _with_software(details, content.options)
    dpi = details.dpi
    if dpi and any(abs(value - round(value)) > _METRIC or value > 65535 for value in dpi):
        found, dpi = _with_resolution(found, dpi), None  # its own field holds integers
    lines = [value if key == "Comment" else f"{key}: {value}" for key, value in details.text]
    parts = {
        "exif": _JPEG_EXIF + exif.write(found) if found.entries else b"",
        "xmp": details.xmp,
        "comment": "\n".join(lines).encode("utf-8", "replace"),
        "extra": _PHOTOSHOP + _blocks(details.iptc) if details.iptc else b"",
    }
    for name, data in parts.items():
        if len(data) + (_JPEG_XMP if name == "xmp" else 0) > _JPEG_SEGMENT:
            what = {"extra": "IPTC"}.get(name, name)
            console.warn_once(f"JPEG holds no {what} of more than 64 KB: it is left out")
            parts[name] = b""
    if parts["extra"]:
        parts["extra"] = b"\xff\xed" + struct.pack(">H", len(parts["extra"]) + 2) + parts["extra"]
    return _pillow(
        content,
        format="JPEG",
        quality=content.options.quality or 95,
        subsampling="4:4:4",
        icc_profile=content.icc or _srgb(samples.shape[2]),
        dpi=dpi,
        **parts,
    )


def _webp(content: _Content) -> bytes:
    found = _with_resolution(_with_software(content.details, content.options), content.details.dpi)
    quality = content.options.quality
    return _pillow(
        content,
        format="WEBP",
        lossless=quality is None,
        quality=quality,
        exact=True,  # also colours under full transparency
        icc_profile=content.icc,
        exif=exif.write(found),
        xmp=content.details.xmp,
    )


def _avif(content: _Content) -> bytes:
    found = _with_resolution(_with_software(content.details, content.options), content.details.dpi)
    return _pillow(
        content,
        format="AVIF",
        quality=content.options.quality or 90,
        subsampling="4:4:4" if content.samples.shape[2] > 1 else None,
        icc_profile=content.icc,
        exif=exif.write(found),
        xmp=content.details.xmp,
    )


# TIFF


def _tiff(content: _Content) -> bytes:
    import tifffile

    samples, dpi = content.samples, content.details.dpi
    channels = samples.shape[2]
    found = _with_software(content.details, content.options)
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        _squeezed(samples),
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        predictor=True,
        byteorder=found.order,
        iccprofile=content.icc or _srgb(channels),
        resolution=dpi,
        metadata=None,
        software=False,
    )
    for tag, data in ((exif.XMP, content.details.xmp), (exif.IPTC, content.details.iptc)):
        if data:
            found = found._replace(entries=found.entries | {tag: exif.Entry(1, len(data), data)})
    return exif.into_tiff(file.getvalue(), found)


_PNG = Format("PNG", _png, quality=False, longest=2**31 - 1, deep=True, text=True, iptc=True)
_JPEG = Format("JPEG", _jpeg, quality=True, longest=65500, alpha=False, text=True, iptc=True)
_WEBP = Format("WebP", _webp, quality=True, longest=16383)
_TIFF = Format("TIFF", _tiff, quality=False, longest=2**31 - 1, deep=True, iptc=True)
_AVIF = Format("AVIF", _avif, quality=True, longest=65536)
FORMATS = {
    ".png": _PNG,
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), _JPEG),
    ".webp": _WEBP,
    **dict.fromkeys((".tif", ".tiff"), _TIFF),
    ".avif": _AVIF,
}


def check(path: str | Path, options: Options = AS_IT_IS, size: tuple[int, int] = (1, 1)) -> Format:
    """Returns the format that the suffix of `path` names.

    Args:
      path: of a result.
      options: how it is to be written.
      size: its (height, width).

    Raises:
      UserError: the suffix is unknown, or the format cannot be written so; names `path`.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UserError(
            f"{path}: pictures are not written as {suffix or 'files without a suffix'}"
            f"{suggest(suffix, FORMATS)}; choose one of {', '.join(FORMATS)}"
        )
    form = FORMATS[suffix]
    if options.quality is not None:
        if not form.quality:
            raise UserError(
                f"{path}: {form.name} loses nothing, so it has no quality; leave quality="
                f"{options.quality} out or choose JPEG, WebP or AVIF"
            )
        if not 1 <= options.quality <= 100:
            raise UserError(f"{path}: quality={options.quality} is not within 1 to 100")
    if max(size) > form.longest:
        raise UserError(
            f"{path}: {form.name} holds at most {form.longest:,} pixels a side, not {max(size):,};"
            " choose PNG or TIFF"
        )
    return form


def _samples(picture: Picture, form: Format) -> np.ndarray:
    """Returns samples (H, W, C) in a depth and with channels that the format has."""
    pixels, alpha = picture.pixels, picture.alpha
    if picture.grey:
        # The mean: a grey picture's three channels differ only by a network's rounding.
        mean = (pixels.sum(axis=-1, keepdims=True, dtype=np.uint32) + 1) // 3
        pixels = mean.astype(pixels.dtype)
        if picture.icc and picture.icc[16:20] == b"RGB ":  # fits three channels only
            pixels = pixels.repeat(3, axis=2)
    if pixels.dtype == np.uint16 and not form.deep:
        console.warn_once(
            f"{form.name} has 8 bits: pictures of 16 bits are rounded; choose PNG or TIFF to keep"
            " them"
        )
        pixels, alpha = rounded(pixels), None if alpha is None else rounded(alpha)
    if alpha is None:
        return pixels
    if form.alpha:
        return np.concatenate([pixels, alpha], axis=-1)
    if (alpha < 255).any():
        console.warn_once(
            f"{form.name} has no transparency: pictures are put on white; choose PNG, WebP, TIFF or"
            " AVIF to keep it"
        )
    over = pixels.astype(np.uint32) * alpha + 255 * (255 - alpha.astype(np.uint32))
    return ((over + 127) // 255).astype(np.uint8)


def _content(picture: Picture, form: Format, options: Options) -> _Content:
    samples = _samples(picture, form)
    if options.strip:
        return _Content(samples, picture.icc, Details(), options._replace(made_by={}))
    details = picture.details
    if details.text and not form.text:
        console.warn_once(
            f"{form.name} has no place for the texts of PNG and for comments: they are left out"
        )
    if details.iptc and not form.iptc:
        console.warn_once(f"{form.name} has no place for IPTC: it is left out")
    # The resolution is kept as it is: it says how large a pixel is printed, and those who set it
    # for their printer want it in the result; the print becomes larger, as the picture does.
    tags = exif.resized(exif.read(details.exif), *samples.shape[:2])
    return _Content(samples, picture.icc, details._replace(exif=exif.write(tags)), options)


def encode(picture: Picture, form: Format, options: Options = AS_IT_IS) -> bytes:
    """Returns the file of `picture` in a format; what the format cannot hold is said once."""
    return form.encode(_content(picture, form, options))


def _put(path: str | Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write(path: str | Path, picture: Picture, options: Options = AS_IT_IS) -> None:
    """Writes `picture` as `path`, in the format that its suffix names.

    Raises:
      UserError: as for `check`.
    """
    form = check(path, options, picture.pixels.shape[:2])
    _put(path, encode(picture, form, options))


def write_frames(
    path: str | Path, frames: Iterable[tuple[Picture, float]], options: Options = AS_IT_IS
) -> None:
    """Writes an animation that repeats for ever, in the format that the suffix of `path` names.

    Args:
      path: of a PNG or WebP file.
      frames: at least one picture of 8 bits, all of one size, each with its milliseconds. What
        stands beside the pixels is the first one's.
      options: how it is written.

    Raises:
      UserError: as for `check`, or the format has no frames.
    """
    pictures, durations = zip(*frames, strict=True)
    form = check(path, options, pictures[0].pixels.shape[:2])
    if form not in (_PNG, _WEBP):
        raise UserError(f"{path}: {form.name} has no animations; choose PNG or WebP")
    content = _content(pictures[0], form, options)
    _put(
        path,
        form.encode(
            content._replace(
                more=[_samples(picture, form) for picture in pictures[1:]],
                durations=[round(duration) for duration in durations],
            )
        ),
    )
