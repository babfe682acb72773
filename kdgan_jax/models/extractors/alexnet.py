"""AlexNet's convolutions as a feature extractor, in torchvision's shape ("one weird trick").

Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014. Parameters are
plain: {"conv1": {"kernel": (11, 11, 3, 64), "bias": (64,)}, ...}, as
`kdgan_jax.formats.imagenet.alexnet` reads them.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.extractors.vgg import IMAGENET_MEAN, IMAGENET_STD

# Stride and zero padding of each convolution; a pooling layer lies before conv2 and conv3.
LAYERS = {"conv1": (4, 2), "conv2": (1, 2), "conv3": (1, 1), "conv4": (1, 1), "conv5": (1, 1)}
SMALLEST = 31  # pixels that a side needs, so that the second pooling has a window


def _pool(x: Array) -> Array:
    """Largest of each 3x3 window at stride 2, unpadded: "SAME" would shift the windows."""
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")


def features(params: Any, image: Array) -> list[Array]:
    """Returns the five convolutions' outputs after ReLU.

    Args:
      params: the convolutions' parameters.
      image: RGB (B, H, W, 3) in [0, 1], sides of at least `SMALLEST`; ImageNet's mean and
        deviation are applied here.
    """
    x = (image - IMAGENET_MEAN) / IMAGENET_STD
    found = []
    for name, (stride, pad) in LAYERS.items():
        if name in ("conv2", "conv3"):
            x = _pool(x)
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        x = jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            ((pad, pad), (pad, pad)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = jnp.maximum(x + bias.reshape(1, 1, 1, -1), 0)
        found.append(x)
    return found
