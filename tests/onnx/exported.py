"""Small networks with random weights, their files, and what runs both."""

import functools

import jax
import jax.export
import numpy as np
import onnxruntime
from conftest import HASTE, TINY

from kdgan_jax import models
from kdgan_jax.formats import foreign
from kdgan_jax.formats.weights import Weights
from kdgan_jax.onnx import program, wire
from kdgan_jax.onnx.graph import Graph
from kdgan_jax.onnx.operators import TABLE
from kdgan_jax.onnx.program import Form, to_bytes
from kdgan_jax.onnx.tidying import tidied
from kdgan_jax.onnx.translation import Translation
from kdgan_jax.onnx.values import IMAGES, Value


def network(name, scale=4, **kwargs):
    """Returns a generator, small if no arguments are given, whose weights are random."""
    kwargs = {**TINY[name], **kwargs}
    module = models.generator(name, kwargs, scale)
    numbers = np.random.default_rng(0)

    def weight(shape):
        scale = np.prod(shape[:-1]) ** -0.5 if len(shape) > 1 else 0.3
        return (scale * numbers.standard_normal(shape)).astype(np.float32)

    return Weights(
        name, kwargs, scale, jax.tree.map(lambda leaf: weight(leaf.shape), foreign.shapes(module))
    )


def image(*size, seed=0):
    """Returns uint8 pixels (1, h, w, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (1, *size, 3), np.uint8)


def by_jax(weights, pixels):
    """Returns the network's own image (1, H, W, 3) of uint8 pixels."""

    @functools.partial(jax.jit, compiler_options=HASTE)
    def run(params, lr):
        return models.apply(weights.module, {"params": params}, lr)[0]

    return np.asarray(run(weights.params, pixels.astype(np.float32) / 255))


def by_file(data, pixels):
    """Returns what a file's bytes make of uint8 pixels (1, h, w, 3): (1, H, W, 3)."""
    lr = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
    return session(data).run(None, {"input": lr})[0].transpose(0, 2, 3, 1)


def session(data):
    """Returns a file's bytes, ready to run."""
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def file(weights, **form):
    """Returns the bytes of a network's file."""
    return to_bytes(weights, "a name", Form(**form))


def translated(function, *sides):
    """Returns the bytes of a file for a function of images (1, h, w, 3).

    Without `sides`, h and w are symbolic.
    """
    graph = Graph()
    sizes = program._sizes(graph, 2, 1)
    if not sides:
        sides = jax.export.symbolic_shape("rows, columns", constraints=["rows>=4", "columns>=4"])
    traced = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((1, *sides, 3), np.float32))
    translation = Translation(graph, sizes, TABLE)
    (value,) = translation.run(traced, [Value(IMAGES, "input")])
    (made,) = traced.out_avals
    name = translation.tensor(value, range(made.ndim), made.shape)
    nodes, constants = tidied(graph, name, "output")
    return wire.model(
        nodes,
        constants,
        wire.Port("input", "float32", (1, 3, "height", "width")),
        wire.Port("output", made.dtype.name, tuple(f"length{i}" for i in range(made.ndim))),
        {},
        name="function",
        producer=("test", "0"),
        opset=program.OPSET,
        version=program.VERSION,
    )
