import csv
import json

import pytest
from evaluation import tiny
from PIL import Image

from kdgan_jax.evaluate import main
from kdgan_jax.evaluation import metrics
from kdgan_jax.formats import native
from kdgan_jax.pictures import bicubic


@pytest.fixture(scope="module")
def out(tmp_path_factory, photo):
    """What the command leaves for photos with and without HR, with the teacher among the models."""
    base = tmp_path_factory.mktemp("teacher")
    native.save(base / "big.safetensors", tiny.model())
    tiny.lr_photos(base / "lr", photo)
    tiny.photos(base / "hr", photo)
    fixed = [f"--models=bicubic,same={base}/big.safetensors", f"--out={base}/out"]
    fixed += [f"--data=real=lr:{base}/lr,{base}/hr", "--metrics=psnr_y,ssim_y"]
    teacher = f"--reference_model={base}/big.safetensors"
    assert main([*fixed, teacher, "--compare=same,bicubic", "--reference=bicubic"]) == 0
    return base / "out"


def test_all_photos_are_measured_against_the_teacher(out, photo):
    teacher = tiny.model()
    with (out / "per_image.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == "bicubic"]
    lrs = [photo[100 * i : 100 * i + 16, 100:124] for i in range(2)]
    lrs += [bicubic.downscale(photo[100 * i : 100 * i + 64, 100:196], 4) for i in range(2)]
    expected = [metrics.psnr_y(bicubic.upscale(lr, 4), teacher.upscale(lr), 4) for lr in lrs]
    assert [row["image"] for row in rows] == ["a", "b", "0", "1"]
    assert {row["reference"] for row in rows} == {"big"}
    assert [float(row["psnr_y"]) for row in rows] == pytest.approx(expected)


def test_tables_name_the_teacher_and_hold_its_infinite_psnr(out):
    text = (out / "results.md").read_text()
    assert "| model | real, to big (2) | hr, to big (2) |" in text
    assert "| same | inf / 1.0000 | inf / 1.0000 |" in text
    assert "| same - bicubic | real, to big (0) | psnr_y | - | - to - |" in text
    results = json.loads((out / "results.json").read_text())
    assert {row["reference"] for row in results["rows"] + results["comparisons"]} == {"big"}
    assert {row["psnr_y"] for row in results["rows"] if row["model"] == "same"} == {"inf"}


def test_plots_of_what_is_infinite_are_not_made(out):
    names = ["hr_sheet.png", "real_sheet.png"]
    assert sorted(path.name for path in out.glob("*.png")) == names
    for name in names:
        with Image.open(out / name) as image:
            image.load()
            assert min(image.size) > 100
