"""What a run is given; changed photos and teachers are in tests/test_main.py."""

import dataclasses

import pytest
from described import loss, phase_config

from kdgan_jax.config.settings import DataConfig, LoopConfig, RunConfig, Spec, TeacherConfig
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import inputs


@pytest.mark.parametrize("text", ["", "[]", '{"train": []}', '{"train": [], "holdout": 1}'])
def test_a_damaged_list_of_photos_is_named(tmp_path, text):
    (tmp_path / "photos.json").write_text(text)
    with pytest.raises(UserError, match=r"photos\.json: does not say which photos"):
        inputs.same_photos(tmp_path / "photos.json", {"train": [], "holdout": []})


@pytest.mark.parametrize("text", ["", "[1]", "3"])
def test_a_damaged_list_of_models_is_named(tmp_path, text):
    (tmp_path / "given.json").write_text(text)
    with pytest.raises(UserError, match=r"given\.json: does not say which models"):
        inputs.record_given(tmp_path / "given.json", {})


def a_run(*phases):
    return RunConfig(0, 4, 1, phases, DataConfig(), LoopConfig())


TEACHER = phase_config("teacher", spec=Spec("compact", {"channels": 6, "depth": 2}))


def student(pairs, model="teacher"):
    losses = {"hints": loss(f"fitnet:pairs=({pairs},)", target="guide")}
    teachers = {"guide": TeacherConfig(model)}
    return phase_config("student", losses=losses, teachers=teachers, number=1)


def test_hints_that_fit_networks_that_are_not_trained_yet_pass(tmp_path):
    inputs.check_phases(a_run(TEACHER, student("(conv1,conv3)")), tmp_path, {})


@pytest.mark.parametrize(
    ("pairs", "facts"),
    [("(conv9,conv3)", ["'conv9'", "conv1, conv2"]), ("(conv1,conv4)", ["'conv4'", "conv3"])],
)
def test_features_that_are_not_there_are_named_before_anything_is_trained(tmp_path, pairs, facts):
    with pytest.raises(UserError) as caught:
        inputs.check_phases(a_run(TEACHER, student(pairs)), tmp_path, {})
    assert all(fact in str(caught.value) for fact in facts)


def test_a_student_with_branches_is_taught_by_a_folded_teacher(tmp_path):
    branched = Spec("compact", {"channels": 6, "depth": 2, "branches": True})
    teacher = dataclasses.replace(TEACHER, spec=branched)
    inputs.check_phases(a_run(teacher, student("(conv1,conv3)")), tmp_path, {})


def test_models_from_elsewhere_are_told_from_phases():
    run = a_run(TEACHER, dataclasses.replace(student("(conv1,conv3)", "file"), start="teacher"))
    named = inputs.named(run.phases[1], run)
    guide = inputs.Named("file", "teacher", fold=True)
    assert named == {"config.train.student.teachers.guide.model": guide}


def test_a_phase_may_be_called_teachers():
    phase = phase_config("teachers", network="student", start="file")
    start = inputs.Named("file", "student", fold=False)
    assert inputs.named(phase, a_run(phase)) == {"config.train.teachers.start": start}


def test_a_large_network_of_ones_own_is_not_refused(tmp_path):
    # 1,700 layers: a limit for files from elsewhere is none for what one trains.
    deep = phase_config("teacher", spec=Spec("compact", {"channels": 1, "depth": 1700}))
    inputs.check_phases(a_run(deep), tmp_path, {})
