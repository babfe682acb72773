import csv
import json

import numpy as np
import pytest
from PIL import Image

from kdgan_jax.baselines.interpolation import BASELINES
from kdgan_jax.data import photos
from kdgan_jax.evaluate import main
from kdgan_jax.evaluation import metrics, sheets
from kdgan_jax.pictures import bicubic


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
    code = main(
        [
            f"--models=bicubic,{smoke_run},big={smoke_run}:teacher",
            f"--data={folder}",
            f"--out={out}",
            "--self_ensemble",
            "--compare=big+,big",
            "--compare=big,bicubic",
        ]
    )
    assert code == 0
    return out


@pytest.fixture(scope="module")
def per_image(out):
    """The rows of per_image.csv."""
    with (out / "per_image.csv").open() as file:
        return list(csv.DictReader(file))


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


def test_rows_are_the_models_in_order_each_trained_one_with_its_ensemble(results, smoke_run):
    student = str(smoke_run)
    models = ["bicubic", student, f"{student}+", "big", "big+"]
    assert [row["model"] for row in results["rows"]] == models
    assert [row["params"] for row in results["rows"]] == [0, 4328, 4328, 4920, 4920]
    costs = [row["multi_adds_720p"] for row in results["rows"]]
    assert costs[0] == 0 < costs[1]
    assert (costs[2], costs[4]) == (8 * costs[1], 8 * costs[3])
    assert {(row["dataset"], row["images"], row["scale"]) for row in results["rows"]} == {
        ("tiny", 2, 4)
    }


def test_figures_of_bicubic_are_those_of_the_metrics(results, per_image, folder):
    images = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
    own = [row for row in per_image if row["model"] == "bicubic"]
    assert [row["image"] for row in own] == ["0", "1"]
    for name, metric in metrics.METRICS.items():
        values = [metric(bicubic.upscale(bicubic.downscale(hr, 4), 4), hr, 4) for hr in images]
        np.testing.assert_allclose([float(row[name]) for row in own], values, rtol=1e-12)
        np.testing.assert_allclose(results["rows"][0][name], np.mean(values), rtol=1e-12)


def test_comparisons_are_the_paired_differences(results, per_image):
    found = {(row["a"], row["b"], row["metric"]): row for row in results["comparisons"]}
    assert {key[:2] for key in found} == {("big+", "big"), ("big", "bicubic")}
    for (a, b, metric), row in found.items():
        one, other = (
            np.array([float(r[metric]) for r in per_image if r["model"] == model])
            for model in (a, b)
        )
        assert row["difference"] == pytest.approx(np.mean(one - other))
        assert row["low"] <= row["difference"] <= row["high"]


def test_markdown_has_a_line_per_model_and_the_comparisons(out):
    text = (out / "results.md").read_text()
    assert "| model | tiny (2) |" in text
    assert "| bicubic | " in text
    assert "| big+ | " in text
    assert "| big - bicubic | tiny (2) | psnr_y | " in text


@pytest.mark.parametrize("name", ["sheet", "tradeoff", "gains"])
def test_every_set_has_its_pictures(out, name):
    with Image.open(out / f"tiny_{name}.png") as image:
        image.load()
        assert min(image.size) > 100


def test_the_raw_weights_are_another_model(folder, smoke_run, tmp_path):
    main(
        [
            f"--models={smoke_run}:teacher,{smoke_run}:teacher:raw",
            f"--data={folder}",
            f"--out={tmp_path}/out",
            "--metrics=psnr_y",
        ]
    )
    averaged, raw = json.loads((tmp_path / "out/results.json").read_text())["rows"]
    assert averaged["psnr_y"] != raw["psnr_y"]
    assert averaged["ssim_y"] is averaged["lpips_vgg"] is None


def spied_sheet(monkeypatch):
    """Returns a list that will hold (photo's name, box) of every line of every sheet made."""
    made = []
    monkeypatch.setattr(
        sheets, "sheet", lambda path, lines: made.append([(one.name, one.box) for one in lines])
    )
    return made


def test_photos_and_box_of_the_sheet_may_be_named(folder, tmp_path, monkeypatch):
    made = spied_sheet(monkeypatch)
    given = [f"--data={folder}", f"--out={tmp_path}", "--models=nearest", "--metrics=psnr_y"]
    assert main([*given, "--images=1", "--crop=4,8,40,20"]) == 0
    assert main(given) == 0
    assert made[0] == [("1", sheets.Box(4, 8, 40, 20))]
    assert [name for name, _ in made[1]] == ["0", "1"]
    assert {box[2:] for _, box in made[1]} == {(64, 64)}


