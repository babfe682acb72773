"""VGG16's convolutions as a feature extractor.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015. The parameters are {"conv1_1": {"kernel": (3, 3, C, F), "bias": (F,)}, ...}, as
`kdgan_jax.formats.imagenet.vgg16` reads them.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kdgan_jax.models.types import Params

# A pooling layer precedes the first convolution of every block after the first.
LAYERS = tuple(
    f"conv{block}_{i}"
    for block, convolutions in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3))
    for i in range(1, convolutions + 1)
)
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 1, 1, 3)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 1, 1, 3)


def max_pool(x: Array) -> Array:
    """Max pooling of 2x2 windows; an odd last row or column is dropped."""
    b, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))


def features(
    params: Params,
    image: Array,
    layers: Sequence[str],
    pool: Callable[[Array], Array] = max_pool,
) -> list[Array]:
    """Returns the outputs (B, h, w, C) of `layers` before their ReLU.

    Args:
      params: parameters of the convolutions by layer, at least up to the deepest of `layers`.
      image: RGB (B, H, W, 3) in [0, 1], not normalized.
      layers: names out of `LAYERS`, such as ("conv2_2", "conv3_3").
      pool: halves features between blocks.

    Raises:
      ValueError: a name is not in `LAYERS`.
    """
    x = (image - IMAGENET_MEAN) / IMAGENET_STD
    outputs: dict[str, Array] = {}
    for name in LAYERS:
        if name.endswith("_1") and name != "conv1_1":
            x = pool(x)
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        x = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ) + bias.reshape(1, 1, 1, -1)
        outputs[name] = x
        if set(layers) <= set(outputs):
            return [outputs[layer] for layer in layers]
        x = jnp.maximum(x, 0)
    raise ValueError(f"layers={tuple(layers)} has an unknown name; choose from {LAYERS}")
