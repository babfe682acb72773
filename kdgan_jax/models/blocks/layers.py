"""Layers that most networks share. Images and features are (B, H, W, C).

Images are float32. Features have the dtype in which a network's convolutions compute; parameters
are always float32.

There are two convolutions. `Conv` is for the networks that this project trains from scratch: He
initialization and a choice of dtype. `torch_conv` is for published networks: PyTorch's default
initialization and the layer names of the published files.

Functions that move or repeat pixels, and PReLU, are compiled under their own names, by which
`onnx.named` recognises them in a traced network.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from kdgan_jax.models.blocks.grouped import convolve
from kdgan_jax.models.types import Features, Params
from kdgan_jax.pictures import bicubic

FEATURES = "features"  # collection of the arrays that replace a network's own features


def tap(module: nn.Module, features: Features, name: str, x: Array) -> Array:
    """Records the feature `name`: `x`, or the array with which the caller replaces it.

    The network continues with the result, so it can run from any of its features on.

    Args:
      module: the network; its variables may hold `name` in the collection `FEATURES`.
      features: the features recorded so far; `name` is added.
      name: name of the feature.
      x: the network's own value, (B, H, W, C).

    Returns:
      `x`, or its replacement in the dtype of `x`.

    Raises:
      ValueError: the replacement has another shape than `x`.
    """
    if module.has_variable(FEATURES, name):
        replacement: Array = module.get_variable(FEATURES, name)
        if replacement.shape != x.shape:
            raise ValueError(
                f"feature {name!r} has shape {x.shape}; its replacement has {replacement.shape}"
            )
        x = replacement.astype(x.dtype)
    features[name] = x
    return x


class Conv(nn.Module):
    """A convolution with He initialization and symmetric zero padding.

    Flax's "SAME" pads only one side at stride 2. The class name is part of the parameters' names.

    Attributes:
      channels: output channels.
      kernel: side of the kernel, an odd number.
      stride: step in both directions.
      gain: variance of the initial kernel relative to He et al. 2015; a small gain starts a
        residual branch near zero.
      dtype: dtype of the computation and of the result.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    gain: float = 1.0
    dtype: DTypeLike = jnp.float32

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
    """A 3x3 convolution that trains as several: a sum, a product of two, or both.

    The sum adds a 1x1 convolution: RepVGG's block (Ding et al., "RepVGG: Making VGG-style ConvNets
    Great Again", CVPR 2021) without batch normalization. The product goes through more channels:
    SESR's collapsible block (Bhardwaj et al., "Collapsible Linear Blocks for Super-Efficient Super
    Resolution", MLSys 2022). Both add the input where shapes allow. All of it is linear, so
    kernels are added and multiplied instead of results: a training step computes one convolution,
    with the gradients of several. `fold` returns the parameters of that convolution.

    The input is added if it has as many channels as the output and `gain` is above 1/2. With a
    smaller gain, the output should start smaller than the input, so the input cannot be added.

    Attributes:
      channels: output channels.
      gain: as in `Conv`, for the whole.
      point: add a 1x1 convolution.
      expansion: channels of the product's middle, relative to `channels`; 0 for no product.
      dtype: dtype of the computation and of the result.
    """

    channels: int
    gain: float = 1.0
    point: bool = True
    expansion: int = 0
    dtype: DTypeLike = jnp.float32

    def _adds_input(self, channels: int) -> bool:
        return channels == self.channels and self.gain > 0.5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to (B, H, W, channels)."""
        channels, middle = x.shape[-1], self.expansion * self.channels
        # Mean squares of branches add up; the input's is half that of an output of gain 1.
        gain = (self.gain - 0.5 * self._adds_input(channels)) / (1 + self.point)
        shape = 3, 3, channels, middle or self.channels
        params = {
            "kernel": self.param("kernel", he_normal(gain), shape),
            "bias": self.param("bias", nn.initializers.zeros, (self.channels,)),
        }
        if self.point:
            point = self.param("point", he_normal(gain), (1, 1, channels, self.channels))
            params["point"] = point
        if middle:
            # Half of He's variance, since no ReLU comes before it.
            params["mix"] = self.param("mix", he_normal(0.5), (1, 1, middle, self.channels))
        plain: Any = Conv(self.channels, dtype=self.dtype, parent=None)
        return plain.apply({"params": self.fold(params)}, x)

    def fold(self, params: Params) -> Params:
        """Returns the parameters of the equivalent `Conv`."""
        kernel = jnp.asarray(params["kernel"])
        if self.expansion:
            kernel = jnp.einsum("hwcm,mo->hwco", kernel, params["mix"][0, 0], precision="highest")
        if self.point:
            kernel = kernel.at[1, 1].add(params["point"][0, 0])
        if self._adds_input(kernel.shape[2]):
            kernel = kernel.at[1, 1].add(jnp.eye(self.channels))
        return {"conv": {"kernel": kernel, "bias": params["bias"]}}


def he_normal(gain: float) -> Initializer:
    """Returns the kernel initializer of He et al. (2015) with `gain` times its variance."""
    return nn.initializers.variance_scaling(2.0 * gain, "fan_in", "normal")


def torch_conv(
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
    """Returns a convolution of a published network, with PyTorch's default initialization.

    Args:
      channels: output channels.
      kernel: side of the kernel.
      name: the layer's name in the published file.
      stride: step in both directions.
      pad: zeros on each side; by default as many as keep the size at stride 1.
      groups: groups of channels.
      dilation: distance between the inputs of a kernel.
      bias: whether the layer has a bias.
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
    """Parametric ReLU (He et al. 2015).

    Attributes:
      shared: one slope for all channels, as PyTorch's PReLU(); otherwise one per channel, as
        PReLU(C).
    """

    shared: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        slopes = 1 if self.shared else x.shape[-1]
        slope = self.param("slope", nn.initializers.constant(0.25), (slopes,))
        return prelu(x, slope.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,)))


