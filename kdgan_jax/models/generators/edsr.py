"""EDSR: residual blocks without normalization, then pixel shuffles.

Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017.
Files are BasicSR's, whose networks compute with RGB in 0 to 255, or have the names of the authors'
EDSR-PyTorch, which super-image uses, too. Those store the mean as layers, and with it the range.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from kdgan_jax.models.blocks.layers import Conv, ShuffleUpsampler, tap
from kdgan_jax.models.blocks.mean_shift import DIV2K_MEAN
from kdgan_jax.models.types import Arguments, Features, Shapes

Value = TypeVar("Value")
PUBLISHED_RANGE = 255.0  # largest RGB value inside BasicSR's networks
NO_MEAN = 0.0, 0.0, 0.0
MEANS = "sub_mean.weight", "sub_mean.bias", "add_mean.weight", "add_mean.bias"
LARGEST_MEAN = 3.0  # of RGB in [0, 1], even divided by a deviation
# Layers in the authors' files and in BasicSR's.
AUTHORS = {
    r"head\.0": "conv_first",
    r"body\.(\d+)\.body\.0": r"body.\1.conv1",
    r"body\.(\d+)\.body\.2": r"body.\1.conv2",
    r"body\.\d+": "conv_after_body",
    r"tail\.0\.(\d)": r"upsample.\1",
    r"tail\.1": "conv_last",
}


def _published_residual(channels: int) -> float:
    """Returns the residual scale of BasicSR's network with this number of channels."""
    return 0.1 if channels == 256 else 1.0


def _basicsr_keys(entries: Mapping[str, Value]) -> dict[str, Value]:
    """Returns an EDSR's `entries` with BasicSR's names instead of the authors'."""
    if "head.0.weight" not in entries:
        return dict(entries)

    def rename(key: str) -> str:
        stem, _, kind = key.rpartition(".")
        names = [re.sub(old, new, stem) for old, new in AUTHORS.items() if re.fullmatch(old, stem)]
        return f"{names[0] if names else stem}.{kind}"

    return {rename(key): value for key, value in entries.items()}


