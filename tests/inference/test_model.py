import jax
import numpy as np
import pytest
from conftest import TINY

from kdgan_jax import models
from kdgan_jax.formats import foreign
from kdgan_jax.inference import model as zoo_model
from kdgan_jax.inference import tiles
from kdgan_jax.inference.ensemble import quantise
from kdgan_jax.inference.model import Model, _compiled
from kdgan_jax.runtime import devices


def fresh(name, scale=4, **kwargs):
    module = models.generator(name, kwargs, scale)
    return Model(name, kwargs, scale, models.init(module, jax.random.key(1), 16)["params"])


@pytest.fixture(scope="module")
def model():
    return fresh("compact", channels=8, depth=2)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_upscale_gives_uint8_enlarged(photo, scale):
    sr = fresh("compact", scale, channels=4, depth=1).upscale(photo[:10, :13])
    assert (sr.shape, sr.dtype) == ((10 * scale, 13 * scale, 3), np.uint8)


# Sums over 75 inputs and more are ordered by the image's size, which moves a few of a million ties.
@pytest.mark.parametrize(
    ("name", "kwargs", "ties"),
    [
        ("compact", {"channels": 8, "depth": 2}, 0),
        ("edsr", {"channels": 8, "blocks": 1}, 0),
        ("srresnet", {"channels": 8, "blocks": 1}, 0),
        ("srcnn", {"channels": (8, 4)}, 100),
        ("kdgan_student", {}, 100),
    ],
)
def test_tiles_give_what_the_whole_image_gives(photo, name, kwargs, ties):
    model = fresh(name, **kwargs)
    image = photo[:150, :170]
    calls = []
    tiled = model.upscale(image, on_tile=lambda: calls.append(1)).astype(int)
    assert len(calls) == 4
    whole = np.asarray(_compiled(model.module, True)(model.params, image[None]))[0]
    assert np.count_nonzero(tiled != whole) <= ties
    assert np.abs(tiled - whole).max() <= 1


def test_tiles_of_a_network_that_gathers_pixels_start_on_its_grid(photo):
    kwargs, random = {"channels": 4, "growth": 2, "blocks": 1}, np.random.default_rng(0)
    shapes = foreign.shapes(models.generator("rrdb", kwargs, 2))
    params = jax.tree.map(lambda s: random.normal(0, 0.1, s.shape).astype(np.float32), shapes)
    model = Model("rrdb", kwargs, 2, params)
    image = photo[:159, :171]
    assert model.tiling(image.shape[:2]) == (156, 39, 2)
    tiled = model.upscale(image).astype(int)
    whole = np.asarray(_compiled(model.module, True)(model.params, image[None]))[0]
    assert np.count_nonzero(tiled != whole) == 0


def test_a_network_that_must_see_all_is_cut_only_where_memory_might_not_do(
    photo, monkeypatch, caplog
):
    model = fresh("smfanet", channels=8, blocks=1)
    image = photo[:60, :70]
    whole = model.upscale(image)
    assert not caplog.records
    monkeypatch.setattr(devices, "memory", lambda: 2 * 32 * 32 * 8400)
    tiled = model.upscale(image)
    assert (tiled.shape, tiled.dtype) == (whole.shape, np.uint8)
    assert not np.array_equal(tiled, whole)
    (said,) = caplog.messages
    assert said.startswith("70x60 pixels may not fit into memory; smfanet, whose output depends")


def test_upscale_rounds_and_clips(photo):
    model = fresh("compact", channels=8, depth=2)
    image = photo[:16, :16]
    sr, _ = model.module.apply({"params": model.params}, image[None] / np.float32(255))
    wanted = np.clip(np.floor(np.asarray(sr[0], np.float64) * 255 + 0.5), 0, 255)
    off = model.upscale(image).astype(int) - wanted
    assert np.count_nonzero(off) < 5  # ties, decided by the last bit
    assert np.abs(off).max() <= 1


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
    ],
    ids=["float", "grey", "rgba", "batch", "empty"],
)
def test_upscale_refuses_what_is_not_uint8_rgb(model, image):
    with pytest.raises(ValueError, match="upscale takes uint8 RGB"):
        model.upscale(image)


def test_other_weights_are_not_compiled_again(model, photo):
    other = model.with_params(jax.tree.map(lambda leaf: leaf * 2, model.params))
    image = photo[:9, :11]
    first = model.upscale(image)
    before = _compiled(model.module, True)._cache_size()
    assert not np.array_equal(other.upscale(image), first)
    assert _compiled(other.module, True)._cache_size() == before


