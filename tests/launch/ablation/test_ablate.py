"""The command: a whole sweep with commands that pretend, and on request the smoke sweep itself."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, wait_for

from kdgan_jax.workdir.metrics import read_metrics
from launch import ablate
from launch.ablation import jobs, planning, search

FIELD = "train.distill.losses.distill.weight"
SWEEP = "--sweep=configs/sweeps/smoke.py"
OUTPUT = '"output": {"train.distill.teachers.teacher.stored": "uint8"}'
PRETEND = Path(__file__).with_name("pretend.py")
# Runs the command with what pretends in place of the program.
COMMAND = f"""
import sys
from launch import ablate
from launch.ablation import jobs, planning
planning.PYTHON = sys.executable, {str(PRETEND)!r}
jobs.PAUSE = 0.02
sys.exit(ablate.main(sys.argv[1:]))
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Returns a function that runs the command with more arguments: (exit code, out, err)."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(planning, "PYTHON", (sys.executable, str(PRETEND)))
    monkeypatch.setattr(jobs, "PAUSE", 0.02)
    monkeypatch.delenv("PRETEND", raising=False)
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    before = [signal.getsignal(number) for number in numbers]

    def call(*more, sweep=SWEEP):
        try:
            code = ablate.main([sweep, f"--workdir={tmp_path}", *more])
        except SystemExit as left:
            code = left.code
        return code, *capfd.readouterr()

    yield call
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def starts(tmp_path, name):
    log = tmp_path / "logs" / f"{name}.log"
    return log.read_text().count("$ ") if log.exists() else 0


def test_a_failed_run_is_named_and_tried_again_and_finished_ones_are_not(
    run, tmp_path, monkeypatch
):
    monkeypatch.setenv("PRETEND", "output-0 fails")
    code, out, err = run()
    assert code == 1
    assert f"output-0 failed: the disk of runs is full (its log is {tmp_path}/logs/output-0" in err
    assert "6 of 7 tasks done; 1 failed" in err
    assert "output-0 (failed: the disk of runs is full)" in out
    monkeypatch.delenv("PRETEND")
    code, out, err = run("--jobs=2")
    assert (code, "missing" in out) == (0, False)
    names = "shared", "control-0", "output-0", "control-1", "output-1"
    assert [starts(tmp_path, name) for name in names] == [1, 1, 2, 1, 1]
    assert run()[0] == 0
    assert [starts(tmp_path, name) for name in names] == [1, 1, 2, 1, 1]
    assert (tmp_path / "report/report.md").read_text() == out


