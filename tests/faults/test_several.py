"""Runs of several processes, on CPU devices with gloo between them: shapes, deaths, preemption."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import conftest
import jax
import numpy as np
import pytest
from conftest import ROOT, wait_for

from kdgan_jax.runtime.errors import STOPPED
from kdgan_jax.workdir import checkpoint

# (processes, devices of each)
SHAPES = [(2, 2), (1, 4), (1, 1)]
STEPS = 10
ITEMS = "ema", "generator.params", "generator.optimizer"
ITEMS += "discriminator.params", "discriminator.optimizer"


def command(workdir, *more):
    return [
        *(sys.executable, "-m", "kdgan_jax.main", "--config=configs/kd.py:smoke"),
        f"--workdir={workdir}",
        *more,
    ]


def start(shape, arguments):
    """Starts a run of so many processes and devices."""
    processes, devices = shape
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    if processes > 1:
        counts = [f"--processes={processes}", f"--devices_per_process={devices}"]
        arguments = [sys.executable, "-m", "launch.local", *counts, "--", *arguments]
    return subprocess.Popen(
        arguments,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, code=0):
    """Returns what the run said until it ended with `code`."""
    _, said = process.communicate(timeout=300)
    assert process.returncode == code, said
    return said


def gan(workdir, teacher, *more):
    """Returns the command of ten full steps of the adversarial phase, with a given teacher."""
    return command(
        workdir,
        f"--config.teacher.checkpoint={teacher}",
        "--config.phases=teacher,adversarial",
        "--config.train.adversarial.start=",  # fresh weights: there is no phase before
        f"--config.train.adversarial.steps={STEPS}",
        "--config.train.adversarial.discriminator.warmup_steps=1",
        "--config.checkpoint_every=5",
        *more,
    )


def names(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def assert_same(ours, theirs):
    """Compares the last checkpoints of two runs.

    Sums over devices and processes are made in other orders, which is rounding: 2e-6 is ten times
    the largest difference seen (2e-7; weights are around 0.3). The biases of the discriminator's
    dense layers hardly touch its relativistic loss (they add the same to real and fake): their
    gradients are rounding alone, which Adam divides by its own size. Each may move by its learning
    rate (1e-4) in each of the steps.
    """
    for item in ITEMS:
        a, b = (names(conftest.items(w, "adversarial", STEPS)[item]) for w in (ours, theirs))
        assert a.keys() == b.keys()
        for name in a:
            loose = item == "discriminator.params" and name.startswith("Dense") and "bias" in name
            tolerance = 2 * STEPS * 1e-4 if loose else 2e-6
            if item.endswith("optimizer"):
                tolerance = max(tolerance, 1e-4 * np.abs(a[name]).max(initial=0))
            np.testing.assert_allclose(a[name], b[name], rtol=0, atol=tolerance, err_msg=name)


def figures(workdir):
    rows = json.loads((workdir / "results.json").read_text())["rows"]
    return [[row["psnr_y"], row["ssim_y"], row["lpips_alex"]] for row in rows]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, smoke_run):
    """The workdirs of the same run in all shapes."""
    folder = tmp_path_factory.mktemp("shapes")
    found = {shape: folder / "x".join(map(str, shape)) for shape in SHAPES}
    for shape, workdir in found.items():
        finish(start(shape, gan(workdir, smoke_run)))
    return found


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_processes_and_devices_do_not_change_what_is_learnt(runs, shape):
    assert_same(runs[2, 2], runs[shape])
    for row, other in zip(*(conftest.losses(runs[s]) for s in ((2, 2), shape)), strict=True):
        for name in "total", "pixel", "perceptual", "adversarial", "discriminator":  # no biases
            assert row[name] == pytest.approx(other[name], rel=1e-4)


@pytest.mark.parametrize(
    ("wrote", "reads"),
    [
        pytest.param((2, 2), (1, 4), marks=pytest.mark.long),
        ((2, 2), (1, 1)),
        ((1, 1), (2, 2)),
    ],
)
def test_any_shape_goes_on_where_another_was_and_measures_the_same(
    runs, smoke_run, tmp_path, wrote, reads
):
    half = tmp_path / "half"
    shutil.copytree(runs[wrote], half)
    shutil.rmtree(half / "checkpoints/adversarial" / str(STEPS))
    (half / "results.json").unlink()
    said = finish(start(reads, gan(half, smoke_run)))
    assert "adversarial: resumed at step 5" in said
    assert_same(half, runs[wrote])
    ours, theirs = figures(half), figures(runs[wrote])
    # Bicubic and the teacher are the same in both; the student's weights differ by rounding.
    np.testing.assert_allclose(ours[:2], theirs[:2], rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours[2:], theirs[2:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), pytest.param((1, 4), marks=pytest.mark.long)])
def test_any_shape_measures_the_same_models_the_same(runs, smoke_run, tmp_path, shape):
    copy = tmp_path / "copy"
    shutil.copytree(runs[2, 2], copy)
    (copy / "results.json").unlink()
    finish(start(shape, gan(copy, smoke_run)))
    np.testing.assert_allclose(figures(copy), figures(runs[2, 2]), rtol=0, atol=1e-6)


def children(process):
    """Returns the processes of a run that launch.local has started, in their order."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    )
    return [int(word) for word in listed.stdout.split()]


