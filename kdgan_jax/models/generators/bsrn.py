"""BSRN: distillation blocks of blueprint convolutions with spatial and channel attention.

Li et al., "Blueprint Separable Residual Network for Efficient Image Super-Resolution", CVPRW 2022.
BSRN-S won the model complexity track of the NTIRE 2022 challenge on efficient super-resolution.
"""

import functools
import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.attention import ESA, SMALLEST, ContrastAttention
from kdgan_jax.models.blocks.layers import pixel_shuffle, tap, torch_conv
from kdgan_jax.models.types import Arguments, Features, Layer, Shapes

_gelu = functools.partial(nn.gelu, approximate=False)


def _point(small: bool) -> Layer:
    """Returns the constructor of 1x1 convolutions; BSRN-S stores them as linear layers."""
    return nn.Dense if small else functools.partial(torch_conv, kernel=1)


class _Blueprint(nn.Module):
    """A 1x1 convolution followed by a depthwise 3x3 one, which pads with zeros in between."""

    channels: int
    small: bool
    stride: int = 1
    pad: int = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.small:
            x = nn.Dense(self.channels, name="pw")(x)  # its bias is not in the padding
        else:
            x = torch_conv(self.channels, 1, bias=False, name="pw")(x)
        return torch_conv(
            self.channels, stride=self.stride, pad=self.pad, groups=self.channels, name="dw"
        )(x)


class _Block(nn.Module):
    """Three steps that each distil half the channels and refine all, then both attentions."""

    small: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        point, blueprint = _point(self.small), functools.partial(_Blueprint, small=self.small)
        distilled: list[Array] = []
        y = x
        for i in range(1, 4):
            distilled.append(_gelu(point(channels // 2, name=f"c{i}_d")(y)))
            y = _gelu(y + blueprint(channels, name=f"c{i}_r")(y))
        distilled.append(_gelu(blueprint(channels // 2, name="c4")(y)))
        y = point(channels, name="c5")(jnp.concatenate(distilled, axis=-1))
        y = ESA(
            channels // 4,
            deep=True,
            point=point,
            reduce=torch_conv if self.small else blueprint,
            convolution=blueprint,
            name="esa",
        )(y)
        if self.small:
            factors = self.param("cw", nn.initializers.ones, (channels, 1))
            return x + point(channels, name="conv_out")(y * factors.reshape(1, 1, 1, -1))
        return x + ContrastAttention(name="cca")(y)


class BSRN(nn.Module):
    """Maps RGB in [0, 1] to RGB.

    At x4, BSRN has 352,400 parameters and BSRN-S (small, 48 channels, 5 blocks) 156,288.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: width, a multiple of 4.
      blocks: efficient separable distillation blocks.
      small: weight channels by learned factors as in BSRN-S, not by their contrast.
    """

    scale: int = 4
    channels: int = 64
    blocks: int = 8
    small: bool = False

    whole_image = True  # statistics of whole maps; coarse maps that depend on the image's size
    receptive_radius = 0
    smallest = SMALLEST

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        x = jnp.tile(lr, (1, 1, 1, 4))
        features: Features = {}
        x = _Blueprint(self.channels, self.small, name="fea_conv")(x)
        head = x = tap(self, features, "head", x)
        outputs = []
        for i in range(1, self.blocks + 1):
            x = tap(self, features, f"block{i}", _Block(self.small, name=f"B{i}")(x))
            outputs.append(x)
        x = _gelu(_point(self.small)(self.channels, name="c1")(jnp.concatenate(outputs, axis=-1)))
        x = head + _Blueprint(self.channels, self.small, name="c2")(x)
        x = tap(self, features, "body", x)
        x = torch_conv(3 * self.scale**2, name="upsampler.upsampleOneStep.0")(x)
        return pixel_shuffle(x, self.scale), features

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the BSRN with these PyTorch shapes, or None."""
        last = "upsampler.upsampleOneStep.0.weight"
        needed = {"fea_conv.pw.weight", "B1.c1_r.pw.weight", "B1.esa.conv_max.pw.weight", last}
        small = "B1.cw" in shapes
        if not needed <= shapes.keys() or not (small or "B1.cca.conv_du.0.weight" in shapes):
            return None
        return {
            "scale": math.isqrt(shapes[last][0] // 3),
            "channels": shapes["fea_conv.pw.weight"][0],
            "blocks": sum(name.endswith(".c1_r.pw.weight") for name in shapes),
            "small": small,
        }
