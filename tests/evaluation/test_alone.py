import csv
import json

import pytest
from evaluation import tiny
from PIL import Image

from kdgan_jax.evaluate import main
from kdgan_jax.evaluation import metrics
from kdgan_jax.pictures import bicubic


@pytest.fixture(scope="module")
def sets(tmp_path_factory, photo):
    """Two photos without HR in "low", two with HR in "tiny"."""
    base = tmp_path_factory.mktemp("alone")
    (base / "low").mkdir()
    for i, name in enumerate("ab"):
        Image.fromarray(photo[48 * i : 48 * i + 48, :60]).save(base / f"low/{name}.png")
    tiny.photos(base / "tiny", photo)
    return base


def measured(out, data, *more):
    """Measures nearest and bicubic; returns the rows of results.json and of per_image.csv."""
    assert main(["--models=nearest,bicubic", f"--data={data}", f"--out={out}", *more]) == 0
    with (out / "per_image.csv").open() as file:
        per_image = list(csv.DictReader(file))
    return json.loads((out / "results.json").read_text())["rows"], per_image


@pytest.mark.parametrize("resume", [False, True])
def test_photos_without_hr_are_measured_by_what_needs_none(sets, tmp_path, photo, resume, capsys):
    more = ["--compare=nearest,bicubic", *["--resume"] * resume]
    for _ in range(1 + resume):
        rows, per_image = measured(tmp_path / "out", f"lr:{sets}/low", *more)
    names = {name for name in metrics.METRICS if rows[0][name] is not None}
    assert names == set(metrics.NO_REFERENCE)
    assert [(row["model"], row["reference"], row["images"]) for row in rows] == [
        ("nearest", None, 2),
        ("bicubic", None, 2),
    ]
    found = [row for row in per_image if row["model"] == "bicubic"]
    for i, row in enumerate(found):
        sr = bicubic.upscale(photo[48 * i : 48 * i + 48, :60], 4)
        for name, metric in metrics.METRICS.items():
            if name in names:
                assert float(row[name]) == pytest.approx(metric(sr, sr, 4), rel=1e-12)
            else:
                assert row[name] == ""
        assert row["reference"] == ""
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert pictures == ["low_sheet.png"]  # plots need PSNR
    assert "could not be made" not in capsys.readouterr().err
    text = (tmp_path / "out/results.md").read_text()
    assert "| low (2) |" in text
    for name in names:
        assert f"| nearest - bicubic | low (2) | {name} |" in text


def test_one_of_them_is_enough_and_other_models_need_no_bicubic_beside(sets, tmp_path):
    out, data = f"--out={tmp_path}/out", f"--data=lr:{sets}/low"
    assert main(["--models=nearest", data, out, "--metrics=niqe", "--save_images"]) == 0
    rows = json.loads((tmp_path / "out/results.json").read_text())["rows"]
    assert [row["model"] for row in rows] == ["nearest"]
    assert (rows[0]["mesh"], rows[0]["niqe"] > 0) == (None, True)
    assert sorted(path.name for path in (tmp_path / "out/images/nearest/low").iterdir()) == [
        "a.png",
        "b.png",
    ]


def test_sets_with_and_without_hr_have_each_their_own_metrics(sets, tmp_path):
    data = f"{sets}/tiny,lr:{sets}/low"
    rows, _ = measured(tmp_path / "out", data, "--metrics=psnr_y,mesh")
    have = [(r["dataset"], r["psnr_y"] is not None, r["mesh"] is not None) for r in rows]
    assert have == [("tiny", True, True)] * 2 + [("low", False, True)] * 2
    names = ["low_sheet.png", "tiny_gains.png", "tiny_sheet.png"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == names
    text = (tmp_path / "out/results.md").read_text()
    assert "nearest on tiny by" in text
    assert "on low" not in text


def test_with_a_teacher_both_kinds_are_measured(sets, tmp_path):
    teacher = "--reference_model=clean_x4"
    rows, _ = measured(tmp_path / "out", f"lr:{sets}/low", teacher)
    names = {name for name in metrics.METRICS if rows[0][name] is not None}
    assert names == {*metrics.DEFAULT, *metrics.NO_REFERENCE}
    assert {row["reference"] for row in rows} == {"clean_x4"}
    assert (tmp_path / "out/low_gains.png").is_file()


@pytest.mark.parametrize("resume", [False, True])
def test_photos_with_hr_may_be_measured_by_what_needs_none_alone(sets, tmp_path, resume):
    more = ["--metrics=mesh", *["--resume"] * resume]
    for _ in range(1 + resume):
        rows, _ = measured(tmp_path / "out", f"hr:{sets}/tiny", *more)
    assert [(row["psnr_y"], row["mesh"] < 3) for row in rows] == [(None, True)] * 2
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["tiny_sheet.png"]
