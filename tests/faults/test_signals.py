"""Runs that are asked to stop, are started twice, or find damaged checkpoints."""

import shutil
import signal
import subprocess
import sys
import time

import pytest
import runs
from conftest import wait_for

from kdgan_jax.runtime.errors import STOPPED, Stopped, UserError
from kdgan_jax.workdir import checkpoint
from kdgan_jax.workdir.metrics import read_metrics


def test_a_run_that_is_asked_to_stop_saves_its_step_and_resumes_there(tmp_path):
    process = runs.begin(runs.command(tmp_path))
    wait_for(lambda: runs.steps(tmp_path), process)
    late = time.monotonic() + 60
    with pytest.raises(UserError, match=f"{tmp_path}.* {process.pid} "):  # a second process
        runs.finish_until(lambda: time.monotonic() > late, signal.SIGTERM, tmp_path)
    process.send_signal(signal.SIGINT)
    last = runs.end(process, STOPPED).splitlines()[-1]
    saved = runs.steps(tmp_path)[-1]
    assert f"teacher step {saved} " in last
    assert runs.exits(tmp_path)[-1] in last

    with pytest.raises(Stopped):
        runs.finish_until(lambda: runs.steps(tmp_path)[-1] > saved, signal.SIGTERM, tmp_path)
    assert f"teacher step {runs.steps(tmp_path)[-1]} " in runs.exits(tmp_path)[-1]
    logged = [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert saved in logged  # the row of the step that was stopped at
    assert logged == sorted(set(logged))
    assert logged[-1] > saved


def test_a_second_ctrl_c_leaves_at_once():
    # Short naps: Python handles a signal that comes just before one only after it.
    program = """
import sys, time
from importlib.machinery import ModuleSpec
from kdgan_jax.train import stopping
sys.modules["__main__"].__spec__ = ModuleSpec("kdgan_jax.main", None)
with stopping.listening() as stop, stop.waiting():
    print("ready", flush=True)
    for _ in range(1200):
        time.sleep(0.05)
        if stop.asked:
            print(stop.asked.name, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "SIGINT\n"
    process.send_signal(signal.SIGTERM)  # changes nothing
    assert process.stdout.readline() == "SIGINT\n"
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(tmp_path, caplog):
    workdir = shutil.copytree(runs.complete(tmp_path), tmp_path / "run")
    (workdir / "results.json").unlink()
    (workdir / "checkpoints/teacher/4/meta.json").write_text("{}")
    before = runs.written(workdir, 2)
    runs.finish(workdir)
    assert f"{workdir}/checkpoints/teacher/4/meta.json" in caplog.text
    assert runs.written(workdir, 2) == before  # it resumed there
    runs.assert_same_bits(workdir, runs.complete(tmp_path))
    checkpoint.verify(workdir / "checkpoints/teacher/4")


def test_a_run_whose_checkpoints_are_all_damaged_is_not_started_over(tmp_path):
    workdir = shutil.copytree(runs.complete(tmp_path), tmp_path / "run")
    (workdir / "results.json").unlink()
    for step in runs.steps(workdir):
        (workdir / "checkpoints/teacher" / str(step) / "meta.json").write_text("{}")
    with pytest.raises(UserError, match=f"{workdir}/checkpoints/teacher.* 2, 4"):
        runs.finish(workdir)
    assert runs.steps(workdir) == [2, 4]
