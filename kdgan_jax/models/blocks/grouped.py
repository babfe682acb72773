"""Convolutions in groups, at the speed of others.

XLA's CPU compiler has a loop for them that takes 6 times as long as a dense convolution per group,
and for depthwise ones 16 to 40 times as long as a sum of shifted images (64 channels of 180x320 on
2 cores). So on a CPU they are those; elsewhere they are XLA's own.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

LAYOUT = "NHWC", "HWIO", "NHWC"
Pairs = tuple[tuple[int, int], ...]


def convolve(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    rhs_dilation: Sequence[int],
    feature_group_count: int,
    **more: Any,
) -> Array:
    """Returns `jax.lax.conv_general_dilated` of two spatial axes, for `nn.Conv` to call.

    Args:
      lhs: (B, H, W, C).
      rhs: (kernel height, kernel width, C / groups, outputs).
      window_strides: of the two axes.
      padding: zeros before and after each axis.
      rhs_dilation: of the two axes.
      feature_group_count: groups, more than one.
      more: what is always the same here: layout, precision, dilation of the input.
    """
    strides, dilation = tuple(window_strides), tuple(rhs_dilation)
    pads = tuple(tuple(pair) for pair in padding)
    return grouped_convolution(lhs, rhs, strides, pads, dilation, feature_group_count)


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def grouped_convolution(
    x: Array,
    kernel: Array,
    strides: tuple[int, int],
    padding: Pairs,
    dilation: tuple[int, int],
    groups: int,
) -> Array:
    """See `convolve`; a program of its own, whose cost is told by its name (`zoo.costs`)."""

    def dense(x: Array, kernel: Array, groups: int = 1) -> Array:
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            strides,
            padding,
            rhs_dilation=dilation,
            dimension_numbers=LAYOUT,
            feature_group_count=groups,
        )

    def apart(x: Array, kernel: Array) -> Array:
        inputs, kernels = jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1)
        return jnp.concatenate([dense(a, k) for a, k in zip(inputs, kernels, strict=True)], -1)

    def shifted(x: Array, kernel: Array) -> Array:
        x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
        x = x.repeat(kernel.shape[-1] // groups, axis=-1)
        rows, columns = (
            (size - step * (taps - 1) - 1) // stride + 1
            for size, step, taps, stride in zip(
                x.shape[1:3], dilation, kernel.shape[:2], strides, strict=True
            )
        )
        total = jnp.zeros((x.shape[0], rows, columns, x.shape[-1]), x.dtype)
        for i in range(kernel.shape[0]):
            for j in range(kernel.shape[1]):
                top, left = i * dilation[0], j * dilation[1]
                part = x[
                    :,
                    top : top + (rows - 1) * strides[0] + 1 : strides[0],
                    left : left + (columns - 1) * strides[1] + 1 : strides[1],
                ]
                total = total + part * kernel[i, j, 0]
        return total

    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=shifted if kernel.shape[2] == 1 else apart,
        default=functools.partial(dense, groups=groups),
    )
