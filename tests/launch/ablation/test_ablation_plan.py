"""From a sweep to tasks: resolved configs, commands, what is shared, what is refused."""

import dataclasses
import json
import sys

import pretend
import pytest
from conftest import ROOT
from PIL import Image

from kdgan_jax.runtime.errors import UserError
from launch.ablation import planning, sweep
from launch.ablation.sweep import Sweep

LOSSES = "train.distill.losses"
SMOKE = pretend.bare(sweep.read(str(ROOT / "configs/sweeps/smoke.py")))
PHASES = "configs/phases.py:hints,smoke"


@pytest.fixture(autouse=True)
def _root(monkeypatch):
    monkeypatch.chdir(ROOT)


def plan(tmp_path, **changes):
    return planning.make(dataclasses.replace(SMOKE, **changes), tmp_path, "S")


def flags(task, stage=0):
    words = task.stages[stage].command
    assert words[:2] == (sys.executable, "-m")
    return words[2], dict(word.removeprefix("--").split("=", 1) for word in words[3:])


def test_the_smoke_sweep_has_a_teacher_and_runs_that_start_from_it(tmp_path):
    made = plan(tmp_path)
    names = ["shared", "control-0", "output-0", "control-1", "output-1"]
    assert [task.name for task in made.tasks] == names
    module, given = flags(made.tasks[0])
    assert (module, given["config.phases"]) == ("kdgan_jax.main", "teacher")
    assert given["workdir"] == str(tmp_path / "shared")
    assert "config.seed" not in given
    for run in made.runs:
        assert run.task.needs == ("shared",)
        module, given = flags(run.task)
        assert module == "kdgan_jax.main"
        assert given["config"] == SMOKE.base
        assert given["config.phases"] == "distill"
        assert given["config.seed"] == str(run.task.seed)
        assert given["workdir"] == str(tmp_path / "runs" / run.task.name)
        model = f"{tmp_path / 'shared'}:teacher"
        assert given["config.train.distill.teachers.teacher.model"] == model
        teacher = run.config.phases[0].teachers
        assert [one.model for one in teacher.values()] == [model] * (run.task.variant == "output")
        assert (run.row, run.updates, run.config.seed) == ("student", 12, run.task.seed)
    assert flags(made.runs[0].task)[1][f"config.{LOSSES}.distill.weight"] == "0.0"


def test_facts_depend_on_what_counts_and_not_on_the_folder(tmp_path):
    def facts(folder=tmp_path, **common):
        made = plan(folder, common={**SMOKE.common, **common})
        return [json.dumps(task.stages[0].facts) for task in made.tasks]

    first = facts()
    assert facts(tmp_path / "elsewhere") == first
    assert len(set(first)) == 5
    assert not set(facts(**{"train.teacher.steps": 8})) & set(first)
    assert not set(facts(seed=5)) & set(first)  # another teacher


def test_stored_labels_and_decoded_photos_are_made_once(tmp_path):
    made = plan(
        tmp_path,
        base="configs/kd.py:smoke",
        common={"phases": ("distill",)},
        shared=(),
        prepare=True,
        variants={
            "control": {},
            "l2": {f"{LOSSES}.distill.kind": "l2"},
            "more": {"data.copies": 2},
        },
    )
    kinds = [task.name.split("-")[0] for task in made.tasks]
    assert kinds[:4] == ["photos", "labels", "photos", "labels"]
    photos, labels = made.tasks[:2]
    module, given = flags(photos)
    assert (module, given["out"]) == ("kdgan_jax.prepare", str(photos.stages[0].result))
    module, given = flags(labels)
    assert (module, given["out"]) == ("kdgan_jax.label", str(tmp_path / "labels" / labels.name))
    assert given["config.data.prepared"] == str(photos.stages[0].result)
    assert labels.needs == (photos.name,)
    for run in made.runs:
        own = made.tasks[2:4] if run.task.variant == "more" else (photos, labels)
        assert run.task.needs == tuple(task.name for task in own)
        assert run.config.data.labels == str(own[1].folder)
        assert flags(run.task)[1]["config.data.labels"] == str(own[1].folder)


