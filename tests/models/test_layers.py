"""Layers and blocks against independent computations with NumPy."""

import checks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import HASTE

from kdgan_jax import models
from kdgan_jax.models.blocks import layers
from kdgan_jax.models.blocks.attention import ESA, ContrastAttention
from kdgan_jax.models.blocks.correlation import PositionBias
from kdgan_jax.models.blocks.mean_shift import MeanShift
from kdgan_jax.models.generators import fast_srgan, fsrcnn, plainusr, smfanet
from kdgan_jax.pictures import bicubic

every_scale = pytest.mark.parametrize("scale", models.SCALES)


def rng(seed=0):
    return np.random.default_rng(seed)


def fresh(module, *arguments):
    """Returns (parameters, output) of a module with fresh parameters."""
    y, variables = checks.compiled(module.init_with_output, HASTE)(jax.random.key(0), *arguments)
    return variables["params"], y


def test_nearest_repeats_each_pixel():
    small = checks.image(5, 3)
    np.testing.assert_array_equal(
        layers.nearest(small, 3)[0], np.kron(small[0], np.ones((3, 3, 1)))
    )


@every_scale
def test_pixel_shuffle_is_pytorchs(scale):
    # PixelShuffle: output[c, h * r + i, w * r + j] = input[c * r² + i * r + j, h, w]
    x = rng().random((2, 3, 4, 5 * scale**2), np.float32)
    expected = np.empty((2, 3 * scale, 4 * scale, 5), np.float32)
    for h, w, c, i, j in np.ndindex(3, 4, 5, scale, scale):
        source = x[:, h, w, c * scale**2 + i * scale + j]
        expected[:, h * scale + i, w * scale + j, c] = source
    np.testing.assert_array_equal(layers.pixel_shuffle(jnp.asarray(x), scale), expected)


def test_a_fresh_mean_shift_adds_its_offset():
    x = rng().random((1, 2, 3, 3), np.float32)
    _, shifted = fresh(MeanShift((1.0, 2.0, 3.0)), x)
    np.testing.assert_allclose(shifted, x + np.array([1, 2, 3]), atol=1e-6)


@every_scale
@pytest.mark.parametrize("axis", [0, 1])
def test_unrounded_bicubic_is_matlabs_before_rounding(scale, axis):
    # Waves along one axis only, so MATLAB's rounding after the other axis changes nothing.
    wave = np.round(127.5 + 100 * np.sin(np.arange(13) / 2)).astype(np.uint8)
    lr = np.broadcast_to(np.expand_dims(wave, (1 - axis, 2)), (13, 13, 3))
    sr = layers.bicubic_upsample(jnp.asarray(lr / 255, jnp.float32)[None], scale)[0] * 255
    assert np.abs(sr - bicubic.upscale(lr, scale)).max() < 0.5 + 1e-3


@every_scale
def test_rounded_bicubic_has_matlabs_levels(scale):
    lr = rng().integers(0, 256, (61, 256, 3), np.uint8)
    lr[:20] = np.where(lr[:20] > 127, 255, 0)  # overshoots, which are clipped
    ramp = np.arange(256, dtype=np.uint8)[:, None]  # meets halves, which are rounded up
    lr[40:] = np.stack([ramp, ramp[::-1], np.roll(ramp, 1)] * 7)
    sr = layers.bicubic_upsample(jnp.asarray(lr, jnp.float32)[None] / 255, scale, rounded=True)
    np.testing.assert_allclose(sr[0] * 255, bicubic.upscale(lr, scale), atol=1e-4)


def test_colour_differences_are_those_of_the_enlarged_image():
    lr = rng().integers(0, 256, (1, 9, 8, 3), np.uint8)
    y = rng(1).random((1, 18, 16, 1), np.float32)
    rgb, _ = fsrcnn.on_luma(lambda _: (y, {}), jnp.asarray(lr, jnp.float32) / 255, 2)
    enlarged = bicubic.upscale(lr[0], 2) / 255
    difference = enlarged - enlarged @ np.array([[0.299], [0.587], [0.114]])
    np.testing.assert_allclose(fsrcnn.luma(rgb), y, atol=1e-6)
    np.testing.assert_allclose(rgb[0], y[0] + difference, atol=1e-6)


