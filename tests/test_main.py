import hashlib
import json
import os
import shutil
import subprocess
import sys

import chex
import jax
import numpy as np
import older
import pytest
from conftest import ROOT, items, losses, run_module
from PIL import Image
from test_config import get_config

import kdgan_jax
from kdgan_jax import config as configuration
from kdgan_jax import models
from kdgan_jax.formats import foreign
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import checks
from kdgan_jax.train import run as training
from kdgan_jax.workdir import checkpoint

PHASES = "teacher", "distill", "adversarial"
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
    players = ["generator", "discriminator"] if phase == "adversarial" else ["generator"]
    wanted = {f"{player}.{part}" for player in players for part in ("params", "optimizer")}
    assert found.keys() == wanted | {"ema", "loop"}
    assert found["loop"].keys() == {"step", "key"}
    assert int(found["loop"]["step"]) == 4


@pytest.mark.parametrize("phase", PHASES)
def test_checkpoints_say_what_they_are_of(smoke_run, phase):
    facts = checkpoint.meta(smoke_run / "checkpoints" / phase / "4")
    assert (facts["phase"], facts["number"]) == (phase, PHASES.index(phase))
    assert facts["network"] == ("teacher" if phase == "teacher" else "student")


def test_two_newest_checkpoints_stay(smoke_run):
    assert checkpoint.steps(smoke_run / "checkpoints/teacher") == [2, 4]


def test_config_is_left_as_json(smoke_run):
    saved = json.loads((smoke_run / "config.json").read_text())
    assert set(saved) == set(configuration.default())
    assert saved["student"] == {"network": "compact:channels=8,depth=1", "checkpoint": ""}
    assert list(saved["phases"]) == list(PHASES)


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
        "--config.phases=teacher,distill",
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


@pytest.fixture(scope="module")
def few(tmp_path_factory, photo):
    """A folder of three photos of 96 x 64."""
    folder = tmp_path_factory.mktemp("few")
    for i in range(3):
        Image.fromarray(photo[64 * i : 64 * i + 64, :96]).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def tiny(few):
    """Gives a config of a file for seconds, on a few photos and one device.

    What runs in this process is compiled in half the time.
    """

    def make(name, variant):
        config = get_config(name, variant)
        config.data.source, config.data.holdout, config.devices = str(few), 1, 1
        config.checkpoint_every = 100
        return config

    jax.config.update("jax_disable_most_optimizations", True)
    yield make
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.parametrize(
    ("name", "models"),
    [("teacher", ["teacher"]), ("seed", ["teacher", "student"])],
)
def test_other_configs_run_on_a_folder(name, models, tmp_path, tiny):
    training.run(tiny(name, "smoke"), tmp_path)
    rows = figures(tmp_path)
    assert [row["model"] for row in rows] == ["bicubic", *models]
    assert all(row["images"] == 1 for row in rows)


# Phases under other names: the runs of configs/phases.py, each made once.

# The network of every phase.
RUNS = {
    "control": {"control": "student"},
    "assistant": {"teacher": "teacher", "assistant": "assistant", "distill": "student"},
    "two_teachers": {"sharp": "teacher", "smooth": "assistant", "distill": "student"},
    "published": {"distill": "student"},
    "hints": {"teacher": "teacher", "distill": "student"},
    "finetune": {"student": "student"},
    "refine": {"adversarial": "student"},
}


def save(path, name, kwargs, scale=4):
    """Writes a file as others publish them, of fresh weights, which are returned."""
    params = models.init(models.generator(name, kwargs, scale), jax.random.key(0), 16)["params"]
    foreign.save(path, Model(name, kwargs, scale, params))
    return jax.tree.map(np.asarray, params)


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny):
    """Gives (config, workdir) of the run of a variant; not to be changed."""
    folder, configs = tmp_path_factory.mktemp("made"), {}

    def run(variant):
        if variant not in configs:
            config = tiny("phases", f"{variant},smoke")
            if variant == "finetune":
                config.train.student.learning_rate = 1e-9
            if variant == "refine":
                save(folder / "start.safetensors", "compact", {"channels": 4, "depth": 1})
                refined = config.train.adversarial
                refined.start = str(folder / "start.safetensors")
                refined.discriminator.warmup_steps = 0
                refined.losses.perceptual.kind = "perceptual:layers=(conv1_2,)"
            training.run(config, folder / variant)
            configs[variant] = config
        return configs[variant], folder / variant

    return run


