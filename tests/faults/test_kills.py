"""Runs that are killed at random moments end with the bits of one that is left alone.

One kill in the usual suite, 30 with those marked `long`.
"""

import random
import signal
import subprocess
import sys
import time

import conftest
import numpy as np
import pytest
from conftest import ROOT

PHASES = "teacher", "distill", "adversarial"
PER_KILL = 20  # steps of each phase, so that the run is not over before its last kill


def begin(workdir, steps):
    arguments = [f"--config.train.{phase}.steps={steps}" for phase in PHASES]
    arguments += ["--config.checkpoint_every=2", "--config.evaluate_every=100000"]
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "kdgan_jax.main",
            "--config=configs/kd.py:smoke",
            f"--workdir={workdir}",
            *arguments,
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def writing(workdir):
    """Returns whether a checkpoint is being written."""
    return any(workdir.glob("checkpoints/*/.*.part"))


def items(workdir, steps):
    """Returns all arrays of the last checkpoints of all phases."""
    return {
        (phase, name): tree
        for phase in PHASES
        for name, tree in conftest.items(workdir, phase, steps).items()
    }


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    if isinstance(tree, list | tuple):
        return [leaf for value in tree for leaf in leaves(value)]
    return [] if tree is None else [np.asarray(tree)]


def kill(workdir, steps, moment):
    """Starts a run and kills it: while it writes a checkpoint, or after a random time."""
    process = begin(workdir, steps)
    end = time.monotonic() + moment.uniform(1, 7)
    wanted = moment.random() < 0.5
    while process.poll() is None and time.monotonic() < end + 20 * wanted:
        if wanted and writing(workdir):
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said


@pytest.mark.parametrize("kills", [1, pytest.param(30, marks=pytest.mark.long)])
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(tmp_path, kills):
    moment = random.Random(0)
    steps = PER_KILL * kills
    for _ in range(kills):
        kill(tmp_path / "killed", steps, moment)
    for workdir in tmp_path / "killed", tmp_path / "left alone":
        process = begin(workdir, steps)
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
    ours, theirs = (items(tmp_path / name, steps) for name in ("killed", "left alone"))
    assert ours.keys() == theirs.keys()
    for name in ours:
        for a, b in zip(leaves(ours[name]), leaves(theirs[name]), strict=True):
            np.testing.assert_array_equal(a, b, str(name))
    assert not writing(tmp_path / "killed")
