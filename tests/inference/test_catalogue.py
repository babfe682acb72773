import json
import shutil

import pytest

from kdgan_jax import models
from kdgan_jax.formats import published
from kdgan_jax.inference import catalogue, costs
from kdgan_jax.runtime.errors import UserError


def test_architectures_and_published_files_have_a_row_each(monkeypatch):
    few = {name: models.GENERATORS[name] for name in ("srcnn", "fast_srgan")}
    monkeypatch.setattr(models, "GENERATORS", few)
    titles, srcnn, fast_srgan = catalogue.architectures()
    assert srcnn == ["srcnn", "57,281", "52.7 G", "11", "2, 3, 4", "yes"]
    assert fast_srgan[titles.index("receptive field (LR pixels)")] == "whole image"
    titles, *rows = catalogue.published_files({})
    assert [row[0] for row in rows] == [file.title for file in published.FILES.values()]
    assert {(len(row), row[-1]) for row in rows} == {(len(titles), "-")}


def test_files_are_found_under_any_name(shared, tmp_path):
    (tmp_path / "deep").mkdir()
    path = shutil.copy(shared / "weights" / "espcn_x4.pb", tmp_path / "deep" / "x.pb")
    rows = catalogue.published_files(catalogue.find([tmp_path]))
    (espcn,) = [row for row in rows if row[0] == "ESPCN"]
    assert espcn[1:6] == ["24,752", "1.4 G", "9", "4", "Apache-2.0"]
    assert espcn[-1] == str(path)


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
    text = catalogue.markdown([["a", "b"], ["1", "2"]])
    assert text == "| a | b |\n| --- | --- |\n| 1 | 2 |"
