"""Helpers and checks that tests of networks share.

Most of the time goes into compilation. So checks of a network share one compiled function and few
image sizes, compile with little optimization, and compare NumPy arrays, which need no compilation.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
from conftest import HASTE, TINY

from kdgan_jax import models
from kdgan_jax.formats import foreign, search
from kdgan_jax.inference import tiles

SIZE = 17, 23  # of images, unless a check needs another size
GOLDEN = Path(__file__).parents[1] / "golden"


class Built(NamedTuple):
    """A network, random variables, and `module.apply`, compiled, with NumPy arrays as results."""

    module: nn.Module
    variables: dict
    apply: Callable


def compiled(function, options=None):
    """Returns `function`, compiled, with NumPy arrays as results."""
    fast = jax.jit(function, compiler_options=options)
    return lambda *arguments: jax.device_get(fast(*arguments))


def generator(name, scale=4, **kwargs):
    """Returns the generator with these arguments, as `search.claims` returns them."""
    return models.generator(name, kwargs, scale)


@functools.cache
def build(name, scale=4, **kwargs):
    """Returns the small network, with these changes to its arguments, and random parameters.

    Fresh parameters would take seconds to compile.
    """
    module = generator(name, scale, **TINY[name] | kwargs)
    return Built(module, {"params": drawn(module)}, compiled(module.apply, HASTE))


def drawn(module):
    """Returns random parameters as large as PyTorch's initial ones, biases included."""
    random = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key == "scale":  # of a norm
            return random.normal(1, 0.1, leaf.shape).astype(np.float32)
        inputs = int(np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 25
        return random.normal(0, (3 * inputs) ** -0.5, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, foreign.shapes(module))


def fresh(module, size=16):
    """Returns the variables of `module` as training starts with them."""
    init = compiled(functools.partial(models.init, module, size=size), HASTE)
    return init(jax.random.key(0))


def paths(tree):
    """Returns the leaves of a tree of dicts by their path, such as "Conv_0/conv/kernel"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(part.key for part in path): np.asarray(leaf) for path, leaf in leaves}


def image(height=SIZE[0], width=SIZE[1]):
    """Returns two random images of 8-bit levels, which rounding to 8 bits leaves unchanged."""
    levels = np.random.default_rng(1).integers(0, 256, (2, height, width, 3))
    return levels.astype(np.float32) / 255


def _cut(module):
    """Returns (tiling, images): small tiles, and images of several tiles each way.

    A step between tiles is about four squares of the network's grid; the last step is shorter.
    """
    radius, grid = module.receptive_radius, getattr(module, "grid", 1)
    side = (-(-2 * radius // grid) + 4) * grid
    size = SIZE if side < min(SIZE) else (side + 4 * grid, side + 7 * grid)
    return tiles.Tiling(side, radius, grid), image(*size)


def assert_tiles(name, scale=4, **kwargs):
    """An image in tiles with the receptive radius as margin gives the same as the whole image."""
    module, variables, apply = build(name, scale, **kwargs)
    tiling, lr = _cut(module)
    tiled = tiles.run(lambda parts: apply(variables, parts)[0], lr[0], scale=scale, tiling=tiling)
    np.testing.assert_allclose(tiled, apply(variables, lr)[0][0], atol=1e-5)


def assert_radius(name, scale=4, **kwargs):
    """No pixel beyond the receptive radius matters, and pixels within more than half of it do."""
    module, variables, apply = build(name, scale, **kwargs)
    tiling, before = _cut(module)
    radius, grid = tiling.margin, tiling.grid
    for centre in range(radius + 1, radius + 1 + grid):  # at each place in a square of the grid
        after = before.copy()
        after[:, centre, centre] += 9
        changed = (apply(variables, before)[0] != apply(variables, after)[0]).any(axis=(0, 3))
        for places in np.nonzero(changed):
            first, last = places.min() // scale, places.max() // scale
            assert centre - radius <= first < centre - radius / 2
            assert centre + radius / 2 < last <= centre + radius
    return radius


def claims(state):
    """Returns (name, arguments) of each architecture that claims a whole state."""
    return [c[1:] for c in search.claims(foreign.shapes_of(state)) if not c.prefix]


def restore(state, scale=None):
    """Returns (name, module, parameters) of a state; each of its entries must be used.

    If it serves several scales, entries that another scale uses count as used.
    """
    (name, arguments), *_ = claims(state)
    detected = generator(name, **arguments)
    entries, restored = {}, {}
    for each in getattr(detected, "serves_scales", (detected.scale,)):
        module = generator(name, **arguments | {"scale": each})
        restored[each] = module, foreign.to_params(module, state)
        entries |= foreign.to_state(*restored[each])
    assert entries.keys() == state.keys()
    for key, array in entries.items():
        np.testing.assert_array_equal(array, state[key], key, strict=True)
    return name, *restored[scale or detected.scale]


def recorded(stem):
    """Returns (state, input, output) of a network in tests/golden."""
    with np.load(GOLDEN / f"spandrel_{stem}.npz") as file:
        arrays = {key.removeprefix("state/"): file[key].astype(np.float32) for key in file.files}
    return arrays, arrays.pop("input"), arrays.pop("output")