def test_what_needs_a_failed_task_is_blocked(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PRETEND", "shared fails")
    code, out, err = run()
    assert code == 1
    assert "1 of 7 tasks done; 1 failed; 5 blocked" in err
    assert "control-0 (blocked: needs shared)" in out
    assert not (tmp_path / "runs").exists()


def test_a_changed_variant_runs_again_and_says_what_has_changed(run, tmp_path):
    assert run()[0] == 0
    text = (ROOT / "configs/sweeps/smoke.py").read_text()
    (tmp_path / "s.py").write_text(
        text.replace('"output": {', '"output": {"scale": 4, "dtype": "bfloat16", ')
    )
    sweep = f"--sweep={tmp_path}/s.py"
    code, out, err = run("--status", sweep=sweep)
    assert (code, err) == (0, "")
    assert out.count("has changed") == 2
    code, out, err = run(sweep=sweep)
    assert code == 0
    assert "output-1 has changed" in err
    assert "config.dtype: 'float32' before, 'bfloat16' now" in err
    assert (tmp_path / "replaced/output-1.1/results.json").exists()
    assert (starts(tmp_path, "output-0"), starts(tmp_path, "control-0")) == (2, 1)


def test_status_and_report_run_nothing(run, tmp_path):
    code, out, _ = run("--status")
    assert code == 0
    assert out.splitlines()[-1].startswith("0 of 7 tasks done")
    code, out, _ = run("--report")
    assert (code, out.count("\n")) == (0, 1)
    assert "4 of 4 runs are missing: 4 waiting. Start the sweep again" in out
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_is_one_line(run, tmp_path):
    (tmp_path / "s.py").write_text("def get_sweep():\n    return 0")
    code, out, err = run(sweep=f"--sweep={tmp_path}/s.py")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: --sweep={tmp_path}/s.py")
    assert run("--jobs=0")[0] == 2
    assert run("--jobs=2", "--status")[0] == 2


def begun(tmp_path, behaviour, *more):
    """Starts the command in a process of its own, with what pretends."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, SWEEP, f"--workdir={tmp_path}", *more],
        cwd=ROOT,
        env={**os.environ, "PRETEND": behaviour},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_lets_runs_save_and_says_so_in_one_line(tmp_path):
    process = begun(tmp_path, "control-0 waits output-0 waits", "--jobs=2")
    for name in "control-0", "output-0":
        wait_for((tmp_path / "runs" / name / "begun").exists, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 75
    assert err.rstrip().splitlines()[-1].startswith("Stopped: 3 of 7 tasks done")
    assert "failed" not in err
    log = (tmp_path / "logs/control-0.log").read_text()
    assert log.splitlines()[-1].startswith("device count")


def test_what_a_killed_launcher_leaves_behind_is_waited_for(tmp_path):
    process = begun(tmp_path, "control-0 waits")
    wait_for((tmp_path / "runs/control-0/begun").exists, process)
    process.kill()
    process.communicate()
    second = begun(tmp_path, "")
    try:
        while "tasks done" not in second.stderr.readline():
            pass
        time.sleep(0.5)
        assert second.poll() is None
        assert starts(tmp_path, "control-0") == 1
        assert starts(tmp_path, "output-0") == 0  # one at a time
    finally:
        (tmp_path / "runs/control-0/go").touch()
        _, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    assert starts(tmp_path, "control-0") == 2  # the program says that the run is complete


def test_a_sweep_has_one_launcher(tmp_path, run):
    process = begun(tmp_path, "control-0 waits")
    wait_for((tmp_path / "runs/control-0/begun").exists, process)
    code, _, err = run()
    assert code == 2
    assert str(process.pid) in err
    assert re.search("control-0 +running", run("--status")[1])
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


@pytest.fixture
def searching(tmp_path):
    """Returns the argument that names a sweep of a control and four trials."""
    text = (ROOT / "configs/sweeps/smoke.py").read_text()
    assert f"{OUTPUT}," in text
    text = text.replace(f"{OUTPUT},", "")
    more = f"search={{{FIELD!r}: (0.05, 5.0)}}, trials=4, seeds=(0, 1)"
    path = tmp_path / "s.py"
    path.write_text(text.replace("seeds=(0, 1)", more))
    return f"--sweep={path}"


def test_a_search_tries_values_and_reports_the_best_first(run, tmp_path, searching):
    code, out, _ = run(sweep=searching)
    assert code == 0
    kept = json.loads((tmp_path / search.FILE).read_text())
    assert list(kept) == ["trial-00", "trial-01", "trial-02", "trial-03"]
    assert all(0.05 <= values[FIELD] <= 5 for values in kept.values())
    assert len({values[FIELD] for values in kept.values()}) == 4
    table = out[out.index("## Search") : out.index("## Costs")]
    rows = [line.split("|") for line in table.splitlines() if "trial-" in line]
    assert rows[0][1].strip() == "trial-02"  # which `pretend.psnr` makes the best
    assert rows[0][3].strip() == f"{kept['trial-02'][FIELD]:g}"
    assert [row[1].strip() for row in rows[1:3]] == ["trial-01", "trial-03"]
    commands = (tmp_path / "logs/trial-02-1.log").read_text()
    assert f"--config.{FIELD}={kept['trial-02'][FIELD]}" in commands


def test_a_search_goes_on_where_it_was_stopped(run, tmp_path, searching, monkeypatch):
    monkeypatch.setenv("PRETEND", "trial-01-1 fails")
    assert run(sweep=searching)[0] == 1
    first = (tmp_path / search.FILE).read_text()
    assert len(json.loads(first)) == 4
    monkeypatch.delenv("PRETEND")
    code, out, _ = run(sweep=searching)
    assert code == 0
    assert (tmp_path / search.FILE).read_text() == first
    logs = {path.stem: path.read_text().count("$ ") for path in (tmp_path / "logs").iterdir()}
    assert logs.pop("trial-01-1") == 1  # a trial that has failed is not tried again
    assert set(logs.values()) == {1}
    assert "trial-01-1 (failed" in out


@pytest.mark.parametrize(
    ("behaviour", "last", "started"),
    [
        ("shared fails", "all trials need shared, which has failed", {"shared": 1}),
        ("control-1 fails", "all trials need control-1, which has failed", {"control-1": 1}),
        ("trial-00-0 fails trial-01-0 fails trial-02-0 fails", "3 trials", {"trial-03-0": 0}),
    ],
)
def test_a_search_ends_where_no_trial_can_be_made(
    run, tmp_path, searching, monkeypatch, behaviour, last, started
):
    monkeypatch.setenv("PRETEND", behaviour)
    code, _, err = run(sweep=searching)
    assert code == 1
    assert f"The search ends: {last}" in err
    assert {name: starts(tmp_path, name) for name in started} == started
    monkeypatch.delenv("PRETEND")
    assert run(sweep=searching)[0] == 0


def test_more_trials_follow_those_that_were_made(run, tmp_path, searching):
    run(sweep=searching)
    first = json.loads((tmp_path / search.FILE).read_text())
    path = tmp_path / "s.py"
    path.write_text(path.read_text().replace("trials=4", "trials=5"))
    assert re.search("trial-00-0 +done", run("--status", sweep=searching)[1])
    assert run(sweep=searching)[0] == 0
    more = json.loads((tmp_path / search.FILE).read_text())
    assert list(more) == [*first, "trial-04"]
    assert first.items() <= more.items()


def test_mistakes_are_told_before_anything_runs(run, tmp_path, searching):
    path = tmp_path / "s.py"
    text = path.read_text()
    for wrong, fact in (("distill.weigth", "config.train.distill"), ("distill.weight", "holdout")):
        changed = text.replace(f"{{'{FIELD}'", f"{{'train.distill.losses.{wrong}'")
        changed = changed.replace("12}", '12, "data.holdout": 0}')
        path.write_text(changed)
        code, out, err = run(sweep=searching)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert fact in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.py"]


@pytest.mark.long
def test_the_smoke_sweep_survives_a_kill_and_a_broken_run(tmp_path):
    def start():
        command = [sys.executable, "-m", "launch.ablate", SWEEP, f"--workdir={tmp_path}"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=ROOT, text=True, **pipes)

    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/output-0").touch()  # where the run's folder must be
    process = start()
    log = tmp_path / "runs/control-0/metrics.jsonl"
    wait_for(lambda: read_metrics(log), process, 300)
    process.kill()
    process.communicate()
    out, err = (process := start()).communicate(timeout=600)
    assert process.returncode == 1, err
    assert "output-0 failed" in err
    assert "1 of 4 runs is missing: output-0 (failed: " in out
    (tmp_path / "runs/output-0").unlink()
    out, err = (process := start()).communicate(timeout=600)
    assert process.returncode == 0, err
    assert "7 of 7 tasks done" in err
    assert "missing" not in out
    for name in "report.md", "report.json", "curves.png", "differences.png":
        assert (tmp_path / "report" / name).stat().st_size > 1000
    saved = (tmp_path / "runs/control-0/config.json").read_text()
    assert '"weight": 0.0' in saved
