"""A long run must not need more and more memory, open files or threads."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from kdgan_jax.workdir.metrics import read_metrics

STEPS = 5000
WARM = 500  # steps after which everything that is made once exists


def usage(process):
    """Returns (resident MB, open files, threads) of a process, or None if it has ended."""
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
def test_five_thousand_steps_need_no_more_than_five_hundred(tmp_path, backend):
    arguments = [
        "--config=configs/kd.py:scratch,smoke",
        "--config.phases=teacher",
        f"--config.train.teacher.steps={STEPS}",
        f"--config.data.backend={backend}",
        "--config.evaluate_every=20",
        "--config.checkpoint_every=10",  # the next one reuses the memory of its threads
        "--config.log_every=50",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "kdgan_jax.main", *arguments, f"--workdir={tmp_path}"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    samples = []
    while process.poll() is None:
        rows = read_metrics(tmp_path / "metrics.jsonl")
        sample = usage(process)
        # After the last step it makes tables and pictures.
        if rows and sample and WARM <= rows[-1]["step"] < STEPS:
            samples.append(sample)
        time.sleep(0.2)
    assert process.returncode == 0, process.stderr.read()
    assert len(samples) > 50
    memory, files, threads = np.array(samples).T
    tenth = len(samples) // 10  # medians: writing a checkpoint briefly takes a little more
    for unit, values in {"MB": memory, "files": files, "threads": threads}.items():
        print(f"{backend}: {np.median(values[:tenth])} to {np.median(values[-tenth:])} {unit}")
    assert np.median(memory[-tenth:]) < 1.05 * np.median(memory[:tenth])
    assert np.median(files[-tenth:]) <= np.max(files[:tenth])
    assert np.median(threads[-tenth:]) <= np.max(threads[:tenth])