def test_prediction_is_what_upscale_rounds(model, photo):
    image = photo[:19, :23]
    prediction = model.predict(image)
    assert (prediction.dtype, prediction.shape) == (np.float32, (76, 92, 3))
    np.testing.assert_array_equal(quantise(prediction), model.upscale(image))
    assert len(np.unique(prediction)) > len(np.unique(model.upscale(image)))


def test_large_images_of_many_sizes_share_one_compilation(model, photo):
    compiled = _compiled(model.module, True)
    model.upscale(photo[:140, :150])
    before = compiled._cache_size()
    for height, width in ((131, 200), (150, 129), (200, 201), (128, 300)):
        model.upscale(photo[:height, :width])
    assert compiled._cache_size() == before


def test_batches_of_tiles_give_what_single_ones_give(photo, monkeypatch):
    model, image = fresh("compact", 2, channels=4, depth=1), photo[:259, :271]
    single, calls = model.upscale(image), []
    monkeypatch.setattr(zoo_model, "_batch", lambda tiling: 3)
    compiled = _compiled(model.module, True)
    before = compiled._cache_size()
    batched = model.upscale(image, on_tile=lambda: calls.append(1))
    assert len(calls) == 9
    assert compiled._cache_size() == before + 1
    # As above, a sum in another order moves few ties.
    assert np.count_nonzero(batched != single) <= 10
    assert np.abs(batched.astype(int) - single).max() <= 1


def test_accelerators_get_as_many_pixels_at_once_whatever_the_tiles(monkeypatch):
    assert zoo_model._batch(tiles.Tiling(128, 6)) == 1
    monkeypatch.setattr(devices, "on_cpu", lambda: False)
    sides = 128, 256, 400, 5000, tiles.WHOLE.tile
    assert [zoo_model._batch(tiles.Tiling(side, 6)) for side in sides] == [8, 2, 1, 1, 1]


def test_weights_go_to_the_device_once(photo, monkeypatch):
    model, put = fresh("compact", 2, channels=4, depth=1), []
    device_put = jax.device_put
    monkeypatch.setattr(jax, "device_put", lambda tree: put.append(1) or device_put(tree))
    for _ in range(3):
        model.upscale(photo[:8, :9])
        model.predict(photo[:8, :9])
    assert len(put) == 1
    model.with_params(jax.tree.map(lambda leaf: leaf * 2, model.params)).upscale(photo[:8, :9])
    assert len(put) == 2


def test_the_machines_compiler_options_are_used(photo, monkeypatch):
    model = fresh("compact", 2, channels=4, depth=1)
    monkeypatch.setattr(devices, "compiler_options", lambda: {"no_such_option": "1"})
    _compiled.cache_clear()
    with pytest.raises(Exception, match="no_such_option"):
        model.upscale(photo[:8, :9])
    monkeypatch.undo()
    _compiled.cache_clear()
    assert model.upscale(photo[:8, :9]).shape == (16, 18, 3)


def precisions(jaxpr):
    """Returns the precisions of all convolutions and matrix products of a program."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            found.append(equation.params["precision"])
        for value in equation.params.values():
            for item in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(item, "jaxpr", item)
                if hasattr(inner, "eqns"):
                    found += precisions(inner)
    return found


@pytest.mark.parametrize("name", ["compact", "carn_m", "hit_srf", "bsrn"])
def test_nothing_is_rounded_to_fewer_bits_on_any_device(name):
    module = models.generator(name, TINY[name], 2)
    image = jax.ShapeDtypeStruct((1, 16, 16, 3), np.uint8)
    program = _compiled(module, True).trace(foreign.shapes(module), image)
    found = precisions(program.jaxpr.jaxpr)
    highest = jax.lax.Precision.HIGHEST
    assert len(found) >= 4
    assert set(found) <= {(highest, highest), highest}


def test_a_network_of_branches_folds_and_others_stay(photo):
    model = fresh("compact", 2, channels=4, depth=1, branches=True).with_about(licence="MIT")
    plain, image = model.folded(), photo[:20, :21]
    assert plain.spec == {"name": "compact", "kwargs": {"channels": 4, "depth": 1}, "scale": 2}
    assert plain.about == {"licence": "MIT"}
    assert plain.parameters < model.parameters
    np.testing.assert_allclose(plain.predict(image), model.predict(image), atol=1e-5)
    assert plain.folded() is plain
    other = fresh("edsr", 2, channels=4, blocks=1)
    assert other.folded() is other
