"""Disks that are full or may not be written to, in processes of their own.

A full disk is a limit on the size of a file, which needs no rights: as there, the write fails in
the middle, whoever does it.
"""

import json
import os
import shutil
import subprocess
import sys

import conftest
import PIL.Image
import pytest
from conftest import ROOT

from kdgan_jax.workdir import checkpoint

# Nothing is added to the compile cache, which would be cut short, too.
ENVIRONMENT = {**os.environ, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1000"}
# Root may write everywhere, but not without this right.
POWERLESS = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]


def run(workdir, limit=None, before=()):
    """Runs a smoke run in `workdir` with files of at most `limit` KB."""
    most = "unlimited" if limit is None else str(limit)
    return subprocess.run(
        [
            *("bash", "-c", 'ulimit -f "$0" && exec "$@"', most),
            *(*before, sys.executable, "-m", "kdgan_jax.main"),
            *("--config=configs/kd.py:smoke", f"--workdir={workdir}"),
        ],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def half(tmp_path, smoke_run):
    """A run that has a teacher, and the rest before it."""
    workdir = tmp_path / "half"
    shutil.copytree(smoke_run, workdir)
    for phase in "distill", "adversarial":
        shutil.rmtree(workdir / "checkpoints" / phase)
    for name in "results.json", "comparison.png", "curves.png":
        (workdir / name).unlink()
    return workdir


def whole(workdir):
    """Checks that every file with a final name can be read to its end; returns the pictures."""
    for phase in (workdir / "checkpoints").iterdir():
        for step in checkpoint.steps(phase):
            checkpoint.verify(phase / str(step))
    for path in workdir.glob("*.json"):
        json.loads(path.read_text())
    pictures = list(workdir.glob("*.png"))
    for path in pictures:
        with PIL.Image.open(path) as image:
            image.load()
    return {path.name for path in pictures}


# At the start (config.json is over 1 KB), at a checkpoint, and at the pictures.
@pytest.mark.parametrize("limits", [[4], pytest.param([1, 4, 100], marks=pytest.mark.long)])
def test_a_full_disk_costs_nothing_that_was_there(half, smoke_run, limits):
    said = {
        1: f"error: {half}: cannot be written to ([Errno 27] File too large); its checkpoints are"
        " as they were: mend that, and start again to go on",
        4: f"error: {half}/checkpoints/distill: the checkpoint of step 2 cannot be written",
    }
    for limit in limits:
        result = run(half, limit)
        assert result.returncode == 2, result.stderr
        assert result.stderr.splitlines()[-1].startswith(said.get(limit, said[1]))
        assert "Traceback" not in result.stderr
        assert "comparison.png" not in whole(half)
    result = run(half)
    assert result.returncode == 0, result.stderr
    assert whole(half) == {"comparison.png", "curves.png"}
    assert conftest.losses(half) == conftest.losses(smoke_run)


def test_a_workdir_that_may_not_be_written_to_is_said(half):
    before = POWERLESS if os.geteuid() == 0 else []
    if before and not shutil.which("setpriv"):
        pytest.skip("root writes everywhere, and setpriv (util-linux) is not installed")
    for folder in [half, *(p for p in half.rglob("*") if p.is_dir())]:
        folder.chmod(0o555)
    result = run(half, before=before)
    assert result.returncode == 2
    assert f"error: {half}: cannot be written to ([Errno 13] Permission denied" in result.stderr
    for folder in [half, *(p for p in half.rglob("*") if p.is_dir())]:
        folder.chmod(0o755)
    whole(half)
