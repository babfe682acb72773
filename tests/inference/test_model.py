from dataclasses import replace

import flax.linen as nn
import jax
import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.formats import foreign
from kdgan_jax.inference import model as model_module
from kdgan_jax.inference.ensemble import quantise
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import devices
from kdgan_jax.runtime.errors import UserError


def random_model(name, scale=2, **kwargs):
    """Returns a network of random weights."""
    random = np.random.default_rng(0)
    shapes = foreign.shapes(models.generator(name, kwargs, scale))

    def draw(leaf):
        inputs = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 100
        return random.normal(0, inputs**-0.5, leaf.shape).astype(np.float32)

    return Model(name, kwargs, scale, jax.tree.map(draw, shapes))


@pytest.fixture(scope="module")
def model():
    return random_model("compact", channels=4, depth=1)


def test_upscale_is_the_networks_image_rounded_and_clipped(model, photo):
    image = photo[:10, :13]
    sr, exact = model.upscale(image), model.predict(image)
    assert (sr.shape, sr.dtype) == ((20, 26, 3), np.uint8)
    assert (exact.shape, exact.dtype) == ((20, 26, 3), np.float32)
    expected, _ = model.module.apply({"params": model.params}, image[None] / np.float32(255))
    np.testing.assert_allclose(exact, expected[0], atol=1e-5)
    assert exact.max() > 1  # so that something is clipped
    np.testing.assert_array_equal(sr, quantise(exact))


def test_tiles_give_what_the_whole_image_gives(model, photo, monkeypatch):
    image = photo[:27, :31]
    whole = model.predict(image)
    monkeypatch.setattr(model_module, "TILE", 24)
    assert model.tiling((27, 31)) == (24, 3, 1, 512)
    np.testing.assert_allclose(model.predict(image), whole, atol=1e-5)
    assert whole.std() > 0.05


def test_tiles_are_large_enough_and_on_the_grid_of_the_network():
    assert Model("srcnn", {}, 2, None).tiling((500, 500)) == (128, 7, 1, 512)
    squares = Model("rrdb", {"channels": 4, "growth": 2, "blocks": 1}, 2, None)
    assert squares.tiling((500, 500)) == (156, 39, 2, 512)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (1, 8, 8, 3), (0, 8, 3)])
def test_what_is_measured_is_rgb_of_integers(model, shape):
    for image in np.zeros(shape, np.uint8), np.zeros((8, 8, 3), np.float32):
        with pytest.raises(ValueError, match="uint8 RGB"):
            model.raw(image)


# What a network is run with: one that records it.


class Recorder(nn.Module):
    """Multiplies by a parameter and repeats pixels."""

    scale: int = 2
    receptive_radius = 2
    traced = []  # noqa: RUF012

    @nn.compact
    def __call__(self, lr):
        self.traced.append((lr.shape, jax.config.jax_default_matmul_precision))
        gain = self.param("gain", nn.initializers.ones, (3,))
        return (lr * gain).repeat(2, axis=1).repeat(2, axis=2), {}


class WholeImage(Recorder):
    """Adds the mean of the image."""

    whole_image, smallest = True, 3

    @nn.compact
    def __call__(self, lr):
        sr, features = super().__call__(lr)
        return sr + lr.mean(), features


@pytest.fixture
def recorder(monkeypatch):
    """A model of `Recorder`; `Recorder.traced` has what its network was compiled for."""
    monkeypatch.setitem(models.GENERATORS, "recorder", Recorder)
    monkeypatch.setitem(models.GENERATORS, "whole", WholeImage)
    monkeypatch.setattr(model_module, "TILE", 24)
    model_module._compiled.cache_clear()
    Recorder.traced.clear()
    return Model("recorder", {}, 2, {"gain": np.ones(3, np.float32)})


def test_images_and_weights_share_one_compilation_in_full_precision(recorder, photo):
    recorder = replace(recorder, tile=24)
    half = recorder.with_params({"gain": np.full(3, 0.5, np.float32)})
    for height, width in ((27, 30), (24, 50), (49, 25)):
        image = photo[:height, :width]
        np.testing.assert_array_equal(recorder.upscale(image), image.repeat(2, 0).repeat(2, 1))
        assert half.upscale(image).max() <= 128
    assert Recorder.traced == [((1, 24, 24, 3), "highest")]
    assert recorder.on_device is recorder.on_device


@pytest.mark.parametrize(("tile", "batch"), [(24, 8), (48, 2), (100, 1)])
def test_accelerators_get_about_as_many_pixels_at_once(recorder, photo, monkeypatch, tile, batch):
    monkeypatch.setattr(devices, "on_cpu", lambda: False)
    monkeypatch.setattr(Recorder, "receptive_radius", tile // 4)
    image = photo[:120, :130]
    np.testing.assert_array_equal(recorder.upscale(image), image.repeat(2, 0).repeat(2, 1))
    assert {shape for shape, _ in Recorder.traced} == {(batch, tile, tile, 3)}


def test_a_network_that_sees_the_whole_image_is_cut_only_if_memory_may_not_do(
    recorder, photo, monkeypatch, caplog
):
    model = Model("whole", {}, 2, recorder.params)
    image = photo[:60, :70]
    whole = model.upscale(image)
    assert not caplog.records
    monkeypatch.setattr(devices, "memory", lambda: 2 * 32 * 32 * model_module.WHOLE_IMAGE_BYTES)
    tiled = model.upscale(image)
    assert tiled.shape == whole.shape
    assert not np.array_equal(tiled, whole)
    (message,) = caplog.messages
    assert all(fact in message for fact in ("70x60", "whole", "32"))
    with pytest.raises(UserError, match=r"8x2 .*3 pixels"):
        model.upscale(image[:2, :8])


def test_the_machines_compiler_options_are_used(recorder, photo, monkeypatch):
    monkeypatch.setattr(devices, "compiler_options", lambda: {"no_such_option": "1"})
    with pytest.raises(Exception, match="no_such_option"):
        recorder.upscale(photo[:8, :9])
    model_module._compiled.cache_clear()


def test_a_network_of_branches_folds_and_others_stay(model, photo):
    branched = random_model("compact", channels=4, depth=1, branches=True).with_about(licence="MIT")
    plain, image = branched.folded(), photo[:10, :13]
    assert plain.spec == model.spec
    assert plain.about == {"licence": "MIT"}
    assert plain.parameters < branched.parameters
    np.testing.assert_allclose(plain.predict(image), branched.predict(image), atol=1e-5)
    assert plain.folded() is plain
    srcnn = random_model("srcnn", channels=(8, 4))
    assert srcnn.folded() is srcnn
