"""Colour: which profile a picture keeps, and what is converted to sRGB.

An RGB picture in the colours of a display, such as Adobe RGB or Display P3, keeps its values and
its profile: sRGB could not hold all its colours. Everything else becomes sRGB.
"""

import contextlib
import functools
import io
import zlib
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageCms

from kdgan_jax.pictures import icc as icc_profiles

_BLOCK = 2**18  # pixels converted at a time
_LONGEST = 2**23  # bytes of a profile in a PNG; those of printers take 3 MB
_CURVE_STEPS = 4096  # of a curve that is no power
# Exponents of curves for displays. Networks have learnt from such values; linear ones look dark.
_EXPONENTS = 1.4, 3.0
_PQ, _HLG = 16, 18  # transfer characteristics of ITU-T H.273, as are the keys of these tables
_HDR = {_PQ: "PQ", _HLG: "HLG"}
_TRANSFERS: dict[int, icc_profiles.Curve] = {
    **dict.fromkeys((1, 6, 14, 15), icc_profiles.BT709_CURVE),
    **{4: (2.2,), 5: (2.8,), 8: (1.0,), 13: icc_profiles.SRGB_CURVE, 17: (2.6,)},
}
_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
_DCI_PRIMARIES = (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)
_PRIMARIES = {
    1: icc_profiles.SRGB_PRIMARIES,
    4: (_C, (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (_D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    **dict.fromkeys((6, 7), (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070))),
    9: (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.314, 0.351), *_DCI_PRIMARIES),
    12: (_D65, *_DCI_PRIMARIES),
}


# Little CMS


@functools.cache
def _srgb_profile() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@functools.lru_cache(maxsize=16)  # photos of one camera share a profile
def _transform(icc: bytes, mode: str) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """Returns a profile's mode and its transform to sRGB, None if that changes nothing.

    Raises:
      Exception: of several kinds; the profile is broken or not for images of this `mode`.
    """
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    source = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(profile.profile.xcolor_space, "?")
    if (mode, source) not in (("L", "L"), ("L", "RGB"), ("RGB", "RGB"), ("CMYK", "CMYK")):
        raise ValueError(f"it is for {profile.profile.xcolor_space.strip()}")
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    transform = ImageCms.buildTransform(profile, _srgb_profile(), source, "RGB", intent, flags)
    # sRGB profiles differ in bytes and names; all of them leave colours where they are.
    steps = np.minimum(np.arange(9) * 32, 255).astype(np.uint8)
    probe = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3))
    if source != "CMYK":
        probe = probe if source == "RGB" else probe.getchannel(0)
        moved = np.asarray(ImageCms.applyTransform(probe, transform), int)
        if np.abs(moved - np.asarray(probe.convert("RGB"))).max() <= 2:
            return source, None
    return source, transform


def _apply(samples: np.ndarray, mode: str, icc: bytes) -> np.ndarray:
    """Returns uint8 sRGB (H, W, 3) of uint8 samples (H, W, C); raises as `_transform` does."""
    source, transform = _transform(icc, mode)
    image = _image(samples, mode)
    if transform is None:
        return np.asarray(image.convert("RGB"))
    moved = np.asarray(ImageCms.applyTransform(image.convert(source), transform))
    return np.repeat(moved[..., 1:2], 3, axis=2) if mode == "L" else moved


def _apply_deep(samples: np.ndarray, mode: str, icc: bytes) -> np.ndarray:
    """Returns uint16 sRGB (H, W, 3) of uint16 samples (H, W, C), which Pillow cannot convert."""
    import imagecodecs

    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    return imagecodecs.cms_transform(
        np.ascontiguousarray(samples),
        icc,
        _srgb_profile().tobytes(),
        colorspace=mode.lower(),
        outcolorspace="rgb",
        outdtype="uint16",
        intent=int(intent),
        flags=int(flags),
    )


# Arithmetic


def _image(samples: np.ndarray, mode: str) -> Image.Image:
    height, width = samples.shape[:2]
    return Image.frombytes(mode, (width, height), np.ascontiguousarray(samples).tobytes())


def _encoded(light: np.ndarray) -> np.ndarray:
    """Returns uint16 sRGB of linear light; clips to [0, 1]."""
    light = np.clip(light, 0, 1)
    high = np.float32(1.055) * light ** np.float32(1 / 2.4) - np.float32(0.055)
    value = np.where(light <= 0.0031308, np.float32(12.92) * light, high)
    return np.round(value * 65535).astype(np.uint16)


def _to_srgb_light(matrix: np.ndarray) -> np.ndarray:
    """Returns the (3, 3) float32 matrix from a display's linear light to that of sRGB."""
    change = np.linalg.inv(icc_profiles.SRGB_MATRIX) @ matrix
    sums = change.sum(axis=1, keepdims=True)
    exact = np.where(
        np.abs(sums - 1) < 0.005, change / sums, change
    )  # numbers in files are rounded
    return exact.astype(np.float32)


def _beyond_srgb(matrix: np.ndarray) -> bool:
    """Returns whether a display's colours are others than those of sRGB, within a hundredth."""
    return bool(np.abs(_to_srgb_light(matrix) - np.eye(3)).max() > 0.01)


