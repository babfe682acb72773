"""Blocks that several networks share. Images and features are (B, H, W, C).

Images are float32. Features are of the dtype that a network's convolutions compute in; parameters
are float32 always.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.grouped import convolve
from kdgan_jax.pictures import bicubic

FEATURES = "features"  # collection of arrays that stand in for a network's own features


def tap(module: nn.Module, features: dict[str, Array], name: str, x: Array) -> Array:
    """Records `x` as feature `name` in `features`, or what the caller gives in its place.

    The network goes on with the result, so that it runs from a given feature on.

    Args:
      module: the network, whose variables may hold `name` in the collection `FEATURES`.
      features: those so far; gets one more.
      name: of the feature.
      x: the network's own feature.

    Returns:
      `x`, or the given array in the dtype of `x`.

    Raises:
      ValueError: the given array is of another shape than `x`.
    """
    if module.has_variable(FEATURES, name):
        given: Array = module.get_variable(FEATURES, name)
        if given.shape != x.shape:
            raise ValueError(f"feature {name!r} is {x.shape}, but {given.shape} is given")
        x = given.astype(x.dtype)
    features[name] = x
    return x


class Conv(nn.Module):
    """A convolution with symmetric zero padding: "SAME" pads stride 2 at one side only.

    Attributes:
      channels: of the result.
      kernel: side of the (odd) kernel.
      stride: step in both directions.
      gain: variance of the initial kernel relative to He et al. 2015; small values start a
        residual branch near zero.
      dtype: that it computes in and returns.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    gain: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to (B, ceil(H / stride), ceil(W / stride), channels)."""
        pad = self.kernel // 2
        return nn.Conv(
            self.channels,
            (self.kernel, self.kernel),
            strides=(self.stride, self.stride),
            padding=((pad, pad), (pad, pad)),
            kernel_init=he_normal(self.gain),
            dtype=self.dtype,
            name="conv",
        )(x)


class BranchConv(nn.Module):
    """A 3x3 convolution, a 1x1 one and, where it fits, the input itself, all added up.

    RepVGG's block (Ding et al., "RepVGG: Making VGG-style ConvNets Great Again", CVPR 2021) without
    its batch normalisation. All three are linear, so their kernels are added rather than their
    results: this costs one convolution in training too, and its gradients are those of the branches
    apart. `fold` gives that one convolution's parameters.

    The input is a branch where it has as many channels as the output and `gain` is above 1/2. The
    output of a smaller gain is to start below the input, which the input itself would forbid.

    Attributes:
      channels: of the result.
      gain: as in `Conv`, of the sum of all branches.
      dtype: that it computes in and returns.
    """

    channels: int
    gain: float = 1.0
    dtype: Any = jnp.float32

    def _adds_input(self, channels: int) -> bool:
        return channels == self.channels and self.gain > 0.5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to (B, H, W, channels)."""
        channels = x.shape[-1]
        # Mean squares of the branches add up; that of the input is half of what a gain of 1 makes.
        gain = (self.gain - 0.5 * self._adds_input(channels)) / 2
        params = {
            "kernel": self.param("kernel", he_normal(gain), (3, 3, channels, self.channels)),
            "point": self.param("point", he_normal(gain), (1, 1, channels, self.channels)),
            "bias": self.param("bias", nn.initializers.zeros, (self.channels,)),
        }
        plain: Any = Conv(self.channels, dtype=self.dtype, parent=None)
        return plain.apply({"params": self.fold(params)}, x)

    def fold(self, params: Any) -> dict[str, Any]:
        """Returns the parameters of the `Conv` that computes the same."""
        point = params["point"][0, 0]
        if self._adds_input(point.shape[0]):
            point = point + jnp.eye(self.channels)
        kernel = jnp.asarray(params["kernel"]).at[1, 1].add(point)
        return {"conv": {"kernel": kernel, "bias": params["bias"]}}


def he_normal(gain: float) -> Any:
    """Returns He et al.'s (2015) initialiser of kernels, of `gain` times its variance."""
    return nn.initializers.variance_scaling(2.0 * gain, "fan_in", "normal")


def conv(
    channels: int,
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
        channels,
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
        slope = slope.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
        return jnp.where(x >= 0, x, slope * x)


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
    channels: int
    activate: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, h, w, C) to (B, h * scale, w * scale, channels)."""
        for factor in (2, 2) if self.scale == 4 else (self.scale,):
            x = pixel_shuffle(Conv(self.channels * factor**2, dtype=self.dtype)(x), factor)
            x = PReLU()(x) if self.activate else x
        return x
