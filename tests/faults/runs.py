"""Small runs: whole ones and resumed ones in this process, endless ones in processes of their own.

All train one phase, "teacher", from `configs/kd.py:scratch,smoke`: four steps, with a checkpoint
every two.
"""

import json
import os
import shutil
import subprocess
import sys
import threading

import conftest
import numpy as np
from conftest import ROOT

from configs import kd
from kdgan_jax.train import run as training
from kdgan_jax.workdir import checkpoint

SMALL = {"phases": "teacher"}
ENDLESS = {
    **SMALL,
    "train.teacher.steps": 100_000,
    "checkpoint_every": 20,
    "evaluate_every": 100_000,
}


def finish(workdir, settings=SMALL):
    """Makes or resumes a run in this process."""
    config = kd.get_config("scratch,smoke")
    config.update_from_flattened_dict(settings | {"phases": ("teacher",)})
    training.run(config, workdir)


def finish_until(condition, number, workdir, settings=ENDLESS):
    """Makes a run in this process, which gets the signal `number` once `condition()` holds."""
    over = threading.Event()

    def send():
        while not over.wait(0.01):
            if condition():
                os.kill(os.getpid(), number)
                return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        finish(workdir, settings)
    finally:
        over.set()
        thread.join()


def command(workdir, settings=ENDLESS):
    """Returns the command line of a run."""
    arguments = [f"--config.{field}={value}" for field, value in settings.items()]
    main = [sys.executable, "-m", "kdgan_jax.main", "--config=configs/kd.py:scratch,smoke"]
    return [*main, f"--workdir={workdir}", *arguments]


def begin(arguments, **environment):
    """Starts a process in a group of its own, as at a terminal."""
    return subprocess.Popen(
        arguments,
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process, code=0):
    """Waits until a process ends with this exit code; returns its stderr."""
    _, output = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


def steps(workdir):
    return checkpoint.steps(checkpoint.phase_folder(workdir, "teacher"))


def written(workdir, step):
    """Returns when a checkpoint was written."""
    return (checkpoint.phase_folder(workdir, "teacher") / str(step)).stat().st_mtime_ns


def exits(workdir):
    """Returns how each start of the run ended."""
    return [start["exit"] for start in json.loads((workdir / "run.json").read_text())["starts"]]


def complete(tmp_path):
    """Returns the workdir of a complete run, made once per worker; not to be changed."""
    workdir = tmp_path.parent / "complete"
    if not (workdir / "results.json").exists():
        finish(workdir)
    return workdir


def unfinished(tmp_path):
    """Returns the workdir of a copy of the complete run, as it was after its first checkpoint."""
    workdir = shutil.copytree(complete(tmp_path), tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints/teacher/4")
    for name in "results.json", "comparison.png", "curves.png":
        (workdir / name).unlink()
    return workdir


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    if isinstance(tree, list | tuple):
        return [leaf for value in tree for leaf in leaves(value)]
    return [] if tree is None else [np.asarray(tree)]


def assert_same_bits(a, b, phase="teacher", step=4):
    """Compares all arrays of a checkpoint of two runs."""
    items, others = (conftest.items(workdir, phase, step) for workdir in (a, b))
    assert items.keys() == others.keys()
    for name in items:
        for x, y in zip(leaves(items[name]), leaves(others[name]), strict=True):
            np.testing.assert_array_equal(x, y, f"{phase}: {name}")
