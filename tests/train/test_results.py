"""What a run leaves: tables to HR and to the teacher, and the student's file with its card."""

import json

import numpy as np
import own_pictures
import pytest

from kdgan_jax import load
from kdgan_jax.config import loss, phase, teacher
from kdgan_jax.formats import native
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train.run import run


@pytest.fixture(scope="module")
def finished(tmp_path_factory, photo):
    """The workdir of a run on pictures of which each serves as HR and as LR."""
    folder = tmp_path_factory.mktemp("results")
    config = own_pictures.made(folder, photo)
    both = f"hr:{folder}/pictures,lr:{folder}/pictures"
    config.data.source, config.data.crop, config.train.distill.hr_patch = both, 8, 16
    run(config, folder / "run")
    return folder / "run"


def test_photos_with_hr_are_measured_against_it_and_all_against_the_teacher(finished):
    rows = json.loads((finished / "results.json").read_text())["rows"]
    measured = {(row["model"], row["reference"]): row["images"] for row in rows}
    assert measured == {
        (model, reference): images
        for model in ("bicubic", "student", "teacher")
        for reference, images in (("HR", 1), ("teacher", 2))
    }
    figures = {(row["model"], row["reference"]): row["psnr_y"] for row in rows}
    assert figures["teacher", "teacher"] == "inf"
    assert 10 < figures["bicubic", "HR"] < 60
    text = (finished / "results.md").read_text()
    assert "held out (1)" in text
    assert "held out, to teacher (2)" in text


def test_the_students_file_has_its_card(finished):
    student = load(finished / "student.safetensors")
    lr = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    np.testing.assert_array_equal(student.upscale(lr), load(finished).upscale(lr))
    assert student.about["teacher_licence"] == "made up"
    assert "2 photos" in student.about["held out, to teacher"]
    card = (finished / "student.md").read_text()
    for fact in ("made up", f"{student.parameters:,}", "degradation none,light", "| bicubic |"):
        assert fact in card


def test_a_card_names_teachers_of_earlier_phases(tmp_path, photo):
    config = own_pictures.made(tmp_path, photo)
    config.data.source, config.train.distill.hr_patch = f"hr:{tmp_path}/pictures", 16
    config.data.crop = 8
    pixel = {"pixel": loss("l1", 1.0)}
    with config.unlocked():
        config.train.tuned = phase(losses=pixel, start="distill", steps=1, batch=2, hr_patch=16)
    config.phases = ("distill", "tuned")
    run(config, tmp_path / "run")
    about = load(tmp_path / "run/student.safetensors").about
    assert about["teacher_licence"] == "made up"
    assert "phase tuned" in about["made_by"]


def test_two_teachers_under_one_label_have_rows_of_their_own(tmp_path, photo):
    config = own_pictures.made(tmp_path, photo)
    other = tmp_path / "other.safetensors"
    native.save(other, load(tmp_path / "teacher.safetensors").with_about(licence="another"))
    losses = {"distill": loss("l1", 1.0, target="teacher")}
    teachers = {"teacher": teacher(str(other), stored="uint8")}
    settings = {"start": "distill", "steps": 1, "batch": 2, "hr_patch": 16}
    with config.unlocked():
        config.train.tuned = phase(losses=losses, teachers=teachers, **settings)
    config.phases, config.data.crop, config.train.distill.hr_patch = ("distill", "tuned"), 8, 16
    run(config, tmp_path / "run")
    rows = json.loads((tmp_path / "run/results.json").read_text())["rows"]
    assert {row["reference"] for row in rows} == {"teacher", "teacher, tuned"}
    about = load(tmp_path / "run/student.safetensors").about
    assert about["teacher_licence"] == "made up"
    assert about["teacher, tuned_licence"] == "another"


def test_a_loss_on_hr_without_hr_is_refused_before_training(tmp_path, photo):
    config = own_pictures.made(tmp_path, photo)
    config.train.distill.losses.distill.target = "hr"
    with pytest.raises(UserError, match=r"config\.train\.distill .*none of the 5 photos") as caught:
        run(config, tmp_path / "run")
    assert str(tmp_path / "pictures") in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_levelling_without_hr_is_refused_before_training(tmp_path, photo):
    config = own_pictures.made(tmp_path, photo)
    config.train.distill.level = 10.0
    with pytest.raises(UserError, match=r"config\.train\.distill\.level=10 .*none of the 5 photos"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_levelling_small_photos_is_refused_before_training(tmp_path, photo):
    config = own_pictures.made(tmp_path, photo)
    config.data.source, config.train.distill.hr_patch = f"hr:{tmp_path}/pictures", 16
    config.train.distill.level = 10.0
    with pytest.raises(UserError, match=r"config\.train\.distill\.level=10: .* 16 LR pixels"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
