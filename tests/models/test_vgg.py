import functools

import numpy as np
import pytest

from kdgan_jax.formats import imagenet
from kdgan_jax.models.extractors import vgg


@functools.cache
def image():
    return np.random.default_rng(0).random((2, 34, 38, 3), np.float32)


@functools.cache
def features():
    return dict(zip(vgg.LAYERS, vgg.features(imagenet.vgg16(), image(), vgg.LAYERS), strict=True))


def convolve(x, layer):
    """An independent 3x3 convolution with zero padding."""
    kernel, bias = (imagenet.vgg16()[layer][k] for k in ("kernel", "bias"))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.einsum("bhwcyx,yxcf->bhwf", windows, kernel) + bias


def test_the_first_two_layers_are_convolutions_with_a_relu_between():
    normal = (image() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    first = convolve(normal, "conv1_1")
    second = convolve(np.maximum(first, 0), "conv1_2")
    np.testing.assert_allclose(features()["conv1_1"], first, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(features()["conv1_2"], second, rtol=1e-4, atol=1e-4)


def test_a_pool_takes_the_largest_of_four_activations():
    active = np.maximum(features()["conv1_2"], 0)
    pooled = active.reshape(2, 17, 2, 19, 2, 64).max((2, 4))
    expected = convolve(pooled, "conv2_1")
    np.testing.assert_allclose(features()["conv2_1"], expected, rtol=1e-4, atol=1e-3)


def test_features_are_taken_before_relu():
    assert [layer for layer, feature in features().items() if feature.min() >= 0] == []


def test_each_pool_halves_the_size_rounding_down():
    shapes = [features()[f"conv{block}_1"].shape[1:] for block in range(1, 6)]
    assert shapes == [(34, 38, 64), (17, 19, 128), (8, 9, 256), (4, 4, 512), (2, 2, 512)]


def test_features_come_in_the_order_asked_for():
    deep, shallow = vgg.features(imagenet.vgg16(), image(), ("conv2_1", "conv1_1"))
    np.testing.assert_array_equal(shallow, features()["conv1_1"])
    np.testing.assert_array_equal(deep, features()["conv2_1"])


def test_layers_beyond_the_deepest_asked_for_need_no_weights():
    weights = {layer: imagenet.vgg16()[layer] for layer in ("conv1_1", "conv1_2")}
    (feature,) = vgg.features(weights, image(), ("conv1_2",))
    np.testing.assert_array_equal(feature, features()["conv1_2"])


def test_an_unknown_layer_is_refused():
    with pytest.raises(ValueError, match="conv9_9"):
        vgg.features(imagenet.vgg16(), image(), ("conv9_9",))
