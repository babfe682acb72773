import hashlib
import json
import os
import shutil
import subprocess
import sys

import chex
import jax
import numpy as np
import pytest
from conftest import ROOT, items, losses, run_module
from PIL import Image

import kdgan_jax
from kdgan_jax import config as configuration
from kdgan_jax import models
from kdgan_jax.io import checkpoint
from kdgan_jax.zoo import foreign
from kdgan_jax.zoo.model import Model

PHASES = configuration.PHASES
SMOKE = "--config=configs/kd.py:smoke"


def start(*arguments, check=True):
    return run_module("kdgan_jax.main", *arguments, check=check)


def contents(workdir):
    """Returns hash and time of every file."""
    return {
        str(p.relative_to(workdir)): (hashlib.sha256(p.read_bytes()).digest(), p.stat().st_mtime_ns)
        for p in workdir.rglob("*")
        if p.is_file()
    }


def figures(workdir):
    """Returns the rows of results.json without times."""
    rows = json.loads((workdir / "results.json").read_text())["rows"]
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in rows]


# What a finished run leaves.


@pytest.mark.parametrize("phase", PHASES)
def test_checkpoints_hold_all_that_training_goes_on_from(smoke_run, phase):
    found = items(smoke_run, phase)
    wanted = {"params", "ema", "optimizer", "loop"}
    assert found.keys() == wanted | ({"discriminator"} if phase == "adversarial" else set())
    assert found["loop"].keys() == {"step", "key"}
    assert int(found["loop"]["step"]) == 4
    if phase == "adversarial":
        assert found["discriminator"].keys() == {"params", "optimizer"}


def test_two_newest_checkpoints_stay(smoke_run):
    assert checkpoint.steps(smoke_run / "checkpoints/teacher") == [2, 4]


def test_config_is_left_as_json(smoke_run):
    saved = json.loads((smoke_run / "config.json").read_text())
    assert set(saved) == set(configuration.default())
    assert saved["student"] == {"name": "compact", "kwargs": {"features": 8, "depth": 1}}


def test_results_have_a_row_per_model(smoke_run):
    names = [row["model"] for row in figures(smoke_run)]
    assert names == ["bicubic", "teacher", "student", "student, adversarial"]
    assert all(row["images"] == 3 for row in figures(smoke_run))
    table = (smoke_run / "results.md").read_text()
    assert all(f"\n| {name} |" in table for name in names)


def test_pictures_are_left(smoke_run):
    for name in ("comparison.png", "curves.png"):
        with Image.open(smoke_run / name) as image:
            image.load()
            assert min(image.size) > 200


@pytest.mark.parametrize("phase", PHASES)
def test_events_are_left(smoke_run, phase):
    (file,) = (smoke_run / "events" / phase).glob("events.out.tfevents.*")
    assert b"holdout_psnr_y" in file.read_bytes()


@pytest.mark.parametrize(
    ("phase", "weights"),
    [
        ("teacher", {"pixel": 1.0}),
        ("distill", {"pixel": 0.5, "distill": 0.5}),
        (
            "adversarial",
            {"pixel": 1e-2, "distill": 1e-2, "perceptual": 1.0, "adversarial": 5e-3},
        ),
    ],
)
def test_loss_parts_are_logged_unweighted(smoke_run, phase, weights):
    rows = [row for row in losses(smoke_run) if row["phase"] == phase]
    assert [row["step"] for row in rows] == [2, 4]
    for row in rows:
        total = sum(weight * row[part] for part, weight in weights.items())
        np.testing.assert_allclose(row["total"], total, rtol=1e-5)
        assert ("discriminator" in row) == (phase == "adversarial")
    assert rows[-1]["holdout_psnr_y"] > 20


# Starting again.


def test_second_start_says_complete_and_changes_nothing(smoke_run):
    before = contents(smoke_run)
    result = start(SMOKE, f"--workdir={smoke_run}")
    assert "the run is complete" in result.stderr
    assert (smoke_run / "results.md").read_text().strip() in result.stderr
    assert contents(smoke_run) == before


@pytest.fixture(scope="module")
def resumed(smoke_run, tmp_path_factory):
    """(a run that was stopped after step 2 of its last phase and went on, what it said)."""
    workdir = tmp_path_factory.mktemp("resumed") / "smoke"
    shutil.copytree(smoke_run, workdir)
    for name in ("results.json", "results.md", "comparison.png", "curves.png"):
        (workdir / name).unlink()
    shutil.rmtree(workdir / "checkpoints/adversarial/4")
    return workdir, start(SMOKE, f"--workdir={workdir}").stderr


def test_resumed_run_goes_on_where_it_stopped(resumed):
    assert "teacher: finished earlier" in resumed[1]
    assert "distill: finished earlier" in resumed[1]
    assert "adversarial: resumed at step 2" in resumed[1]


def test_resumed_run_ends_as_an_unbroken_one(resumed, smoke_run):
    chex.assert_trees_all_equal(
        items(resumed[0], "adversarial"), items(smoke_run, "adversarial"), strict=True
    )


def test_resumed_run_logs_and_measures_as_an_unbroken_one(resumed, smoke_run):
    assert losses(resumed[0]) == losses(smoke_run)
    assert figures(resumed[0]) == figures(smoke_run)


# Other runs.


@pytest.fixture(scope="module")
def given_teacher(smoke_run, tmp_path_factory):
    """The workdir of a run that loads the smoke run's teacher and distils it."""
    workdir = tmp_path_factory.mktemp("given") / "run"
    start(
        SMOKE,
        f"--workdir={workdir}",
        f"--config.teacher.checkpoint={smoke_run}",
        "--config.phases=('teacher', 'distill')",
    )
    return workdir


