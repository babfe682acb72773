"""CARN-M: residual blocks of grouped convolutions whose outputs cascade into each other.

Ahn, Kang, Sohn, "Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual
Network", ECCV 2018.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import pixel_shuffle, tap, torch_conv, upscaling_steps
from kdgan_jax.models.blocks.mean_shift import DIV2K_MEAN, MeanShift
from kdgan_jax.models.types import Arguments, Features, Shapes


class _Residual(nn.Module):
    """Two grouped convolutions and a 1x1 one, plus the input."""

    groups: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        y = nn.relu(torch_conv(channels, groups=self.groups, name="body.0")(x))
        y = nn.relu(torch_conv(channels, groups=self.groups, name="body.2")(y))
        return nn.relu(x + torch_conv(channels, 1, name="body.4")(y))


class _Block(nn.Module):
    """A cascade of three residual units that share their weights."""

    groups: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        unit = _Residual(self.groups, name="b1")
        seen = x
        for i in range(1, 4):
            seen = jnp.concatenate([seen, unit(x)], axis=-1)
            x = nn.relu(torch_conv(channels, 1, name=f"c{i}.body.0")(seen))
        return x


class CARNM(nn.Module):
    """Maps RGB in [0, 1] to RGB; 294,171 parameters at x4.

    One published file serves x2, x3 and x4 (414,811 parameters); only the upsamplers differ.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: width, a multiple of `groups`.
      blocks: cascading blocks.
      groups: channel groups of the 3x3 convolutions.
    """

    serves_scales = 2, 3, 4  # with one file of weights

    scale: int = 4
    channels: int = 64
    blocks: int = 3
    groups: int = 4

    @property
    def receptive_radius(self) -> int:
        """LR pixels that one output pixel depends on, on each side."""
        return (
            6 * self.blocks + 3
        )  # head, three units per block; the upsampler and the tail add two

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        x = MeanShift(tuple(-mean for mean in DIV2K_MEAN), name="sub_mean.shifter")(lr)
        x = torch_conv(self.channels, name="entry")(x)
        features: Features = {}
        x = tap(self, features, "head", x)
        seen = x
        for i in range(1, self.blocks + 1):
            seen = jnp.concatenate([seen, _Block(self.groups, name=f"b{i}")(x)], axis=-1)
            x = nn.relu(torch_conv(self.channels, 1, name=f"c{i}.body.0")(seen))
            x = tap(self, features, f"block{i}", x)
        for i, factor in enumerate(upscaling_steps(self.scale)):
            # Two layers without weights, the activation and the shuffle, are between these.
            name = f"upsample.up{self.scale}.body.{3 * i}"
            x = torch_conv(self.channels * factor**2, groups=self.groups, name=name)(x)
            x = pixel_shuffle(nn.relu(x), factor)
        x = torch_conv(3, name="exit")(x)
        return MeanShift(DIV2K_MEAN, name="add_mean.shifter")(x), features

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the CARN-M with these PyTorch shapes, or None.

        For a file that serves several scales, the scale is the largest.
        """
        scales = [s for s in (2, 3, 4) if f"upsample.up{s}.body.0.weight" in shapes]
        grouped, last = "b1.b1.body.0.weight", "b1.b1.body.4.weight"  # CARN lacks the latter
        if not scales or not {"entry.weight", "exit.weight", grouped, last} <= shapes.keys():
            return None
        channels, inputs = shapes[grouped][:2]
        return {
            "scale": scales[-1],
            "channels": channels,
            "blocks": sum(name.endswith(".b1.body.0.weight") for name in shapes),
            "groups": channels // inputs,
        }
