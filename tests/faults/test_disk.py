"""Disks that are full or read-only, for processes of their own.

A limit on the size of files stands for a full disk: it needs no rights, and writes fail in the
middle in the same way.
"""

import json
import os
import shutil

import PIL.Image
import pytest
import runs

from kdgan_jax.workdir import checkpoint

# Root may write anywhere, unless it lacks this capability.
POWERLESS = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]


def begin(workdir, limit="unlimited", prefix=()):
    """Starts a run whose files may have at most `limit` KB; it writes no compilation cache."""
    shell = ["bash", "-c", 'ulimit -f "$0" && exec "$@"', str(limit), *prefix]
    command = [*shell, *runs.command(workdir, runs.SMALL)]
    return runs.begin(command, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="1000")


def check_whole(workdir):
    """Checks that every file with a final name can be read to its end."""
    for step in runs.steps(workdir):
        checkpoint.verify(workdir / "checkpoints/teacher" / str(step))
    for path in workdir.glob("*.json"):
        json.loads(path.read_text())
    for path in workdir.glob("*.png"):
        with PIL.Image.open(path) as image:
            image.load()


# `config.json` has over 1 KB, a checkpoint over 4 KB, and a picture over 100 KB.
@pytest.mark.parametrize(
    ("limits", "failed"),
    [
        ([4], ["checkpoints/teacher: ", "step 4 "]),
        pytest.param([1, 100], [": "], marks=pytest.mark.long),
    ],
)
def test_a_full_disk_costs_nothing_that_was_there(tmp_path, limits, failed):
    workdir = runs.unfinished(tmp_path)
    for limit in limits:
        output = runs.end(begin(workdir, limit), 2)
        last = output.splitlines()[-1]
        for fact in [str(workdir), "File too large", *failed]:
            assert fact in last
        assert "Traceback" not in output
        check_whole(workdir)
        assert 2 in runs.steps(workdir)
    runs.finish(workdir)
    check_whole(workdir)
    runs.assert_same_bits(workdir, runs.complete(tmp_path))


def test_a_workdir_that_is_read_only_is_named(tmp_path):
    prefix = POWERLESS if os.geteuid() == 0 else []
    if prefix and not shutil.which("setpriv"):
        pytest.skip("root writes anywhere, and setpriv (util-linux) is not installed")
    workdir = runs.unfinished(tmp_path)
    folders = [workdir, *(path for path in workdir.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    output = runs.end(begin(workdir, prefix=prefix), 2)
    for folder in folders:
        folder.chmod(0o755)
    assert str(workdir) in output.splitlines()[-1]
    assert "Permission denied" in output.splitlines()[-1]
    check_whole(workdir)
