"""One process alone, and what is made of flags and environment; several are in tests/faults."""

import json
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import ROOT, run_module
from jax.experimental import multihost_utils

from kdgan_jax.runtime import processes
from kdgan_jax.runtime.errors import UserError

FLAGS = ["--coordinator", "--num_processes", "--process_id"]


@pytest.fixture
def many(monkeypatch):
    """Makes this process the second of three, which say what the first says."""
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(jax, "process_index", lambda: 1)


def test_a_process_alone_is_the_first_and_has_everything():
    assert (processes.number(), processes.index()) == (1, 0)
    assert processes.first()
    assert not processes.several()
    assert processes.share("abc") == ["a", "b", "c"]
    assert processes.collect(["a", 1.5]) == ["a", 1.5]
    assert processes.exchange({"a": [1]}) == [{"a": [1]}]
    processes.together("nobody waits")
    processes.agree([1, 2], "list")


def test_shares_are_disjoint_and_collected_in_order(many, monkeypatch):
    items = list("abcdefgh")
    shares = []
    for index in range(3):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        shares.append(processes.share(items))
    assert shares == [list("adg"), list("beh"), list("cf")]
    monkeypatch.setattr(processes, "exchange", lambda values: shares)
    assert processes.collect(shares[1]) == items


def test_values_are_exchanged_with_all_their_bits(many, monkeypatch):
    monkeypatch.setattr(
        multihost_utils, "process_allgather", lambda array: np.stack([array, array, array])
    )
    value = [0.1 + 0.2, 1e-300, "\u00e4", float("inf")]
    assert processes.exchange(value) == [value] * 3


def test_values_may_differ_in_length(many, monkeypatch):
    values = [["a"], "much longer than the others", 3]
    words = [json.dumps(value).encode() for value in values]

    def gather(array):
        if array.ndim == 0:
            return np.array([len(word) for word in words], array.dtype)
        assert len(array) == len(words[1])
        return np.stack([np.frombuffer(word.ljust(len(array)), np.uint8) for word in words])

    monkeypatch.setattr(multihost_utils, "process_allgather", gather)
    assert processes.exchange(values[0]) == values


def test_what_differs_is_said_by_all(many, monkeypatch):
    monkeypatch.setattr(processes, "exchange", lambda value: [value, value, "other"])
    with pytest.raises(UserError, match="process 2 of 3 has another config than process 0"):
        processes.agree("ours", "config")


@pytest.fixture
def joining(monkeypatch):
    """Returns what `joined` starts the runtime with."""
    given = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda **arguments: given.update(arguments))
    for name in processes.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    return given


def test_flags_come_before_the_environment(joining, monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "elsewhere:1")
    with processes.joined("here:2", 4, 3) as said:
        pass
    assert joining == {
        "coordinator_address": "here:2",
        "num_processes": 4,
        "process_id": 3,
        "initialization_timeout": processes.JOINING,
        "heartbeat_timeout_seconds": processes.HEARTBEAT,
        "shutdown_timeout_seconds": processes.HEARTBEAT,
    }
    assert said == "process 0 of 1 (from flags), 4 of 4 devices"


def test_the_environment_is_taken_where_there_are_no_flags(joining, monkeypatch):
    for name, value in zip(processes.ENVIRONMENT, ("host:1", "2", "1"), strict=True):
        monkeypatch.setenv(name, value)
    with processes.joined() as said:
        assert "(from the environment)" in said
    assert joining["coordinator_address"] == "host:1"
    assert (joining["num_processes"], joining["process_id"]) == (2, 1)


def test_on_a_cluster_jax_finds_them(joining, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    with processes.joined() as said:
        assert "(from SLURM)" in said
    assert "coordinator_address" not in joining


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("host:1", None, None), "--coordinator is given without --num_processes, --process_id"),
        (("host:1", 2, 2), "process 2 of 2 at 'host:1' (flags) cannot be"),
        (("host", 2, 1), "process 1 of 2 at 'host' (flags) cannot be"),
    ],
)
def test_flags_that_cannot_be_are_refused(joining, given, said):
    with pytest.raises(UserError) as caught, processes.joined(*given):
        pass
    assert said in str(caught.value)


def test_words_in_the_environment_are_refused(joining, monkeypatch):
    for name, value in zip(processes.ENVIRONMENT, ("host:1", "two", "1"), strict=True):
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(UserError, match="JAX_NUM_PROCESSES and JAX_PROCESS_ID must be numbers"),
        processes.joined(),
    ):
        pass


def test_without_a_cluster_it_says_what_is_needed():
    environment = {k: v for k, v in os.environ.items() if k not in processes.ENVIRONMENT}
    result = subprocess.run(
        [
            *(sys.executable, "-m", "kdgan_jax.main", "--distributed"),
            *("--config=configs/kd.py:smoke", "--workdir=runs/none"),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 2
    assert "JAX finds no cluster here; give them, or start with launch/local.py" in result.stderr


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        ("errors.UserError('no photos')", 2, "error: no photos"),
        ("ZeroDivisionError", 1, "ZeroDivisionError"),
        ("jax.errors.JaxRuntimeError('no memory')", 1, "JaxRuntimeError: no memory"),
        ("ValueError('UNKNOWN: Gloo AllGather failed')", 1, "another process is gone or out of"),
    ],
)
def test_a_process_that_fails_does_not_wait_for_the_others(raised, code, said):
    program = f"""
import atexit, jax, time
from kdgan_jax import errors, processes
jax.distributed.initialize = lambda **arguments: atexit.register(time.sleep, 100)
with processes.joined("host:1", 2, 0):
    raise {raised}
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == code
    assert said in result.stderr


def test_flags_are_in_the_help():
    said = run_module("kdgan_jax.main", "--help", check=False).stdout
    for flag in "--[no]distributed", *FLAGS:
        assert flag in said


def test_ctrl_c_reaches_the_other_processes_as_sigterm(many, monkeypatch):
    from kdgan_jax.train.stopping import Stop

    sent = []
    monkeypatch.setattr(os, "kill", lambda process, number: sent.append(number))
    stop = Stop()
    stop.handle(signal.SIGINT)
    assert sent == [signal.SIGTERM]
    stop.check()  # all must end after the same step, not here


def test_all_stop_after_the_step_that_jax_names(many, monkeypatch):
    from kdgan_jax.train.stopping import Stop

    monkeypatch.setattr(processes, "preempted", lambda call: call == 3)
    stop = Stop()
    assert [stop.after_step() for _ in range(3)] == [None, None, signal.SIGTERM]
