"""DISTS: likeness of two images in structure and texture (Ding et al. 2020).

The images and their features in VGG16, whose pooling is an L2 norm, are compared channel by channel
over the whole image: their means (texture) and their covariance (structure). Learned weights of all
channels add up to 1; DISTS is 1 minus the weighted likeness. Photos keep their size.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kdgan_jax.evaluation.lpips import strips
from kdgan_jax.formats import imagenet
from kdgan_jax.formats.imagenet import Convolutions
from kdgan_jax.models.extractors import vgg
from kdgan_jax.models.types import Params
from kdgan_jax.runtime.errors import UserError

PARAMETERS = Path(__file__).with_name("parameters") / "dists.safetensors"
LAYERS = "conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"  # the last of each block
SMALLEST = 16  # side of an image in pixels
STRIDES = 1, 1, 2, 4, 8, 16  # of the image itself and of each layer's features, in its pixels
STABLE = 1e-6  # added where a likeness divides


def _pooled(x: Array) -> Array:
    """Returns the L2 norm of features (1, h, w, C) in windows of 3x3 pixels, at every second one.

    The windows have the weights 1, 2, 1 along both axes, with sum 1.
    """
    x = jnp.square(x)
    for _ in range(2):
        size = (x.shape[1] + 1) // 2
        padded = jnp.pad(x, [(0, 0), (1, 1), (0, 0), (0, 0)])
        taps = [padded[:, i : i + 2 * size - 1 : 2] for i in range(3)]
        x = (taps[0] / 4 + taps[1] / 2 + taps[2] / 4).swapaxes(1, 2)
    return jnp.sqrt(x + 1e-12)


@jax.jit
def _features(params: Params, image: Array) -> list[Array]:
    """Returns `image` (H, W, 3), float32 from 0 to 255, in [0, 1], and each layer's (h, w, C)."""
    image = image[None] / 255
    with jax.default_matmul_precision("highest"):  # GPUs would round to 10 bits
        layers = vgg.features(params, image, LAYERS, pool=_pooled)
    return [image[0], *(jnp.maximum(layer[0], 0) for layer in layers)]


@jax.jit
def _row_moments(ours: list[Array], theirs: list[Array]) -> list[Array]:
    """Returns for each layer (5, h, C): both means of a row, both variances, the covariance."""

    def moments(a: Array, b: Array) -> Array:
        mean_a, mean_b = a.mean(axis=1), b.mean(axis=1)
        a, b = a - mean_a[:, None], b - mean_b[:, None]
        products = [(x * y).mean(axis=1) for x, y in ((a, a), (b, b), (a, b))]
        return jnp.stack([mean_a, mean_b, *products])

    return [moments(*pair) for pair in zip(ours, theirs, strict=True)]


@functools.lru_cache(maxsize=1)
def _params() -> Convolutions:
    return jax.device_put(imagenet.vgg16())


def distance(sr: np.ndarray, hr: np.ndarray) -> float:
    """Returns the DISTS of two uint8 RGB images (H, W, 3), 0 for equal ones.

    Raises:
      UserError: an image is too small, or VGG16's weights are not installed.
    """
    return distances([sr], hr)[0]


def distances(images: Sequence[np.ndarray], hr: np.ndarray) -> list[float]:
    """Returns the DISTS of each image to `hr`, whose features are computed once; see `distance`."""
    height, width = hr.shape[:2]
    if min(height, width) < SMALLEST:
        raise UserError(
            f"an image of {width}x{height} is too small for DISTS; sides must be at least"
            f" {SMALLEST} pixels"
        )
    params = _params()
    rows: list[list[list[np.ndarray]]] = [[[] for _ in STRIDES] for _ in images]
    for strip in strips(height, width):
        part = slice(strip.start, strip.stop)
        reference = _features(params, jnp.asarray(hr[part], jnp.float32))
        for layers, image in zip(rows, images, strict=True):
            features = _features(params, jnp.asarray(image[part], jnp.float32))
            moments = _row_moments(features, reference)
            for layer, of_rows, stride in zip(layers, moments, STRIDES, strict=True):
                begin = (strip.keep_from - strip.start) // stride
                end = None if strip.keep_to == height else (strip.keep_to - strip.start) // stride
                layer.append(np.asarray(of_rows)[:, begin:end])
    return [_distance([np.concatenate(layer, axis=1) for layer in layers]) for layers in rows]


def _distance(layers: Sequence[np.ndarray]) -> float:
    """Returns the DISTS of two images of which `layers` are the moments (5, h, C) of all rows."""
    from safetensors.numpy import load_file

    likeness = []
    for layer in layers:
        means, within = layer[:2].astype(np.float64), layer[2:].mean(axis=1, dtype=np.float64)
        a, b = means.mean(axis=1)
        rows_a, rows_b = means - means.mean(axis=1, keepdims=True)
        between = [(rows_a**2).mean(0), (rows_b**2).mean(0), (rows_a * rows_b).mean(0)]
        var_a, var_b, covariance = within + between  # of the rows, and between them
        texture = (2 * a * b + STABLE) / (a**2 + b**2 + STABLE)
        structure = (2 * covariance + STABLE) / (var_a + var_b + STABLE)
        likeness.append(np.stack([texture, structure]))
    learned = load_file(PARAMETERS)
    weights = np.stack([learned["alpha"], learned["beta"]]).astype(np.float64)
    return float(1 - (np.concatenate(likeness, axis=1) * weights).sum() / weights.sum())
