"""Inputs of a run; tests/test_main.py changes the photos and teachers of whole runs."""

import dataclasses

import pytest
from described import loss, phase_config
from PIL import Image

from kdgan_jax.config.settings import DataConfig, LoopConfig, RunConfig, Spec, TeacherConfig
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import inputs


@pytest.mark.parametrize("text", ["", "[]", '{"train": []}', '{"train": [], "holdout": 1}'])
def test_a_damaged_list_of_photos_is_refused(tmp_path, text):
    (tmp_path / "photos.json").write_text(text)
    with pytest.raises(UserError, match=r"photos\.json"):
        inputs.record_photos(tmp_path / "photos.json", {"train": [], "holdout": []})


@pytest.mark.parametrize("text", ["", "[1]", "3"])
def test_a_damaged_list_of_models_is_refused(tmp_path, text):
    (tmp_path / "given.json").write_text(text)
    with pytest.raises(UserError, match=r"given\.json"):
        inputs.record_models(tmp_path / "given.json", {})


def run_of(*phases, data=None):
    return RunConfig(0, 4, 1, phases, data or DataConfig(), LoopConfig())


def test_no_photo_to_train_on_shows_what_a_held_out_one_shows(tmp_path, photo, caplog):
    for i in range(9):
        image = Image.fromarray(photo[i // 3 * 100 :, i % 3 * 150 :][:96, :96])
        image.save(tmp_path / f"{i}.png")
        image.resize((48, 48)).save(tmp_path / f"{i}small.png")
    run = run_of(phase_config("student", hr_patch=32), data=DataConfig(str(tmp_path), 2))
    (_, photos), again = inputs.photos(run), inputs.photos(run)[1]
    assert photos == again
    held_out = {photo.name[0] for photo in photos.holdout}
    names = {f"{i}{end}" for i in range(9) if str(i) not in held_out for end in ("", "small")}
    assert {photo.name for photo in photos.train} == names
    assert "photos leave training" in caplog.text


def teacher(**options):
    return phase_config("teacher", spec=Spec("compact", {"channels": 4, "depth": 2} | options))


def student(pair, model="teacher"):
    losses = {"hints": loss(f"fitnet:pairs=({pair},)", target="guide")}
    teachers = {"guide": TeacherConfig(model)}
    return phase_config("student", losses=losses, teachers=teachers, number=1)


@pytest.mark.parametrize("branches", [False, True])  # which are folded to teach
def test_hints_between_networks_that_are_not_trained_yet_are_accepted(tmp_path, branches):
    run = run_of(teacher(branches=branches), student("(conv1,conv3)"))
    inputs.check_phases(run, tmp_path, {}, 1)


@pytest.mark.parametrize(
    ("pair", "facts"),
    [("(conv9,conv3)", ["'conv9'", "conv1, conv2"]), ("(conv1,conv4)", ["'conv4'", "conv3"])],
)
def test_hints_from_features_that_do_not_exist_are_refused(tmp_path, pair, facts):
    with pytest.raises(UserError) as caught:
        inputs.check_phases(run_of(teacher(), student(pair)), tmp_path, {}, 1)
    message = str(caught.value)
    assert message.startswith("config.train.student.losses.hints.kind: the ")
    assert all(fact in message for fact in facts)


def test_models_from_elsewhere_are_told_from_phases():
    phase = dataclasses.replace(student("(conv1,conv3)", "file"), start="teacher")
    guide = inputs.ModelReference("file", "teacher", fold=True)
    assert inputs.external_references(phase, run_of(teacher(), phase)) == {
        "config.train.student.teachers.guide.model": guide
    }


def test_a_phase_may_be_called_teachers():
    phase = phase_config("teachers", network="student", start="file")
    start = inputs.ModelReference("file", "student", fold=False)
    assert inputs.external_references(phase, run_of(phase)) == {
        "config.train.teachers.start": start
    }


def test_a_deep_network_of_ones_own_is_accepted(tmp_path):
    # It has 1,700 layers: limits for files from elsewhere do not apply to what the run trains.
    inputs.check_phases(run_of(teacher(channels=1, depth=1700)), tmp_path, {}, 1)


def test_a_loss_that_needs_more_images_than_a_device_has_is_refused(tmp_path):
    losses = {"contrast": loss("contrastive:negatives=3")}
    run = run_of(phase_config("student", losses=losses, batch=4))
    inputs.check_phases(run, tmp_path, {}, 1)
    field = r"config\.train\.student\.losses\.contrast\.kind: negatives=3 .* which has 2;"
    with pytest.raises(UserError, match=field):
        inputs.check_phases(run, tmp_path, {}, 2)
