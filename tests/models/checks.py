"""What tests of networks have in common: one function per check.

A network is given as its name in `GENERATORS`, its scale and its arguments. Most of the time goes
into compiling: checks of a network share one function, compiled in haste, and few sizes of images,
and compare NumPy arrays, for which nothing needs to be compiled.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
from conftest import HASTE

from kdgan_jax import models
from kdgan_jax.formats import foreign, imported
from kdgan_jax.inference import tiles
from kdgan_jax.models.generators.rrdb import modern_keys

SIZE = 17, 23  # of an image, if a check does not need another


class Built(NamedTuple):
    """A network, random variables, and `module.apply`, compiled and with NumPy's arrays."""

    module: nn.Module
    variables: dict
    apply: Callable


def compiled(function, options=None):
    """Returns `function`, compiled, with NumPy's arrays as its results."""
    fast = jax.jit(function, compiler_options=options)
    return lambda *arguments: jax.device_get(fast(*arguments))


@functools.cache
def build(name, scale=4, **kwargs):
    """Returns the network with random parameters: compiling `init` would take seconds each."""
    module = models.generator(name, kwargs, scale)
    return Built(module, {"params": drawn(module)}, compiled(module.apply, HASTE))


def drawn(module):
    """Returns random parameters of the size that PyTorch's default has, biases included."""
    random = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key == "scale":  # of a norm, through which all must go
            return random.normal(1, 0.1, leaf.shape).astype(np.float32)
        inputs = int(np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 25
        return random.normal(0, (3 * inputs) ** -0.5, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, foreign.shapes(module))


def count(name, scale=4, **kwargs):
    """Returns the number of parameters; none of them are made."""
    return models.parameters(foreign.shapes(models.generator(name, kwargs, scale)))


def fields(module):
    """Returns the arguments of `module`, scale included."""
    others = "parent", "name", "dtype"
    own = [f.name for f in dataclasses.fields(module) if f.name not in others]
    return {field: getattr(module, field) for field in own}


def network(name, arguments, scale=None):
    """Returns the generator of arguments among which there is its scale, or at another scale."""
    own = {field: value for field, value in arguments.items() if field != "scale"}
    return models.generator(name, own, scale or arguments["scale"])


def image(height=SIZE[0], width=SIZE[1]):
    """Returns two images of random levels of 8 bits: what rounds them finds them as they are."""
    levels = np.random.default_rng(1).integers(0, 256, (2, height, width, 3))
    return levels.astype(np.float32) / 255


def assert_enlarges(name, scale=4, **kwargs):
    """All is finite, SR of `scale` times an odd size, and images of a batch do not mix."""
    _, variables, apply = build(name, scale, **kwargs)
    lr = image()
    sr, taps = apply(variables, lr)
    assert (sr.shape, sr.dtype) == ((2, SIZE[0] * scale, SIZE[1] * scale, 3), np.float32)
    assert np.isfinite(sr).all()
    assert taps
    for tap in taps.values():
        assert (tap.ndim, len(tap)) == (4, 2)
        assert np.isfinite(tap).all()
    lr[0] += [0.5, 0, -0.2]
    other, _ = apply(variables, lr)
    np.testing.assert_array_equal(sr[1], other[1])
    assert np.abs(sr[0] - other[0]).max() > 1e-4


def assert_round_trip(name, scale=4, *, unsaid=(), **kwargs):
    """Parameters become a PyTorch state that tells all arguments, and come back the same.

    The fields `unsaid` are none of those that it tells; they are as they are by default.
    """
    module, variables, _ = build(name, scale, **kwargs)
    state = foreign.to_state(module, variables["params"])
    found, arguments = foreign.detect(state)
    told = {field: value for field, value in fields(module).items() if field not in unsaid}
    assert (found, arguments) == (name, told)
    assert network(found, arguments) == module
    back = foreign.to_params(module, state)
    same = functools.partial(np.testing.assert_array_equal, strict=True)
    jax.tree.map(same, back, variables["params"])


def assert_gradients(name, scale=4, **kwargs):
    """All gradients are finite, at a black image too; returns the paths of those that are 0."""
    module, variables, _ = build(name, scale, **kwargs)

    def loss(params, lr):
        return (module.apply({"params": params}, lr)[0] ** 2).mean()

    gradient, lr = compiled(jax.grad(loss), HASTE), image()
    for each in np.zeros_like(lr), lr:
        leaves = jax.tree_util.tree_leaves_with_path(gradient(variables["params"], each))
        found = {"/".join(part.key for part in path): leaf for path, leaf in leaves}
        assert [path for path, leaf in found.items() if not np.isfinite(leaf).all()] == []
    return [path for path, leaf in found.items() if not leaf.any()]


def _cut(module):
    """Returns (tiling, image): tiles of little more than they need, and several of them each way.

    A step takes four of the grid's squares, or a little more, and the last one fewer.
    """
    radius, grid = module.receptive_radius, getattr(module, "grid", 1)
    side = (-(-2 * radius // grid) + 4) * grid
    size = SIZE if side < min(SIZE) else (side + 4 * grid, side + 7 * grid)
    return tiles.Tiling(side, radius, grid), image(*size)


def assert_tiles(name, scale=4, **kwargs):
    """An image in tiles, whose margin is the receptive radius, is that on the whole."""
    module, variables, apply = build(name, scale, **kwargs)
    tiling, lr = _cut(module)
    tiled = tiles.run(lambda parts: apply(variables, parts)[0], lr[0], scale=scale, tiling=tiling)
    np.testing.assert_allclose(tiled, apply(variables, lr)[0][0], atol=1e-5)


def assert_radius(name, scale=4, **kwargs):
    """No pixel beyond the receptive radius matters, and those around it do.

    Returns how far a pixel is seen at least, in LR pixels, on every side.
    """
    module, variables, apply = build(name, scale, **kwargs)
    (_, radius, grid), before = _cut(module)
    reach = radius
    for centre in range(radius + 1, radius + 1 + grid):  # wherever it is in a cell of the grid
        after = before.copy()
        after[:, centre, centre] += 9
        changed = (apply(variables, before)[0] != apply(variables, after)[0]).any(axis=(0, 3))
        for seen in np.nonzero(changed):
            first, last = seen.min() // scale, seen.max() // scale
            assert centre - radius <= first < centre < last <= centre + radius
            reach = min(reach, centre - first, last - centre)
    return reach


@functools.cache
def read(path):
    """Returns the entries of a published file."""
    return modern_keys(imported.READERS[path.suffix](path))


def claimed(shared, name):
    """Returns the stems of the published files that the architecture `name` takes for its own."""
    detect = models.GENERATORS[name].detect
    paths = [p for p in (shared / "weights").iterdir() if p.suffix in imported.READERS]
    return {path.stem for path in paths if detect(foreign.shapes_of(read(path))) is not None}


def restore(state, scale=None):
    """Returns (name, module, parameters) of a state, all of whose entries are used.

    Those that another of the scales uses, which it serves as well, count as used.
    """
    name, kwargs = foreign.detect(state)
    own = network(name, kwargs)
    back, found = {}, {}
    for each in getattr(own, "serves_scales", (own.scale,)):
        module = network(name, kwargs, each)
        found[each] = module, foreign.to_params(module, state)
        back |= foreign.to_state(*found[each])
    assert back.keys() == state.keys()
    for key, array in back.items():
        np.testing.assert_array_equal(array, state[key], key, strict=True)
    return name, *found[scale or own.scale]


@functools.cache
def published(shared, file, scale=None):
    """Returns (name, module, parameters) of a published file, which would be saved as it is."""
    return restore(read(shared / "weights" / file), scale)


def golden_error(shared, file, scale=None, *, border=0, to_ours=lambda x: x, to_theirs=lambda y: y):
    """Returns the largest difference from the outputs published for a file, in their range.

    Args:
      shared: the folder of published data.
      file: name of the file of weights.
      scale: one of those that it serves; its golden outputs are called so, too.
      border: pixels on every side that are not in the golden outputs.
      to_ours: maps golden inputs to our range.
      to_theirs: maps our outputs to the range of the golden outputs.
    """
    _, module, params = published(shared, file, scale)
    stem = file.split(".")[0] + (f"_x{scale}" if scale else "")
    errors = []
    with np.load(shared / "golden" / f"{stem}.npz") as golden:
        on_luma = golden["x_a"].shape[-1] == 1
        method = module.core if on_luma else None
        apply = compiled(functools.partial(module.apply, method=method))
        for crop in "ab":
            lr, expected = to_ours(golden[f"x_{crop}"]), golden[f"y_{crop}"]
            sr, _ = apply({"params": params}, lr)
            height, width = sr.shape[1:3]
            sr = to_theirs(sr[:, border : height - border, border : width - border])
            assert sr.shape == expected.shape
            errors.append(np.abs(sr - expected).max())
    print(f"{stem}: {np.max(errors):.2e}")
    return np.max(errors)  # NaN, if one is: the built-in one may pass over it
