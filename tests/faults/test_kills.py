"""Runs that are killed end with the bits of one that is left alone."""

import random
import signal
import sys
import time

import pytest
import runs

PHASES = "teacher", "distill", "adversarial"
# Runs the command line, and dies before a complete checkpoint of step 4 gets its name.
DYING = """
import os, runpy, signal
rename = os.replace
def replace(source, target):
    if os.path.basename(target) == "4":
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
os.replace = replace
runpy.run_module("kdgan_jax.main", run_name="__main__", alter_sys=True)
"""


def writing(workdir):
    """Returns whether a checkpoint is being written, or was when the run was killed."""
    return any(workdir.glob("checkpoints/*/.*.part"))


def test_a_run_killed_in_a_checkpoint_resumes_with_the_same_bits(tmp_path):
    workdir = tmp_path / "run"
    process = runs.begin([sys.executable, "-c", DYING, *runs.command(workdir, runs.SMALL)[3:]])
    runs.end(process, -signal.SIGKILL)
    assert runs.steps(workdir) == [2]
    assert writing(workdir)
    before = runs.written(workdir, 2)
    runs.finish(workdir)  # the lock of a killed process does not count
    assert runs.written(workdir, 2) == before  # it resumed there
    assert not writing(workdir)
    assert runs.steps(workdir) == [2, 4]
    runs.assert_same_bits(workdir, runs.complete(tmp_path))
    killed, end = runs.exits(workdir)
    assert "killed" in killed
    assert end == "complete"


KILLS = 30
STEPS = 20 * KILLS  # of each phase, so that the run is not over before its last kill


def begin(workdir):
    every = {"checkpoint_every": 2, "evaluate_every": 100_000}
    settings = {f"train.{phase}.steps": STEPS for phase in PHASES}
    return runs.begin(runs.command(workdir, settings | every))


def kill(workdir, moment):
    """Starts a run and kills it: while it writes a checkpoint, or after a random time."""
    process = begin(workdir)
    end = time.monotonic() + moment.uniform(1, 7)
    in_checkpoint = moment.random() < 0.5
    while process.poll() is None and time.monotonic() < end + 20 * in_checkpoint:
        if in_checkpoint and writing(workdir):
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    runs.end(process, -signal.SIGKILL)


@pytest.mark.long
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(tmp_path):
    moment = random.Random(0)
    killed, left_alone = tmp_path / "killed", tmp_path / "left alone"
    for _ in range(KILLS):
        kill(killed, moment)
    for workdir in killed, left_alone:
        _, output = (process := begin(workdir)).communicate(timeout=600)
        assert process.returncode == 0, output
    for phase in PHASES:
        runs.assert_same_bits(killed, left_alone, phase, STEPS)
    assert not writing(killed)
