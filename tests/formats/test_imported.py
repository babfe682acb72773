import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import kdgan_jax
from kdgan_jax import models
from kdgan_jax.data import photos
from kdgan_jax.evaluation import metrics
from kdgan_jax.formats import foreign, imported, published
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime.errors import UserError

# One of each format and colour space; all are held to their golden outputs in tests/models.
X4 = ["carn_m.pth", "espcn_x4.pb", "fast_srgan.pt", "imdn_x4.pth", "srcnn_keras.h5", "vdsr.pth"]


@pytest.mark.slow  # five photos each
@pytest.mark.parametrize("file", X4)
def test_published_files_have_their_stated_figure_on_set5(shared, file):
    rows = (shared / "weights" / "README.md").read_text().splitlines()
    (row,) = [line for line in rows if line.startswith(f"| {file} |")]
    stated = float(row.split("|")[7].split("/")[0])
    model = kdgan_jax.load(shared / "weights" / file, scale=4)
    found, _ = photos.folder(shared / "benchmark" / "Set5", 4)
    values = []
    for photo in found:
        hr, lr = photos.load(photo, 4)
        values.append(metrics.psnr_y(model.upscale(lr), hr, 4))
    assert np.mean(values) == pytest.approx(stated, abs=0.01)


def test_every_known_file_is_recognised(shared):
    for path in sorted((shared / "weights").iterdir()):
        if path.suffix in imported.READERS:
            model = imported.load(path)
            assert model.about["sha256"] in published.FILES
            assert model.about["title"] == published.FILES[model.about["sha256"]].title


def test_one_file_serves_several_scales_and_others_their_own(shared):
    weights = shared / "weights"
    assert [kdgan_jax.load(weights / "carn_m.pth", scale=s).scale for s in (2, 3, 4)] == [2, 3, 4]
    assert kdgan_jax.load(weights / "vdsr.pth", scale=3).scale == 3
    assert kdgan_jax.load(weights / "imdn_x4.pth", scale=2).scale == 4


def test_a_file_of_no_known_architecture_says_what_it_has(tmp_path):
    save_file({"a.weight": np.zeros((3, 2), np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="belongs to no architecture that is known") as caught:
        kdgan_jax.load(tmp_path / "x.safetensors")
    assert "1 entries such as a.weight (3, 2)" in str(caught.value)
    assert "imdn" in str(caught.value)


def test_an_unknown_suffix_names_what_is_read(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"1")
    with pytest.raises(UserError, match=r"x\.onnx"):
        kdgan_jax.load(tmp_path / "x.onnx")


@pytest.mark.parametrize("kwargs", [{}, {"residual_scale": 0.1}, {"image_range": 255.0}])
def test_an_edsr_of_ours_goes_out_as_a_published_one(tmp_path, photo, kwargs):
    # A file says neither range nor residual scale: both must be in the weights.
    kwargs = {"channels": 8, "blocks": 1, **kwargs}
    module = models.generator("edsr", kwargs, 2)
    model = Model("edsr", kwargs, 2, models.init(module, jax.random.key(0), 16)["params"])
    foreign.save(tmp_path / "edsr.safetensors", model)
    back = kdgan_jax.load(tmp_path / "edsr.safetensors")
    assert (back.kwargs["image_range"], back.kwargs["residual_scale"]) == (255.0, 1.0)
    image = photo[:17, :21]
    np.testing.assert_allclose(back.predict(image), model.predict(image), atol=2e-6)


@pytest.mark.parametrize("name", ["pan", "rrdb"])
def test_a_file_of_one_enlarging_step_is_for_x2_or_as_asked_for_x3(tmp_path, name):
    kwargs = {"pan": {"blocks": 1}, "rrdb": {"channels": 4, "blocks": 1, "growth": 2}}[name]
    module = models.generator(name, kwargs, 3)
    shapes = foreign.shapes(module)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    foreign.save(tmp_path / "x3.safetensors", Model(name, kwargs, 3, params))
    found = [imported.load(tmp_path / "x3.safetensors", scale=s).scale for s in (None, 2, 3, 4)]
    assert found == [2, 2, 3, 2]


def test_a_network_with_more_to_it_than_ours_is_refused(tmp_path, photo):
    module = models.generator("imdn", {"channels": 8, "blocks": 1}, 4)
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), foreign.shapes(module))
    state = foreign.to_state(module, params)
    counter = {"norm.num_batches_tracked": np.zeros(1, np.float32)}
    save_file(state | counter, tmp_path / "counted.safetensors")
    assert imported.load(tmp_path / "counted.safetensors").name == "imdn"
    more = {f"gate{i}.weight": np.zeros(1, np.float32) for i in range(5)}
    save_file(state | more, tmp_path / "more.safetensors")
    with pytest.raises(UserError) as caught:
        imported.load(tmp_path / "more.safetensors")
    assert str(caught.value) == (
        f"{tmp_path / 'more.safetensors'}: as imdn, 5 of its {len(state) + 5} entries have no place"
        " (gate0.weight, gate1.weight, gate2.weight, ...); it is a network that is not known here"
    )