def endless(workdir):
    return command(
        workdir,
        "--config.phases=teacher",
        "--config.train.teacher.steps=100000",
        "--config.checkpoint_every=20",
        "--config.evaluate_every=100000",
    )


def newest(workdir):
    return (checkpoint.steps(workdir / "checkpoints/teacher") or [0])[-1]


def running(shape, workdir):
    """Starts a run that does not end by itself, and returns it when it has saved a step."""
    before = newest(workdir)
    process = start(shape, endless(workdir))
    wait_for(lambda: newest(workdir) > before, process)
    return process


@pytest.mark.parametrize("which", [1, pytest.param(0, marks=pytest.mark.long)])
def test_when_one_process_ends_all_do_and_a_start_goes_on(tmp_path, which):
    process = running((2, 1), tmp_path)
    began = time.monotonic()
    os.kill(children(process)[which], signal.SIGKILL)
    said = finish(process, 128 + signal.SIGKILL)
    assert time.monotonic() - began < 60
    assert said.splitlines()[-1] == (
        f"process {which} of 2 was killed by SIGKILL; the others are ended, since they cannot go"
        " on without it; the same command goes on from the newest checkpoint"
    )

    saved = newest(tmp_path)
    process = running((2, 1), tmp_path)
    if which:
        os.kill(children(process)[which], signal.SIGTERM)
    else:
        process.send_signal(signal.SIGINT)  # Ctrl-C to launch.local
    said = finish(process, STOPPED)
    assert f"teacher: resumed at step {saved}" in said
    saved = newest(tmp_path)
    stopped = f"stopped: teacher: stopped by SIGTERM after step {saved}, which is saved; start"
    for line in f"{stopped} again to go on", f"[1] {stopped} again to go on":
        assert line in said.splitlines()

    process = running((1, 1), tmp_path)
    process.send_signal(signal.SIGTERM)
    assert f"teacher: resumed at step {saved}" in finish(process, STOPPED)


@pytest.mark.long
@pytest.mark.parametrize("backend", ["device", "tfdata"])
def test_a_run_that_diverges_ends_in_all_processes_and_leaves_its_batch(tmp_path, backend):
    more = [f"--config.data.backend={backend}", "--config.train.teacher.learning_rate=1e30"]
    said = finish(start((2, 1), command(tmp_path, *more, "--config.max_bad_steps=2")), 2)
    line = "error: teacher: the last 3 updates up to step 4 were not finite"
    assert f"\n{line}" in said
    assert f"\n[1] {line}" in said
    with np.load(tmp_path / "debug/teacher/4.npz") as batch:
        assert batch["lr"].shape == (4, 8, 8, 3)  # of both processes
    assert json.loads((tmp_path / "run.json").read_text())["starts"][-1]["exit"] in said


@pytest.mark.long
def test_a_workdir_in_use_is_refused_by_all(tmp_path):
    first = running((1, 1), tmp_path)
    said = finish(start((2, 1), endless(tmp_path)), 2)
    assert f"error: {tmp_path}: is in use by process {first.pid} on " in said
    first.send_signal(signal.SIGTERM)
    finish(first, STOPPED)


@pytest.mark.long
def test_a_damaged_newest_checkpoint_is_passed_over_by_all(tmp_path):
    process = running((2, 1), tmp_path)
    process.send_signal(signal.SIGTERM)
    finish(process, STOPPED)
    before, last = checkpoint.steps(tmp_path / "checkpoints/teacher")[-2:]
    (tmp_path / "checkpoints/teacher" / str(last) / "meta.json").write_text("{}")
    process = start((2, 1), endless(tmp_path))
    wait_for(lambda: newest(tmp_path) > last, process)
    process.send_signal(signal.SIGTERM)
    assert f"teacher: resumed at step {before}" in finish(process, STOPPED)
