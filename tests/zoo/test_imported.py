import numpy as np
import pytest
from safetensors.numpy import save_file

import kdgan_jax
from kdgan_jax.data import photos
from kdgan_jax.errors import UserError
from kdgan_jax.evaluate import metrics
from kdgan_jax.zoo import imported, published

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
