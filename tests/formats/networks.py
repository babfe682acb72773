"""A small network, its weights under PyTorch's names, and files that hold them."""

import jax
import numpy as np
import pickles
from safetensors.numpy import save_file

from kdgan_jax import models
from kdgan_jax.formats import foreign

TINY = {"channels": 2, "depth": 1}  # of "compact", x4


def state(seed=0, name="compact", scale=4, **kwargs):
    """Returns random weights of a network by PyTorch's keys."""
    random = np.random.default_rng(seed)
    module = models.generator(name, kwargs or TINY, scale)
    draw = lambda leaf: random.normal(0, 0.1, leaf.shape).astype(np.float32)  # noqa: E731
    return foreign.to_state(module, jax.tree.map(draw, foreign.shapes(module)))


def under(prefix, entries):
    return {f"{prefix}{name}": array for name, array in entries.items()}


def flat(tree, path=()):
    """Returns the arrays of nested containers by dotted name."""
    if isinstance(tree, np.ndarray):
        return {".".join(path): tree}
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree)
    inner = [flat(v, (*path, str(k))) for k, v in parts if not isinstance(v, int | float | str)]
    return {name: array for part in inner for name, array in part.items()}


WRITERS = {
    "zip": pickles.write_tree,
    "stream": lambda path, tree: pickles.write_tree(path, tree, pickles.write_stream),
    "safetensors": lambda path, tree: save_file(flat(tree), path),
}
