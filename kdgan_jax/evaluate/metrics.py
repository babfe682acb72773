"""PSNR and SSIM as super-resolution papers report them.

Images are uint8 RGB (H, W, 3) of one size. Y is BT.601 studio range, unrounded; `shave` pixels
(the scale) are cut off at each side; a set's figure is the mean over its images.
"""

import functools
from collections.abc import Callable

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np

from kdgan_jax.colour import luma
from kdgan_jax.errors import UserError

PROTOCOL = "Y-BT601, unrounded Y, shave = scale, uint8 RGB, MATLAB bicubic"


def _shaved(image: np.ndarray, shave: int, needed: int = 1) -> np.ndarray:
    """Returns `image` without its border; at least `needed` pixels must be left each way."""
    height, width = image.shape[:2]
    if min(height, width) < needed + 2 * shave:
        raise UserError(
            f"an image of {width}x{height} is too small to be measured; sides must be at least"
            f" {needed + 2 * shave} pixels"
        )
    return image[shave : height - shave, shave : width - shave]


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    # dm_pix.psnr works in float32; here float64 gives inf for equal images and nothing else.
    mse = np.mean(np.square(a.astype(np.float64) - b.astype(np.float64)))
    return float(10 * np.log10(255**2 / mse)) if mse else float("inf")


def psnr_y(sr: np.ndarray, hr: np.ndarray, shave: int) -> float:
    """Peak signal-to-noise ratio on Y in dB; inf for identical images."""
    return _psnr(_shaved(luma(sr), shave), _shaved(luma(hr), shave))


def psnr_rgb(sr: np.ndarray, hr: np.ndarray, shave: int) -> float:
    """Peak signal-to-noise ratio over all three channels in dB; inf for identical images."""
    return _psnr(_shaved(sr, shave), _shaved(hr, shave))


@functools.lru_cache(maxsize=64)
def _window(size: int) -> np.ndarray:
    """Returns the matrix (size - 10, size) that blurs one axis: 11 taps of sigma 1.5, valid."""
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    band = np.zeros((size - 10, size), np.float32)
    for i, tap in enumerate(taps / taps.sum()):
        band[np.arange(size - 10), np.arange(size - 10) + i] = tap
    return band


@jax.jit
def _ssim(a: jax.Array, b: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    # Matrix products: dm_pix's own filter, a convolution per row, takes seconds to compile for
    # every size of image.
    def blur(image: jax.Array) -> jax.Array:
        return jnp.einsum("Yy,Xx,yxc->YXc", rows, columns, image, precision="highest")

    return dm_pix.ssim(a, b, filter_fn=blur)


def ssim_y(sr: np.ndarray, hr: np.ndarray, shave: int) -> float:
    """Structural similarity on Y: 11x11 Gaussian window of sigma 1.5, valid region, 0 to 1.

    Wang et al. 2004, K1 = 0.01, K2 = 0.03. Images must have sides above 10 + 2 * shave.
    """
    y_sr, y_hr = (
        jnp.asarray(_shaved(luma(image), shave, 11)[..., None] / 255, jnp.float32)
        for image in (sr, hr)
    )
    return float(_ssim(y_sr, y_hr, _window(y_sr.shape[0]), _window(y_sr.shape[1])))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray, int], float]] = {
    "psnr_y": psnr_y,
    "ssim_y": ssim_y,
    "psnr_rgb": psnr_rgb,
}
