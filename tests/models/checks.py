"""What tests of published architectures have in common."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from kdgan_jax import models, tiles
from kdgan_jax.io import pytorch
from kdgan_jax.zoo import foreign


def build(name, scale=4, **kwargs):
    """Returns (module, random variables), drawn by NumPy: compiling `init` takes seconds each."""
    module = models.generator(name, kwargs, scale)
    return module, {"params": drawn(module)}


def drawn(module):
    """Returns random parameters of the size that PyTorch's default has, biases included."""
    random = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key == "scale":  # of a norm, through which all must go
            return np.ones(leaf.shape, np.float32)
        inputs = int(np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 25
        return random.normal(0, (3 * inputs) ** -0.5, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, foreign.shapes(module))


def count(name, scale=4, **kwargs):
    """Returns the number of parameters; none of them are made."""
    return models.parameters(foreign.shapes(models.generator(name, kwargs, scale)))


def image(height, width, batch=2):
    return jax.random.uniform(jax.random.key(1), (batch, height, width, 3))


def assert_enlarges(name, scale, **kwargs):
    """The output is finite, of `scale` times an odd size, and images of a batch do not mix."""
    module, variables = build(name, scale, **kwargs)
    apply = jax.jit(module.apply)
    lr = image(17, 23)
    sr, taps = apply(variables, lr)
    assert (sr.shape, sr.dtype) == ((2, 17 * scale, 23 * scale, 3), jnp.float32)
    assert jnp.isfinite(sr).all()
    assert {len(tap) for tap in taps.values()} == {2}
    other, _ = apply(variables, lr.at[0].add(jnp.asarray([0.5, 0.0, -0.2])))
    np.testing.assert_array_equal(sr[1], other[1])
    assert jnp.abs(sr[0] - other[0]).max() > 1e-4


def assert_round_trip(name, scale=4, **kwargs):
    """Parameters become a PyTorch state that is recognised, and come back the same."""
    module, variables = build(name, scale, **kwargs)
    state = foreign.to_state(module, variables["params"])
    found, arguments = foreign.detect(state)
    assert found == name
    assert models.generator(found, arguments, arguments["scale"]) == module
    assert arguments.keys() >= kwargs.keys()
    back = foreign.to_params(module, state)
    jax.tree.map(np.testing.assert_array_equal, back, variables["params"])


def assert_tiles(name, scale, size, tile, **kwargs):
    """An image of `size` in tiles, whose margin is the receptive radius, is that on the whole."""
    module, variables = build(name, scale, **kwargs)
    apply = jax.jit(lambda lr: module.apply(variables, lr[None])[0][0])
    lr = np.asarray(image(*size, batch=1))[0]
    tiled = tiles.run(
        lambda part: np.asarray(apply(part)),
        lr,
        scale=scale,
        tile=tile,
        margin=module.receptive_radius,
    )
    np.testing.assert_allclose(tiled, apply(lr), atol=1e-5)


def assert_gradients(name, **kwargs):
    """All gradients are finite, at a black image too; returns the paths of those that are 0."""
    module, variables = build(name, **kwargs)

    @jax.jit
    def gradient(params, lr):
        return jax.grad(lambda p: jnp.mean(module.apply({"params": p}, lr)[0] ** 2))(params)

    for lr in jnp.zeros((2, 17, 23, 3)), image(17, 23):
        found = gradient(variables["params"], lr)
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    leaves = jax.tree_util.tree_leaves_with_path(found)
    return ["/".join(part.key for part in path) for path, leaf in leaves if not leaf.any()]


@functools.cache
def _state(path):
    return pytorch.read(path)


def claimed(shared, name):
    """Returns the stems of the published files that the architecture `name` takes for its own."""
    detect = models.GENERATORS[name].detect
    states = {path.stem: _state(path) for path in (shared / "weights").glob("*.pt*")}
    shapes = {stem: {k: a.shape for k, a in state.items()} for stem, state in states.items()}
    return {stem for stem, found in shapes.items() if detect(found) is not None}


def golden_error(shared, file, to_ours=lambda x: x, to_theirs=lambda y: y):
    """Returns the largest difference from the outputs published for `file`, in their range."""
    state = _state(shared / "weights" / file)
    name, kwargs = foreign.detect(state)
    module = models.generator(name, kwargs, kwargs["scale"])
    params = foreign.to_params(module, state)
    assert models.parameters(params) == sum(array.size for array in state.values())
    golden = np.load(shared / "golden" / f"{file.split('.')[0]}.npz")
    apply = jax.jit(module.apply)
    errors = []
    for crop in "ab":
        sr, _ = apply({"params": params}, to_ours(golden[f"x_{crop}"]))
        expected = golden[f"y_{crop}"]
        assert sr.shape == expected.shape
        errors.append(np.abs(to_theirs(np.asarray(sr)) - expected).max())
    return max(errors)
