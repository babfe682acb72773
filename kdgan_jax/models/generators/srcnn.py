"""SRCNN: three convolutions on the bicubic-enlarged image.

Dong et al., "Image Super-Resolution Using Deep Convolutional Networks", TPAMI 2016. The published
file is that of MarkPrecursor/SRCNN-keras.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import Conv, bicubic_upsample, tap
from kdgan_jax.pictures.colour import rgb_to_ycbcr, ycbcr_to_rgb

NAMES = {f"convolution2d_{i}.{kind}" for i in (1, 2, 3) for kind in ("weight", "bias")}


class SRCNN(nn.Module):
    """Takes and returns RGB in [0, 1]; inside it works on Y, or on all three channels.

    Attributes:
      scale: enlargement, 2, 3 or 4.
      kernels: sides of the kernels; 9-5-5 is the paper's, 9-3-5 the origin's teacher.
      channels: after the first two; (64, 32) in the paper, (128, 64) in the origin.
      luma_only: work on Y and enlarge chroma by bicubic (57,281 parameters as 9-5-5), else on RGB
        (69,251 parameters).
      residual: add the enlarged image to the output. The paper does not; it spares a short run
        the millions of updates that the paper spends on learning the identity.
      keep_border: the first and the last convolution are not padded; the pixels at the border that
        they do not reach stay as enlarged.
      rounded: round the enlarged image to 8 bits, as a network trained on such images expects.
    """

    serves_scales = 2, 3, 4  # by one file of weights

    scale: int = 4
    kernels: tuple[int, int, int] = (9, 5, 5)
    channels: tuple[int, int] = (64, 32)
    luma_only: bool = True
    residual: bool = False
    keep_border: bool = False
    rounded: bool = False

    @property
    def receptive_radius(self) -> int:
        """Pixels of the LR image that one output pixel sees on each side."""
        at_hr = sum(kernel // 2 for kernel in self.kernels)
        return -(-at_hr // self.scale) + 3  # bicubic reaches two LR pixels, one is for alignment

    @property
    def smallest(self) -> int:
        """Pixels of the LR image's shorter side that there must be."""
        border = self.kernels[0] // 2 + self.kernels[2] // 2
        return -(-(2 * border + 1) // self.scale) if self.keep_border else 1

    @nn.compact
    def core(self, base: Array) -> tuple[Array, dict[str, Array]]:
        """Maps the enlarged image (B, H, W, C) to (the same shape, features)."""
        first, last = (kernel // 2 if self.keep_border else 0 for kernel in self.kernels[::2])
        x = base
        features: dict[str, Array] = {}
        for i, (channels, kernel) in enumerate(zip(self.channels, self.kernels, strict=False)):
            x = nn.relu(Conv(channels, kernel)(x))
            x = tap(self, features, f"conv{i + 1}", _crop(x, first) if i == 0 else x)
        if self.residual:
            x = _crop(base, first) + Conv(base.shape[-1], self.kernels[2], gain=0.01)(x)
        else:
            x = Conv(base.shape[-1], self.kernels[2])(x)
        if self.keep_border:
            border = first + last
            inside = slice(border, -border or None)
            x = base.at[:, inside, inside].set(_crop(x, last))
        return x, features

    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at HR size)."""
        enlarged = bicubic_upsample(lr, self.scale, self.rounded)
        if not self.luma_only:
            return self.core(enlarged)
        ycbcr = rgb_to_ycbcr(enlarged)
        y, features = self.core(ycbcr[..., :1])
        return ycbcr_to_rgb(jnp.concatenate([y, ycbcr[..., 1:]], axis=-1)), features

    @staticmethod
    def torch_key(key: str) -> str:
        """Returns the key in the published file, as `io.keras` gives it."""
        layer, _, kind = key.split(".")
        return f"convolution2d_{int(layer.removeprefix('Conv_')) + 1}.{kind}"

    @staticmethod
    def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Returns the arguments of the SRCNN whose file has entries of `shapes`, else None.

        The scale is 2, which the published file was trained for; any other can be tried.
        """
        if set(shapes) != NAMES:
            return None
        kernels = [shapes[f"convolution2d_{i}.weight"] for i in (1, 2, 3)]
        return {
            "scale": 2,
            "kernels": tuple(shape[2] for shape in kernels),
            "channels": (kernels[0][0], kernels[1][0]),
            "luma_only": kernels[0][1] == 1,
            "keep_border": True,
            "rounded": True,
        }


def _crop(x: Array, border: int) -> Array:
    """Returns (B, H, W, C) without `border` pixels on every side."""
    return x[:, border : x.shape[1] - border, border : x.shape[2] - border]