def _from_display(pixels: np.ndarray, display: icc_profiles.Display) -> np.ndarray:
    """Returns uint16 sRGB of uint16 RGB (H, W, 3)."""
    matrix = _to_srgb_light(display.matrix)
    flat, converted = pixels.reshape(-1, 3), np.empty((pixels.size // 3, 3), np.uint16)
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK]
        light = np.stack([display.curves[i][block[:, i]] for i in range(3)], axis=-1)
        grey = (light == light[:, :1]).all(axis=-1, keepdims=True)  # stays grey exactly
        converted[start : start + _BLOCK] = _encoded(np.where(grey, light, light @ matrix.T))
    return converted.reshape(pixels.shape)


def _grey_deep(samples: np.ndarray, icc: bytes) -> np.ndarray:
    """Returns uint16 sRGB (H, W, 3) with equal channels of uint16 (H, W, 1)."""
    curve, display = icc_profiles.grey_curve(icc), icc_profiles.display(icc)
    if display:  # which may be tinted: as in 8 bits, green counts
        curve = _to_srgb_light(display.matrix)[1] @ display.curves
    if curve is not None:
        table = _encoded(curve)
    else:  # a table of another kind, known at 256 levels
        levels = np.arange(256, dtype=np.uint8).reshape(1, 256, 1)
        known = _apply(levels, "L", icc)[0, :, 0] * 257.0
        table = np.interp(np.arange(65536) / 257, np.arange(256), known).round().astype(np.uint16)
    return np.repeat(table[samples], 3, axis=2)


def _mixed_deep(samples: np.ndarray, mode: str) -> np.ndarray:
    """Returns uint16 RGB of uint16 CMYK or Lab without a profile."""
    height, width, channels = samples.shape
    flat, mixed = samples.reshape(-1, channels), np.empty((height * width, 3), np.uint16)
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK]
        if mode == "CMYK":  # as Pillow mixes 8 bits
            rest = np.float32(65535) - block
            mixed[start : start + _BLOCK] = np.round(rest[:, :3] * rest[:, 3:] / 65535)
            continue
        y = (block[:, :1] / np.float32(655.35) + 16) / 116
        a, b = (block[:, i : i + 1].view(np.int16) / np.float32(256) for i in (1, 2))
        f = np.concatenate([y + a / 500, y, y - b / 200], axis=-1)
        xyz = np.where(f > 6 / 29, f**3, (f - 4 / 29) * (108 / 841)) * np.array(
            icc_profiles.D50, np.float32
        )
        mixed[start : start + _BLOCK] = _encoded(xyz @ _to_srgb_light(np.eye(3)).T)
    return mixed.reshape(height, width, 3)


def _converted(samples: np.ndarray, mode: str, icc: bytes) -> np.ndarray:
    """Returns sRGB (H, W, 3) in the dtype of samples (H, W, C); raises whatever damage leads to."""
    if samples.dtype == np.uint8:
        return _apply(samples, mode, icc)
    if mode == "L":
        return _grey_deep(samples, icc)
    display = icc_profiles.display(icc) if mode == "RGB" else None
    return _from_display(samples, display) if display else _apply_deep(samples, mode, icc)


# Rules


Say = Callable[[str], None]  # tells the user something about the file


def _ignored(error: Exception, say: Say) -> None:
    """Warns of a profile; whatever a damaged one raises, the pixels are readable."""
    say(f"its colour profile cannot be used and is ignored ({error})")


@functools.lru_cache(maxsize=16)
def _keeps(icc: bytes) -> bool:
    """Returns whether an RGB picture keeps its values and this profile.

    It does not if sRGB holds all its colours, if its curve is far from a display's, or if it is a
    table, as those of printers and scanners are.
    """
    display = icc_profiles.display(icc)
    if display is None:
        return False
    values = np.array([0.25, 0.5, 0.75])
    light = display.curves[:, np.round(values * 65535).astype(int)]
    exponents = np.log(np.clip(light, 1e-9, 1)) / np.log(values)
    if not (_EXPONENTS[0] <= exponents.min() and exponents.max() <= _EXPONENTS[1]):
        return False
    return _beyond_srgb(display.matrix)


def _usable(icc: bytes, mode: str, say: Say) -> bytes | None:
    """Returns the profile that counts, None if there is nothing to convert; warns of others."""
    codes = icc_profiles.tags(icc).get(b"cicp", b"")[8:12]
    if len(codes) == 4 and codes[1] in _HDR and mode in ("L", "RGB"):
        say(
            f"is a picture of high dynamic range ({_HDR[codes[1]]}); what is brighter than white"
            " paper becomes white"
        )
        icc = _of_codes(codes) or icc
    try:
        return icc if _transform(icc, mode)[1] else None
    except Exception as error:
        _ignored(error, say)
        return None


