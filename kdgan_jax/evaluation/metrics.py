"""PSNR, SSIM, LPIPS and DISTS as super-resolution papers report them; NIQE and mesh of SR alone.

Images are uint8 RGB (H, W, 3) of equal size. Y is BT.601 studio range, unrounded. `shave` pixels
(the scale) are cut off at each side for PSNR and SSIM. A set's figure is the mean over its images.
"""

from collections.abc import Callable, Iterable, Sequence

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np

from kdgan_jax.evaluation import dists, lpips, mesh, niqe
from kdgan_jax.formats import imagenet
from kdgan_jax.pictures.colour import luma
from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import UserError, pick

Metric = Callable[[np.ndarray, np.ndarray, int], float]  # of (SR, HR, shave)

PROTOCOL = "Y-BT601, unrounded Y, shave = scale, uint8 RGB, MATLAB bicubic"


def _shaved(image: np.ndarray, shave: int, needed: int = 1) -> np.ndarray:
    """Returns `image` without its border; at least `needed` pixels a side must be left.

    Raises:
      UserError: the image is too small.
    """
    height, width = image.shape[:2]
    if min(height, width) < needed + 2 * shave:
        raise UserError(
            f"an image of {width}x{height} is too small to be measured; sides must be at least"
            f" {needed + 2 * shave} pixels"
        )
    return image[shave : height - shave, shave : width - shave]


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    # dm_pix.psnr works in float32; in float64 only equal images give inf.
    mse = np.mean(np.square(a.astype(np.float64) - b.astype(np.float64)))
    return float(10 * np.log10(255**2 / mse)) if mse else float("inf")


def psnr_y(sr: np.ndarray, hr: np.ndarray, shave: int) -> float:
    """Returns the peak signal-to-noise ratio on Y in dB; inf for identical images."""
    return _psnr(_shaved(luma(sr), shave), _shaved(luma(hr), shave))


def psnr_rgb(sr: np.ndarray, hr: np.ndarray, shave: int) -> float:
    """Returns the peak signal-to-noise ratio on RGB in dB; inf for identical images."""
    return _psnr(_shaved(sr, shave), _shaved(hr, shave))


# SSIM is compiled for sides that are multiples of this, not for every size of image.
BUCKET = 128
BLOCK = 64  # pixels that SSIM's window is applied to at once, as a product of matrices


def _window() -> np.ndarray:
    """Returns the matrix (BLOCK, BLOCK + 10) of a Gaussian of 11 pixels and sigma 1.5."""
    gaussian = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    band = np.zeros((BLOCK, BLOCK + 10), np.float32)
    for i, weight in enumerate(gaussian / gaussian.sum()):
        band[np.arange(BLOCK), np.arange(BLOCK) + i] = weight
    return band


def _blurred(image: jax.Array) -> jax.Array:
    """Returns (..., n) blurred along the last axis, n a multiple of BLOCK; 10 are not valid."""
    size = image.shape[-1]
    places = np.arange(0, size, BLOCK)[:, None] + np.arange(BLOCK + 10)
    blocks = image[..., np.minimum(places, size - 1)]
    return jnp.einsum("Bb,...nb->...nB", _window(), blocks, precision="highest").reshape(
        image.shape
    )


@jax.jit
def _ssim(a: jax.Array, b: jax.Array) -> jax.Array:
    # dm_pix's own filter, a convolution per row, takes seconds to compile for every size of image.
    def blur(image: jax.Array) -> jax.Array:
        return _blurred(_blurred(image[..., 0]).T).T[..., None]

    return dm_pix.ssim(a, b, filter_fn=blur, return_map=True)


def ssim_y(sr: np.ndarray, hr: np.ndarray, shave: int) -> float:
    """Returns the structural similarity on Y, at most 1 (Wang et al. 2004).

    The window is an 11x11 Gaussian of sigma 1.5, valid region only; K1 = 0.01, K2 = 0.03.

    Raises:
      UserError: a side is below 11 + 2 * shave pixels.
    """
    height, width = _shaved(hr, shave, 11).shape[:2]
    padding = (0, -height % BUCKET), (0, -width % BUCKET), (0, 0)
    y_sr, y_hr = (
        np.pad(np.float32(_shaved(luma(image), shave)[..., None] / 255), padding)
        for image in (sr, hr)
    )
    similarity = np.asarray(_ssim(y_sr, y_hr))
    return float(similarity[: height - 10, : width - 10].mean(dtype=np.float64))


