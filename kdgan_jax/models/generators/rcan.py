"""RCAN: deep residual groups whose channels are weighted by attention.

Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks",
ECCV 2018.
"""

import re

import flax.linen as nn
from jax import Array

from kdgan_jax.models.blocks.layers import pixel_shuffle, tap, torch_conv, upscaling_steps
from kdgan_jax.models.blocks.mean_shift import DIV2K_MEAN, MeanShift
from kdgan_jax.models.types import Arguments, Features, Shapes

RANGE = 255.0  # largest RGB value inside the published network
FIRST = "body.0.body.0.body"  # name of the first block's layers in a file


class RCAB(nn.Module):
    """Two convolutions; attention weights the channels of their result, then the input is added."""

    reduction: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        channels = x.shape[-1]
        y = nn.relu(torch_conv(channels, name="body.0")(x))
        y = torch_conv(channels, name="body.2")(y)
        mean = y.mean(axis=(1, 2), keepdims=True)
        narrow = nn.relu(torch_conv(channels // self.reduction, 1, name="body.3.conv_du.0")(mean))
        return x + y * nn.sigmoid(torch_conv(channels, 1, name="body.3.conv_du.2")(narrow))


class RCAN(nn.Module):
    """Maps RGB in [0, 1] to RGB; 15,592,379 parameters at x4, of which 24 are mean shifts.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: width.
      groups: residual groups.
      blocks: residual blocks per group.
      reduction: ratio of input channels to hidden channels of the attention.
      mean_shift: compute with RGB in 0 to 255 and DIV2K's mean subtracted; otherwise with RGB in
        [0, 1].
    """

    scale: int = 4
    channels: int = 64
    groups: int = 10
    blocks: int = 20
    reduction: int = 16
    mean_shift: bool = True

    whole_image = True  # attention depends on the mean over all pixels
    receptive_radius = 0

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        x = lr
        features: Features = {}
        offset = tuple(RANGE * mean for mean in DIV2K_MEAN)
        if self.mean_shift:
            x = MeanShift(tuple(-value for value in offset), name="sub_mean")(RANGE * x)
        head = x = tap(self, features, "head", torch_conv(self.channels, name="head.0")(x))
        for i in range(self.groups):
            start = x
            for j in range(self.blocks):
                x = RCAB(self.reduction, name=f"body.{i}.body.{j}")(x)
            x = start + torch_conv(self.channels, name=f"body.{i}.body.{self.blocks}")(x)
            x = tap(self, features, f"group{i + 1}", x)
        x = head + torch_conv(self.channels, name=f"body.{self.groups}")(x)
        x = tap(self, features, "body", x)
        for i, factor in enumerate(upscaling_steps(self.scale)):
            x = torch_conv(self.channels * factor**2, name=f"tail.0.{2 * i}")(x)
            x = pixel_shuffle(x, factor)
        x = torch_conv(3, name="tail.1")(x)
        if self.mean_shift:
            x = MeanShift(offset, name="add_mean")(x) / RANGE
        return x, features

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the RCAN with these PyTorch shapes, or None."""
        narrow = f"{FIRST}.3.conv_du.0.weight"
        if not {"head.0.weight", "tail.0.0.weight", "tail.1.weight", narrow} <= set(shapes):
            return None

        def count(pattern: str) -> int:
            return sum(re.fullmatch(pattern, key) is not None for key in shapes)

        channels = shapes["head.0.weight"][0]
        scale = {4: 2, 9: 3}.get(shapes["tail.0.0.weight"][0] // channels)
        if scale is None:
            return None
        return {
            "scale": 4 if "tail.0.2.weight" in shapes else scale,
            "channels": channels,
            "groups": count(r"body\.\d+\.body\.0\.body\.0\.weight"),
            "blocks": count(r"body\.0\.body\.\d+\.body\.0\.weight"),
            "reduction": channels // shapes[narrow][0],
            "mean_shift": "sub_mean.weight" in shapes,
        }
