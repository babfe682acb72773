"""Compact, the fast student: plain 3x3 convolutions at LR size, then a pixel shuffle.

This is SRVGGNetCompact, the small network of Real-ESRGAN (Wang et al., "Real-ESRGAN: Training
Real-World Blind Super-Resolution with Pure Synthetic Data", ICCVW 2021). It adds the input,
enlarged by nearest neighbour, so that training starts from an interpolation. The published networks
have 64 channels and a depth of 16 (realesr-animevideov3, 621,424 parameters) or 32
(realesr-general-x4v3, 1,213,296 parameters). ECBSR on RGB (Zhang et al., "Edge-oriented Convolution
Block for Real-time Super Resolution on Mobile Devices", ACM MM 2021) is the same network once its
branches are folded; ECNUSR/ETDS publishes such files, under other names.
"""

import math
import re
from collections.abc import Mapping
from typing import TypeVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from kdgan_jax.models.blocks.layers import BranchConv, Conv, PReLU, nearest, pixel_shuffle, tap
from kdgan_jax.models.types import Arguments, Features, Params, Shapes

Value = TypeVar("Value")
LARGEST = 2**16  # number of a layer
LAST_GAIN = 0.01  # initial variance of the last convolution, relative to the others
ECBSR_NAME = re.compile(r"backbone\.(\d{1,5})\.([01])\.(weight|bias)")


def _as_srvggnet(name: str) -> str:
    """Returns a name of SRVGGNetCompact for one of ECBSR, which counts pairs of layers."""
    match = ECBSR_NAME.fullmatch(name)
    return f"body.{2 * int(match[1]) + int(match[2])}.{match[3]}" if match else name


class Compact(nn.Module):
    """Maps RGB in [0, 1] to RGB.

    Attributes:
      scale: upscaling factor: 1, 2, 3 or 4.
      channels: channels of every hidden layer.
      depth: convolutions between the first and the last; `num_conv` in Real-ESRGAN.
      branches: train each convolution as a sum of branches, which `fold` merges.
      expansion: train each convolution as a product of two, through this many times as many
        channels, which `fold` merges; 0 for plain ones.
      slope: that of a leaky ReLU for all channels, 0 for ReLU; None learns slopes (PReLU).
      dtype: dtype in which convolutions compute; the result is float32.
    """

    scales = 1, 2, 3, 4

    scale: int = 4
    channels: int = 24
    depth: int = 4
    branches: bool = False
    expansion: int = 0
    slope: float | None = None
    dtype: DTypeLike = jnp.float32

    @property
    def receptive_radius(self) -> int:
        """LR pixels that one output pixel depends on, on each side."""
        return self.depth + 2

    @property
    def _folds(self) -> bool:
        return self.branches or self.expansion > 0

    def _conv(self, channels: int, gain: float = 1.0) -> Conv | BranchConv:
        if not self._folds:
            return Conv(channels, gain=gain, dtype=self.dtype)
        return self._branched(channels, gain)

    def _branched(self, channels: int, gain: float = 1.0, **parent: None) -> BranchConv:
        return BranchConv(channels, gain, self.branches, self.expansion, self.dtype, **parent)

    @property
    def before_shuffle(self) -> tuple[str, tuple[str, ...]] | None:
        """The feature that the last convolution sees, and where its parameters are."""
        if self._folds:
            return None
        return f"conv{self.depth + 1}", (f"Conv_{self.depth + 1}", "conv")

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        x = lr
        features: Features = {}
        for i in range(self.depth + 1):
            x = self._conv(self.channels)(x)
            x = PReLU()(x) if self.slope is None else nn.leaky_relu(x, self.slope)
            x = tap(self, features, f"conv{i + 1}", x)
        x = self._conv(3 * self.scale**2, LAST_GAIN)(x)
        x = pixel_shuffle(x, self.scale).astype(jnp.float32)
        return nearest(lr, self.scale) + x, features

    def fold(self, params: Params) -> tuple[Arguments, Params] | None:
        """Returns (arguments without the scale, parameters) of the equivalent plain network.

        The result is None if this is a plain network already.
        """
        if not self._folds:
            return None
        hidden = self._branched(self.channels, parent=None)
        last = self._branched(3 * self.scale**2, LAST_GAIN, parent=None)
        layers = [hidden] * (self.depth + 1) + [last]
        plain = {f"Conv_{i}": conv.fold(params[f"BranchConv_{i}"]) for i, conv in enumerate(layers)}
        slopes = {name: slope for name, slope in params.items() if name.startswith("PReLU_")}
        arguments: Arguments = {"channels": self.channels, "depth": self.depth}
        if self.slope is not None:
            arguments["slope"] = self.slope
        return arguments, plain | slopes

    @staticmethod
    def torch_key(key: str) -> str:
        """Returns the key in Real-ESRGAN's files, which number convolutions and PReLUs in turn."""
        layer, *_, kind = key.split(".")
        name, _, number = layer.rpartition("_")
        return f"body.{2 * int(number) + (name == 'PReLU')}.{kind}"

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the SRVGGNetCompact with these PyTorch shapes, or None.

        A file of ECBSR is one of these under other names. A file without slopes is assumed to be
        of a network with ReLUs (`readings`).
        """
        if "backbone.0.0.weight" in shapes:
            shapes = {_as_srvggnet(name): shape for name, shape in shapes.items()}
        numbers = [re.fullmatch(r"body\.(\d+)\.(weight|bias)", name) for name in shapes]
        last = max((int(match[1]) if match else LARGEST for match in numbers), default=0)
        last += last % 2  # a file that was cut short may end in slopes
        first = shapes["body.0.weight"]
        if not 2 <= last < min(LARGEST, 2 * len(shapes)) or first[1] > 4:
            return None  # perhaps a block of another network, which takes no picture
        outputs = shapes.get(f"body.{last}.weight", (16 * first[1],))[0]
        return {
            "scale": math.isqrt(outputs // first[1]),
            "channels": first[0],
            "depth": last // 2 - 1,
        } | ({} if "body.1.weight" in shapes else {"slope": 0.0})

    @staticmethod
    def readings(
        arguments: Arguments, entries: Mapping[str, Value]
    ) -> dict[str, tuple[Arguments, dict[str, Value]]]:
        """Returns what a file may mean: without slopes, Real-ESRGAN's ReLU or its leaky ReLU."""
        slopes = {"ReLU": 0.0, "LeakyReLU": 0.1} if "slope" in arguments else {}
        named = {_as_srvggnet(name): value for name, value in entries.items()}
        several = {word: (arguments | {"slope": slope}, named) for word, slope in slopes.items()}
        return several or {"": (arguments, named)}
