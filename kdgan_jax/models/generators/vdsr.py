"""VDSR: twenty 3x3 convolutions on the luma enlarged by bicubic, which is added at the end.

Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016.
This is the variant of twtygqyy/pytorch-vdsr, without biases. One set of weights serves all scales.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import bicubic_upsample, tap, torch_conv
from kdgan_jax.models.types import Arguments, Features, Shapes
from kdgan_jax.pictures.colour import rgb_to_ycbcr, ycbcr_to_rgb

FIRST, LAST = "input.weight", "output.weight"


class VDSR(nn.Module):
    """Maps RGB in [0, 1] to RGB: the network enlarges studio-range Y, bicubic the chroma.

    664,704 parameters.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: channels of every hidden layer.
      depth: number of convolutions.
    """

    serves_scales = 2, 3, 4  # with one file of weights

    scale: int = 4
    channels: int = 64
    depth: int = 20

    @property
    def receptive_radius(self) -> int:
        """LR pixels that one output pixel depends on, on each side."""
        return -(-self.depth // self.scale) + 3  # bicubic adds two LR pixels, alignment one

    @nn.compact
    def core(self, y: Array) -> tuple[Array, Features]:
        """Maps enlarged Y (B, H, W, 1) to (Y of the same shape, features of that size)."""
        features: Features = {}
        x = nn.relu(torch_conv(self.channels, bias=False, name="input")(y))
        x = tap(self, features, "input", x)
        for i in range(self.depth - 2):
            x = nn.relu(torch_conv(self.channels, bias=False, name=f"residual_layer.{i}.conv")(x))
            x = tap(self, features, f"conv{i + 1}", x)
        return y + torch_conv(1, bias=False, name="output")(x), features

    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at HR size)."""
        ycbcr = rgb_to_ycbcr(bicubic_upsample(lr, self.scale, rounded=True))
        y, features = self.core(ycbcr[..., :1])
        return ycbcr_to_rgb(jnp.concatenate([y, ycbcr[..., 1:]], axis=-1)), features

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the VDSR with these PyTorch shapes, or None.

        The scale is 4, the largest one for which the published file was trained.
        """
        middle = {f"residual_layer.{i}.conv.weight" for i in range(len(shapes) - 2)}
        if set(shapes) != {FIRST, LAST, *middle}:
            return None
        return {"scale": 4, "channels": shapes[FIRST][0], "depth": len(shapes)}
