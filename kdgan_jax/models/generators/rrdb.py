"""RRDBNet, the generator of ESRGAN and Real-ESRGAN: dense blocks inside residual blocks.

Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks", ECCVW 2018, and
"Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data", ICCVW 2021.
"""

import math
import re
from collections.abc import Mapping
from typing import TypeVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import nearest, tap, torch_conv
from kdgan_jax.models.types import Arguments, Features, Shapes

Value = TypeVar("Value")
RESIDUAL = 0.2  # factor on the residual of a dense block, and of three together
SLOPE = 0.2  # of leaky ReLUs
# Layers that the second naming (2018 to 2020; also BSRGAN's and RealSR's) calls differently.
RENAMED = {f"upconv{i}": f"conv_up{i}" for i in (1, 2, 3)}
RENAMED |= {"trunk_conv": "conv_body", "HRconv": "conv_hr"}


def modern_keys(entries: Mapping[str, Value]) -> dict[str, Value]:
    """Returns an RRDBNet's `entries` with the names of BasicSR and Real-ESRGAN.

    Two older namings are known: the first numbers the layers (`model.0`,
    `model.1.sub.0.RDB1.conv1.0`, `model.3`), the second is ESRGAN's later one
    (`RRDB_trunk.0.RDB1.conv1`, `HRconv`). Any other entries are returned unchanged.
    """
    if not any(re.search(r"\bRDB1\.conv1\.", key) for key in entries):
        return dict(entries)
    # Every key starts with "model.", unless that counts as the prefix of a wrapper.
    plain = {key.removeprefix("model."): value for key, value in entries.items()}
    numbers = {int(m[1]) for key in plain if (m := re.fullmatch(r"(\d+)\.weight", key))}
    # Upscaling convolutions are numbers 3, 6 and so on; then conv_hr, an activation, conv_last.
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
    """Five convolutions that each take the input and the results of all before."""

    growth: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        seen = x
        for i in range(1, 5):
            y = nn.leaky_relu(torch_conv(self.growth, name=f"conv{i}")(seen), SLOPE)
            seen = jnp.concatenate([seen, y], axis=-1)
        return x + RESIDUAL * torch_conv(x.shape[-1], name="conv5")(seen)


class RRDBNet(nn.Module):
    """Maps RGB in [0, 1] to RGB; 16,697,987 parameters at x4.

    Attributes:
      scale: upscaling factor: 1, 2, 3 or 4.
      channels: width.
      blocks: residual blocks of three dense blocks each; 23 as published, 6 in the anime model.
      growth: channels that each convolution of a dense block adds.
      unshuffle: side of the squares of input pixels that become channels. 0 is Real-ESRGAN's
        choice: 4 / scale at scales 1 and 2, so that the network inside always enlarges by 4.
    """

    scales = 1, 2, 3, 4

    scale: int = 4
    channels: int = 64
    blocks: int = 23
    growth: int = 32
    unshuffle: int = 0

    @property
    def grid(self) -> int:
        """Side of the squares of LR pixels that become channels; tiles start at multiples of it."""
        return self.unshuffle or (4 // self.scale if self.scale in (1, 2) else 1)

    @property
    def receptive_radius(self) -> int:
        """LR pixels that one output pixel depends on, on each side."""
        inside = 15 * self.blocks + 4  # first, end of the body; all after adds two
        return self.grid * inside + self.grid - 1

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size or below)."""
        height, width = lr.shape[1:3]
        features: Features = {}
        x = torch_conv(self.channels, name="conv_first")(_unshuffle(lr, self.grid))
        head = x = tap(self, features, "head", x)
        for i in range(self.blocks):
            y = x
            for k in range(1, 4):
                y = DenseBlock(self.growth, name=f"body.{i}.rdb{k}")(y)
            x = tap(self, features, f"block{i + 1}", x + RESIDUAL * y)
        x = tap(self, features, "body", head + torch_conv(self.channels, name="conv_body")(x))
        inside = self.scale * self.grid
        factors = [3] if inside == 3 else [2] * int(math.log2(inside))
        for i, factor in enumerate(factors, 1):
            x = nn.leaky_relu(
                torch_conv(self.channels, name=f"conv_up{i}")(nearest(x, factor)), SLOPE
            )
        x = nn.leaky_relu(torch_conv(self.channels, name="conv_hr")(x), SLOPE)
        x = torch_conv(3, name="conv_last")(x)
        return x[:, : height * self.scale, : width * self.scale], features

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the RRDBNet with these PyTorch shapes, or None.

        Files for x2 and x3 can have the same shapes (`readings`); x2 is assumed.
        """
        shapes = modern_keys(shapes)
        first, inner, last = "conv_first.weight", "body.0.rdb1.conv1.weight", "conv_last.weight"
        if not {first, inner, "conv_body.weight", "conv_hr.weight", last} <= set(shapes):
            return None
        numbers = {m[1] for key in shapes if (m := re.match(r"body\.(\d+)\.rdb3\.conv5\.w", key))}
        up = sum(re.fullmatch(r"conv_up\d\.weight", key) is not None for key in shapes)
        grid = math.isqrt(shapes[first][1] // shapes[last][0])
        if grid < 1 or 2**up % grid:
            return None
        return {
            "scale": 2**up // grid,
            "channels": shapes[first][0],
            "blocks": len(numbers),
            "growth": shapes[inner][0],
            "unshuffle": grid,
        }

    @staticmethod
    def readings(
        arguments: Arguments, entries: Mapping[str, Value]
    ) -> dict[str, tuple[Arguments, dict[str, Value]]]:
        """Returns what a file may mean: one enlarging step is by 2, or in old files by 3."""
        scales = (2, 3) if arguments["scale"] == 2 and arguments["unshuffle"] == 1 else ()
        named = modern_keys(entries)
        return {f"x{s}": (arguments | {"scale": s}, named) for s in scales or [arguments["scale"]]}


def _unshuffle(x: Array, side: int) -> Array:
    """Maps (B, h, w, C) to (B, ⌈h / side⌉, ⌈w / side⌉, C * side²), channels (C, side, side).

    The bottom and the right are padded by reflection, without repeating the edge.
    """
    b, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, -h % side), (0, -w % side), (0, 0)), mode="reflect")
    h, w = x.shape[1] // side, x.shape[2] // side
    x = x.reshape(b, h, side, w, side, c).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(b, h, w, c * side**2)
