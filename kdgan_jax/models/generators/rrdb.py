"""RRDBNet, the generator of ESRGAN and Real-ESRGAN: dense blocks in residual blocks.

Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks", ECCVW 2018, and
"Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data", ICCVW 2021.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import conv, nearest, tap

Value = TypeVar("Value")
RESIDUAL = 0.2  # factor on what a dense block, and three of them, add
SLOPE = 0.2
# What the second naming (2018 to 2020; also BSRGAN's and RealSR's) calls otherwise.
RENAMED = {f"upconv{i}": f"conv_up{i}" for i in (1, 2, 3)}
RENAMED |= {"trunk_conv": "conv_body", "HRconv": "conv_hr"}


def modern_keys(state: Mapping[str, Value]) -> dict[str, Value]:
    """Returns an RRDBNet's `state` under the names of BasicSR and Real-ESRGAN.

    The first naming numbers layers (`model.0`, `model.1.sub.0.RDB1.conv1.0`, `model.3`), the second
    is ESRGAN's own later one (`RRDB_trunk.0.RDB1.conv1`, `HRconv`). Any other state is as it was.
    """
    if not any(re.search(r"\bRDB1\.conv1\.", key) for key in state):
        return dict(state)
    # "model." stands before every key, so a reader may have taken it for a wrapper's prefix.
    plain = {key.removeprefix("model."): value for key, value in state.items()}
    numbers = {int(m[1]) for key in plain if (m := re.fullmatch(r"(\d+)\.weight", key))}
    # Enlarging convolutions at 3, 6 and so on, then one, its activation, and the last.
    top = {str(n): f"conv_up{n // 3}" for n in numbers} | RENAMED
    if numbers:
        top |= {str(max(numbers) - 2): "conv_hr", str(max(numbers)): "conv_last"}
    top["0"] = "conv_first"

    def rename(key: str) -> str:
        stem, _, kind = key.rpartition(".")
        if inner := re.fullmatch(r"(?:1\.sub|RRDB_trunk)\.(\d+)\.RDB(\d)\.conv(\d)(?:\.0)?", stem):
            stem = "body.{}.rdb{}.conv{}".format(*inner.groups())
        elif re.fullmatch(r"1\.sub\.\d+", stem):
            stem = "conv_body"
        return f"{top.get(stem, stem)}.{kind}"

    return {rename(key): value for key, value in plain.items()}


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees the input and what those before it gave."""

    growth: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        seen = x
        for i in range(1, 5):
            y = nn.leaky_relu(conv(self.growth, name=f"conv{i}")(seen), SLOPE)
            seen = jnp.concatenate([seen, y], axis=-1)
        return x + RESIDUAL * conv(x.shape[-1], name="conv5")(seen)


class RRDBNet(nn.Module):
    """RGB in [0, 1] to RGB; 16,697,987 parameters at x4.

    Attributes:
      scale: enlargement: 1, 2, 3, 4 or 8.
      channels: width.
      blocks: residual blocks of three dense blocks each; 23 as published, 6 for anime.
      growth: channels that each convolution of a dense block adds.
      unshuffle: side of the squares of input pixels that become channels; 0 is Real-ESRGAN's
        choice, 4 / scale for scales 1 and 2, so that the network inside enlarges by 4 always.
    """

    scale: int = 4
    channels: int = 64
    blocks: int = 23
    growth: int = 32
    unshuffle: int = 0

    @property
    def grid(self) -> int:
        """Pixels of the LR image that become one inside: a tile must start at a multiple."""
        return self.unshuffle or (4 // self.scale if self.scale in (1, 2) else 1)

    @property
    def receptive_radius(self) -> int:
        """Pixels of the LR image that one output pixel sees on each side."""
        inside = 15 * self.blocks + 4  # first, body's end, and two for all after the enlargement
        return self.grid * inside + self.grid - 1

    @property
    def serves_scales(self) -> tuple[int, ...]:
        """Scales that a file with these shapes may be of."""
        return (2, 3) if self.grid == 1 and self.scale in (2, 3) else (self.scale,)

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size or below)."""
        height, width = lr.shape[1:3]
        features: dict[str, Array] = {}
        x = conv(self.channels, name="conv_first")(_unshuffle(lr, self.grid))
        head = x = tap(self, features, "head", x)
        for i in range(self.blocks):
            y = x
            for k in range(1, 4):
                y = DenseBlock(self.growth, name=f"body.{i}.rdb{k}")(y)
            x = tap(self, features, f"block{i + 1}", x + RESIDUAL * y)
        x = tap(self, features, "body", head + conv(self.channels, name="conv_body")(x))
        inside = self.scale * self.grid
        factors = [3] if inside == 3 else [2] * int(math.log2(inside))
        for i, factor in enumerate(factors, 1):
            x = nn.leaky_relu(conv(self.channels, name=f"conv_up{i}")(nearest(x, factor)), SLOPE)
        x = nn.leaky_relu(conv(self.channels, name="conv_hr")(x), SLOPE)
        x = conv(3, name="conv_last")(x)
        return x[:, : height * self.scale, : width * self.scale], features

    @staticmethod
    def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Returns the arguments of the RRDBNet whose file has entries of `shapes`, else None.

        Names must be the modern ones. One enlarging convolution is taken for x2; x3 looks alike
        (`serves_scales`).
        """
        inner = "body.0.rdb1.conv1.weight"
        if not {"conv_first.weight", inner, "conv_body.weight", "conv_hr.weight"} <= set(shapes):
            return None
        numbers = {m[1] for key in shapes if (m := re.match(r"body\.(\d+)\.rdb3\.conv5\.w", key))}
        up = sum(re.fullmatch(r"conv_up\d\.weight", key) is not None for key in shapes)
        grid = math.isqrt(shapes["conv_first.weight"][1] // 3)
        if len(shapes) != 2 * (15 * len(numbers) + up + 4) or grid < 1 or 2**up % grid:
            return None  # ESRGAN+ has more
        return {
            "scale": 2**up // grid,
            "channels": shapes["conv_first.weight"][0],
            "blocks": len(numbers),
            "growth": shapes[inner][0],
            "unshuffle": grid,
        }


def _unshuffle(x: Array, side: int) -> Array:
    """Maps (B, h, w, C) to (B, ⌈h / side⌉, ⌈w / side⌉, C * side²), channels (C, side, side).

    What is missing at the bottom and the right is mirrored, the edge itself not repeated.
    """
    b, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, -h % side), (0, -w % side), (0, 0)), mode="reflect")
    h, w = x.shape[1] // side, x.shape[2] // side
    x = x.reshape(b, h, side, w, side, c).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(b, h, w, c * side**2)