@pytest.mark.parametrize(("inputs", "channels", "gain"), [(3, 5, 1.0), (5, 5, 1.0), (5, 5, 0.1)])
def test_a_convolution_of_branches_is_their_sum(inputs, channels, gain):
    module, x = layers.BranchConv(channels, gain), checks.image(6, 7).repeat(2, -1)[..., :inputs]
    params = fresh(module, x)[0] | {"bias": np.arange(channels, dtype=np.float32)}

    def convolved(kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)

    expected = convolved(params["kernel"]) + convolved(params["point"]) + params["bias"]
    expected = expected + x if inputs == channels and gain == 1 else expected
    np.testing.assert_allclose(module.apply({"params": params}, x), expected, atol=1e-5)


@pytest.mark.parametrize("point", [False, True])
@pytest.mark.parametrize("gain", [1.0, 0.1])
def test_a_convolution_through_more_channels_is_a_product(gain, point):
    module = layers.BranchConv(5, gain, point, expansion=3)
    x = checks.image(6, 7).repeat(2, -1)[..., :5]
    params = fresh(module, x)[0]
    assert params["kernel"].shape == (3, 3, 5, 15)
    layout = ("NHWC", "HWIO", "NHWC")
    wide = jax.lax.conv_general_dilated(
        x, params["kernel"], (1, 1), "SAME", dimension_numbers=layout
    )
    expected = wide @ params["mix"][0, 0] + (x if gain == 1 else 0)
    expected = expected + x @ params["point"][0, 0] if point else expected
    np.testing.assert_allclose(module.apply({"params": params}, x), expected, atol=1e-5)


@pytest.mark.parametrize("kind", [{}, {"point": False, "expansion": 2}, {"expansion": 2}])
@pytest.mark.parametrize(("inputs", "gain"), [(64, 1.0), (96, 1.0), (96, 0.01)])
def test_branches_start_as_large_as_a_plain_convolution(inputs, gain, kind):
    x = rng().normal(size=(1, 24, 24, inputs)).astype(np.float32)
    branches, plain = layers.BranchConv(96, gain, **kind), layers.Conv(96, gain=gain)
    squares = [(fresh(module, x)[1][:, 1:-1, 1:-1] ** 2).mean() for module in (branches, plain)]
    # The mean square of 96 * 864 random weights is off by 1 %, that of 96 * 96 by 2 %.
    assert squares[0] == pytest.approx(squares[1], rel=0.1)


def test_contrast_attention_weights_by_deviation_plus_mean():
    x = rng().normal(0, 1, (2, 5, 7, 32)).astype(np.float32)
    params, y = fresh(ContrastAttention(), x)
    first, second = (params[f"conv_du.{i}"]["kernel"][0, 0] for i in (0, 2))  # biases are 0
    assert first.shape == (32, 2)
    logits = np.maximum((x.std(axis=(1, 2)) + x.mean(axis=(1, 2))) @ first, 0) @ second
    np.testing.assert_allclose(y, x / (1 + np.exp(-logits))[:, None, None], atol=1e-6)


def test_spatial_attention_on_the_smallest_map_has_a_coarse_map_of_one_pixel():
    x = rng().normal(0, 1, (1, 15, 15, 3)).astype(np.float32)
    params, y = fresh(ESA(2), x)
    kernels = {name: layer["kernel"] for name, layer in params.items()}
    narrow = x @ kernels["conv1"][0, 0]
    windows = np.lib.stride_tricks.sliding_window_view(narrow, (3, 3), (1, 2))[:, ::2, ::2]
    coarse = np.einsum("byxihw,hwio->byxo", windows, kernels["conv2"]).max(axis=(1, 2))
    coarse = coarse @ kernels["conv3"][1, 1]  # the rest of this kernel meets the padding
    logits = (narrow @ kernels["conv_f"][0, 0] + coarse[:, None, None]) @ kernels["conv4"][0, 0]
    np.testing.assert_allclose(y, x / (1 + np.exp(-logits)), atol=1e-5)


