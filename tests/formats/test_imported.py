import functools
import json

import jax
import numpy as np
import pytest
import refusals
from safetensors.numpy import save_file

import kdgan_jax
from kdgan_jax import models
from kdgan_jax.data import photos, sources
from kdgan_jax.evaluation import metrics
from kdgan_jax.formats import foreign, imported, published
from kdgan_jax.formats.weights import Weights
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime.files import sha256

refused = functools.partial(refusals.refused, imported.load)

# One of each format and colour space, with its Y-PSNR on "butterfly" of Set5; the files' golden
# outputs are in tests/models.
BUTTERFLY = {
    "carn_m.pth": 27.988,
    "espcn_x4.pb": 22.386,
    "fast_srgan.pt": 26.131,
    "imdn_x4.pth": 28.559,
    "srcnn_keras.h5": 22.478,
    "vdsr.pth": 27.121,
}


def figures(shared, file, names):
    model = kdgan_jax.load(shared / "weights" / file, scale=4)
    found, _ = sources.folder(shared / "benchmark" / "Set5", 4)
    pairs = [photos.load_pair(photo, 4) for photo in found if not names or photo.name in names]
    return [metrics.psnr_y(model.upscale(lr), hr, 4) for hr, lr in pairs]


@pytest.mark.parametrize("file", BUTTERFLY)
def test_published_files_keep_their_figure_on_an_image(shared, file):
    (psnr,) = figures(shared, file, ["butterfly"])
    assert psnr == pytest.approx(BUTTERFLY[file], abs=0.01)


@pytest.mark.long
@pytest.mark.parametrize("file", BUTTERFLY)
def test_published_files_have_their_measured_figure_on_set5(shared, file):
    measured = json.loads((shared / "weights" / "measured.json").read_text())
    values = figures(shared, file, [])
    assert len(values) == 5
    assert np.mean(values) == pytest.approx(measured[file]["Set5"]["psnr_y"], abs=0.01)


def test_every_file_is_a_known_one(shared):
    # Each is detected and converted in tests/models.
    paths = [p for p in (shared / "weights").iterdir() if p.suffix in imported.READERS]
    assert {sha256(path) for path in paths} == set(published.FILES)
    espcn = imported.load(shared / "weights" / "espcn_x4.pb")
    assert espcn.about["title"] == "ESPCN"
    assert espcn.about["sha256"] in published.FILES


def test_teachers_for_photos_are_known_with_their_licence(shared):
    teachers = [imported.load(path) for path in sorted((shared / "real_world").glob("*.param"))]
    assert {teacher.about["sha256"] for teacher in teachers} == set(published.FOR_PHOTOS)
    for teacher in teachers:
        assert "BSD-3-Clause" in teacher.about["licence"]
        assert teacher.about["title"].startswith("realesr-")


def zeros(name, kwargs, scale):
    shapes = foreign.shapes(models.generator(name, kwargs, scale))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    return Weights(name, kwargs, scale, params)


SMALL = {
    "imdn": {"channels": 8, "blocks": 1},
    "pan": {"blocks": 1},
    "rrdb": {"channels": 4, "blocks": 1, "growth": 2},
    "vdsr": {"channels": 4, "depth": 3},
}


@pytest.mark.parametrize(
    ("name", "scale", "asked", "loaded"),
    [
        # A file of one enlarging step is for x2, or for x3 if asked for.
        ("pan", 3, (None, 3, 4), (2, 3, 2)),
        ("rrdb", 3, (None, 3, 4), (2, 3, 2)),
        ("vdsr", 4, (2, 3, 4), (2, 3, 4)),  # one file for all scales
        ("imdn", 4, (None, 2, 4), (4, 4, 4)),  # others have their own
    ],
)
def test_a_scale_is_a_choice_where_a_file_serves_several(tmp_path, name, scale, asked, loaded):
    foreign.save(tmp_path / "a.safetensors", zeros(name, SMALL[name], scale))
    path = tmp_path / "a.safetensors"
    assert tuple(imported.load(path, scale=choice).scale for choice in asked) == loaded


def test_files_of_no_known_architecture_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a.weight": np.zeros((3, 2), np.float32)}, path)
    refused(path, "1 entries", "a.weight (3, 2)", "imdn")
    refusals.refused(functools.partial(imported.load, architecture="imdn"), path, "imdn")
    (tmp_path / "x.onnx").write_bytes(b"1")
    refused(tmp_path / "x.onnx", ".onnx")


@pytest.mark.parametrize("kwargs", [{}, {"residual_scale": 0.1}, {"image_range": 255.0}])
def test_an_edsr_of_this_package_becomes_a_published_one(tmp_path, photo, kwargs):
    # A file says neither range nor residual scale: both must be in the weights.
    kwargs = {"channels": 8, "blocks": 1, **kwargs}
    module = models.generator("edsr", kwargs, 2)
    model = Model("edsr", kwargs, 2, models.init(module, jax.random.key(0), 16)["params"])
    foreign.save(tmp_path / "edsr.safetensors", model)
    back = kdgan_jax.load(tmp_path / "edsr.safetensors")
    assert (back.kwargs["image_range"], back.kwargs["residual_scale"]) == (255.0, 1.0)
    image = photo[:17, :21]
    np.testing.assert_allclose(back.predict(image), model.predict(image), atol=2e-6)


def test_a_network_with_more_parts_is_refused(tmp_path):
    model = zeros("imdn", SMALL["imdn"], 4)
    state = foreign.to_state(model.module, model.params)
    counter = {"norm.num_batches_tracked": np.zeros(1, np.float32)}
    save_file(state | counter, tmp_path / "counted.safetensors")
    assert imported.load(tmp_path / "counted.safetensors").name == "imdn"
    more = {f"gate{i}.weight": np.zeros(1, np.float32) for i in range(5)}
    save_file(state | more, tmp_path / "more.safetensors")
    facts = "imdn", f"5 of its {len(state) + 5}", "gate0.weight, gate1.weight, gate2.weight, ..."
    refused(tmp_path / "more.safetensors", *facts)
