"""SRCNN: three convolutions on the image enlarged by bicubic interpolation.

Dong et al., "Image Super-Resolution Using Deep Convolutional Networks", TPAMI 2016. The published
file is MarkPrecursor/SRCNN-keras's.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import Conv, bicubic_upsample, tap
from kdgan_jax.models.types import Arguments, Features, Shapes
from kdgan_jax.pictures.colour import rgb_to_ycbcr, ycbcr_to_rgb

# Entries of the published file.
NAMES = {f"convolution2d_{i}.{kind}" for i in (1, 2, 3) for kind in ("weight", "bias")}


class SRCNN(nn.Module):
    """Maps RGB in [0, 1] to RGB; inside, it works on Y or on all three channels.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      kernels: sides of the kernels; 9-5-5 in the paper, 9-3-5 in the original notebook's teacher.
      channels: output channels of the first two convolutions; (64, 32) in the paper, (128, 64) in
        the notebook.
      luma_only: work on Y and enlarge the chroma by bicubic (57,281 parameters as 9-5-5); otherwise
        work on RGB (69,251 parameters).
      residual: add the enlarged image to the output. The paper does not, and spends millions of
        updates on learning the identity.
      keep_border: do not pad the first and the last convolution; border pixels that they do not
        reach keep their bicubic values.
      rounded: round the enlarged image to 8 bits, for networks that were trained on such images.
    """

    serves_scales = 2, 3, 4  # with one file of weights

    scale: int = 4
    kernels: tuple[int, int, int] = (9, 5, 5)
    channels: tuple[int, int] = (64, 32)
    luma_only: bool = True
    residual: bool = False
    keep_border: bool = False
    rounded: bool = False

    @property
    def receptive_radius(self) -> int:
        """LR pixels that one output pixel depends on, on each side."""
        at_hr = sum(kernel // 2 for kernel in self.kernels)
        return -(-at_hr // self.scale) + 3  # bicubic adds two LR pixels, alignment one

    @property
    def smallest(self) -> int:
        """Smallest side of an LR image in pixels."""
        border = self.kernels[0] // 2 + self.kernels[2] // 2
        return -(-(2 * border + 1) // self.scale) if self.keep_border else 1

    @nn.compact
    def core(self, base: Array) -> tuple[Array, Features]:
        """Maps the enlarged image (B, H, W, C) to (SR of the same shape, features)."""
        first, last = (kernel // 2 if self.keep_border else 0 for kernel in self.kernels[::2])
        x = base
        features: Features = {}
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

    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at HR size)."""
        enlarged = bicubic_upsample(lr, self.scale, self.rounded)
        if not self.luma_only:
            return self.core(enlarged)
        ycbcr = rgb_to_ycbcr(enlarged)
        y, features = self.core(ycbcr[..., :1])
        return ycbcr_to_rgb(jnp.concatenate([y, ycbcr[..., 1:]], axis=-1)), features

    @staticmethod
    def torch_key(key: str) -> str:
        """Returns the key in the published file, as `formats.keras` reads it."""
        layer, _, kind = key.split(".")
        return f"convolution2d_{int(layer.removeprefix('Conv_')) + 1}.{kind}"

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the SRCNN with entries of these shapes, or None.

        The scale is 2, for which the published file was trained; others work, too.
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