class EDSR(nn.Module):
    """Maps RGB in [0, 1] to RGB.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: width; 64 in EDSR-baseline, 256 in EDSR.
      blocks: residual blocks; 16 in EDSR-baseline, 32 in EDSR.
      residual_scale: factor on each block's residual; 1 in EDSR-baseline, 0.1 in EDSR.
      image_range: largest RGB value inside the network; 255 in BasicSR's files.
      mean: RGB in [0, 1] that is subtracted at the start and added at the end.
      dtype: dtype in which convolutions compute; the result is float32.
    """

    scale: int = 4
    channels: int = 64
    blocks: int = 16
    residual_scale: float = 1.0
    image_range: float = 1.0
    mean: tuple[float, float, float] = DIV2K_MEAN
    dtype: DTypeLike = jnp.float32

    @property
    def receptive_radius(self) -> int:
        """LR pixels that one output pixel depends on, on each side."""
        return 2 * self.blocks + 5  # head, blocks, end of the body; upsampler and tail

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        mean = jnp.asarray(self.mean, lr.dtype).reshape(1, 1, 1, 3)
        conv = functools.partial(Conv, dtype=self.dtype)
        features: Features = {}
        x = conv(self.channels)((lr - mean) * self.image_range)
        head = x = tap(self, features, "head", x)
        for i in range(self.blocks):
            y = conv(self.channels, gain=0.1)(nn.relu(conv(self.channels)(x)))
            x = tap(self, features, f"block{i + 1}", x + self.residual_scale * y)
        x = tap(self, features, "body", head + conv(self.channels, gain=0.1)(x))
        x = ShuffleUpsampler(self.scale, self.channels, dtype=self.dtype)(x)
        return mean + conv(3, gain=0.1)(x).astype(jnp.float32) / self.image_range, features

    def torch_key(self, key: str) -> str:
        """Returns the key in BasicSR's files."""
        *parts, layer, _, kind = key.split(".")
        number = int(layer.removeprefix("Conv_"))
        if parts:
            return f"upsample.{2 * number}.{kind}"  # a shuffle has a number, too
        if number == 0:
            return f"conv_first.{kind}"
        if number > 2 * self.blocks:
            return f"{('conv_after_body', 'conv_last')[number - 2 * self.blocks - 1]}.{kind}"
        # Linen numbers the second convolution of a block, the outer call, before the first.
        return f"body.{(number - 1) // 2}.conv{1 + number % 2}.{kind}"

    def as_published(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `state` (by BasicSR's keys) for the arguments that `detect` infers from it.

        A file does not store the range and the residual scale, so the weights absorb them. Another
        mean than DIV2K's takes the authors' names, which come with the mean or without any.
        """
        image_range = 1.0 if self.mean == NO_MEAN else PUBLISHED_RANGE
        gain = image_range / self.image_range
        factors = {"conv_first.weight": 1 / gain, "conv_last.weight": gain, "conv_last.bias": gain}
        residual = self.residual_scale / _published_residual(self.channels)
        factors |= {key: residual for key in state if ".conv2." in key}
        state = {key: array * np.float32(factors.get(key, 1)) for key, array in state.items()}
        if self.mean == DIV2K_MEAN:
            return state
        stems = [f"body.{i}.body.{k}" for i in range(self.blocks) for k in (0, 2)]
        stems += ["head.0", f"body.{self.blocks}", "tail.0.0", "tail.0.2", "tail.1"]
        authors = [f"{stem}.{kind}" for stem in stems for kind in ("weight", "bias")]
        names = _basicsr_keys(dict(zip(authors, authors, strict=True)))
        named = {names[key]: array for key, array in state.items()}
        if self.mean != NO_MEAN:
            shift = np.asarray(self.mean, np.float32) * np.float32(image_range)
            for layer, bias in ("sub_mean", -shift), ("add_mean", shift):
                eye = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
                named |= {f"{layer}.weight": eye, f"{layer}.bias": bias}
        return named

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the EDSR with these PyTorch shapes, or None.

        A file does not store the residual scale; that of BasicSR is assumed. Of the range, too,
        where the authors' names come without a mean: RGB is in [0, 1] then.
        """
        named = _basicsr_keys(shapes)
        first, up = named.get("conv_first.weight"), named.get("upsample.0.weight")
        blocks = sum(re.fullmatch(r"body\.\d+\.conv2\.weight", key) is not None for key in named)
        steps = 2 if "upsample.2.weight" in named else 1
        needed = {"conv_after_body.weight", "conv_last.weight", "body.0.conv1.weight"}
        if not first or not up or not needed <= set(named):
            return None
        scale = {(4, 2): 4, (4, 1): 2, (9, 1): 3}.get((up[0] // first[0], steps))
        if scale is None:
            return None
        arguments: Arguments = {
            "scale": scale,
            "channels": first[0],
            "blocks": blocks,
            "residual_scale": _published_residual(first[0]),
            "image_range": PUBLISHED_RANGE,
        }
        if "head.0.weight" in shapes and "sub_mean.weight" not in shapes:
            arguments |= {"image_range": 1.0, "mean": NO_MEAN}
        return arguments

    @staticmethod
    def readings(
        arguments: Arguments, entries: Mapping[str, Any]
    ) -> dict[str, tuple[Arguments, dict[str, Any]]]:
        """Returns what a file may mean: super-image stores the mean, too, but never uses it."""
        named = _basicsr_keys(entries)
        if not named.keys() >= set(MEANS):
            return {"": (arguments, named)}
        sub, minus, add, plus = (np.asarray(named.pop(key), np.float64) for key in MEANS)
        sub, add = sub.reshape(3, 3), add.reshape(3, 3)
        image_range = PUBLISHED_RANGE if np.abs(minus).max() > LARGEST_MEAN else 1.0
        exact = -np.linalg.solve(sub, minus) / image_range
        mean = exact.round(4) if np.allclose(exact, exact.round(4), atol=1e-6) else exact
        # The layers' weights, 1 / deviation, are folded into the convolutions beside them.
        first, last, bias = named["conv_first.weight"], named["conv_last.weight"], "conv_last.bias"
        shifted = named | {
            "conv_first.weight": np.einsum("oihw,ij->ojhw", first, sub),
            "conv_last.weight": np.einsum("ij,jchw->ichw", add, last),
            bias: add @ named[bias] + plus - image_range * mean,
        }
        used: Arguments = {"image_range": image_range}
        if tuple(mean) != DIV2K_MEAN:
            used["mean"] = tuple(map(float, mean))
        unused = {"image_range": 1.0, "mean": NO_MEAN}
        return {
            "EDSR-PyTorch": (arguments | used, shifted),
            "super-image": (arguments | unused, named),
        }
