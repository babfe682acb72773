"""Runs of several processes, on CPU devices with gloo between them: deaths, preemption, shapes."""

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
import runs
from conftest import wait_for

from kdgan_jax.runtime.errors import STOPPED, Stopped

GAN_STEPS = 10
# (processes, devices of each)
SHAPES = [(2, 2), (1, 4), (1, 1)]


def start(shape, workdir, settings=runs.ENDLESS):
    """Starts a run with so many processes and devices."""
    processes, devices = shape
    command = runs.command(workdir, settings)
    if processes > 1:
        counts = [f"--processes={processes}", f"--devices_per_process={devices}"]
        command = [sys.executable, "-m", "launch.local", *counts, "--", *command]
    return runs.begin(command, JAX_NUM_CPU_DEVICES=str(devices))


def running(shape, workdir):
    """Starts an endless run and returns it when it has saved another step."""
    before = runs.steps(workdir)[-1:]
    process = start(shape, workdir)
    wait_for(lambda: runs.steps(workdir)[-1:] > before, process)
    return process


def children(process):
    """Returns the processes of a run that launch.local has started, in their order."""
    command = ["ps", "-o", "pid=", "--ppid", str(process.pid)]
    return [int(word) for word in subprocess.check_output(command, text=True).split()]


@pytest.mark.parametrize("which", [1, pytest.param(0, marks=pytest.mark.long)])
def test_when_one_process_ends_all_do_and_the_same_command_resumes(tmp_path, which):
    process = running((2, 1), tmp_path / "two")
    began = time.monotonic()
    os.kill(children(process)[which], signal.SIGKILL)
    last = runs.end(process, 128 + signal.SIGKILL).splitlines()[-1]
    assert time.monotonic() - began < 60
    assert f"process {which} of 2" in last
    assert "SIGKILL" in last

    saved = runs.steps(tmp_path / "two")[-1]
    process = running((2, 1), tmp_path / "two")
    if which:
        os.kill(children(process)[which], signal.SIGTERM)
    else:
        process.send_signal(signal.SIGINT)  # Ctrl-C to launch.local
    lines = runs.end(process, STOPPED).splitlines()
    assert any(f"step {saved}" in line for line in lines)  # where it resumed
    step = runs.steps(tmp_path / "two")[-1]
    stopped = [line for line in lines if f"teacher step {step} " in line]
    assert any(line.startswith("[1] ") for line in stopped)
    assert any(not line.startswith("[1] ") for line in stopped)

    # Processes do not change what is learnt.
    alone = tmp_path / "one"
    with pytest.raises(Stopped):
        runs.finish_until(lambda: runs.steps(alone), signal.SIGTERM, alone)
    for row, other in zip(
        *(conftest.losses(w)[:10] for w in (tmp_path / "two", alone)), strict=True
    ):
        assert row["step"] == other["step"]
        for name in "total", "gradient_norm":
            assert row[name] == pytest.approx(other[name], rel=1e-4)


# The whole adversarial phase, in all shapes.


def gan(teacher):
    """Returns the settings of the adversarial phase, with a given teacher and fresh weights."""
    return {
        "teacher.checkpoint": teacher,
        "phases": "teacher,adversarial",
        "train.adversarial.start": "",
        "train.adversarial.steps": GAN_STEPS,
        "train.adversarial.discriminator.warmup_steps": 1,
        "checkpoint_every": 5,
    }


