"""VGG16's convolutions as a feature extractor.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015. Parameters are plain: {"conv1_1": {"kernel": (3, 3, C, F), "bias": (F,)}, ...}, as
`kdgan_jax.formats.imagenet.vgg16` reads them.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# A pooling layer lies before the first convolution of each block but the first.
LAYERS = tuple(
    f"conv{block}_{i}"
    for block, convolutions in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3))
    for i in range(1, convolutions + 1)
)
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 1, 1, 3)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 1, 1, 3)


def _pool(x: Array) -> Array:
    b, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))


def features(params: Any, image: Array, layers: Sequence[str]) -> list[Array]:
    """Returns the named layers' outputs before ReLU, e.g. of ("conv2_2", "conv3_3").

    Args:
      params: the convolutions' parameters, at least up to the deepest layer named.
      image: RGB (B, H, W, 3) in [0, 1]; ImageNet's mean and deviation are applied here.
      layers: names out of `LAYERS`.
    """
    x = (image - IMAGENET_MEAN) / IMAGENET_STD
    found: dict[str, Array] = {}
    for name in LAYERS:
        if name.endswith("_1") and name != "conv1_1":
            x = _pool(x)
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        x = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ) + bias.reshape(1, 1, 1, -1)
        found[name] = x
        if set(layers) <= set(found):
            return [found[layer] for layer in layers]
        x = jnp.maximum(x, 0)
    raise ValueError(f"layers={tuple(layers)} must be among {LAYERS}")