def lpips_alex(sr: np.ndarray, hr: np.ndarray, shave: int) -> float:
    """Returns LPIPS v0.1 with AlexNet, which papers report; lower is better, nothing is cut off."""
    del shave
    return lpips.distance(sr, hr, "alex")


def lpips_vgg(sr: np.ndarray, hr: np.ndarray, shave: int) -> float:
    """Returns LPIPS v0.1 with VGG16, 20 times as slow; lower is better, nothing is cut off."""
    del shave
    return lpips.distance(sr, hr, "vgg")


def _dists(sr: np.ndarray, hr: np.ndarray, shave: int) -> float:
    """Returns DISTS, 0 for identical images; lower is better, nothing is cut off."""
    del shave
    return dists.distance(sr, hr)


def _niqe(sr: np.ndarray, hr: np.ndarray, shave: int) -> float:
    """Returns the NIQE of SR alone; lower is better, nothing is cut off."""
    del hr, shave
    _shaved(sr, 0, niqe.SMALLEST)
    return niqe.distance(sr)


def _mesh(sr: np.ndarray, hr: np.ndarray, shave: int) -> float:
    """Returns the mesh of SR alone; lower is better, nothing is cut off."""
    del hr, shave
    _shaved(sr, 0, mesh.SMALLEST)
    return mesh.excess(sr)


METRICS: dict[str, Metric] = {
    "psnr_y": psnr_y,
    "ssim_y": ssim_y,
    "psnr_rgb": psnr_rgb,
    "lpips_alex": lpips_alex,
    "lpips_vgg": lpips_vgg,
    "dists": _dists,
    "niqe": _niqe,
    "mesh": _mesh,
}
NO_REFERENCE = "niqe", "mesh"  # of SR alone
DEFAULT = "psnr_y", "ssim_y", "psnr_rgb", "lpips_alex"  # lpips_vgg takes most of the time


def figures(
    images: Sequence[np.ndarray], hr: np.ndarray, shave: int, names: Iterable[str]
) -> list[dict[str, float]]:
    """Returns the metrics `names` of each image to the same `hr`."""
    rows: list[dict[str, float]] = [{} for _ in images]
    for name in names:
        net = name.removeprefix("lpips_")
        if net in lpips.NETWORKS:
            values = lpips.distances(images, hr, net)
        elif name == "dists":
            values = dists.distances(images, hr)
        else:
            values = [METRICS[name](image, hr, shave) for image in images]
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return rows


def check(names: Iterable[str]) -> None:
    """Checks that the metrics `names` can be measured here.

    Raises:
      UserError: a name is unknown, or its weights are not installed.
    """
    for name in names:
        pick(METRICS, name, "metric")
        net = "vgg" if name == "dists" else name.removeprefix("lpips_")
        if net in lpips.NETWORKS:
            imagenet.weight_file(lpips.NETWORKS[net].file)


def available() -> list[str]:
    """Returns those of `DEFAULT` that can be measured here; a warning names the others."""
    names, reasons = [], {}
    for name in DEFAULT:
        try:
            check([name])
            names.append(name)
        except UserError as error:
            reasons[name] = error
    if reasons:
        log.warning("%s: not measured; %s", ", ".join(reasons), next(iter(reasons.values())))
    return names


def smallest_side(names: Iterable[str], shave: int) -> int:
    """Returns the smallest side of HR, in pixels, on which the metrics `names` are defined."""
    needed = {"ssim_y": 11 + 2 * shave}
    needed |= {f"lpips_{net}": network.smallest for net, network in lpips.NETWORKS.items()}
    needed |= {"dists": dists.SMALLEST}
    needed |= {"niqe": niqe.SMALLEST, "mesh": mesh.SMALLEST}
    return max(needed.get(name, 1 + 2 * shave) for name in names)


def measurable(names: Iterable[str], side: int, shave: int) -> list[str]:
    """Returns those of the metrics `names` that are defined on images with a side of `side`."""
    return [name for name in names if smallest_side([name], shave) <= side]
