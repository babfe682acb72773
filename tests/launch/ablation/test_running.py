"""One task at work: processes, log, record; and how the machine is divided."""

import dataclasses
import os
import sys
import time

import pytest

from kdgan_jax.runtime.errors import STOPPED
from launch.ablation import running, tasks
from launch.ablation.running import Share, Work
from launch.ablation.tasks import Stage, Task

WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1]).parent.mkdir(exist_ok=True);"
WRITE += "pathlib.Path(sys.argv[1]).touch();"


def task(tmp_path, *programs, facts=1):
    stages = []
    for number, program in enumerate(programs):
        result = tmp_path / f"runs/a/{number}"
        command = sys.executable, "-c", program, str(result)
        stages.append(Stage(command, result, {"x": facts}))
    return Task("a", tmp_path, tmp_path / "runs/a", tuple(stages))


def ended(work):
    end = time.monotonic() + 30
    while (code := work.poll()) is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    return code


def test_commands_run_one_after_another_and_once(tmp_path):
    one = task(tmp_path, WRITE + "print('first')", WRITE + "print('second')")
    assert ended(Work(one)) == 0
    assert tasks.is_done(one)
    lines = one.log.read_text().splitlines()
    assert [lines[1], lines[3]] == ["first", "second"]
    assert lines[0].startswith(f"$ {sys.executable} -c ")
    record = tasks.recorded(one)
    assert (record.complete, record.failed, record.process) == (2, "", "")
    assert record.seconds > 0
    assert ended(Work(one)) == 0  # nothing is left to do
    assert len(one.log.read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("sys.exit('error: no space in x')", "no space in x"),
        ("print('y\\n'); sys.exit(3)", "y"),
        ("sys.exit(3)", "ended with code 3"),
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("pass", "runs/a/0 was not written"),
    ],
)
def test_why_a_command_failed_is_kept_and_it_is_tried_again(tmp_path, program, reason):
    one = task(tmp_path, f"import os, sys; {program}", WRITE)
    assert ended(Work(one)) != 0
    record = tasks.recorded(one)
    assert reason in record.failed
    assert (record.complete, one.stages[1].result.exists()) == (0, False)
    repaired = task(tmp_path, WRITE, WRITE)
    assert ended(Work(repaired)) == 0
    assert tasks.recorded(repaired).failed == ""


def test_what_cannot_be_started_fails(tmp_path):
    (tmp_path / "runs").touch()  # where a folder must be
    one = task(tmp_path, WRITE)
    assert ended(Work(one)) == 1
    assert f"{tmp_path}/runs" in tasks.recorded(one).failed


def test_a_changed_task_begins_anew_and_the_earlier_folder_stays(tmp_path):
    one, other = task(tmp_path, WRITE), task(tmp_path, WRITE, facts=2)
    assert ended(Work(one)) == 0
    tasks.keep(one, dataclasses.replace(tasks.recorded(one), seconds=1000.0))
    assert ended(Work(other)) == 0
    assert tasks.recorded(other).seconds < 100
    assert (tmp_path / "replaced/a.1/0").exists()
    assert tasks.recorded(other).started == [{"x": 2}]


def test_a_task_that_is_asked_to_stop_ends_without_having_failed(tmp_path):
    program = WRITE + "import signal, time; signal.signal(15, lambda *_: sys.exit(75));"
    work = Work(task(tmp_path, program + "time.sleep(60)", WRITE))
    while not work.task.stages[0].result.exists():
        time.sleep(0.01)
    time.sleep(0.1)
    work.stop()
    assert ended(work) == STOPPED
    assert tasks.recorded(work.task).failed == ""
    assert not work.task.stages[1].result.exists()


def test_a_task_runs_on_its_cores_with_its_devices(tmp_path):
    core = max(os.sched_getaffinity(0))
    program = WRITE + "import os; print(os.sched_getaffinity(0), os.environ['DEVICES'])"
    one = task(tmp_path, program)
    before = os.sched_getaffinity(0)
    assert ended(Work(one, Share((core,), {"DEVICES": "7"}))) == 0
    assert one.log.read_text().splitlines()[-1] == f"{{{core}}} 7"
    assert os.sched_getaffinity(0) == before


def test_cores_and_gpus_are_divided(monkeypatch):
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    monkeypatch.setattr(running, "_cores", lambda: [0, 1, 2, 3, 4, 5])
    monkeypatch.setattr(running, "_gpus", list)
    assert running.shares(1) == [Share()]
    two = running.shares(2)
    assert [share.cores for share in two] == [(0, 1, 2), (3, 4, 5)]
    assert two[0].environment == {"JAX_NUM_CPU_DEVICES": "3"}
    assert sorted(core for share in running.shares(4) for core in share.cores) == [*range(6)]
    assert [share.cores for share in running.shares(7)][6] == (0,)
    monkeypatch.setattr(running, "_gpus", lambda: ["2", "5", "6"])
    assert running.shares(2)[1].environment["CUDA_VISIBLE_DEVICES"] == "5,6"
    five = [share.environment for share in running.shares(5)]
    assert [e["CUDA_VISIBLE_DEVICES"] for e in five] == ["2", "5", "6", "2", "5"]
    assert {e["XLA_PYTHON_CLIENT_MEM_FRACTION"] for e in five} == {"0.45"}
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "4")
    assert "JAX_NUM_CPU_DEVICES" not in running.shares(2)[0].environment


def test_gpus_are_those_that_a_process_would_see(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    assert running._gpus() == []  # JAX_PLATFORMS is cpu in tests
    monkeypatch.delenv("JAX_PLATFORMS")
    assert running._gpus() == ["1", "3"]
