"""AlexNet's convolutions as a feature extractor, in torchvision's shape ("one weird trick").

Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014. The parameters
are {"conv1": {"kernel": (11, 11, 3, 64), "bias": (64,)}, ...}, as
`kdgan_jax.formats.imagenet.alexnet` reads them.
"""

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.extractors.vgg import IMAGENET_MEAN, IMAGENET_STD
from kdgan_jax.models.types import Params

# Stride and zero padding of each convolution; a pooling layer precedes conv2 and conv3.
LAYERS = {"conv1": (4, 2), "conv2": (1, 2), "conv3": (1, 1), "conv4": (1, 1), "conv5": (1, 1)}
SMALLEST = 31  # smallest side in pixels: the second pooling then has one window


def _pool(x: Array) -> Array:
    """Max pooling of 3x3 windows at stride 2, unpadded: "SAME" would shift the windows."""
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")


def features(params: Params, image: Array) -> list[Array]:
    """Returns the outputs (B, h, w, C) of the five convolutions after their ReLU.

    Args:
      params: parameters of the convolutions, by layer.
      image: RGB (B, H, W, 3) in [0, 1], not normalized, with sides of at least `SMALLEST`.
    """
    x = (image - IMAGENET_MEAN) / IMAGENET_STD
    outputs = []
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
        outputs.append(x)
    return outputs
