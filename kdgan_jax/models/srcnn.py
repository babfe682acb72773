"""SRCNN: three convolutions on the bicubic-enlarged image.

Dong et al., "Image Super-Resolution Using Deep Convolutional Networks", TPAMI 2016.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.colour import rgb_to_ycbcr, ycbcr_to_rgb
from kdgan_jax.models.layers import Conv, bicubic_upsample


class SRCNN(nn.Module):
    """Takes and returns RGB in [0, 1]; inside it works on Y, or on all three channels.

    Attributes:
      scale: enlargement, 2, 3 or 4.
      kernels: sides of the kernels; 9-5-5 is the paper's, 9-3-5 the origin's teacher.
      features: channels after the first two; (64, 32) in the paper, (128, 64) in the origin.
      luma_only: work on Y and enlarge chroma by bicubic (57,281 parameters as 9-5-5), else on RGB
        (69,251 parameters).
      residual: add the enlarged image to the output. The paper does not; it spares a short run
        the millions of updates that the paper spends on learning the identity.
    """

    scale: int = 4
    kernels: tuple[int, int, int] = (9, 5, 5)
    features: tuple[int, int] = (64, 32)
    luma_only: bool = True
    residual: bool = False

    @property
    def receptive_radius(self) -> int:
        """Pixels of the LR image that one output pixel sees on each side."""
        at_hr = sum(kernel // 2 for kernel in self.kernels)
        return -(-at_hr // self.scale) + 3  # bicubic reaches two LR pixels, one is for alignment

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at HR size)."""
        enlarged = bicubic_upsample(lr, self.scale)
        ycbcr = rgb_to_ycbcr(enlarged) if self.luma_only else enlarged
        x = base = ycbcr[..., :1] if self.luma_only else enlarged
        taps = {}
        for i, (features, kernel) in enumerate(zip(self.features, self.kernels, strict=False)):
            x = taps[f"conv{i + 1}"] = nn.relu(Conv(features, kernel)(x))
        if self.residual:
            x = base + Conv(base.shape[-1], self.kernels[2], gain=0.01)(x)
        else:
            x = Conv(base.shape[-1], self.kernels[2])(x)
        if self.luma_only:
            x = ycbcr_to_rgb(jnp.concatenate([x, ycbcr[..., 1:]], axis=-1))
        return x, taps
