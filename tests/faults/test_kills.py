"""Runs that are killed at random moments end with the bits of one that is left alone.

Two kills in the suite; `pytest tests/faults --kills=30` is the whole.
"""

import random
import signal
import subprocess
import sys
import time

import numpy as np
from conftest import ROOT
from orbax.checkpoint import v1 as ocp

from kdgan_jax.io import checkpoint

STEPS = 20
ARGUMENTS = [
    "--config=configs/kd.py:smoke",
    *(f"--config.train.{phase}.steps={STEPS}" for phase in ("teacher", "distill", "adversarial")),
    "--config.checkpoint_every=2",
    "--config.evaluate_every=1000",
]


def begin(workdir):
    return subprocess.Popen(
        [sys.executable, "-m", "kdgan_jax.main", *ARGUMENTS, f"--workdir={workdir}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def writing(workdir):
    """Returns whether a checkpoint is being written."""
    return any(workdir.glob("checkpoints/*/.*.part"))


def items(workdir):
    """Returns all arrays of the last checkpoints of all phases."""
    found = {}
    for phase in "teacher", "distill", "adversarial":
        folder = checkpoint.phase_folder(workdir, phase) / str(STEPS)
        checkpoint.verify(folder)
        for name in checkpoint.meta(folder)["items"]:
            found[phase, name] = ocp.load_checkpointables(folder / "items")[name]
    return found


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    if isinstance(tree, list | tuple):
        return [leaf for value in tree for leaf in leaves(value)]
    return [] if tree is None else [np.asarray(tree)]


def kill(workdir, moment):
    """Starts a run and kills it: while it writes a checkpoint, or after a random time."""
    process = begin(workdir)
    end = time.monotonic() + moment.uniform(1, 8)
    wanted = moment.random() < 0.5
    while process.poll() is None and time.monotonic() < end + 20 * wanted:
        if wanted and writing(workdir):
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), said


def test_a_run_killed_at_random_moments_ends_with_the_same_bits(tmp_path, request):
    moment = random.Random(0)
    for _ in range(request.config.getoption("--kills")):
        kill(tmp_path / "killed", moment)
    for workdir in tmp_path / "killed", tmp_path / "left alone":
        process = begin(workdir)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    ours, theirs = items(tmp_path / "killed"), items(tmp_path / "left alone")
    assert ours.keys() == theirs.keys()
    for name in ours:
        for a, b in zip(leaves(ours[name]), leaves(theirs[name]), strict=True):
            np.testing.assert_array_equal(a, b, str(name))
    assert not writing(tmp_path / "killed")
