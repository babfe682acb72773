"""Colour profiles of pictures."""

import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from kdgan_jax.runtime import console


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
    transform = ImageCms.buildTransform(
        profile, ImageCms.createProfile("sRGB"), source, "RGB", intent, flags
    )
    # sRGB profiles differ in bytes and names; all of them leave colours where they are.
    steps = np.minimum(np.arange(9) * 32, 255).astype(np.uint8)
    probe = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3))
    if source != "CMYK":
        probe = probe if source == "RGB" else probe.getchannel(0)
        moved = np.asarray(ImageCms.applyTransform(probe, transform), int)
        if np.abs(moved - np.asarray(probe.convert("RGB"))).max() <= 2:
            return source, None
    return source, transform


def to_srgb(colour: Image.Image, icc: bytes | None, path: Path) -> np.ndarray:
    """Returns uint8 sRGB (H, W, 3) of an image of mode L, RGB or CMYK with its profile, if any."""
    if icc:
        try:
            mode, transform = _transform(icc, colour.mode)
            if transform:
                moved = np.asarray(ImageCms.applyTransform(colour.convert(mode), transform))
                return np.repeat(moved[..., 1:2], 3, axis=2) if colour.mode == "L" else moved
        except Exception as error:  # whatever a damaged profile raises, the pixels are readable
            console.warn_once(f"{path}: its colour profile cannot be used and is ignored ({error})")
    return np.asarray(colour.convert("RGB"))
