"""LPIPS: distance of two images in the feature space of a classifier (Zhang et al. 2018, v0.1).

In each layer, features after ReLU are divided by their norm over channels; their squared
differences are summed over channels with learned weights (the head) and averaged over pixels. LPIPS
is the sum over layers. The border counts too. Normalising [0, 1] for ImageNet, as the networks do
here, equals LPIPS's own normalisation of [-1, 1].
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kdgan_jax.formats import imagenet
from kdgan_jax.formats.imagenet import Convolutions
from kdgan_jax.models.extractors import alexnet, vgg
from kdgan_jax.runtime.errors import UserError

# Large images are processed in strips of this many pixels, which start at multiples of all layers'
# strides. Beyond the overlap, a strip's features are those of the whole image: the last convolution
# sees 98 pixels to each side in VGG16, 82 in AlexNet.
STRIP_PIXELS = 2**20
ALIGNMENT = 16
OVERLAP = 112

VGG_LAYERS = "conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"


def _vgg_features(params: Convolutions, image: Array) -> list[Array]:
    return [jnp.maximum(x, 0) for x in vgg.features(params, image, VGG_LAYERS)]


class Network(NamedTuple):
    """A classifier whose features LPIPS compares."""

    file: str  # its weights and LPIPS's heads
    convolutions: Callable[[], Convolutions]
    features: Callable[[Convolutions, Array], list[Array]]
    strides: tuple[int, ...]  # of each layer's features, in pixels of the image
    smallest: int  # side of an image, in pixels


NETWORKS = {
    "alex": Network(
        "alexnet.ckpt", imagenet.alexnet, alexnet.features, (4, 8, 16, 16, 16), alexnet.SMALLEST
    ),
    "vgg": Network("vgg16.ckpt", imagenet.vgg16, _vgg_features, (1, 2, 4, 8, 16), 16),
}


# Features are padded, so that comparing them is compiled for few sizes: to this many rows of the
# image, and to whole windows of columns, as XLA itself does where it adds them up.
ROWS, WINDOW = 256, 32


@jax.jit(static_argnames="net")
def _features(params: Convolutions, image: Array, net: str) -> list[Array]:
    """Returns the features of each layer, (h, w, C), with zeros around them.

    `image` is (H, W, 3) float32 from 0 to 255.
    """
    network = NETWORKS[net]
    with jax.default_matmul_precision("highest"):  # GPUs would round to 10 bits
        layers = network.features(params, image[None] / 255)
    padded = []
    for (x,), stride in zip(layers, network.strides, strict=True):
        height, width, _ = x.shape
        rows, columns = -height % max(WINDOW, ROWS // stride), -width % WINDOW
        left = columns // 2
        padded.append(jnp.pad(x, [(0, rows), (left, columns - left), (0, 0)]))
    return padded


@jax.jit
def _row_sums(heads: list[Array], ours: list[Array], theirs: list[Array]) -> list[Array]:
    """Returns for each layer the weighted squared difference of two images' features, per row."""
    sums = []
    for *pair, head in zip(ours, theirs, heads, strict=True):
        a, b = (x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-10) for x in pair)
        sums.append((jnp.square(a - b) * head.reshape(1, 1, -1)).sum((1, 2)))
    return sums


@functools.lru_cache(maxsize=len(NETWORKS))
def _weights(net: str) -> tuple[Convolutions, list[Array]]:
    """Returns (convolutions, heads) on the device."""
    network = NETWORKS[net]
    return jax.device_put((network.convolutions(), imagenet.lpips_heads(network.file)))


class Strip(NamedTuple):
    """Rows of an image that are processed together, and those whose features are kept."""

    start: int
    stop: int
    keep_from: int
    keep_to: int


def strips(height: int, width: int) -> Iterator[Strip]:
    """Yields the strips that cover an image; each row is kept once."""
    rows = max(ALIGNMENT, STRIP_PIXELS // width // ALIGNMENT * ALIGNMENT)
    if height <= rows + 2 * OVERLAP:
        rows = height
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        yield Strip(max(0, start - OVERLAP), min(stop + OVERLAP, height), start, stop)


def distance(sr: np.ndarray, hr: np.ndarray, net: str) -> float:
    """Returns the LPIPS of two uint8 RGB images (H, W, 3) with `net` "alex" or "vgg".

    It is 0 for equal images.

    Raises:
      UserError: an image is too small for the network, or the weights are not installed.
    """
    return distances([sr], hr, net)[0]


def distances(images: Sequence[np.ndarray], hr: np.ndarray, net: str) -> list[float]:
    """Returns the LPIPS of each image to `hr`, whose features are computed once; see `distance`."""
    network = NETWORKS[net]
    height, width = hr.shape[:2]
    if min(height, width) < network.smallest:
        raise UserError(
            f"an image of {width}x{height} is too small for LPIPS; sides must be at least"
            f" {network.smallest} pixels"
        )
    params, heads = _weights(net)
    rows: list[list[list[np.ndarray]]] = [[[] for _ in heads] for _ in images]
    for strip in strips(height, width):

        def features(image: np.ndarray, strip: Strip = strip) -> list[Array]:
            part = image[strip.start : strip.stop]
            return _features(params, jnp.asarray(part, jnp.float32), net)

        reference = features(hr)
        for layers, image in zip(rows, images, strict=True):
            sums = _row_sums(heads, features(image), reference)
            for layer, row_sums, stride in zip(layers, sums, network.strides, strict=True):
                begin = (strip.keep_from - strip.start) // stride
                end = None if strip.keep_to == height else (strip.keep_to - strip.start) // stride
                layer.append(np.asarray(row_sums)[begin:end])
    sizes = _sizes((height, width), net)
    return [
        float(sum(_mean(np.concatenate(r), *size) for r, size in zip(layers, sizes, strict=True)))
        for layers in rows
    ]


@functools.lru_cache(maxsize=128)
def _sizes(size: tuple[int, int], net: str) -> list[tuple[int, int]]:
    """Returns (height, width) of the features of each layer for an image of `size`."""
    image = jax.ShapeDtypeStruct((1, *size, 3), np.float32)
    layers = jax.eval_shape(NETWORKS[net].features, _weights(net)[0], image)
    return [layer.shape[1:3] for layer in layers]


def _mean(sums: np.ndarray, height: int, width: int) -> np.floating:
    """Returns the mean over `height` rows, of which `sums` has the sums over `width` columns."""
    return (sums[:height] * (np.float32(1) / np.float32(width))).mean(dtype=np.float64)
