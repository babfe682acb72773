"""The command that stores labels, and runs that read them."""

import logging

import numpy as np
import pytest
from conftest import run_module

from configs import photo_soft
from kdgan_jax import config as configuration
from kdgan_jax import label, prepare
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import labelling
from kdgan_jax.train import run as training

SMOKE = "--config=configs/photo_soft.py:smoke"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """(the folder of the labels of configs/photo_soft.py:smoke, the command's messages)."""
    folder = tmp_path_factory.mktemp("stored") / "labels"
    return folder, run_module("kdgan_jax.label", SMOKE, f"--out={folder}").stderr


@pytest.fixture
def nothing_computed(monkeypatch):
    monkeypatch.setattr(labelling, "output", None)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("teacher*")}


def test_the_command_says_what_it_makes(stored):
    folder, messages = stored
    assert "teacher: 9 of 9 photos" in messages
    assert f"--config.data.labels={folder}" in messages
    assert len(files(folder)) == 2


def test_a_second_start_computes_nothing(stored, nothing_computed, caplog):
    folder, _ = stored
    before = files(folder)
    with caplog.at_level(logging.INFO, "kdgan_jax"):
        label.run(photo_soft.get_config("smoke"), str(folder))
    assert "complete, 9 photos" in caplog.text
    assert files(folder) == before


def test_a_run_reads_the_labels(stored, nothing_computed, tmp_path):
    config = photo_soft.get_config("smoke")
    config.data.labels = str(stored[0])
    training.run(config, tmp_path)
    assert (tmp_path / "results.md").is_file()
    assert not (tmp_path / "labels").exists()


def test_prepared_photos_have_the_same_labels(stored, tmp_path):
    config = photo_soft.get_config("smoke")
    prepare.run(config, str(tmp_path / "photos.bin"))
    config.data.prepared = str(tmp_path / "photos.bin")
    label.run(config, str(tmp_path / "labels"))
    assert files(tmp_path / "labels") == files(stored[0])


def test_labels_of_other_degradations_are_refused(stored):
    config = photo_soft.get_config("smoke")
    config.data.degradation = "none"
    with pytest.raises(UserError, match=r"teacher-\w+-uint8\.json: .*'photos'"):
        label.run(config, str(stored[0]))


def kd(**teachers):
    """A config whose student learns from `teachers`, its own and those of a file."""
    losses = {name: configuration.loss("l1", 1.0, target=name) for name in teachers}
    phases = {
        "teacher": configuration.teach(hr_patch=32),
        "distill": configuration.phase(losses=losses, teachers=teachers, hr_patch=32),
    }
    config = configuration.default(phases=phases)
    config.data.update(crop=16, degradation="none", source="embedded")
    return config


def own(stored="uint8"):
    return configuration.teacher("teacher", stored=stored)


def given(stored="float16"):
    return configuration.teacher("clean_x4", stored=stored)


@pytest.mark.parametrize(
    ("teachers", "facts"),
    [
        ({"big": own("")}, ["config.train.PHASE.teachers.NAME.stored"]),
        ({"big": own()}, ["config.train.distill.teachers.big.model='teacher'", "kdgan_jax.main"]),
    ],
)
def test_a_config_without_labels_to_make_is_refused(tmp_path, teachers, facts):
    with pytest.raises(UserError) as caught:
        label.run(kd(**teachers), str(tmp_path / "out"))
    assert all(fact in str(caught.value) for fact in facts)
    assert not (tmp_path / "out").exists()


def test_a_run_that_plans_its_copies_makes_its_own_labels(tmp_path):
    config = kd(small=given())
    config.minutes = 5.0
    with pytest.raises(UserError, match=r"config\.minutes=5: "):
        label.run(config, str(tmp_path / "out"))


def test_labels_of_a_phase_are_left_to_the_run(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "kdgan_jax"):
        label.run(kd(big=own(), small=given()), str(tmp_path))
    assert "config.train.distill.teachers.big.model='teacher'" in caplog.text
    (rows,) = tmp_path.glob("*.rows")
    assert rows.name.startswith("small-")
    assert np.isfinite(np.fromfile(rows, np.float16)).all()


def test_errors_name_the_photo_and_the_teacher(tmp_path, monkeypatch):
    monkeypatch.setattr(labelling, "LARGEST", -1.0)  # no image passes
    with pytest.raises(UserError, match=r"'small', photo '\w+#0'"):
        label.run(kd(small=given()), str(tmp_path))