@pytest.mark.parametrize("window", [4, 16, 48])
def test_position_bias_is_the_mean_over_pairs_of_pixels(window):
    cells = min(window, 8)
    step = window // cells
    module = PositionBias(heads=2, window=window, step=step, width=3)
    add = lambda leaf: leaf + rng(1).normal(0, 1, leaf.shape).astype(np.float32)  # noqa: E731
    params = jax.tree.map(add, fresh(module)[0])
    bias = checks.compiled(module.apply)({"params": params})
    assert bias.shape == (window**2, cells**2, 2)

    def score(offset):
        x = offset @ params["pos_proj"]["kernel"] + params["pos_proj"]["bias"]
        for i in 1, 2, 3:
            norm, linear = params[f"pos{i}.0"], params[f"pos{i}.2"]
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
            x = np.maximum(x * norm["scale"] + norm["bias"], 0) @ linear["kernel"] + linear["bias"]
        return x

    random = rng()
    for _ in range(5):
        pixel, cell = random.integers(0, window, 2), random.integers(0, cells, 2)
        inside = np.stack(np.meshgrid(*(step * c + np.arange(step) for c in cell), indexing="ij"))
        offsets = (pixel[:, None, None] - inside).reshape(2, -1).T.astype(np.float32)
        entry = bias[pixel[0] * window + pixel[1], cell[0] * cells + cell[1]]
        np.testing.assert_allclose(entry, score(offsets).mean(axis=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [5, 9, 33])
def test_reflection_pads_as_often_as_a_large_window_needs(size):
    # PyTorch needs two steps: it reflects by at most the side less one.
    line = np.arange(size)
    twice = np.concatenate([line, line[-2::-1], line[1:]])
    padded = jnp.pad(jnp.asarray(line), (0, len(twice) - size), "reflect")
    np.testing.assert_array_equal(padded, twice)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("size", [8, 15, 16, 33, 45])
def test_maxima_are_of_overlapping_cells(size, axis):
    x = rng(size).random((2, size, size, 3), np.float32)
    cells = size // 8
    expected = [
        x.take(range(i * size // cells, -(-(i + 1) * size // cells)), axis).max(axis)
        for i in range(cells)
    ]
    maxima = smfanet._cell_maxima(jnp.asarray(x), axis)
    np.testing.assert_array_equal(maxima, np.stack(expected, axis))


@pytest.mark.parametrize("size", [5, 15, 33, 64])
def test_enlarging_repeats_cells_as_pytorch_does(size):
    cells = max(1, size // 8)
    x = jnp.arange(cells, dtype=jnp.float32).reshape(1, 1, cells, 1)
    step = np.float32(cells) / np.float32(size)  # PyTorch multiplies in float32
    expected = np.floor(np.arange(size, dtype=np.float32) * step)
    np.testing.assert_array_equal(smfanet._nearest(x, size, 2).ravel(), expected)


def test_instance_norm_gives_mean_0_and_variance_1():
    x = fast_srgan._instance_norm(checks.image(9, 7) * jnp.asarray([1.0, 50.0, 3.0]) + 100)
    np.testing.assert_allclose(x.mean(axis=(1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(x.var(axis=(1, 2)), 1, rtol=1e-3)


def test_soft_pooling_weights_by_exponentials():
    x = rng().normal(0, 2, (1, 12, 17, 2)).astype(np.float32)
    pooled = plainusr._soft_pool(jnp.asarray(x))
    assert pooled.shape == (1, 2, 4, 2)
    window = x[0, 3:10, 6:13, 1].astype(np.float64)
    expected = (window * np.exp(window)).sum() / np.exp(window).sum()
    np.testing.assert_allclose(pooled[0, 1, 2, 1], expected, rtol=1e-5)