def as_rgb(
    samples: np.ndarray, mode: str, icc: bytes | None, say: Say
) -> tuple[np.ndarray, bytes | None]:
    """Returns RGB pixels (H, W, 3) in the dtype of `samples`, and their profile: None for sRGB.

    Args:
      samples: (H, W, C), uint8 or uint16. Lab is as TIFF's CIELab stores it: L* of 0 to 100 takes
        the whole range; a* and b* are signed, in units of 1 (8 bits) or 1/256 (16 bits).
      mode: "L", "RGB", "CMYK" (0 is no ink) or "LAB".
      icc: the profile that the file has. One that is broken or not for this mode is ignored with a
        warning.
      say: called with warnings.
    """
    icc = _usable(icc, mode, say) if icc and mode != "LAB" else None
    if icc and mode == "RGB" and _keeps(icc):
        return samples, icc
    if icc:
        try:
            return _converted(samples, mode, icc), None
        except Exception as error:
            _ignored(error, say)
    if mode == "RGB":
        return samples, None
    if mode == "L":
        return np.repeat(samples, 3, axis=2), None
    if samples.dtype == np.uint16:
        return _mixed_deep(samples, mode), None
    return np.asarray(_image(samples, mode).convert("RGB")), None


def to_srgb(pixels: np.ndarray, icc: bytes | None, say: Say) -> np.ndarray:
    """Returns sRGB (H, W, 3) of `pixels` in the profile `icc`, both uint8; None stands for sRGB."""
    icc = _usable(icc, "RGB", say) if icc else None
    return _apply(pixels, "RGB", icc) if icc else pixels


# What chunks of a PNG say.


def _light(transfer: int) -> np.ndarray:
    """Returns the linear light of PQ or HLG, relative to white paper, clipped (ITU-R BT.2408)."""
    v = np.linspace(0, 1, _CURVE_STEPS)
    if transfer == _PQ:  # ITU-R BT.2100, in units of 10,000 cd/m2; paper has 203
        p = v ** (1 / 78.84375)
        y = (np.maximum(p - 0.8359375, 0) / (18.8515625 - 18.6875 * p)) ** (1 / 0.1593017578125)
        y = y * 10_000 / 203
    else:  # paper is at a signal of 0.75
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        y = np.where(v <= 0.5, v**2 / 3, (np.exp((v - c) / a) + b) / 12)
        y = y / ((np.exp((0.75 - c) / a) + b) / 12)
    return np.clip(y, 0, 1)


@functools.lru_cache(maxsize=16)
def _of_codes(codes: bytes) -> bytes | None:
    """Returns the profile of primaries and a transfer function (ITU-T H.273), None if unknown."""
    primaries, transfer = _PRIMARIES.get(codes[0]), codes[1]
    if primaries is None or not (transfer in _HDR or transfer in _TRANSFERS):
        return None
    hdr, name = transfer in _HDR, f"H.273 {codes[0]}/{transfer}"
    return icc_profiles.build(
        name,
        icc_profiles.matrix_of(primaries),
        _light(transfer) if hdr else _TRANSFERS[transfer],
        codes if hdr else None,  # as_rgb warns of it
    )


def _of_gamma(gamma: bytes, chromaticities: bytes) -> bytes | None:
    """Returns the profile of the chunks gAMA and cHRM, None for sRGB or if they make no sense."""
    stored = int.from_bytes(gamma, "big") / 100_000
    if len(gamma) != 4 or not 0.1 <= stored <= 10:
        return None
    matrix = icc_profiles.SRGB_MATRIX
    if len(chromaticities) == 32:
        xy = np.frombuffer(chromaticities, ">u4").reshape(4, 2) / 100_000
        with contextlib.suppress(ValueError):  # the gamma counts alone
            matrix = icc_profiles.matrix_of(xy.tolist())
    usual = abs(stored * 2.2 - 1) < 0.05  # libpng's threshold; 0.45455 stands for sRGB
    if not _beyond_srgb(matrix):
        if usual:
            return None
        matrix = icc_profiles.SRGB_MATRIX
    return icc_profiles.build(f"gAMA {stored:.5f}", matrix, (1 / stored,))


def of_png(chunks: Mapping[bytes, bytes]) -> bytes | None:
    """Returns the ICC profile that the chunks of a PNG mean, None for sRGB.

    The first known of cICP, iCCP, sRGB and gAMA (with cHRM) counts, as in browsers. A damaged
    iCCP gives a broken profile, of which `as_rgb` warns.
    """
    if len(chunks.get(b"cICP", b"")) == 4 and (profile := _of_codes(chunks[b"cICP"])):
        return profile
    if b"iCCP" in chunks:
        stored = chunks[b"iCCP"].partition(b"\0")[2][1:]
        profile, unpack = b"", zlib.decompressobj()
        try:
            for start in range(0, len(stored), 1024):  # what comes before damage counts
                profile += unpack.decompress(stored[start : start + 1024], _LONGEST - len(profile))
                if len(profile) >= _LONGEST:
                    break
        except zlib.error:
            pass
        return profile or b"damaged"
    if b"sRGB" in chunks or b"gAMA" not in chunks:
        return None
    return _of_gamma(chunks[b"gAMA"], chunks.get(b"cHRM", b""))
