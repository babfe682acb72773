"""Tasks as jobs, tried with submitit's local executor, which needs no cluster."""

import sys
import time

import pytest
from conftest import ROOT

from kdgan_jax.runtime.errors import UserError
from launch.ablation import tasks
from launch.ablation.tasks import Stage, Task

WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch();"


def task(tmp_path, name, program):
    folder = tmp_path / name
    folder.mkdir()
    command = sys.executable, "-c", program, str(folder / "result")
    stage = Stage(command, folder / "result", {})
    return Task(name, tmp_path, folder, (stage,))


def ended(work):
    end = time.monotonic() + 60
    while (code := work.poll()) is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    return code


def test_without_submitit_the_extra_is_named(tmp_path, monkeypatch):
    from launch.ablation.slurm import Cluster

    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"kdgan_jax\[slurm\]"):
        Cluster(tmp_path, "", 1)


def test_jobs_succeed_fail_and_save_when_they_are_cancelled(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    from launch.ablation.slurm import Cluster

    monkeypatch.chdir(ROOT)  # where jobs find the package `launch`
    cluster = Cluster(tmp_path / "slurm", "timeout_min=5", 3, cluster="local")
    saves = "import signal, time; signal.signal(15, lambda *_: (print('saved'), sys.exit(75)));"
    programs = {
        "good": WRITE,
        "bad": "import sys; sys.exit('error: no disk')",
        "long": WRITE + saves + "time.sleep(60)",
    }
    every = {name: task(tmp_path, name, program) for name, program in programs.items()}
    works = {name: cluster.begin(one) for name, one in every.items()}
    assert (ended(works["good"]), ended(works["bad"])) == (0, 2 - 1)
    assert tasks.is_done(every["good"])
    assert tasks.recorded(every["bad"]).failed == "no disk"
    while not every["long"].stages[0].result.exists():
        time.sleep(0.05)
    time.sleep(0.3)
    works["long"].stop()
    assert ended(works["long"]) == 75
    assert every["long"].log.read_text().endswith("saved\n")


@pytest.mark.parametrize(
    ("options", "fact"), [("timeout_min", "'timeout_min'"), ("x=1", "x"), ("timeout_min=5", "")]
)
def test_options_and_a_missing_cluster_are_told(tmp_path, options, fact):
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    from launch.ablation.slurm import Cluster

    with pytest.raises(UserError, match=rf"--slurm.*{fact}"):
        Cluster(tmp_path, options, 1, cluster="local" if fact == "x" else "slurm")
