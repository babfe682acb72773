"""LPIPS: distance of two images in the feature space of a classifier (Zhang et al. 2018, v0.1).

Per layer: features after ReLU, each pixel's channels divided by their norm, squared difference,
weighted sum over channels by a learned head, mean over pixels; then the sum over layers. Nothing is
cut off at the border. The networks' normalisation of [0, 1] equals LPIPS' own of [-1, 1].
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kdgan_jax.formats import imagenet
from kdgan_jax.models.extractors import alexnet, vgg
from kdgan_jax.runtime.errors import UserError

# Large images go through in strips of this many pixels, at starts that all layers' strides divide;
# further from a strip's seam than the overlap, features are those of the whole image (the last
# convolution sees 98 pixels in VGG16, 82 in AlexNet).
STRIP_PIXELS = 2**20
ALIGNMENT = 16
OVERLAP = 112

VGG_LAYERS = "conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"


def _vgg_features(params: Any, image: Array) -> list[Array]:
    return [jnp.maximum(x, 0) for x in vgg.features(params, image, VGG_LAYERS)]


class Network(NamedTuple):
    """What LPIPS needs of a classifier."""

    file: str
    convolutions: Callable[[], Any]
    features: Callable[[Any, Array], list[Array]]
    strides: tuple[int, ...]  # of the features, in pixels of the image
    smallest: int  # side in pixels


NETWORKS = {
    "alex": Network(
        "alexnet.ckpt", imagenet.alexnet, alexnet.features, (4, 8, 16, 16, 16), alexnet.SMALLEST
    ),
    "vgg": Network("vgg16.ckpt", imagenet.vgg16, _vgg_features, (1, 2, 4, 8, 16), 16),
}


@jax.jit(static_argnames="net")
def _row_means(params: Any, heads: list[Array], pair: Array, net: str) -> list[Array]:
    """Returns per layer the mean over each row, (h,), of the weighted squared difference."""
    found = []
    with jax.default_matmul_precision("highest"):  # GPUs would round to 10 bits
        layers = NETWORKS[net].features(params, pair / 255)
    for x, head in zip(layers, heads, strict=True):
        unit = x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-10)
        difference = jnp.square(unit[0] - unit[1])
        found.append((difference * head.reshape(1, 1, -1)).sum(-1).mean(-1))
    return found


@functools.lru_cache(maxsize=len(NETWORKS))
def _weights(net: str) -> tuple[Any, list[Array]]:
    """Returns (convolutions, heads) on the device."""
    network = NETWORKS[net]
    return jax.device_put((network.convolutions(), imagenet.lpips_heads(network.file)))


class _Strip(NamedTuple):
    start: int
    stop: int
    keep_from: int
    keep_to: int


def strips(height: int, width: int) -> Iterator[_Strip]:
    """Yields the strips of rows that cover an image; kept parts are disjoint and cover all."""
    rows = max(ALIGNMENT, STRIP_PIXELS // width // ALIGNMENT * ALIGNMENT)
    if height <= rows + 2 * OVERLAP:
        rows = height
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        yield _Strip(max(0, start - OVERLAP), min(stop + OVERLAP, height), start, stop)


def distance(sr: np.ndarray, hr: np.ndarray, net: str) -> float:
    """Returns LPIPS of two uint8 RGB images (H, W, 3) by "alex" or "vgg"; 0 for equal ones.

    Raises:
      UserError: an image is too small for the network, or the weights are not installed.
    """
    network = NETWORKS[net]
    height, width = hr.shape[:2]
    if min(height, width) < network.smallest:
        raise UserError(
            f"an image of {width}x{height} is too small for LPIPS; sides must be at least"
            f" {network.smallest} pixels"
        )
    params, heads = _weights(net)
    layers: list[list[np.ndarray]] = [[] for _ in heads]
    for strip in strips(height, width):
        pair = np.stack([image[strip.start : strip.stop] for image in (sr, hr)])
        means = _row_means(params, heads, jnp.asarray(pair, jnp.float32), net)
        for kept, rows, stride in zip(layers, means, network.strides, strict=True):
            begin = (strip.keep_from - strip.start) // stride
            end = None if strip.keep_to == height else (strip.keep_to - strip.start) // stride
            kept.append(np.asarray(rows)[begin:end])
    return float(sum(np.concatenate(kept).mean(dtype=np.float64) for kept in layers))
