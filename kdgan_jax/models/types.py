"""Types that networks share."""

from collections.abc import Callable, Mapping
from typing import Any

from jax import Array

Params = Mapping[str, Any]  # a tree of float32 arrays, by module and name
Features = dict[str, Array]  # intermediate results (B, H, W, C), by name
Layer = Callable[..., Any]  # makes a Linen module from a number of channels and a name
Mean = Callable[[Any], Any]  # of a tree of arrays, over the devices
Shapes = Mapping[str, tuple[int, ...]]  # of the arrays in a file, by their PyTorch keys
Arguments = dict[str, Any]  # of a generator, its scale included
