"""CARN-M: residual blocks of grouped convolutions whose outputs cascade into each other.

Ahn, Kang, Sohn, "Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual
Network", ECCV 2018.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import conv, pixel_shuffle, tap

# Mean of DIV2K, subtracted from the input and added to the output (RGB in [0, 1]).
MEAN = 0.4488, 0.4371, 0.4040


class _Shift(nn.Module):
    """The mean's subtraction (sign -1) or addition, which files have as a 1x1 convolution."""

    sign: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", lambda _: jnp.eye(3).reshape(1, 1, 3, 3))
        bias = self.param("bias", lambda _: self.sign * jnp.asarray(MEAN))
        # Constants of the network, not trained; in full precision, as the image itself passes.
        kernel, bias = jax.lax.stop_gradient((kernel, bias))
        return jnp.einsum("bhwi,io->bhwo", x, kernel[0, 0], precision="highest") + bias


class _Residual(nn.Module):
    """Two grouped convolutions and a 1x1 one, added to the input."""

    groups: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        y = nn.relu(conv(channels, groups=self.groups, name="body.0")(x))
        y = nn.relu(conv(channels, groups=self.groups, name="body.2")(y))
        return nn.relu(x + conv(channels, 1, name="body.4")(y))


class _Block(nn.Module):
    """One residual unit, three times with the same weights, in a cascade."""

    groups: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        unit = _Residual(self.groups, name="b1")
        seen = x
        for i in range(1, 4):
            seen = jnp.concatenate([seen, unit(x)], axis=-1)
            x = nn.relu(conv(channels, 1, name=f"c{i}.body.0")(seen))
        return x


class CARNM(nn.Module):
    """RGB in [0, 1] to RGB; 294,171 parameters at x4.

    One published file serves x2, x3 and x4 (414,811 parameters): all but the upsampler is shared.

    Attributes:
      scale: enlargement, 2, 3 or 4.
      channels: width, a multiple of `groups`.
      blocks: cascading blocks.
      groups: groups of the 3x3 convolutions.
    """

    serves_scales = 2, 3, 4  # by one file of weights

    scale: int = 4
    channels: int = 64
    blocks: int = 3
    groups: int = 4

    @property
    def receptive_radius(self) -> int:
        """Pixels of the LR image that one output pixel sees on each side."""
        return 6 * self.blocks + 3  # head, three units a block; upsampler and tail reach two

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        x = conv(self.channels, name="entry")(_Shift(-1, name="sub_mean.shifter")(lr))
        features: dict[str, Array] = {}
        x = tap(self, features, "head", x)
        seen = x
        for i in range(1, self.blocks + 1):
            seen = jnp.concatenate([seen, _Block(self.groups, name=f"b{i}")(x)], axis=-1)
            x = nn.relu(conv(self.channels, 1, name=f"c{i}.body.0")(seen))
            x = tap(self, features, f"block{i}", x)
        for i, factor in enumerate((2, 2) if self.scale == 4 else (self.scale,)):
            name = f"upsample.up{self.scale}.body.{3 * i}"  # between: activation and shuffle
            x = conv(self.channels * factor**2, groups=self.groups, name=name)(x)
            x = pixel_shuffle(nn.relu(x), factor)
        return _Shift(1, name="add_mean.shifter")(conv(3, name="exit")(x)), features

    @staticmethod
    def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Returns the arguments of the network that has these PyTorch shapes, None if not CARN-M.

        Of a file for several scales the largest is taken.
        """
        scales = [s for s in (2, 3, 4) if f"upsample.up{s}.body.0.weight" in shapes]
        grouped, last = "b1.b1.body.0.weight", "b1.b1.body.4.weight"  # the latter is not in CARN
        if not scales or not {"entry.weight", "exit.weight", grouped, last} <= shapes.keys():
            return None
        channels, inputs = shapes[grouped][:2]
        return {
            "scale": scales[-1],
            "channels": channels,
            "blocks": sum(name.endswith(".b1.body.0.weight") for name in shapes),
            "groups": channels // inputs,
        }