def test_sets_are_measured_by_a_command_of_their_own(tmp_path):
    (tmp_path / "Set5").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "Set5/grey.png")
    made = plan(tmp_path, sets={"five": str(tmp_path / "Set5")}, metrics=["ssim_y"])
    module, given = flags(made.runs[0].task, 1)
    assert module == "kdgan_jax.evaluate"
    assert given["models"] == f"model={tmp_path}/runs/control-0:distill"
    assert given["data"] == f"five={tmp_path}/Set5"
    assert given["metrics"] == "psnr_y,ssim_y"
    assert given["scale"] == "4"


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"base": "configs/none.py"}, ["base='configs/none.py'"]),
        ({"sets": {"Set5": "/nowhere"}}, [r"sets\['Set5'\]", "/nowhere", "no such folder"]),
        ({"base": "configs/kd.py:smok"}, ["'smok'", "did you mean 'smoke'"]),
        ({"base": "configs/forest.py"}, ["base='configs/forest.py'"]),
        ({"common": {"train.distil.steps": 2}}, ["common", "train.distil.steps", "'distill'"]),
        ({"variants": {"control": {}, "b": {"data.copy": 2}}}, [r"\['b'\]", "data.copy", "copies"]),
        ({"variants": {"control": {}, "b": {"scale.x": 2}}}, [r"\['b'\]", "scale.x"]),
        ({"variants": {"control": {}, "b": {"train.distill": 2}}}, ["train.distill has fields"]),
        ({"variants": {"control": {"train.distill.steps": 0.5}}}, ["steps=0.5", "another type"]),
        (
            {
                "common": {"train.distill.lr_patch": 8},
                "variants": {"control": {}, "large": {"train.distill.hr_patch": 64}},
            },
            [r"\['large'\]", "hr_patch=64 has no effect", "lr_patch=16"],
        ),
        ({"variants": {"control": {"train.distill.steps": 0}}}, [r"\['control'\]", "steps=0"]),
        (
            {"variants": {"control": {}, "b": {"train.teacher.steps": 8}}},
            [r"\['b'\]", "config.train.teacher.steps", "shared"],
        ),
        (
            {"variants": {"control": {}, "b": {"teacher.network": "tiny"}}},
            [r"\['b'\]", "config.teacher.network", "shared"],
        ),
        ({"shared": ("teachr",)}, ["'teachr'", "'teacher'"]),
        ({"shared": ("teacher", "distill")}, ["all phases"]),
        ({"shared": ()}, None),
        ({"common": {"phases": ("distill",)}, "shared": ()}, [r"'teacher' is a phase"]),
        ({"common": {"minutes": 3.0}}, ["config.minutes=3"]),
        ({"common": {"data.source": "hr:nowhere"}}, ["control", "nowhere"]),
        ({"common": {"data.labels_mb": 0}}, ["labels_mb"]),
        ({"variants": {"control": {}, "b": {"log_every": 3}}}, [r"\['b'\]", r"\['control'\]"]),
        (
            {
                "base": PHASES,
                "common": {},
                "variants": {
                    "control": {f"{LOSSES}.hints.weight": 0.0},
                    "hints": {f"{LOSSES}.hints.kind": "fitnet:pairs=((conv1,conv9),)"},
                },
            },
            [r"\['hints'\]", "conv9", "hints"],
        ),
    ],
)
def test_what_cannot_run_is_refused_before_anything_runs(tmp_path, changes, facts):
    if facts is None:  # a teacher for every run, which is allowed
        assert len(plan(tmp_path, **changes).tasks) == 4
        return
    with pytest.raises(UserError) as error:
        plan(tmp_path, **changes)
    assert str(error.value).startswith("S: ")
    for fact in facts:
        assert error.match(fact)
    assert not list(tmp_path.iterdir())


def test_values_are_written_as_the_command_line_reads_them():
    values = {("a", "b"): "a,b", ("a",): "a", (0.5, 0.75): "(0.5, 0.75)", (): "()"}
    values |= {True: "True", 1e-4: "0.0001", "l1:x=(1,2)": "l1:x=(1,2)"}
    assert {value: planning.as_text(value) for value in values} == values


def test_an_override_may_name_what_is_there_only(tmp_path):
    base = planning.base_config(SMOKE.base)
    changed = planning.overridden(base, {"config.data.copies": 3, "phases": ["distill"]}, "here")
    assert (changed.data.copies, changed.phases) == (3, ("distill",))
    assert base.data.copies == 1
    assert isinstance(SMOKE, Sweep)
