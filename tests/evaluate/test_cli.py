import json

import numpy as np
import pytest
from PIL import Image

from kdgan_jax import bicubic
from kdgan_jax.evaluate import metrics
from kdgan_jax.evaluate.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photo):
    """A folder of two HR images of 64 x 96 pixels."""
    folder = tmp_path_factory.mktemp("sets") / "tiny"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(photo[100 * i : 100 * i + 64, 100:196]).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory, folder, smoke_run):
    """What the command leaves for bicubic, the run's student and its teacher under a label."""
    out = tmp_path_factory.mktemp("out") / "deep"
    main(
        [
            f"--models=bicubic,{smoke_run},big={smoke_run}:teacher",
            f"--data={folder}",
            f"--out={out}",
        ]
    )
    return out


@pytest.fixture(scope="module")
def results(out):
    return json.loads((out / "results.json").read_text())


def leaves(capsys, *arguments):
    """Returns the one line with which the command leaves, exit code 2."""
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_rows_are_the_models_in_order(results, smoke_run):
    assert [row["model"] for row in results["rows"]] == ["bicubic", str(smoke_run), "big"]
    assert [row["params"] for row in results["rows"]] == [0, 4328, 4920]
    assert {(row["dataset"], row["images"], row["scale"]) for row in results["rows"]} == {
        ("tiny", 2, 4)
    }


def test_figures_of_bicubic_are_those_of_the_metrics(results, folder):
    images = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
    values = [metrics.psnr_y(bicubic.upscale(bicubic.downscale(hr, 4), 4), hr, 4) for hr in images]
    own = [row for row in results["per_image"] if row["model"] == "bicubic"]
    assert [row["image"] for row in own] == ["0", "1"]
    np.testing.assert_allclose([row["psnr_y"] for row in own], values, rtol=1e-12)
    np.testing.assert_allclose(results["rows"][0]["psnr_y"], np.mean(values), rtol=1e-12)


def test_markdown_has_a_line_per_model(out):
    text = (out / "results.md").read_text()
    assert "| model | tiny (2) |" in text
    assert "| bicubic | " in text
    assert "| big | " in text


def test_comparison_sheet_is_a_picture(out):
    with Image.open(out / "tiny.png") as image:
        image.load()
        assert min(image.size) > 100


def test_several_sets_are_measured_apart(folder, tmp_path, photo):
    (tmp_path / "other/HR").mkdir(parents=True)
    Image.fromarray(photo[:64, :96]).save(tmp_path / "other/HR/a.png")
    main([f"--data={folder},{tmp_path}/other", "--models=nearest", f"--out={tmp_path}/out"])
    rows = json.loads((tmp_path / "out/results.json").read_text())["rows"]
    assert [(row["dataset"], row["images"]) for row in rows] == [("tiny", 2), ("other", 1)]
    assert (tmp_path / "out/other.png").is_file()


def test_unknown_model_is_refused_with_a_suggestion(capsys, folder, tmp_path):
    line = leaves(capsys, "--models=bicubc", f"--data={folder}", f"--out={tmp_path}/out")
    assert line.startswith("error: bicubc: no such folder")
    assert "did you mean 'bicubic'" in line
    assert not (tmp_path / "out").exists()


def test_model_of_another_scale_is_refused(capsys, folder, tmp_path, smoke_run):
    line = leaves(
        capsys, f"--models={smoke_run}", f"--data={folder}", f"--out={tmp_path}/out", "--scale=2"
    )
    assert f"{smoke_run} is of scale 4, but --scale=2" in line


@pytest.mark.parametrize("models", ["nearest,nearest", "x=RUN,x=RUN:teacher"])
def test_two_models_of_one_name_are_refused(capsys, folder, tmp_path, smoke_run, models):
    models = models.replace("RUN", str(smoke_run))
    line = leaves(capsys, f"--models={models}", f"--data={folder}", f"--out={tmp_path}/out")
    assert "two are named" in line


def test_two_sets_of_one_name_are_refused(capsys, folder, tmp_path):
    line = leaves(capsys, "--models=nearest", f"--data={folder},{folder}", f"--out={tmp_path}/out")
    assert "two are named 'tiny'" in line


def test_results_of_a_run_are_not_overwritten(capsys, folder, smoke_run):
    line = leaves(capsys, "--models=nearest", f"--data={folder}", f"--out={smoke_run}")
    assert f"--out={smoke_run} is the workdir of a run" in line


def test_empty_folder_is_named(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    line = leaves(capsys, "--models=bicubic", f"--data={tmp_path}/empty", f"--out={tmp_path}/out")
    assert f"{tmp_path}/empty: holds no image" in line


def test_broken_image_is_named(capsys, tmp_path, photo):
    (tmp_path / "in").mkdir()
    Image.fromarray(photo).save(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_bytes(b"no image")
    line = leaves(capsys, "--models=bicubic", f"--data={tmp_path}/in", f"--out={tmp_path}/out")
    assert f"{tmp_path}/in/b.png" in line