@pytest.mark.parametrize("variant", RUNS)
def test_runs_of_any_phases_leave_a_model_of_each(made, variant):
    config, workdir = made(variant)
    phases = RUNS[variant]
    assert training.row_names(checks.checked(config)) == phases
    assert [row["model"] for row in figures(workdir)] == ["bicubic", *phases.values()]
    said = [row for row in losses(workdir) if "holdout_psnr_y" in row]
    assert [(row["phase"], row["step"]) for row in said] == [(phase, 4) for phase in phases]
    for phase, network in phases.items():
        model = kdgan_jax.load(workdir, phase)
        for path in (f"{workdir}:{phase}", f"{workdir}:{network}"):
            chex.assert_trees_all_equal(kdgan_jax.load(path).params, model.params)
        assert items(workdir, phase).keys() >= {"ema", "generator.params", "loop"}
    assert kdgan_jax.load(workdir).spec == model.spec  # the student's phase is the last


@pytest.mark.parametrize("variant", RUNS)
def test_losses_are_logged_by_their_labels(made, variant):
    config, workdir = made(variant)
    for row in losses(workdir):
        wanted = {*config.train[row["phase"]].losses, "total", "gradient_norm"}
        if config.train[row["phase"]].discriminator.regularizers:
            wanted |= {"discriminator", "logit_real", "logit_fake", "r1"}
        assert row.keys() - {"phase", "step", "holdout_psnr_y"} == wanted
        assert np.isfinite(row["total"])


def test_a_second_start_of_such_a_run_says_complete(made, caplog):
    config, workdir = made("two_teachers")
    before = contents(workdir)
    caplog.set_level("INFO", "kdgan_jax")
    training.run(config, workdir)
    assert "the run is complete" in caplog.text
    assert contents(workdir) == before


def test_an_interrupted_run_of_other_phases_ends_as_an_unbroken_one(made, tmp_path, caplog):
    config, workdir = made("hints")
    again = tmp_path / "again"
    shutil.copytree(workdir, again)
    (again / "results.json").unlink()
    shutil.rmtree(again / "checkpoints/distill")
    caplog.set_level("INFO", "kdgan_jax")
    training.run(config, again)
    assert "teacher: finished earlier" in caplog.text
    chex.assert_trees_all_equal(items(again, "distill"), items(workdir, "distill"), strict=True)
    assert losses(again) == losses(workdir)


def test_parameters_of_losses_train_along(made):
    found = items(made("hints")[1], "distill")
    (hints,) = found["adapters.params"].values()
    assert hints.keys() == {"conv1-conv1", "conv2-conv3"}
    assert all(np.abs(adapter["bias"]).max() > 0 for adapter in hints.values())  # 0 at first


def test_vectors_of_a_spectral_norm_are_kept(made):
    found = items(made("refine")[1], "adversarial")
    assert found["discriminator.others"].keys() == {"batch_stats"}


def apart(ours, theirs):
    """Returns the largest difference of weights."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return max(np.abs(a - b).max() for a, b in pairs)


def test_fine_tuning_starts_from_the_model_that_was_given(made):
    _, workdir = made("finetune")
    start = kdgan_jax.load("student_x4")
    for words in "student", "student:raw":
        model = kdgan_jax.load(f"{workdir}:{words}")
        assert model.spec == start.spec  # and not what the config says of the student
        assert 0 < apart(model.params, start.params) < 1e-7


def test_a_refinement_may_start_from_a_phase_of_an_earlier_run(made, tiny, tmp_path):
    _, earlier = made("assistant")
    config = tiny("phases", "refine,smoke")
    config.train.adversarial.update(start=f"{earlier}:assistant", learning_rate=1e-9)
    config.train.adversarial.losses.perceptual.weight = 0.0
    config.train.adversarial.discriminator.warmup_steps = 0
    training.run(config, tmp_path)
    start, model = kdgan_jax.load(earlier, "assistant"), kdgan_jax.load(tmp_path)
    assert model.spec == start.spec
    assert 0 < apart(model.params, start.params) < 1e-7
    assert given(tmp_path) == {"config.train.adversarial.start": start.digest}


def given(workdir):
    return json.loads((workdir / "given.json").read_text())


def test_models_that_were_given_are_recorded(made):
    assert not (made("assistant")[1] / "given.json").exists()
    field = "config.train.distill.teachers.teacher.model"
    assert given(made("published")[1]) == {field: kdgan_jax.load("student_x4").digest}


@pytest.fixture
def espcn(tmp_path):
    """(a file as others publish them, of a network for Y; its weights)."""
    path = tmp_path / "espcn.safetensors"
    return path, save(path, "espcn", {"channels": (4, 4)})


def test_a_published_file_may_be_the_teacher_even_one_for_y(tiny, espcn, tmp_path):
    config = tiny("kd", "smoke")
    config.phases = "teacher", "distill"
    config.teacher.checkpoint = str(espcn[0])
    training.run(config, tmp_path / "run")
    taken = kdgan_jax.load(tmp_path / "run", "teacher")
    assert taken.name == "espcn"
    chex.assert_trees_all_equal(taken.params, espcn[1])
    rows = losses(tmp_path / "run")
    assert {row["phase"] for row in rows} == {"distill"}
    assert all(row["distill"] > 0 for row in rows)


@pytest.fixture
def half(made, tiny, espcn, tmp_path):
    """(config, workdir) of a run that has begun with a teacher's file, and has no checkpoint."""
    config = tiny("phases", "published,smoke")
    config.train.distill.teachers.teacher.model = str(espcn[0])
    workdir = tmp_path / "run"
    training.run(config, workdir)
    (workdir / "results.json").unlink()
    return config, workdir


