"""Checks of networks that work on Y, and of files of every format."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from kdgan_jax import models, tiles
from kdgan_jax.io import frozen_graph, keras, pytorch
from kdgan_jax.zoo import foreign

READERS = {".pth": pytorch.read, ".pt": pytorch.read, ".pb": frozen_graph.read, ".h5": keras.read}


def parameters(name, kwargs, scale=4):
    """Returns the number of parameters; none of them are made."""
    return models.parameters(foreign.shapes(models.generator(name, kwargs, scale)))


def noise(module, seed=0, std=0.1):
    """Returns random parameters, biases included."""
    rng = np.random.default_rng(seed)
    shapes = foreign.shapes(module)
    return jax.tree.map(lambda leaf: rng.normal(0, std, leaf.shape).astype(np.float32), shapes)


def assert_round_trip(name, kwargs, scale):
    """Weights in PyTorch's layout tell the network that they are of, and come back the same."""
    module = models.generator(name, kwargs, scale)
    params = noise(module)
    state = foreign.to_state(module, params)
    fields = [f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name")]
    assert foreign.detect(state) == (name, {field: getattr(module, field) for field in fields})
    jax.tree.map(np.testing.assert_array_equal, params, foreign.to_params(module, state))


def assert_learns_everywhere(name, kwargs, frozen=()):
    """All parameters have finite gradients that are not all 0, but for those that are frozen."""
    module = models.generator(name, kwargs, 2)
    params = noise(module)
    lr = np.random.default_rng(1).random((2, 17, 23, 3), np.float32)
    found = jax.jit(jax.grad(lambda p: (module.apply({"params": p}, lr)[0] ** 2).sum()))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        words = jax.tree_util.keystr(path)
        assert jnp.isfinite(leaf).all(), words
        assert jnp.any(leaf != 0) != any(part in words for part in frozen), words


@functools.cache
def read(path):
    return READERS[path.suffix](path)


def claimed(shared, name):
    """Returns the stems of the published files that the network `name` recognises."""
    detect = models.GENERATORS[name].detect
    found = set()
    for path in (shared / "weights").iterdir():
        if path.suffix in READERS:
            shapes = {key: array.shape for key, array in read(path).items()}
            if detect(shapes) is not None:
                found.add(path.stem)
    return found


def published(path):
    """Returns (name, module, parameters) of a published file; it has no entry that is left over."""
    state = read(path)
    name, kwargs = foreign.detect(state)
    module = models.generator(name, kwargs, kwargs["scale"])
    params = foreign.to_params(module, state)
    back = foreign.to_state(module, params)
    assert back.keys() == state.keys()
    for key, array in back.items():
        np.testing.assert_array_equal(array, state[key], key)
    return name, module, params


def golden_error(shared, path):
    """Returns the largest difference of the Y network of a file from its published outputs."""
    _, module, params = published(path)
    core = jax.jit(lambda y: module.apply({"params": params}, y, method=module.core)[0])
    worst = 0.0
    with np.load(shared / "golden" / f"{path.stem}.npz") as golden:
        for case in "ab":
            ours, expected = np.asarray(core(golden[f"x_{case}"])), golden[f"y_{case}"]
            border = (ours.shape[1] - expected.shape[1]) // 2  # SRCNN's is not in the file
            inside = slice(border, ours.shape[1] - border), slice(border, ours.shape[2] - border)
            ours = ours[:, *inside]
            assert ours.shape == expected.shape
            worst = max(worst, float(np.abs(ours - expected).max()))
    print(f"{path.stem}: {worst:.2e}")
    return worst


def assert_enlarges(name, kwargs, scale):
    """An odd-sized image is enlarged by the scale, and features are finite."""
    module = models.generator(name, kwargs, scale)
    lr = np.random.default_rng(1).random((2, 17, 23, 3), np.float32)
    sr, taps = jax.jit(module.apply)({"params": noise(module)}, lr)
    assert (sr.shape, sr.dtype) == ((2, 17 * scale, 23 * scale, 3), jnp.float32)
    assert taps
    for tap in (sr, *taps.values()):
        assert len(tap) == 2
        assert jnp.isfinite(tap).all()


def assert_tiles(name, kwargs, scale):
    """An image in tiles, whose margin is the receptive radius, is the image on the whole."""
    module = models.generator(name, kwargs, scale)
    params = noise(module)
    predict = jax.jit(lambda lr: module.apply({"params": params}, lr)[0])
    grid = getattr(module, "grid", 1)
    margin = -(-module.receptive_radius // grid) * grid
    side = 2 * margin + 4 * grid
    rng = np.random.default_rng(1)
    lr = rng.random((side + 4 * grid, side + 8 * grid, 3), np.float32)
    levels = np.round(lr * 255).astype(np.float32) / 255
    one = tiles.run(
        lambda part: np.asarray(predict(part[None])[0]),
        levels,
        scale=scale,
        tile=side,
        margin=margin,
    )
    np.testing.assert_allclose(one, predict(levels[None])[0], atol=1e-5)
