"""Starting and ending the processes of a run; what they compute is in tests/faults."""

import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from launch import local

# Prints who it is. Process 1 then does what its first argument says; process 0 waits for it.
CHILD = """
import os, sys, time
os.write(2, f"I am {os.environ['JAX_PROCESS_ID']} {sys.argv[2:]}\\n".encode())
if os.environ["JAX_PROCESS_ID"] == "1":
    exec(sys.argv[1])
else:
    time.sleep(0.1 if "wait" not in sys.argv[1] else 60)
    sys.exit(75 if "75" in sys.argv[1] else 0)
"""


def arguments(what):
    return "--processes=2", "--devices_per_process=3", "--", sys.executable, "-c", CHILD, what


@pytest.fixture
def _signals():
    """Restores the signal handlers that `main` replaces."""
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize(
    ("what", "code", "fact"),
    [
        ("pass", 0, ""),
        ("sys.exit(75)", 75, ""),
        ("sys.exit(2)  # wait", 2, "process 1 of 2 ended with code 2"),
        ("sys.exit(3)  # wait", 3, "process 1 of 2 ended with code 3"),
        ("os.kill(os.getpid(), 9)  # wait", 137, "process 1 of 2 was killed by SIGKILL"),
    ],
)
def test_the_exit_code_is_that_of_the_processes(what, code, fact, monkeypatch, capfd):
    monkeypatch.setattr(local, "GRACE", 0.3)
    assert local.main(arguments(what)) == code
    text = capfd.readouterr().err
    assert "I am 0 ['--distributed']\n" in text
    assert "[1] I am 1 ['--distributed']\n" in text
    assert text.splitlines()[-1].startswith(fact)
    assert (len(text.splitlines()) == 3) == bool(fact)


def test_a_second_ctrl_c_ends_them_at_once():
    ignore = "import signal; signal.signal(15, signal.SIG_IGN); time.sleep(60)  # wait"
    process = subprocess.Popen(
        [sys.executable, "-m", "launch.local", *arguments(ignore)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "I am" in process.stderr.readline() + process.stderr.readline()
    end = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < end:
        process.send_signal(signal.SIGINT)  # two at once may arrive as one
        time.sleep(0.2)
    assert process.returncode == 130


def test_each_process_has_its_own_devices():
    first, second = (local.environment(i, 2, 3, 1234) for i in range(2))
    assert first["JAX_COORDINATOR_ADDRESS"] == second["JAX_COORDINATOR_ADDRESS"] == "127.0.0.1:1234"
    assert (first["JAX_LOCAL_DEVICE_IDS"], second["JAX_LOCAL_DEVICE_IDS"]) == ("0,1,2", "3,4,5")
    assert (first["JAX_NUM_CPU_DEVICES"], second["JAX_PROCESS_ID"]) == ("3", "1")


@pytest.mark.parametrize("argument", ["--processes=0", "--devices_per_process=0"])
def test_fewer_than_one_is_refused(argument, capsys):
    with pytest.raises(SystemExit):
        local.main(["--processes=1", argument, "--", "true"])
    assert argument in capsys.readouterr().err


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (75, True), (1, False)])
def test_a_slurm_job_that_has_saved_is_queued_again(tmp_path, code, requeued):
    for name, does in {"srun": f"exit {code}", "scontrol": ":"}.items():
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/calls\n{does}\n')
        (tmp_path / name).chmod(0o755)
    result = subprocess.run(
        ["bash", str(ROOT / "launch/slurm.sbatch"), "--config=c.py", "--workdir=a b"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "77"},
        timeout=30,
    )
    assert result.returncode == code
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0] == (
        "srun --kill-on-bad-exit=0 --wait=60 python -m kdgan_jax.main --distributed --config=c.py"
        " --workdir=a b"
    )
    assert calls[1:] == ["scontrol requeue 77"] * requeued