def test_a_given_model_is_the_teacher_as_it_is(half, espcn):
    _, workdir = half
    assert all(row["distill"] > 0 for row in losses(workdir))
    assert list(given(workdir)) == ["config.train.distill.teachers.teacher.model"]


def test_a_given_model_that_has_changed_is_refused(half, espcn):
    config, workdir = half
    shutil.rmtree(workdir / "checkpoints")
    params = jax.tree.map(lambda x: x + 1, espcn[1])
    foreign.save(espcn[0], Model("espcn", {"channels": (4, 4)}, 4, params))
    before = contents(workdir)
    with pytest.raises(UserError) as caught:
        training.run(config, workdir)
    for fact in ("distill.teachers.teacher.model", str(espcn[0]), "has changed", str(workdir)):
        assert fact in str(caught.value)
    assert contents(workdir) == before


def test_a_given_model_may_go_when_it_is_not_needed_any_more(half, espcn):
    config, workdir = half
    espcn[0].unlink()
    kept = contents(workdir / "checkpoints")
    training.run(config, workdir)
    assert (workdir / "results.json").is_file()
    assert contents(workdir / "checkpoints") == kept
    (workdir / "results.json").unlink()
    shutil.rmtree(workdir / "checkpoints")
    with pytest.raises(UserError) as caught:
        training.run(config, workdir)
    assert f"{espcn[0]}: no such file" in str(caught.value)


def test_a_given_model_of_another_scale_is_refused(tiny, tmp_path):
    save(tmp_path / "a.safetensors", "compact", {"channels": 4, "depth": 1}, scale=2)
    config = tiny("phases", "finetune,smoke")
    config.train.student.start = str(tmp_path / "a.safetensors")
    with pytest.raises(UserError) as caught:
        training.run(config, tmp_path / "run")
    for fact in ("config.train.student.start", "a.safetensors", "scale 2", "config.scale is 4"):
        assert fact in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_features_that_a_network_does_not_have_are_said_before_any_work(tiny, tmp_path):
    config = tiny("phases", "hints,smoke")
    config.train.distill.losses.hints.kind = "fitnet:pairs=((conv1,conv9),)"
    with pytest.raises(UserError, match="'conv9'"):
        training.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_of_an_older_version_is_read_and_not_resumed(tmp_path, tiny, key):
    kept = older.run(tmp_path, key)
    before = contents(tmp_path)
    with pytest.raises(UserError) as caught:
        training.run(tiny("kd", "smoke"), tmp_path)
    for fact in (str(tmp_path), f"kdgan_jax {older.VERSION}", "--workdir"):
        assert fact in str(caught.value)
    assert contents(tmp_path) == before
    for words in "student", "teacher", "distill", "teacher:raw":
        phase = {"student": "adversarial"}.get(words, words.partition(":")[0])
        weights = kept[phase]["params" if "raw" in words else "ema"]
        chex.assert_trees_all_equal(kdgan_jax.load(f"{tmp_path}:{words}").params, weights)


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