def test_given_teacher_is_taken_over(given_teacher, smoke_run):
    chex.assert_trees_all_equal(
        kdgan_jax.load(given_teacher, "teacher").params,
        kdgan_jax.load(smoke_run, "teacher").params,
        strict=True,
    )
    assert {row["phase"] for row in losses(given_teacher)} == {"distill"}


def test_given_teacher_is_distilled_as_the_trained_one(given_teacher, smoke_run):
    chex.assert_trees_all_equal(
        items(given_teacher, "distill"), items(smoke_run, "distill"), strict=True
    )


def test_a_teacher_that_has_changed_since_is_refused(smoke_run, tmp_path):
    shutil.copytree(smoke_run, tmp_path / "teacher")
    arguments = [
        SMOKE,
        f"--workdir={tmp_path / 'run'}",
        f"--config.teacher.checkpoint={tmp_path / 'teacher'}",
        "--config.phases=('teacher',)",
    ]
    start(*arguments)
    (tmp_path / "run/results.json").unlink()
    shutil.rmtree(tmp_path / "teacher/checkpoints/teacher/4")  # the one of step 2 is the newest
    refused = start(*arguments, check=False)
    assert refused.returncode == 2
    assert f"has changed since {tmp_path / 'run'} took it over" in refused.stderr


def test_a_published_file_may_be_the_teacher_even_one_for_y(tmp_path):
    module = models.generator("espcn", {"features": (4, 4)}, 4)
    params = models.init(module, jax.random.key(0), 16)
    foreign.save(tmp_path / "espcn.safetensors", Model("espcn", {"features": (4, 4)}, 4, params))
    workdir = tmp_path / "run"
    teacher = f"--config.teacher.checkpoint={tmp_path / 'espcn.safetensors'}"
    start(SMOKE, f"--workdir={workdir}", teacher, "--config.phases=('teacher', 'distill')")
    taken = kdgan_jax.load(workdir, "teacher")
    assert taken.name == "espcn"
    chex.assert_trees_all_equal(taken.params, jax.tree.map(np.asarray, params))
    assert {row["phase"] for row in losses(workdir)} == {"distill"}
    assert all(row["distill"] > 0 for row in losses(workdir))


@pytest.mark.parametrize(
    ("config", "models"),
    [
        ("configs/teacher.py:smoke", ["bicubic", "teacher"]),
        ("configs/seed.py:smoke", ["bicubic", "teacher", "student, adversarial"]),
    ],
)
def test_other_configs_run_on_a_folder(config, models, tmp_path, photo):
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.fromarray(photo[64 * i : 64 * i + 64, :96]).save(tmp_path / f"photos/{i}.png")
    start(
        f"--config={config}",
        f"--workdir={tmp_path / 'run'}",
        f"--config.data.source={tmp_path / 'photos'}",
        "--config.data.holdout=1",
    )
    rows = figures(tmp_path / "run")
    assert [row["model"] for row in rows] == models
    assert all(row["images"] == 1 for row in rows)


def test_trained_model_runs_in_a_fresh_process_without_tensorflow(smoke_run):
    program = f"""
import sys
import numpy as np
import kdgan_jax
model = kdgan_jax.load({str(smoke_run)!r})
sr = model.upscale(np.full((20, 30, 3), 128, np.uint8))
print(sr.shape, sr.dtype, [m for m in sys.modules if m.startswith("tensorflow")])
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "1"},  # the run had four
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "(80, 120, 3) uint8 []\n"


def test_help_names_the_flags():
    result = run_module("kdgan_jax.main", "--help", check=False)
    assert "--config: A file of configs/" in result.stdout
    assert "--workdir: Folder that the run writes to" in result.stdout


# Refused before any work: one line, exit code 2, and no workdir.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([SMOKE, "--config.sede=1"], 'Did you mean "seed"'),
        ([SMOKE, "--config.train.teacher.hr_patch=30"], "hr_patch=30 is not divisible"),
        ([SMOKE, "--config.data.source=EMPTY"], "EMPTY: holds no image"),
        ([SMOKE, "--config.devices=3"], "batch=4 is not divisible by the 3 devices"),
        ([SMOKE, "--config.teacher.checkpoint=EMPTY"], "EMPTY: holds no checkpoint of 'teacher'"),
        (["--config=configs/kd.py:smok"], "did you mean 'smoke'"),
        (["--config=configs/dk.py"], "configs/dk.py: no such file"),
        (["--config=configs/forest.py"], "is for another command, it has no field"),
    ],
)
def test_user_errors_are_one_line(tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    empty = str(tmp_path / "empty")
    result = start(
        *(argument.replace("EMPTY", empty) for argument in arguments),
        f"--workdir={tmp_path / 'run'}",
        check=False,
    )
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert message.replace("EMPTY", empty) in line
    assert not (tmp_path / "run").exists()


def test_other_photos_on_the_same_workdir_are_refused(smoke_run, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(smoke_run, workdir)
    (workdir / "results.json").unlink()
    saved = json.loads((workdir / "photos.json").read_text())
    saved["holdout"].remove(["coffee", 400, 600])
    (workdir / "photos.json").write_text(json.dumps(saved))
    result = start(SMOKE, f"--workdir={workdir}", check=False)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "photos have changed since the run was started (1 of 'holdout'," in line


def test_another_config_on_the_same_workdir_is_refused(smoke_run):
    before = contents(smoke_run)
    result = start(SMOKE, f"--workdir={smoke_run}", "--config.seed=3", check=False)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "config.seed: 0 there, 3 now" in line
    assert contents(smoke_run) == before
