"""What a long run takes must not grow: memory, open files, threads."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from kdgan_jax.workdir.metrics import read_metrics

STEPS = 5000
WARM = 500  # steps after which all that is made once has been made


def taken(process):
    """Returns (resident MB, open files, threads) of a process; None when it has ended."""
    folder = Path("/proc") / str(process.pid)
    try:
        words = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        files = len(list((folder / "fd").iterdir()))
        return int(words["VmRSS"].split()[0]) / 1024, files, int(words["Threads"])
    except (OSError, KeyError):
        return None


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("backend", ["device", "tfdata"])
def test_five_thousand_steps_take_no_more_than_five_hundred(tmp_path, backend):
    arguments = [
        "--config=configs/kd.py:smoke",
        "--config.phases=teacher",
        f"--config.train.teacher.steps={STEPS}",
        f"--config.data.backend={backend}",
        "--config.evaluate_every=20",
        "--config.checkpoint_every=10",  # their threads take memory that the next ones use again
        "--config.log_every=50",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "kdgan_jax.main", *arguments, f"--workdir={tmp_path}"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = []
    while process.poll() is None:
        rows = read_metrics(tmp_path / "metrics.jsonl")
        found = taken(process)
        if rows and found and WARM <= rows[-1]["step"] < STEPS:  # then it makes tables and pictures
            seen.append(found)
        time.sleep(0.2)
    assert process.returncode == 0, process.stderr.read()
    assert len(seen) > 50
    memory, files, threads = np.array(seen).T
    tenth = len(seen) // 10  # medians: a checkpoint that is being written takes a little more
    for what, values in {"MB": memory, "files": files, "threads": threads}.items():
        print(f"{backend}: {np.median(values[:tenth])} to {np.median(values[-tenth:])} {what}")
    assert np.median(memory[-tenth:]) < 1.05 * np.median(memory[:tenth])
    assert np.median(files[-tenth:]) <= np.max(files[:tenth])
    assert np.median(threads[-tenth:]) <= np.max(threads[:tenth])
