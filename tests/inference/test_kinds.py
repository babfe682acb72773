"""What `Model.upscale` takes and gives back, and other habits of a model in Python."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, TINY
from PIL import Image

import kdgan_jax
from kdgan_jax import models
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime.errors import UserError


@pytest.fixture(scope="module")
def model():
    params = models.init(models.generator("compact", TINY["compact"], 2), jax.random.key(0), 8)
    return Model("compact", TINY["compact"], 2, params["params"], {"licence": "a < b"})


@pytest.fixture
def rgb(photo):
    return np.ascontiguousarray(photo[:12, :16])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(12, 16), (12, 16, 1), (12, 16, 3), (12, 16, 4), (2, 12, 16, 3)])
def test_arrays_come_back_as_they_were(model, rgb, dtype, shape):
    image = np.resize(rgb[..., :1] if shape[-1] in (1, 16) else rgb, shape).astype(np.float64)
    image *= {"u1": 1, "u2": 257}.get(np.dtype(dtype).str[1:], 1 / 255)
    sr = model.upscale(image.astype(dtype))
    assert sr.dtype == dtype
    doubled = [1, 2, 2, 1] if len(shape) == 4 else [2, 2, 1][: len(shape)]
    assert sr.shape == tuple(np.array(shape) * doubled)
    full = 1.0 if np.issubdtype(dtype, np.floating) else np.iinfo(dtype).max
    assert abs(sr.mean() - image.mean()) < 0.1 * full


def test_every_dtype_gives_the_same_image(model, rgb):
    exact = np.clip(model.predict(rgb), 0, 1)
    for image, white, atol in (
        (rgb, 255, 0.51 / 255),
        (rgb.astype(np.uint16) * 257, 65535, 1e-5),
        ((rgb / 255).astype(np.float32), 1, 2e-5),
    ):
        np.testing.assert_allclose(model.upscale(image) / white, exact, atol=atol)


def test_jax_arrays_stay_jax_arrays(model, rgb):
    sr = model.upscale(jnp.asarray(rgb))
    assert isinstance(sr, jax.Array)
    np.testing.assert_array_equal(sr, model.upscale(rgb))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I;16", "CMYK"])
def test_pil_images_come_back_as_pil_images(model, rgb, mode):
    image = Image.fromarray(rgb)
    image = (
        Image.fromarray(np.zeros((12, 16), np.uint16)) if mode == "I;16" else image.convert(mode)
    )
    sr = model.upscale(image)
    assert sr.size == (32, 24)
    assert sr.mode == {"P": "RGB", "1": "L", "CMYK": "RGB"}.get(mode, mode)


def test_a_path_gives_a_pil_image(model, rgb, tmp_path):
    Image.fromarray(rgb).save(tmp_path / "a.png")
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        np.testing.assert_array_equal(np.asarray(model.upscale(path)), model.upscale(rgb))
    with pytest.raises(UserError, match=r"b\.png"):
        model.upscale(tmp_path / "b.png")


@pytest.mark.parametrize(
    ("image", "fact"),
    [
        (np.zeros((4, 4, 5), np.uint8), "4, 4, 5"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.full((4, 4, 3), 200.0), "divide by 255"),
        (np.full((4, 4, 3), np.nan), "nan"),
        (np.zeros((0, 4, 3), np.uint8), "0, 4, 3"),
        (None, "NoneType"),
        ({"a": 1}, "dict"),
    ],
)
def test_what_is_no_image_is_refused(model, image, fact):
    with pytest.raises((TypeError, ValueError), match=fact):
        model.upscale(image)


def test_a_model_is_shown_in_one_line_and_compared_by_its_weights(model):
    assert "compact x2" in repr(model)
    assert f"{model.parameters:,} parameters" in repr(model)
    assert len(repr(model)) < 100
    assert "a &lt; b" in model._repr_html_()
    same = model.with_params(jax.tree.map(np.array, model.params))
    other = model.with_params(jax.tree.map(lambda x: np.array(x) + 1, model.params))
    assert model == same != other
    assert len({model, same, other}) == 2
    assert model != "compact"


def test_a_model_is_a_pure_function_with_gradients(model, rgb):
    lr = jnp.asarray(rgb[None] / 255, jnp.float32)
    np.testing.assert_allclose(model.apply(lr)[0], model.predict(rgb), atol=1e-5)
    gradient = jax.grad(lambda x: model.apply(x).sum())(lr)
    assert gradient.shape == lr.shape
    assert jnp.abs(gradient).max() > 0
    by_weights = jax.grad(lambda params: model.apply(lr, params).sum())(model.params)
    assert jax.tree.all(jax.tree.map(lambda x: bool(np.isfinite(x).all()), by_weights))


def test_a_model_is_saved_and_loaded(model, tmp_path):
    model.save(tmp_path / "a.safetensors")
    assert kdgan_jax.load(tmp_path / "a.safetensors") == model
    for name, fact in (("a.pth", "safetensors"), ("none/a.safetensors", "none")):
        with pytest.raises(UserError, match=fact):
            model.save(tmp_path / name)


def test_public_names_are_listed():
    assert {"Model", "load", "list_models", "__version__"} <= set(dir(kdgan_jax))
    assert "clean_x4" in kdgan_jax.list_models()
    assert kdgan_jax.__version__[0].isdigit()


def test_another_scale_than_the_models_is_refused():
    with pytest.raises(UserError, match=r"clean_x4.* 4.*scale=2"):
        kdgan_jax.load("clean_x4", scale=2)
    assert kdgan_jax.load("clean_x4", scale=4).scale == 4


FORKED = """
import multiprocessing, sys
import numpy as np
import kdgan_jax
model = kdgan_jax.load("clean_x4", engine=sys.argv[1])
image = np.zeros((8, 8, 3), np.uint8)
first = model.upscale(image)
def work(_):
    return (model.upscale(image) == first).all()
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map_async(work, range(3)).get(100))
"""


@pytest.mark.parametrize("engine", ["onnxruntime", "jax"])
def test_a_forked_process_works_or_says_why_not(engine):
    command = [sys.executable, "-c", FORKED, engine]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150)
    if engine == "onnxruntime":
        assert "True" in result.stdout
        assert "False" not in result.stdout
    else:
        assert "spawn" in result.stderr