@jax.jit
def prelu(x: Array, slope: Array) -> Array:
    """Returns `x` where it is not negative, and `slope * x` elsewhere."""
    return jnp.where(x >= 0, x, slope * x)


@functools.partial(jax.jit, static_argnums=1)
def pixel_shuffle(x: Array, scale: int) -> Array:
    """Maps (B, h, w, C * scale²) to (B, h * scale, w * scale, C): Shi et al. 2016, equation 4.

    Channels are ordered (C, scale, scale), as in PyTorch's PixelShuffle, so that weights can be
    exchanged; TensorFlow's depth_to_space orders them (scale, scale, C).
    """
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, c // scale**2, scale, scale)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(b, h * scale, w * scale, c // scale**2)


@functools.partial(jax.jit, static_argnums=1)
def nearest(x: Array, scale: int) -> Array:
    """Maps (B, h, w, C) to (B, h * scale, w * scale, C) by repeating pixels."""
    return x.repeat(scale, axis=1).repeat(scale, axis=2)


def bicubic_upsample(x: Array, scale: int, rounded: bool = False) -> Array:
    """Maps (B, h, w, C) to (B, h * scale, w * scale, C) by MATLAB's bicubic interpolation.

    With `rounded`, each of the two passes is rounded to 8 bits, as MATLAB does with 8-bit images:
    for such an image divided by 255, the result is exactly that of `bicubic.upscale` divided by
    255. float32 adds the weights without error at scales 2 and 4, where they are multiples of 1/128
    and 1/1024; at scale 3 they are multiples of 1/27, and no sum comes near a half.
    """
    return (bicubic_rounded if rounded else bicubic_exact)(x, scale)


@functools.partial(jax.jit, static_argnums=1)
def bicubic_exact(x: Array, scale: int) -> Array:
    """Returns `bicubic_upsample` without rounding."""
    rows, columns = (_bicubic_matrix(size, scale) for size in x.shape[1:3])
    return jnp.einsum("Yy,Xx,byxc->bYXc", rows, columns, x, precision="highest")


@functools.partial(jax.jit, static_argnums=1)
def bicubic_rounded(x: Array, scale: int) -> Array:
    """Returns `bicubic_upsample` with rounding."""
    rows, columns = (_bicubic_matrix(size, scale) for size in x.shape[1:3])
    levels = jnp.round(x * 255)
    for product, matrix in ("Yy,byxc->bYxc", rows), ("Xx,byxc->byXc", columns):
        total = jnp.einsum(product, matrix, levels, precision="highest")
        levels = jnp.clip(jnp.floor(total + 0.5), 0, 255)  # half up, not half to even
    return levels / 255


def _bicubic_matrix(size: Any, scale: int) -> Any:
    """Returns `bicubic.matrix`; for a symbolic size, one that is made when the program runs."""
    if isinstance(size, int):
        return bicubic.matrix(size, scale)
    matrix = jax.ShapeDtypeStruct((size * scale, size), np.float32)
    return jax.pure_callback(lambda number: bicubic.matrix(int(number), scale), matrix, size)


def upscaling_steps(scale: int) -> tuple[int, ...]:
    """Returns the factors by which a network enlarges in turn: twice by 2 for scale 4."""
    return (2, 2) if scale == 4 else (scale,)


class ShuffleUpsampler(nn.Module):
    """A convolution and a pixel shuffle for each of the `upscaling_steps`.

    As in EDSR (Lim et al. 2017) and SRGAN (Ledig et al. 2017).

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: channels between the steps and of the output.
      activate: add SRGAN's PReLU to each step.
      dtype: dtype of the computation and of the result.
    """

    scale: int
    channels: int
    activate: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, h, w, C) to (B, h * scale, w * scale, channels)."""
        for factor in upscaling_steps(self.scale):
            x = pixel_shuffle(Conv(self.channels * factor**2, dtype=self.dtype)(x), factor)
            x = PReLU()(x) if self.activate else x
        return x
