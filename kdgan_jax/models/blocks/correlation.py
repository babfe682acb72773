"""Spatial and channel correlation within windows: HiT-SR's replacement for self-attention.

Zhang et al., "HiT-SR: Hierarchical Transformer for Efficient Image Super-Resolution", ECCV 2024.
The pixels of a window are correlated with an 8x8 summary of the window, and its channels with each
other. There is no softmax, so both costs are linear in the window's area.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from kdgan_jax.models.blocks.layers import torch_conv
from kdgan_jax.models.blocks.normalization import torch_layer_norm

SUMMARY = 8  # cells on each side of a window's summary; a smaller window is its own summary


class PositionBias(nn.Module):
    """The bias between each pixel of a window and each cell of the window's summary.

    A small network maps the offset between two pixels to one number per head; the bias of a cell is
    the mean over its pixels. The offsets of these pixels form a square in the table of all offsets,
    so the table is averaged over squares once, and each bias is one entry of the result.

    Attributes:
      heads: numbers for each pair of pixel and cell.
      window: side of the window in pixels.
      step: side of a cell in pixels.
      width: channels of the small network.
    """

    heads: int
    window: int
    step: int
    width: int

    @nn.compact
    def __call__(self) -> Array:
        """Returns (window², cells, heads)."""
        offsets = jnp.arange(1 - self.window, self.window, dtype=jnp.float32)
        x = jnp.stack(jnp.meshgrid(offsets, offsets, indexing="ij"), axis=-1)
        x = nn.Dense(self.width, name="pos_proj")(x)
        for i, out in enumerate((self.width, self.width, self.heads), 1):
            x = nn.Dense(out, name=f"pos{i}.2")(nn.relu(torch_layer_norm(f"pos{i}.0")(x)))
        x = nn.avg_pool(x[None], (self.step, self.step))[0]
        corner = self.step * np.arange(self.window // self.step)
        index = np.arange(self.window)[:, None] - corner + self.window - self.step
        x = x[index[:, None, :, None], index[None, :, None, :]]
        return x.reshape(self.window**2, -1, self.heads)


class Correlation(nn.Module):
    """Correlates the pixels and the channels of each window.

    Attributes:
      heads: groups of channels for the spatial correlation.
      window: side of a window in pixels.
    """

    heads: int
    window: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        batch, height, width, channels = x.shape
        side = self.window
        # Mirror the bottom and the right, several times if the image is small.
        x = jnp.pad(x, ((0, 0), (0, -height % side), (0, -width % side), (0, 0)), "reflect")
        y = nn.leaky_relu(torch_conv(channels // 5, 1, name="qv.conv.0")(x), 0.2)
        y = nn.leaky_relu(torch_conv(channels // 5, name="qv.conv.2")(y), 0.2)
        y = torch_conv(channels, 1, name="qv.conv.4")(y)
        x = y * torch_conv(channels, 1, name="qv.linear")(x)

        rows, columns = x.shape[1] // side, x.shape[2] // side
        x = x.reshape(batch, rows, side, columns, side, channels).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(batch * rows * columns, side**2, 2, channels // 2)
        query, value = x[:, :, 0], x[:, :, 1]
        x = jnp.concatenate([self._spatial(query, value), self._channel(query, value)], axis=-1)
        x = x.reshape(batch, rows, columns, side, side, channels).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(batch, rows * side, columns * side, channels)
        return nn.Dense(channels, name="proj")(x[:, :height, :width])

    def _spatial(self, query: Array, value: Array) -> Array:
        """Returns (query · summaryᵀ / depth + bias) · summary; all are (N, window², C / 2)."""
        depth, cells = value.shape[-1] // self.heads, min(self.window, SUMMARY)
        step = self.window // cells
        query = query.reshape(*query.shape[:2], self.heads, depth)
        parts = value.reshape(-1, cells, step, cells, step, self.heads, depth)
        parts = parts.transpose(0, 1, 3, 5, 6, 2, 4)
        parts = parts.reshape(-1, cells**2, self.heads, depth, step**2)
        summary = nn.Dense(1, name="spatial_linear")(parts)[..., 0]
        bias = PositionBias(self.heads, self.window, step, value.shape[-1] // 8, name="pos")()
        # There is no softmax, so the small product summaryᵀ · summary can be computed first, which
        # avoids a map of window² x 64.
        inner = jnp.einsum("nkhd,nkhe->nhde", summary, summary) / depth
        x = jnp.einsum("nqhd,nhde->nqhe", query, inner)
        return (x + jnp.einsum("qkh,nkhe->nqhe", bias, summary)).reshape(value.shape)

    def _channel(self, query: Array, value: Array) -> Array:
        """Returns a mix of the value's channels for each channel; all are (N, window², C / 2)."""
        mix = jnp.einsum("nlc,nld->ncd", query, value) / query.shape[1]
        return jnp.einsum("ncd,nld->nlc", mix, value)
