"""Blocks that several networks share. Images and features are (B, H, W, C) float32."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax import bicubic
from kdgan_jax.models.grouped import convolve


class Conv(nn.Module):
    """A convolution with symmetric zero padding: "SAME" pads stride 2 at one side only.

    Attributes:
      features: output channels.
      kernel: side of the (odd) kernel.
      stride: step in both directions.
      gain: variance of the initial kernel relative to He et al. 2015; small values start a
        residual branch near zero.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to (B, ceil(H / stride), ceil(W / stride), features)."""
        pad = self.kernel // 2
        return nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            strides=(self.stride, self.stride),
            padding=((pad, pad), (pad, pad)),
            kernel_init=nn.initializers.variance_scaling(2.0 * self.gain, "fan_in", "normal"),
            name="conv",
        )(x)


def conv(
    features: int,
    kernel: int = 3,
    *,
    name: str,
    stride: int = 1,
    pad: int | None = None,
    groups: int = 1,
    dilation: int = 1,
    bias: bool = True,
) -> nn.Conv:
    """Returns a convolution of a published network, under the name that its file has for it.

    Zero padding is symmetric, and keeps the size at stride 1 unless `pad` says otherwise. Initial
    kernels are PyTorch's default, which these networks were trained from.
    """
    pad = dilation * (kernel // 2) if pad is None else pad
    return nn.Conv(
        features,
        (kernel, kernel),
        strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        kernel_dilation=(dilation, dilation),
        feature_group_count=groups,
        conv_general_dilated=convolve if groups > 1 else None,
        use_bias=bias,
        kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
        name=name,
    )


class PReLU(nn.Module):
    """Parametric ReLU with one slope per channel (He et al. 2015), as PyTorch's PReLU(C)."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        slope = self.param("slope", nn.initializers.constant(0.25), (x.shape[-1],))
        return jnp.where(x >= 0, x, slope.reshape((1,) * (x.ndim - 1) + (-1,)) * x)


def pixel_shuffle(x: Array, scale: int) -> Array:
    """Maps (B, h, w, C * scale²) to (B, h * scale, w * scale, C).

    Channels are ordered (C, scale, scale) as PyTorch's PixelShuffle has them, so that weights can
    be exchanged; TensorFlow's depth_to_space orders them (scale, scale, C). Shi et al. 2016, eq. 4.
    """
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, c // scale**2, scale, scale)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(b, h * scale, w * scale, c // scale**2)


def nearest(x: Array, scale: int) -> Array:
    """Maps (B, h, w, C) to (B, h * scale, w * scale, C) by repeating pixels."""
    return x.repeat(scale, axis=1).repeat(scale, axis=2)


def bicubic_upsample(x: Array, scale: int, rounded: bool = False) -> Array:
    """Maps (B, h, w, C) to (B, h * scale, w * scale, C) by MATLAB's bicubic.

    Unrounded, or `rounded` to 8 bits after each of its two passes as MATLAB does with images of
    8 bits: `x` in [0, 1] then gives exactly `bicubic.upscale` / 255. The sums are exact because
    the weights are multiples of 1/128 and 1/1024 at scales 2 and 4, which float32 adds without
    error, and of 1/27 at scale 3, which is never near a half.
    """
    rows = bicubic.matrix(x.shape[1], scale)
    columns = bicubic.matrix(x.shape[2], scale)
    if not rounded:
        return jnp.einsum("Yy,Xx,byxc->bYXc", rows, columns, x, precision="highest")
    levels = jnp.round(x * 255)
    for product, matrix in ("Yy,byxc->bYxc", rows), ("Xx,byxc->byXc", columns):
        total = jnp.einsum(product, matrix, levels, precision="highest")
        levels = jnp.clip(jnp.floor(total + 0.5), 0, 255)  # half up, not half to even
    return levels / 255


class ShuffleUpsampler(nn.Module):
    """Convolution and pixel shuffle: once for scales 2 and 3, twice by 2 for scale 4.

    As in EDSR (Lim et al. 2017) and SRGAN (Ledig et al. 2017); `activate` adds SRGAN's PReLU.
    """

    scale: int
    features: int
    activate: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, h, w, C) to (B, h * scale, w * scale, features)."""
        for factor in (2, 2) if self.scale == 4 else (self.scale,):
            x = pixel_shuffle(Conv(self.features * factor**2)(x), factor)
            x = PReLU()(x) if self.activate else x
        return x