def test_a_set_that_fails_is_named_and_the_others_are_measured(folder, tmp_path, photo, capsys):
    (tmp_path / "cut").mkdir()
    Image.fromarray(photo).save(tmp_path / "cut/a.png")
    data = (tmp_path / "cut/a.png").read_bytes()
    (tmp_path / "cut/a.png").write_bytes(data[: len(data) // 2])  # its header is whole
    (tmp_path / "last").mkdir()
    Image.fromarray(photo).save(tmp_path / "last/b.png")
    arguments = [f"--data={folder},{tmp_path}/cut,{tmp_path}/last", "--models=nearest"]
    assert main([*arguments, f"--out={tmp_path}/out", "--metrics=psnr_y"]) == 1
    rows = json.loads((tmp_path / "out/results.json").read_text())["rows"]
    assert [row["dataset"] for row in rows] == ["tiny", "last"]
    (line,) = [m for m in capsys.readouterr().err.splitlines() if m.startswith("failed")]
    assert line.startswith(f"failed: cut: {tmp_path}/cut/a.png: truncated")


def test_sets_are_read_one_photo_at_a_time(folder, tmp_path, monkeypatch, photo):
    (tmp_path / "other").mkdir()
    Image.fromarray(photo[:64, :64]).save(tmp_path / "other/a.png")
    read, load = [], photos.load
    monkeypatch.setattr(photos, "load", lambda p, scale: read.append(p.name) or load(p, scale))
    seen = []
    monkeypatch.setitem(
        BASELINES,
        "nearest",
        lambda lr, scale: seen.append(len(read)) or lr.repeat(4, 0).repeat(4, 1),
    )
    main(
        [
            f"--data={folder},{tmp_path}/other",
            "--models=nearest",
            f"--out={tmp_path}/out",
            "--metrics=psnr_y",
        ]
    )
    # Of the first set 2 photos, then 2 again for its sheet; of the second 1 and 1. Each is upscaled
    # to warm up, five times if it is the first of a set, else once, before the next is read.
    assert seen == [1] * 6 + [2] + [3, 4] + [5] * 6 + [6]


def test_several_sets_are_measured_apart(folder, tmp_path, photo):
    (tmp_path / "other/HR").mkdir(parents=True)
    Image.fromarray(photo[:64, :96]).save(tmp_path / "other/HR/a.png")
    main([f"--data={folder},{tmp_path}/other", "--models=nearest", f"--out={tmp_path}/out"])
    rows = json.loads((tmp_path / "out/results.json").read_text())["rows"]
    assert [(row["dataset"], row["images"]) for row in rows] == [("tiny", 2), ("other", 1)]
    assert (tmp_path / "out/other_sheet.png").is_file()


def test_unknown_model_is_refused_with_a_suggestion(capsys, folder, tmp_path):
    line = leaves(capsys, "--models=bicubc", f"--data={folder}", f"--out={tmp_path}/out")
    assert line.startswith("error: bicubc: no such file or folder")
    assert "did you mean 'bicubic'" in line
    assert not (tmp_path / "out").exists()


def test_model_of_another_scale_is_refused(capsys, folder, tmp_path, smoke_run):
    line = leaves(
        capsys, f"--models={smoke_run}", f"--data={folder}", f"--out={tmp_path}/out", "--scale=2"
    )
    assert f"{smoke_run} is of scale 4, but --scale=2" in line


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--compare=bicubic,nearst"], "--compare: 'nearst' is not among the models; did you mean"),
        (["--compare=bicubic"], "--compare=bicubic must name two models, A,B"),
        (["--reference=lanczos"], "--reference: 'lanczos' is not among the models"),
        (["--metrics=psnr_y,lpips"], "metric='lpips' is unknown; did you mean 'lpips_"),
        (["--metrics=ssim_y"], "--metrics=ssim_y lacks psnr_y"),
        (["--images=1,10"], "--images: no photo is named '10'"),
        (["--compare=bicubic,bicubic"], "--compare=bicubic,bicubic must name two models"),
        (["--metrics=psnr_y,"], "--metrics=psnr_y,: something is missing beside a comma"),
        (["--crop=1,2,3"], "--crop=1,2,3 must be x,y,w,h"),
        (["--crop=1,2,3,-4"], "--crop=1,2,3,-4 must be x,y,w,h"),
        (["--crop=60,0,40,10"], "--crop=60,0,40,10 is not inside 0 of 96x64"),
        (["--crop=0,0,0,10"], "--crop=0,0,0,10 is not inside 0 of 96x64"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(capsys, folder, tmp_path, more, expected):
    line = leaves(
        capsys, "--models=nearest,bicubic", f"--data={folder}", f"--out={tmp_path}/out", *more
    )
    assert line.startswith(f"error: {expected}")
    assert not (tmp_path / "out").exists()


def test_results_are_not_put_among_the_photos_or_over_a_file(capsys, folder, tmp_path):
    for out, expected in (
        (folder, "is inside --data="),
        (folder / "deep/er", "is inside --data="),
        (folder / "0.png", "is a file"),
    ):
        line = leaves(capsys, "--models=nearest", f"--data={folder}", f"--out={out}")
        assert f"--out={out} {expected}" in line
    assert sorted(p.name for p in folder.iterdir()) == ["0.png", "1.png"]


def test_labels_name_models_and_sets_and_paths_may_hold_the_sign(folder, tmp_path, smoke_run):
    (tmp_path / "a=b").symlink_to(smoke_run)
    main(
        [
            f"--models=small=nearest, {tmp_path}/a=b,x=y={tmp_path}/a=b".replace("x=y", "xy"),
            f"--data=one={folder},two={folder}",
            f"--out={tmp_path}/out",
            "--metrics=psnr_y",
        ]
    )
    rows = json.loads((tmp_path / "out/results.json").read_text())["rows"]
    assert [row["model"] for row in rows[:3]] == ["small", f"{tmp_path}/a=b", "xy"]
    assert [row["dataset"] for row in rows] == ["one"] * 3 + ["two"] * 3
    assert rows[1]["psnr_y"] == rows[2]["psnr_y"]


def test_pictures_that_cannot_be_made_lose_no_figures(folder, tmp_path, monkeypatch, capsys):
    def broken(*arguments, **more):
        raise RuntimeError("no ink")

    monkeypatch.setattr(sheets, "sheet", broken)
    arguments = ["--models=nearest", f"--data={folder}", f"--out={tmp_path}/out"]
    assert main([*arguments, "--metrics=psnr_y"]) == 0
    assert (tmp_path / "out/results.json").is_file()
    assert "tiny: its pictures could not be made" in capsys.readouterr().err


def test_flat_photos_and_small_ones_are_measured_with_pictures(tmp_path, photo):
    (tmp_path / "flat").mkdir()
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(tmp_path / "flat/a.png")
    (tmp_path / "small").mkdir()
    Image.fromarray(photo[:16, :16]).save(tmp_path / "small/a.png")
    data = f"--data={tmp_path}/flat,{tmp_path}/small"
    arguments = ["--models=nearest,bicubic", data, f"--out={tmp_path}/out", "--metrics=psnr_y"]
    assert main(arguments) == 0
    rows = json.loads((tmp_path / "out/results.json").read_text())["rows"]
    assert [row["psnr_y"] == "inf" for row in rows] == [True, True, False, False]
    made = sorted(p.name for p in (tmp_path / "out").glob("*.png"))
    assert made == ["flat_sheet.png", "flat_tradeoff.png"] + [
        f"small_{name}.png" for name in ("gains", "sheet", "tradeoff")
    ]


def test_a_scale_that_no_network_has_is_refused(capsys, folder, tmp_path):
    arguments = ["--models=nearest", f"--data={folder}", f"--out={tmp_path}/out"]
    for scale in ("0", "-1", "5"):
        with pytest.raises(SystemExit) as left:
            main([*arguments, f"--scale={scale}"])
        assert left.value.code == 2
        assert "--scale" in capsys.readouterr().err


def test_photos_too_small_to_be_measured_are_named_at_once(capsys, tmp_path, photo):
    (tmp_path / "in").mkdir()
    Image.fromarray(photo[:30, :64]).save(tmp_path / "in/a.png")
    arguments = ["--models=nearest", f"--data={tmp_path}/in", f"--out={tmp_path}/out"]
    line = leaves(capsys, *arguments)
    assert f"{tmp_path}/in/a.png: 64x28 is too small to be measured; sides must be at" in line
    assert main([*arguments, "--metrics=psnr_y,ssim_y"]) == 0


def test_a_forest_that_is_not_trained_is_answered_with_the_command(capsys, folder, tmp_path):
    line = leaves(
        capsys, f"--models=forest:{tmp_path}/no", f"--data={folder}", f"--out={tmp_path}/out"
    )
    assert f"{tmp_path}/no" in line
    assert "python -m kdgan_jax.forest" in line


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
