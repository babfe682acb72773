"""Each operator, by a small function of an image, traced with and without symbolic sizes."""

import exported
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan_jax.models.blocks import layers
from kdgan_jax.pictures import colour
from kdgan_jax.runtime.errors import UserError

SIZE = 9, 12
WEIGHTS = np.random.default_rng(1).standard_normal((3, 3, 3, 5)).astype(np.float32)
MATRIX = WEIGHTS[0, 0]
VECTOR = np.array([0.25, 0.0, 2.0], np.float32)
ANY_SIZE = {
    "arithmetic": lambda x: (x + VECTOR) * 2 - x / (x + 1) + 0.0,
    "constants": lambda x: x * jnp.sqrt(jnp.asarray(VECTOR) + 1).sum(),
    "powers": lambda x: x**2 + x**3 + jnp.square(x) + jax.lax.rsqrt(x + 1) + jnp.sqrt(x),
    "limits": lambda x: jnp.clip(x, 0.2, 0.7) + jnp.maximum(x - 0.5, 0) + jnp.minimum(x, VECTOR),
    "clamp": lambda x: jax.lax.clamp(0.2, x, 0.7),
    "rounding": lambda x: jnp.round(x * 9) + jnp.floor(x * 7) + jnp.ceil(x * 5) + jnp.sign(x - 0.5),
    "choice": lambda x: jnp.where((x > 0.5) & ~(x <= 0.6) | (x == 0), x, -jnp.abs(x)),
    "bools": lambda x: (x >= 0.5).astype(jnp.float32),
    "curves": lambda x: jnp.exp(x) + jnp.log(x + 1) + jnp.tanh(x) + nn.sigmoid(x),
    "erf": lambda x: jax.lax.erf(x) + jax.lax.erfc(x - 0.5),
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "gelu by tanh": lambda x: nn.gelu(x, approximate=True),
    "leaky": lambda x: nn.leaky_relu(x - 0.5, 0.3) + nn.leaky_relu(x - 0.7, 0.0) + nn.relu(x - 0.2),
    "prelu": lambda x: layers.prelu(x - 0.5, VECTOR.reshape(1, 1, 1, 3)),
    "mean": lambda x: x - x.mean((1, 2), keepdims=True),
    "variance": lambda x: x * jnp.var(x, axis=(1, 2), keepdims=True),
    "mean of channels": lambda x: x.mean(-1, keepdims=True) + x.sum(-1, keepdims=True),
    "maximum": lambda x: x.max((1, 2)) + x.min((1, 2)),
    "order": lambda x: x.transpose(0, 2, 1, 3) + x.mean((1, 2), keepdims=True),
    "parts": lambda x: jnp.concatenate([x[..., 1:], x[..., :1], x * 2], -1),
    "border": lambda x: x[:, 1:-2, 2:],
    "split": lambda x: sum(jnp.split(jnp.tile(x, (1, 1, 1, 2)), 2, -1)),
    "padding": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 3), (0, 0)), constant_values=0.5),
    "cropping": lambda x: jax.lax.pad(x, 0.0, ((0, 0, 0), (-1, 2, 0), (0, -3, 0), (0, 0, 0))),
    "inset": lambda x: x.at[:, 1:-2, 2:-1].set(0.5 * x[:, 1:-2, 2:-1]),
    "repeats": lambda x: jnp.broadcast_to(x[:, :, :, :1], x.shape) + jnp.ones_like(x),
    "ones": lambda x: jnp.concatenate([x, jnp.ones_like(x)], -1),
    "conv": lambda x: jax.lax.conv_general_dilated(
        x,
        WEIGHTS,
        (2, 1),
        ((1, 0), (2, 2)),
        rhs_dilation=(1, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    ),
    "conv of a mean": lambda x: x.mean((1, 2), keepdims=True) @ MATRIX,
    "pixels": lambda x: x @ MATRIX + MATRIX[0],
    "colours": lambda x: colour.ycbcr_to_rgb(colour.rgb_to_ycbcr(x) * 0.9),
    "products": lambda x: jnp.einsum("bhwi,bhwj->bij", x, x),
    "pooling": lambda x: nn.max_pool(x, (3, 3), (2, 2)) + nn.avg_pool(x, (3, 3), (2, 2)),
    "shuffle": lambda x: layers.pixel_shuffle(jnp.tile(x, (1, 1, 1, 4)) * np.arange(12), 2),
    "nearest": lambda x: layers.nearest(x, 3) + layers.nearest(layers.nearest(x, 1), 3),
    "bilinear": lambda x: jax.image.resize(
        nn.max_pool(x, (3, 2), (2, 1)), (1, x.shape[1], x.shape[2], 3), "bilinear", antialias=False
    ),
    "bicubic": lambda x: layers.bicubic_upsample(x, 3),
    "rounded": lambda x: layers.bicubic_upsample(x, 2, rounded=True),
}
ONE_SIZE = {
    "reverse": lambda x: x[:, ::-1, :, ::-1],
    "take": lambda x: jnp.take(x, np.array([[0, 2], [5, 5]]), axis=1),
    "windows": lambda x: x.reshape(1, 3, 3, 4, 3, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 9, 3),
    "mirror": lambda x: jnp.pad(x, ((0, 0), (0, 3), (0, 5), (0, 0)), "reflect"),
    "joined axes": lambda x: x.reshape(1, 9, 36)[:, :, ::5],
    "batches": lambda x: jnp.einsum("bhwi,bhwj->bhij", x, x[..., :2]),
    "unbiased": lambda x: jnp.var(x, axis=(1, 2), ddof=1),
    "index": lambda x: jax.lax.dynamic_slice(x, (0, 2, 1, 0), (1, 4, 5, 3)),
}


def compare(function, data):
    pixels = exported.image(*SIZE).astype(np.float32) / 255
    expected = np.asarray(jax.jit(function)(pixels))
    result = exported.session(data).run(None, {"input": pixels.transpose(0, 3, 1, 2)})[0]
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", ANY_SIZE)
def test_any_size(name):
    compare(ANY_SIZE[name], exported.translated(ANY_SIZE[name]))


@pytest.mark.parametrize("name", ONE_SIZE | ANY_SIZE)
def test_one_size(name):
    function = (ONE_SIZE | ANY_SIZE)[name]
    compare(function, exported.translated(function, *SIZE))


def test_an_operator_without_translation_is_named():
    with pytest.raises(UserError, match="'sort'"):
        exported.translated(lambda x: jnp.sort(x, axis=-1))
