import csv
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, wait_for
from evaluation import tiny
from PIL import Image

from kdgan_jax.data.sources import folder as photos_of
from kdgan_jax.evaluate import main
from kdgan_jax.evaluation import metrics, run, sheets
from kdgan_jax.formats import native
from kdgan_jax.pictures import bicubic


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photo):
    return tiny.photos(tmp_path_factory.mktemp("sets") / "tiny", photo)


@pytest.fixture(scope="module")
def out(tmp_path_factory, folder):
    """What the command leaves for bicubic and two models, one of them under a label."""
    base = tmp_path_factory.mktemp("models")
    native.save(base / "small.safetensors", tiny.model())
    native.save(base / "big.safetensors", tiny.model(depth=3))
    models = f"--models=bicubic,{base}/small.safetensors,big={base}/big.safetensors"
    more = ["--self_ensemble", "--compare=big+,big", "--compare=big,bicubic"]
    assert main([models, f"--data={folder}", f"--out={base}/out/deep", *more]) == 0
    return base / "out/deep"


@pytest.fixture(scope="module")
def per_image(out):
    """The rows of per_image.csv by model."""
    with (out / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    models = {row["model"] for row in rows}
    return {model: [row for row in rows if row["model"] == model] for model in models}


@pytest.fixture(scope="module")
def results(out):
    return json.loads((out / "results.json").read_text())


def measure(tmp_path, data, *more, code=0):
    """Measures nearest by PSNR alone; returns the rows of results.json."""
    fixed = ["--models=nearest", f"--out={tmp_path}/out", "--metrics=psnr_y"]
    assert main([*fixed, f"--data={data}", *more]) == code
    return json.loads((tmp_path / "out/results.json").read_text())["rows"]


def test_rows_are_the_models_in_order_each_trained_one_with_its_ensemble(results):
    rows = results["rows"]
    assert [row["model"] for row in rows] == ["bicubic", "small", "small+", "big", "big+"]
    assert results["models"]["small"].endswith("models0/small.safetensors")
    params = [row["params"] for row in rows]
    assert params[0] == 0 < params[1] == params[2] < params[3] == params[4]
    costs = [row["multi_adds_720p"] for row in rows]
    assert costs[0] == 0 < costs[1]
    assert (costs[2], costs[4]) == (8 * costs[1], 8 * costs[3])
    assert {(row["dataset"], row["images"], row["scale"]) for row in rows} == {("tiny", 2, 4)}


def test_figures_of_bicubic_are_those_of_the_metrics(results, per_image, folder):
    images = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
    rows = per_image["bicubic"]
    assert [row["image"] for row in rows] == ["0", "1"]
    assert {r["lpips_vgg"] for r in rows} == {""}
    for name in metrics.DEFAULT:
        metric = metrics.METRICS[name]
        values = [metric(bicubic.upscale(bicubic.downscale(hr, 4), 4), hr, 4) for hr in images]
        np.testing.assert_allclose([float(row[name]) for row in rows], values, rtol=1e-12)
        np.testing.assert_allclose(results["rows"][0][name], np.mean(values), rtol=1e-12)


def test_comparisons_are_the_paired_differences(results, per_image):
    rows = results["comparisons"]
    assert [(row["a"], row["b"], row["metric"]) for row in rows] == [
        (*pair, metric)
        for pair in (("big+", "big"), ("big", "bicubic"))
        for metric in metrics.DEFAULT
    ]
    for row in rows:
        a, b = (
            np.array([float(r[row["metric"]]) for r in per_image[model]])
            for model in (row["a"], row["b"])
        )
        assert row["difference"] == pytest.approx(np.mean(a - b))
        assert row["low"] <= row["difference"] <= row["high"]


def test_every_set_has_lines_and_pictures(out):
    text = (out / "results.md").read_text()
    for start in ("model | tiny (2)", "bicubic", "big+", "big - bicubic | tiny (2) | psnr_y"):
        assert f"| {start} | " in text
    for name in ("sheet", "tradeoff", "gains"):
        with Image.open(out / f"tiny_{name}.png") as image:
            image.load()
            assert min(image.size) > 100


def test_sets_are_measured_apart_and_one_that_fails_is_named(folder, tmp_path, photo, capsys):
    for name in ("cut", "other/HR"):
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(photo[:64]).save(tmp_path / name / "a.png")
    data = (tmp_path / "cut/a.png").read_bytes()
    (tmp_path / "cut/a.png").write_bytes(data[: len(data) // 2])  # its header is whole
    rows = measure(tmp_path, f"{folder},{tmp_path}/cut,{tmp_path}/other", code=1)
    assert [(row["dataset"], row["images"]) for row in rows] == [("tiny", 2), ("other", 1)]
    (line,) = [m for m in capsys.readouterr().err.splitlines() if m.startswith("failed")]
    assert f"cut: {tmp_path}/cut/a.png: " in line
    assert (tmp_path / "out/other_sheet.png").is_file()


def test_photos_are_decoded_one_at_a_time(folder):
    photos, _ = photos_of(folder, 4)
    assert next(run.examples([photos[0], "not a photo"], 4)).name == "0"


@pytest.mark.parametrize("reason", ["no ink", "no matplotlib"])
def test_pictures_that_cannot_be_made_lose_no_figures(
    folder, tmp_path, monkeypatch, capsys, reason
):
    if reason == "no ink":
        monkeypatch.setattr(sheets, "sheet", lambda *arguments: 1 / 0)
    else:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
    measure(tmp_path, folder)
    assert not list((tmp_path / "out").glob("*sheet.png"))
    lines = capsys.readouterr().err.splitlines()
    warnings = [line for line in lines if "ETA" not in line and "2 photos" not in line]
    assert len(warnings) == 1
    assert ("tiny: " if reason == "no ink" else "matplotlib") in warnings[0]


def test_flat_photos_and_small_ones_are_measured_with_pictures(tmp_path, photo):
    for name, image in (("flat", np.full_like(photo[:32, :32], 90)), ("small", photo[:16, :16])):
        (tmp_path / name).mkdir()
        Image.fromarray(image).save(tmp_path / name / "a.png")
    rows = measure(tmp_path, f"{tmp_path}/flat,{tmp_path}/small", "--models=nearest,bicubic")
    assert [row["psnr_y"] == "inf" for row in rows] == [True, True, False, False]
    pictures = sorted(p.name for p in (tmp_path / "out").glob("*.png"))
    small = [f"small_{name}.png" for name in ("gains", "sheet")]
    assert pictures == ["flat_sheet.png", *small]


@pytest.mark.parametrize("arguments", [["--models=bicubc"], ["--scale=5"], ["--crop=1"]])
def test_errors_are_one_line_and_2_before_anything_is_made(capsys, folder, tmp_path, arguments):
    fixed = ["--models=nearest", f"--data={folder}", f"--out={tmp_path}/out"]
    with pytest.raises(SystemExit) as left:
        main([*fixed, *arguments])
    assert left.value.code == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert arguments[0].partition("=")[2] in line
    assert not (tmp_path / "out").exists()


def test_the_engine_is_said_and_its_rows_are_not_taken_for_those_of_another(folder, tmp_path):
    native.save(tmp_path / "net.safetensors", tiny.model())
    command = [f"--models=bicubic,{tmp_path}/net.safetensors", f"--data={folder}", "--resume"]
    command += [f"--out={tmp_path}/out", "--metrics=psnr_y"]
    rows = tmp_path / "out/rows"
    for words, engine, files in (
        ([], "jax", 2),
        (["--engine=onnxruntime"], "onnxruntime", 3),
        ([], "jax", 3),
    ):
        assert main([*command, *words]) == 0
        said = json.loads((tmp_path / "out/results.json").read_text())["engine"]
        assert said.startswith(f"{engine} ")
        assert f"engine {said}" in (tmp_path / "out/results.md").read_text()
        assert len(list(rows.iterdir())) == files


def test_what_is_worse_than_bicubic_is_said_even_if_that_is_not_asked_for(folder, tmp_path):
    for models, name in (("nearest", "nearest"), ("bicubic=nearest,x=bicubic", "bicubic")):
        rows = measure(tmp_path, folder, f"--models={models}", "--overwrite")
        assert [row["model"] for row in rows] == [m.partition("=")[0] for m in models.split(",")]
        hr = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
        lr = [bicubic.downscale(image, 4) for image in hr]
        floor = [metrics.psnr_y(bicubic.upscale(a, 4), b, 4) for a, b in zip(lr, hr, strict=True)]
        sentence = f"{name} on tiny by {np.mean(floor) - rows[0]['psnr_y']:.2f} dB."
        assert sentence in (tmp_path / "out/results.md").read_text()
    with (tmp_path / "out/per_image.csv").open() as file:
        assert {row["model"] for row in csv.DictReader(file)} == {"bicubic", "x"}


@pytest.mark.parametrize("resume", [False, True])
def test_images_of_all_models_and_photos_are_written_on_request(folder, tmp_path, resume):
    deep = tmp_path / "set/a/b"
    deep.mkdir(parents=True)
    for path in folder.iterdir():
        (deep / path.name).write_bytes(path.read_bytes())
    more = ["--models=a/b:c=nearest,bicubic", "--save_images", *["--resume"] * resume]
    for _ in range(2):
        measure(tmp_path, tmp_path / "set", *more)
        images = tmp_path / "out/images"
        found = sorted(str(p.relative_to(images)) for p in images.rglob("*.png"))
        assert found == [f"{m}/set/a/b/{n}.png" for m in ("a_b_c", "bicubic") for n in "01"]
        hr = np.asarray(Image.open(folder / "1.png"))
        expected = bicubic.upscale(bicubic.downscale(hr, 4), 4)
        last = images / "bicubic/set/a/b/1.png"
        np.testing.assert_array_equal(np.asarray(Image.open(last)), expected)
        Image.fromarray(hr[:9]).save(last)  # another model's, that must not stay
    measure(tmp_path, tmp_path / "set", "--models=nearest", "--overwrite")
    assert not (images / "nearest").exists()


@pytest.mark.parametrize(
    ("first", "second", "lost"),
    [
        ("nearest", "bicubic", ["nearest"]),
        ("nearest,bicubic", "nearest", ["bicubic"]),  # its figures would be gone
        ("a=nearest", "a=bicubic", ["a at nearest"]),
        ("nearest", "nearest=bicubic", ["nearest"]),
    ],
)
def test_results_of_other_models_are_written_over_on_request_only(
    folder, tmp_path, capsys, first, second, lost
):
    measure(tmp_path, folder, f"--models={first}")
    before = (tmp_path / "out/results.json").read_text()
    with pytest.raises(SystemExit) as left:
        measure(tmp_path, folder, f"--models={second}")
    assert left.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert all(fact in line for fact in [f"--out={tmp_path}/out", "--overwrite", *lost])
    assert (tmp_path / "out/results.json").read_text() == before
    names = [word.partition("=")[0] for word in second.split(",")]
    rows = measure(tmp_path, folder, f"--models={second}", "--overwrite")
    assert [row["model"] for row in rows] == names
    measure(tmp_path, folder, f"--models={second},lanczos")  # more models lose nothing


def test_a_file_in_the_place_of_results_is_named_as_such(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    cases = {"file": "is a file", "file/below": f"{tmp_path}/file is a file"}
    for place, fact in cases.items():
        with pytest.raises(SystemExit) as left:
            main(["--models=nearest", f"--data={folder}", f"--out={tmp_path}/{place}"])
        assert left.value.code == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert f"--out={tmp_path}/{place}" in line
        assert fact in line


def test_a_signal_ends_the_command_in_one_line(folder, tmp_path):
    command = [sys.executable, "-m", "kdgan_jax.evaluate", "--models=nearest", f"--data={folder}"]
    metrics = "--metrics=psnr_y,dists"  # takes seconds
    for name, code in (("SIGINT", 130), ("SIGTERM", 143)):
        process = subprocess.Popen(
            [*command, f"--out={tmp_path}/{name}", metrics],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for((tmp_path / name).is_dir, process)
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert err.splitlines()[-1] == "stopped"
        assert "Traceback" not in out + err
