import json
import shutil

import pytest
from evaluation.tiny import model

from kdgan_jax import models
from kdgan_jax.formats import foreign, native
from kdgan_jax.inference import catalogue, costs
from kdgan_jax.inference.load import DEFAULT, SHIPPED
from kdgan_jax.runtime.errors import UserError


def test_architectures_have_a_row_each(monkeypatch):
    few = {name: models.GENERATORS[name] for name in ("srcnn", "fast_srgan")}
    monkeypatch.setattr(models, "GENERATORS", few)
    titles, srcnn, fast_srgan = catalogue.architectures()
    assert srcnn == ["srcnn", "57,281", "52.7 G", "11", "2, 3, 4", "yes"]
    assert fast_srgan[titles.index("receptive field (LR pixels)")] == "whole image"


def test_models_of_the_package_have_a_purpose_and_a_licence():
    _, *rows = catalogue.shipped()
    assert [row[0] for row in rows] == list(catalogue.PURPOSES)
    assert rows[0][0] == DEFAULT
    assert set(SHIPPED) == set(catalogue.PURPOSES)
    assert ["1,213,296", "69.6 G", "BSD-3-Clause"] in [row[2:] for row in rows]
    assert all(len(cell) > 1 for row in rows for cell in row)


@pytest.fixture
def folder(tmp_path):
    """Files of weights that can be loaded and that cannot, beside others."""
    deep = tmp_path / "deep/er"
    deep.mkdir(parents=True)
    weights = model()
    native.save(deep / "own.safetensors", weights.with_about(licence="CC0"))
    foreign.save(deep / "no suffix", weights)
    (tmp_path / "page.pth").write_text("<html>")
    (tmp_path / "net.onnx").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("weights")
    (tmp_path / "w.param").write_text("nothing")
    (tmp_path / "w.bin").write_bytes(b"nothing")
    (tmp_path / ".hidden").mkdir()
    shutil.copy(deep / "own.safetensors", tmp_path / ".hidden")
    return tmp_path


def test_files_are_told_apart_and_those_that_are_unknown_have_a_reason(folder):
    found = catalogue.files(catalogue.candidates([folder]))
    _, plain, own = found.models
    size = f"{model().parameters:,}"
    assert plain[:3] == [f"{folder}/deep/er/no suffix", "compact", size]
    assert own[:3] == [f"{folder}/deep/er/own.safetensors", "compact", size]
    assert (plain[-1], own[-1]) == ("none stated", "CC0")
    reasons = dict(found.others[1:])
    assert set(reasons) == {f"{folder}/{name}" for name in ("page.pth", "net.onnx", "w.param")}
    assert "web page" in reasons[f"{folder}/page.pth"]
    assert "empty" in reasons[f"{folder}/net.onnx"]


def test_known_files_are_found_under_any_name_and_not_to_be_fetched(shared, tmp_path):
    (tmp_path / "deep").mkdir()
    path = shutil.copy(shared / "weights" / "espcn_x4.pb", tmp_path / "deep" / "x.weights")
    found = catalogue.files(catalogue.candidates([tmp_path]))
    row = [str(path), "ESPCN", "24,752", "1.4 G", "9", "4", "Apache-2.0"]
    assert found.models[1:] == [row]
    names = [row[0] for row in catalogue.to_fetch(found.digests)]
    assert "ESPCN" not in names
    assert "ESPCN" in [row[0] for row in catalogue.to_fetch([])]


def test_what_could_be_fetched_has_an_address():
    _, *rows = catalogue.to_fetch([])
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["IMDN"] == ["none stated", "https://github.com/Zheng222/IMDN/tree/8f158e6a5a"]
    assert by_name["FSRCNN (3 files)"][0] == "Apache-2.0"
    animevideo = by_name["realesr-animevideov3-x4"]
    assert animevideo == ["BSD-3-Clause", "https://github.com/upscayl/custom-models"]
    assert "realesr-general-x4v3" not in by_name  # comes with the package


def results(folder, **datasets):
    """Writes what `evaluate` leaves of models on data sets, and a row at another scale."""
    folder.mkdir()
    rows = [
        {"model": model, "dataset": name, "scale": scale, "psnr_y": psnr, "ssim_y": 0.81354}
        for model, names in datasets.items()
        for name in names
        for scale, psnr in ((4, 28.381), (2, 35.0))
    ]
    (folder / "results.json").write_text(json.dumps({"rows": rows}))
    return folder


def test_measured_results_stand_above_the_published_ones(shared, tmp_path, monkeypatch):
    weights = tmp_path / "weights"
    weights.mkdir()
    for name in "espcn_x4.pb", "vdsr.pth", "fsrcnn_small_x4.pb":
        shutil.copy(shared / "weights" / name, weights)
    folders = [
        results(tmp_path / "a", espcn_x4=["Set5", "Urban100"], bicubic=["Set5"]),
        results(tmp_path / "b", vdsr=["Set5"]),
    ]
    monkeypatch.setattr(costs, "seconds_720p", lambda model: 0.1234)
    paths = catalogue.find([weights])
    titles, espcn, espcn_published, vdsr, vdsr_published = catalogue.comparison(
        paths, folders, timed=True
    )
    assert titles[1:5] == ["Set5", "Set14", "BSD100", "Urban100"]
    quality = "28.38 / 0.8135"
    assert espcn == ["ESPCN", quality, "-", "-", quality, "24,752", "1.4 G", "0.12"]
    assert espcn_published[:2] == ["*table of SAFMN, another training*", "30.52 / 0.8697"]
    assert vdsr[:6] == ["VDSR", quality, "-", "-", "-", "664,704"]
    assert vdsr_published[1:] == ["31.45", "-", "-", "-", "", "", ""]
    assert len(catalogue.comparison(paths, folders, timed=False)[1]) == len(espcn) - 1


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}/results.json: "):
        catalogue.comparison({}, [tmp_path], timed=False)


def test_markdown_has_a_line_per_row():
    text = catalogue.markdown([["a", "b"], ["1", "2|3"]])
    assert text == "| a | b |\n| --- | --- |\n| 1 | 2\\|3 |"
