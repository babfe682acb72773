"""RLFN: plain residual blocks, each followed by enhanced spatial attention.

Kong et al., "Residual Local Feature Network for Efficient Super-Resolution", CVPRW 2022. It
won the runtime track of the NTIRE 2022 challenge on efficient super-resolution.
"""

import math

import flax.linen as nn
from jax import Array

from kdgan_jax.models.blocks.attention import ESA, SMALLEST
from kdgan_jax.models.blocks.layers import pixel_shuffle, tap, torch_conv
from kdgan_jax.models.types import Arguments, Features, Shapes


class _Block(nn.Module):
    """Three convolutions plus the input, then attention, without a residual around it."""

    inner: int
    attention: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        y = nn.leaky_relu(torch_conv(self.inner, name="c1_r")(x), 0.05)
        y = nn.leaky_relu(torch_conv(self.inner, name="c2_r")(y), 0.05)
        y = nn.leaky_relu(torch_conv(channels, name="c3_r")(y), 0.05)
        return ESA(self.attention, name="esa")(torch_conv(channels, 1, name="c5")(x + y))


class RLFN(nn.Module):
    """Maps RGB in [0, 1] to RGB; inside, RGB is in 0 to 255.

    At x4, RLFN has 543,740 parameters, RLFN-S (48 channels) 470,208 and the network of the
    challenge (46 channels, 48 inside, 4 blocks) 317,218.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: channels between the blocks.
      inner: channels inside the blocks; 0 means `channels`.
      blocks: residual local feature blocks.
      attention: channels inside the attention.
    """

    scale: int = 4
    channels: int = 52
    inner: int = 0
    blocks: int = 6
    attention: int = 16

    whole_image = True  # coarse maps of the attention depend on the size of the image
    receptive_radius = 0
    smallest = SMALLEST

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        features: Features = {}
        head = x = tap(self, features, "head", torch_conv(self.channels, name="conv_1")(lr * 255))
        for i in range(1, self.blocks + 1):
            block = _Block(self.inner or self.channels, self.attention, name=f"block_{i}")
            x = tap(self, features, f"block{i}", block(x))
        x = tap(self, features, "body", head + torch_conv(self.channels, name="conv_2")(x))
        x = torch_conv(3 * self.scale**2, name="upsampler.0")(x)
        return pixel_shuffle(x, self.scale) / 255, features

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the RLFN with these PyTorch shapes, or None."""
        needed = {"conv_1.weight", "conv_2.weight", "upsampler.0.weight"}
        needed |= {"block_1.c1_r.weight", "block_1.c5.weight", "block_1.esa.conv3.weight"}
        if not needed <= shapes.keys():
            return None
        channels, inner = shapes["conv_1.weight"][0], shapes["block_1.c1_r.weight"][0]
        return {
            "scale": math.isqrt(shapes["upsampler.0.weight"][0] // 3),
            "channels": channels,
            "inner": 0 if inner == channels else inner,
            "blocks": sum(name.endswith(".c1_r.weight") for name in shapes),
            "attention": shapes["block_1.esa.conv3.weight"][0],
        }
