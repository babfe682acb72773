"""PSNR and SSIM as super-resolution papers report them.

Images are uint8 RGB (H, W, 3) of one size. Y is BT.601 studio range, unrounded; `shave` pixels
(the scale) are cut off at each side; a set's figure is the mean over its images.
"""

from collections.abc import Callable

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np

from kdgan_jax.colour import luma

PROTOCOL = "Y-BT601, unrounded Y, shave = scale, uint8 RGB, MATLAB bicubic"


def _shaved(image: np.ndarray, shave: int) -> np.ndarray:
    return image[shave:-shave, shave:-shave] if shave else image


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


_WINDOW = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
_WINDOW /= _WINDOW.sum()


def _blur(image: jax.Array) -> jax.Array:
    """The 11x11 Gaussian window of sigma 1.5 on its valid region, (H, W, 1) to (H-10, W-10, 1).

    dm_pix's own filter is a convolution per row, 20 times slower on a CPU.
    """
    for axis in (0, 1):
        size = image.shape[axis] - 10
        parts = (jax.lax.slice_in_dim(image, i, i + size, axis=axis) for i in range(11))
        image = sum(float(w) * part for w, part in zip(_WINDOW, parts, strict=True))  # type: ignore
    return image


@jax.jit
def _ssim(a: jax.Array, b: jax.Array) -> jax.Array:
    return dm_pix.ssim(a, b, filter_fn=_blur)


def ssim_y(sr: np.ndarray, hr: np.ndarray, shave: int) -> float:
    """Structural similarity on Y: 11x11 Gaussian window of sigma 1.5, valid region, 0 to 1.

    Wang et al. 2004, K1 = 0.01, K2 = 0.03. Images must have sides above 10 + 2 * shave.
    """
    a, b = (jnp.float32(_shaved(luma(image), shave)[..., None] / 255) for image in (sr, hr))
    return float(_ssim(a, b))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray, int], float]] = {
    "psnr_y": psnr_y,
    "ssim_y": ssim_y,
    "psnr_rgb": psnr_rgb,
}