def arrays(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def assert_close(workdir, other):
    """Compares the last checkpoints of two runs in different shapes.

    Devices and processes change the order of sums, which is rounding: 2e-6 is ten times the largest
    difference seen (2e-7; weights are around 0.3). The biases of the discriminator's dense layers
    hardly affect its relativistic loss (they add the same to real and fake): their gradients are
    rounding alone, which Adam divides by its own size. Each may move by its learning rate (1e-4) in
    each of the steps.
    """
    items, others = (conftest.items(w, "adversarial", GAN_STEPS) for w in (workdir, other))
    compared = "ema", "generator.params", "generator.optimizer"
    for item in *compared, "discriminator.params", "discriminator.optimizer":
        a, b = arrays(items[item]), arrays(others[item])
        assert a.keys() == b.keys()
        for name in a:
            loose = item == "discriminator.params" and name.startswith("Dense") and "bias" in name
            tolerance = 2 * GAN_STEPS * 1e-4 if loose else 2e-6
            if item.endswith("optimizer"):
                tolerance = max(tolerance, 1e-4 * np.abs(a[name]).max(initial=0))
            np.testing.assert_allclose(a[name], b[name], rtol=0, atol=tolerance, err_msg=name)


def figures(workdir):
    rows = json.loads((workdir / "results.json").read_text())["rows"]
    return [[row["psnr_y"], row["ssim_y"], row["lpips_alex"]] for row in rows]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, smoke_run):
    """The workdirs of the same run in all shapes."""
    folder = tmp_path_factory.mktemp("shapes")
    workdirs = {shape: folder / "x".join(map(str, shape)) for shape in SHAPES}
    for shape, workdir in workdirs.items():
        runs.end(start(shape, workdir, gan(smoke_run)))
    return workdirs


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES[1:])
def test_processes_and_devices_do_not_change_what_is_learnt(trained, shape):
    assert_close(trained[2, 2], trained[shape])
    for row, other in zip(*(conftest.losses(trained[s]) for s in ((2, 2), shape)), strict=True):
        for name in "total", "pixel", "perceptual", "adversarial", "discriminator":  # no biases
            assert row[name] == pytest.approx(other[name], rel=1e-4)


@pytest.mark.long
@pytest.mark.parametrize(("wrote", "reads"), [((2, 2), (1, 4)), ((2, 2), (1, 1)), ((1, 1), (2, 2))])
def test_any_shape_resumes_another_and_measures_the_same(
    trained, smoke_run, tmp_path, wrote, reads
):
    half = shutil.copytree(trained[wrote], tmp_path / "half")
    shutil.rmtree(half / "checkpoints/adversarial" / str(GAN_STEPS))
    (half / "results.json").unlink()
    output = runs.end(start(reads, half, gan(smoke_run)))
    assert "step 5" in output
    assert_close(half, trained[wrote])
    resumed, whole = figures(half), figures(trained[wrote])
    # Bicubic and the teacher are the same in both; the student's weights differ by rounding.
    np.testing.assert_allclose(resumed[:2], whole[:2], rtol=0, atol=1e-6)
    np.testing.assert_allclose(resumed[2:], whole[2:], rtol=0, atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("backend", ["device", "tfdata"])
def test_a_run_that_diverges_ends_in_all_processes_and_leaves_its_batch(tmp_path, backend):
    settings = {"data.backend": backend, "train.teacher.learning_rate": 1e30, "max_bad_steps": 2}
    output = runs.end(start((2, 1), tmp_path, runs.SMALL | settings), 2)
    errors = [line for line in output.splitlines() if "error: teacher" in line and "step 4" in line]
    assert len(errors) == 2  # one of each process
    with np.load(tmp_path / "debug/teacher/4.npz") as batch:
        assert batch["lr"].shape == (4, 8, 8, 3)  # of both processes
    assert runs.exits(tmp_path)[-1] in output


@pytest.mark.long
def test_a_workdir_in_use_is_refused_by_all(tmp_path):
    first = running((1, 1), tmp_path)
    output = runs.end(start((2, 1), tmp_path), 2)
    assert f"{tmp_path}: " in output
    assert f" {first.pid} " in output
    first.send_signal(signal.SIGTERM)
    runs.end(first, STOPPED)


@pytest.mark.long
def test_a_damaged_newest_checkpoint_is_passed_over_by_all(tmp_path):
    process = running((2, 1), tmp_path)
    process.send_signal(signal.SIGTERM)
    runs.end(process, STOPPED)
    before, last = runs.steps(tmp_path)[-2:]
    (tmp_path / "checkpoints/teacher" / str(last) / "meta.json").write_text("{}")
    process = running((2, 1), tmp_path)
    process.send_signal(signal.SIGTERM)
    assert f"step {before}" in runs.end(process, STOPPED)
