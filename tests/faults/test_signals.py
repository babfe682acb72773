"""Runs that are asked to end, killed, or started twice, in processes of their own."""

import json
import shutil
import signal
import subprocess
import sys

import pytest
from conftest import ROOT, run_module, wait_for

from kdgan_jax.runtime.errors import STOPPED
from kdgan_jax.workdir import checkpoint

# A long first phase with a small network, from which any moment can be chosen.
ARGUMENTS = [
    "--config=configs/kd.py:smoke",
    "--config.phases=teacher",
    "--config.train.teacher.steps=100000",
    "--config.checkpoint_every=20",
    "--config.evaluate_every=100000",
]


def begin(workdir, *more):
    """Starts a run; it leads a group of its own, as one at a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", "kdgan_jax.main", *ARGUMENTS, f"--workdir={workdir}", *more],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def steps(workdir):
    return checkpoint.steps(checkpoint.phase_folder(workdir, "teacher"))


def last_exit(workdir):
    return json.loads((workdir / "run.json").read_text())["starts"][-1]["exit"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_end_saves_its_step_and_goes_on_there(tmp_path, number):
    process = begin(tmp_path / "run")
    wait_for(lambda: steps(tmp_path / "run"), process)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == STOPPED, said
    newest = steps(tmp_path / "run")[-1]
    last = said.splitlines()[-1]
    assert last == (
        f"stopped: teacher: stopped by {number.name} after step {newest}, which is saved; start"
        " again to go on"
    )
    assert last_exit(tmp_path / "run") == last.removeprefix("stopped: ")
    again = begin(tmp_path / "run")
    wait_for(lambda: steps(tmp_path / "run")[-1] > newest, again)
    second = begin(tmp_path / "run")  # while the first lives
    _, refused = second.communicate(timeout=300)
    assert second.returncode == 2
    assert f"is in use by process {again.pid} on " in refused
    again.kill()
    assert f"resumed at step {newest}" in again.communicate()[1]
    assert last_exit(tmp_path / "run") == "running"  # it could not say anything else
    third = begin(tmp_path / "run")  # the lock of a killed process is none
    before = steps(tmp_path / "run")[-1]
    wait_for(lambda: steps(tmp_path / "run")[-1] > before, third)
    third.send_signal(number)
    third.communicate(timeout=300)
    starts = json.loads((tmp_path / "run/run.json").read_text())["starts"]
    assert starts[-2]["exit"].startswith("ended without a word: killed")
    assert len(starts) == 3


def test_a_second_ctrl_c_leaves_at_once():
    # A step that takes a minute, for certain: how long one of a network takes is anyone's guess.
    # In naps: a signal that comes just before one is not handled until that one is over.
    program = """
import time
from kdgan_jax.train import stopping
with stopping.listening() as stop, stop.waiting():
    print("ready", flush=True)
    for _ in range(1200):
        time.sleep(0.05)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert "ends after this step" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)  # changes nothing
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_damaged_newest_checkpoints_are_named_and_the_one_before_is_taken(tmp_path, smoke_run):
    run = tmp_path / "run"
    shutil.copytree(smoke_run, run)
    for phase in "distill", "adversarial":
        shutil.rmtree(run / "checkpoints" / phase)
    (run / "results.json").unlink()
    newest = run / "checkpoints/teacher/4"
    (newest / "meta.json").write_text("{}")
    result = run_module("kdgan_jax.main", ARGUMENTS[0], f"--workdir={run}")
    assert f"{newest}/meta.json: altered since the checkpoint was written: the one before is" in (
        result.stderr
    )
    assert "teacher: resumed at step 2" in result.stderr
    ours, theirs = (json.loads((w / "results.json").read_text())["rows"] for w in (run, smoke_run))
    assert [row["psnr_y"] for row in ours] == [row["psnr_y"] for row in theirs]


def test_a_run_whose_checkpoints_are_all_damaged_is_not_started_over(tmp_path, smoke_run):
    run = tmp_path / "run"
    shutil.copytree(smoke_run, run)
    (run / "results.json").unlink()
    for step in steps(run):
        (run / "checkpoints/teacher" / str(step) / "meta.json").write_text("{}")
    result = run_module("kdgan_jax.main", ARGUMENTS[0], f"--workdir={run}", check=False)
    assert result.returncode == 2
    assert "all its checkpoints are damaged (steps 2, 4); bring one back" in result.stderr
