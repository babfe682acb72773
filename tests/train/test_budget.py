"""Runs that fit into a number of minutes."""

import json
import signal

import own_pictures
import pytest

from kdgan_jax import load
from kdgan_jax.runtime import processes
from kdgan_jax.runtime.errors import Stopped, UserError
from kdgan_jax.train import budget, checks
from kdgan_jax.train.budget import Plan, Speeds, fit
from kdgan_jax.train.run import run
from kdgan_jax.train.stopping import Stop

SPEEDS = Speeds(
    load=0.05, label=0.4, compile=10.0, step=0.1, refining=0.0, evaluation=40.0, check=0.5
)


def seconds(plan: Plan, speeds: Speeds = SPEEDS) -> float:
    copies = plan.photos * plan.copies * (speeds.load + speeds.label)
    fixed = speeds.compile + speeds.evaluation + budget.EVALUATIONS * speeds.check
    return copies + plan.steps * speeds.step + plan.refining * speeds.refining + fixed


@pytest.mark.parametrize("photos", [1, 10, 60, 100, 5000])
@pytest.mark.parametrize("factor", [0.3, 1.0, 2.5])
def test_a_plan_takes_the_time_that_there_is(photos, factor):
    speeds = Speeds(*(value * factor for value in SPEEDS))
    plan = fit(600, speeds, photos, levels=2)
    assert 0.95 * 600 < seconds(plan, speeds) <= 600
    assert 1 <= plan.photos <= photos
    labels = plan.photos * plan.copies * (speeds.load + speeds.label)
    assert 0.15 * 600 < labels < 0.31 * 600
    assert plan.copies >= 2


@pytest.mark.parametrize("refining", [0.5, 2.0])
def test_a_refinement_gets_its_part_of_the_time(refining):
    speeds = SPEEDS._replace(refining=refining)
    plan = fit(600, speeds, 60, levels=2)
    assert 0.95 * 600 < seconds(plan, speeds) <= 600
    training = plan.steps * speeds.step + plan.refining * refining
    assert 0.25 < plan.refining * refining / training < 0.35


def test_too_little_time_is_refused_with_the_minutes_that_are_needed():
    slow = SPEEDS._replace(label=20.0)
    with pytest.raises(
        UserError, match=r"config\.minutes: 600 s .*64 images .*at least (\d+)"
    ) as caught:
        fit(600, slow, 50, levels=2)
    needed = int(str(caught.value).split("at least ")[1].split(",")[0])
    assert fit(needed * 60, slow, 50, levels=2).steps >= budget.LEAST_STEPS


@pytest.fixture
def config(tmp_path, monkeypatch, photo):
    """A timed run of seconds."""
    for name, value in {"LEAST_COPIES": 4, "LEAST_STEPS": 4, "SHEET_SECONDS": 0.0}.items():
        monkeypatch.setattr(budget, name, value)
    config = own_pictures.made(tmp_path, photo)
    config.minutes = 2.0
    return config


def test_a_run_keeps_the_plan_that_was_measured_at_its_start(config, tmp_path):
    workdir = tmp_path / "own"
    planned = budget.planned(config, workdir)
    plan = json.loads((workdir / "plan.json").read_text())
    assert planned.train.distill.steps == plan["steps"] > 4
    assert planned.data.copies == plan["copies"] >= 2
    assert planned.data.most == plan["photos"] <= 5
    assert config.train.distill.steps == 4, "the caller's config has changed"
    (workdir / "plan.json").write_text(json.dumps(plan | {"steps": 7}))
    assert budget.planned(config, workdir).train.distill.steps == 7


def test_runs_that_cannot_be_planned_are_refused(config, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(processes, "number", lambda: 2)
        with pytest.raises(UserError, match=r"config\.minutes=2 .*one process"):
            budget.planned(config, tmp_path)
    config.train.distill.teachers.teacher.stored = ""
    with pytest.raises(UserError, match=r"config\.minutes=2 .*stored"):
        budget.planned(config, tmp_path)
    config.minutes = -1.0
    with pytest.raises(UserError, match=r"config\.minutes=-1"):
        checks.checked(config)


def test_the_first_stop_leaves_a_student_with_card_and_table(config, tmp_path, monkeypatch):
    workdir, calls = tmp_path / "own", []
    workdir.mkdir()
    (workdir / "plan.json").write_text(json.dumps(Plan(5, 2, 12)._asdict()))

    def asked_at_the_third_step(self):
        calls.append(None)
        return signal.SIGINT if len(calls) == 3 else None

    monkeypatch.setattr(Stop, "after_step", asked_at_the_third_step)
    with pytest.raises(Stopped):
        run(config, workdir)
    first = load(workdir / "student.safetensors")
    assert first.about["teacher_licence"] == "made up"
    assert str(config.data.source) in first.about["photos"]
    card = (workdir / "student.md").read_text()
    for fact in ("teacher.safetensors", "made up", "bicubic", "| student |", "| teacher |"):
        assert fact in card
    assert "to teacher" in (workdir / "results.md").read_text()
    assert not (workdir / "results.json").exists(), "the run would count as complete"
    run(config, workdir)
    assert (workdir / "results.json").is_file()
    assert load(workdir / "student.safetensors").digest != first.digest


def test_a_planned_run_refines_its_student_on_request(config, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "LEAST_REFINING", 2)
    workdir = tmp_path / "own"
    config.refine, config.minutes = True, 0.8
    config.train.refine.losses.perceptual.kind = "perceptual:layers=(conv1_1,)"
    planned = budget.planned(config, workdir)
    plan = json.loads((workdir / "plan.json").read_text())
    assert planned.train.refine.steps == plan["refining"] >= 2
    (workdir / "plan.json").write_text(json.dumps(plan | {"steps": 4, "refining": 2, "copies": 2}))
    run(config, workdir)
    results = (workdir / "results.md").read_text()
    assert "| student |" in results
    assert "| student, refine |" in results
    card = load(workdir / "student.safetensors").about
    assert card["soft"] == f"{workdir}:distill"
    assert load(workdir / "student.safetensors", strength=0.5).scale == 4


def test_prepared_photos_cannot_be_copied_to_fit(config, tmp_path):
    config.data.prepared = "photos.bin"
    with pytest.raises(UserError, match=r"config\.minutes=2 .*photos\.bin"):
        budget.planned(config, tmp_path)


def test_one_picture_is_divided_and_complemented(config, tmp_path):
    for picture in sorted((tmp_path / "pictures").iterdir())[1:]:
        picture.unlink()
    config.data.complement = 2
    planned = budget.planned(config, tmp_path / "own")
    assert planned.data.source == f"{tmp_path}/pictures,embedded:train"
    assert tuple(planned.data.weights) == (1, 1)
    assert planned.data.most == 10
    assert budget.planned(config, tmp_path / "own").to_dict() == planned.to_dict(), "not resumable"
