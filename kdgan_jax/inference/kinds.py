"""Enlarges whatever people hold an image in, and gives back the same kind."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from PIL import Image

from kdgan_jax.inference import pictures
from kdgan_jax.pictures import codec
from kdgan_jax.pictures.picture import Picture
from kdgan_jax.runtime.errors import UserError

if TYPE_CHECKING:
    from kdgan_jax.inference.model import Model

TAKEN = (
    "a path, a PIL image, or an array: uint8, uint16, or float from 0 to 1; (height, width),"
    " (height, width, channels) or (images, height, width, channels), of 1 to 4 channels"
)
OFF = 1e-3  # by which floats may leave 0 to 1, as rounding does


def enlarged(model: "Model", image: Any, on_tile: Callable[[], None]) -> Any:
    """Returns `image` enlarged, as the same kind; see `Model.upscale`.

    Raises:
      TypeError, ValueError: it is something else.
      UserError: a file cannot be read, or the image is too small for the network.
    """
    if isinstance(image, str | Path):
        return _to_pil(pictures.enlarged(model, codec.read(image), on_tile))
    if isinstance(image, Image.Image):
        return _of_pil(model, image, on_tile)
    array = np.asarray(image)
    if array.dtype == object or array.dtype.kind in "OSUVMm":
        raise TypeError(f"image is a {type(image).__name__}; upscale takes {TAKEN}")
    sr = _of_array(model, array, on_tile)
    return jax.numpy.asarray(sr) if isinstance(image, jax.Array) else sr


def _of_array(model: "Model", image: np.ndarray, on_tile: Callable[[], None]) -> np.ndarray:
    if image.ndim == 4 and image.size:
        return np.stack([_of_array(model, one, on_tile) for one in image])
    if image.ndim == 2:
        return _of_array(model, image[..., None], on_tile)[..., 0]
    is_float = image.dtype.kind == "f"
    known = is_float or image.dtype in (np.uint8, np.uint16)
    if not known or image.ndim != 3 or not 1 <= image.shape[-1] <= 4 or not image.size:
        raise ValueError(f"image is {image.dtype}{image.shape}; upscale takes {TAKEN}")
    pixels = _as_16_bits(image) if is_float else image
    number = image.shape[-1]
    grey, opaque = number < 3, number in (1, 3)
    colours = pixels[..., : 1 if grey else 3]
    picture = Picture(
        np.ascontiguousarray(np.repeat(colours, 3, axis=-1) if grey else colours),
        None if opaque else np.ascontiguousarray(pixels[..., -1:]),
        grey,
    )
    sr = pictures.enlarged(model, picture, on_tile)
    parts = [sr.pixels[..., :1] if grey else sr.pixels, *([] if sr.alpha is None else [sr.alpha])]
    result = np.concatenate(parts, axis=-1) if parts[1:] else np.ascontiguousarray(parts[0])
    return (result / 65535).astype(image.dtype) if is_float else result


def _as_16_bits(image: np.ndarray) -> np.ndarray:
    """Returns floats from 0 to 1 as uint16."""
    low, high = float(image.min()), float(image.max())
    if not (low >= -OFF and high <= 1 + OFF):
        raise ValueError(
            f"image is {image.dtype} from {low:g} to {high:g}; floats go from 0 to 1: divide by 255"
        )
    return np.floor(np.clip(image, 0, 1).astype(np.float64) * 65535 + 0.5).astype(np.uint16)


def _of_pil(model: "Model", image: Image.Image, on_tile: Callable[[], None]) -> Image.Image:
    """Returns a PIL image enlarged: in its mode, or as RGB or RGBA."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(_of_array(model, np.asarray(image, np.uint16), on_tile))
    mode = {"1": "L"}.get(image.mode, image.mode)
    if mode not in ("L", "LA", "RGB", "RGBA"):
        mode = "RGBA" if image.has_transparency_data else "RGB"
    try:
        converted = np.asarray(image.convert(mode))
    except ValueError as error:
        raise UserError(f"a PIL image of mode {image.mode} is not taken ({error})") from None
    result = Image.fromarray(_of_array(model, converted, on_tile))
    if profile := image.info.get("icc_profile"):
        result.info["icc_profile"] = profile
    return result


def _to_pil(picture: Picture) -> Image.Image:
    """Returns a picture as a PIL image, with 8 bits for each sample but grey of 16 bits."""
    pixels, alpha = picture.pixels, picture.alpha
    if pixels.dtype == np.uint16 and picture.grey and alpha is None:
        image = Image.fromarray(pixels[..., 0])
    else:
        channels = [pixels[..., :1] if picture.grey else pixels]
        channels += [] if alpha is None else [alpha]
        samples = np.concatenate(channels, axis=-1)
        if samples.dtype == np.uint16:  # PIL has no colour of 16 bits
            samples = ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
        image = Image.fromarray(samples[..., 0] if samples.shape[-1] == 1 else samples)
    if picture.icc:
        image.info["icc_profile"] = picture.icc
    return image
