"""One process alone, and what flags and environment say; several processes are in tests/faults."""

import json
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import ROOT
from jax.experimental import multihost_utils

from kdgan_jax.runtime import processes
from kdgan_jax.runtime.errors import Stopped, UserError
from kdgan_jax.train.stopping import Stop


@pytest.fixture
def many(monkeypatch):
    """Makes this process the second of three."""
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(jax, "process_index", lambda: 1)


def test_a_single_process_is_the_first_and_has_everything():
    assert (processes.number(), processes.index()) == (1, 0)
    assert processes.first()
    assert not processes.several()
    assert processes.share("abc") == ["a", "b", "c"]
    assert processes.collect(["a", 1.5]) == ["a", 1.5]
    assert processes.exchange({"a": [1]}) == [{"a": [1]}]
    processes.barrier("nobody waits")
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


def test_values_of_any_length_are_exchanged_with_all_their_bits(many, monkeypatch):
    values = [["a"], [0.1 + 0.2, 1e-300, "\u00e4", float("inf")], 3]
    texts = [json.dumps(value).encode() for value in values]

    def gather(array):
        if array.ndim == 0:
            return np.array([len(text) for text in texts], array.dtype)
        assert len(array) == len(texts[1])
        return np.stack([np.frombuffer(text.ljust(len(array)), np.uint8) for text in texts])

    monkeypatch.setattr(multihost_utils, "process_allgather", gather)
    assert processes.exchange(values[0]) == values


def test_a_difference_is_an_error_in_all_processes(many, monkeypatch):
    monkeypatch.setattr(processes, "exchange", lambda value: [value, value, "other"])
    with pytest.raises(UserError, match="process 2 of 3 has another config than process 0"):
        processes.agree("ours", "config")


@pytest.fixture
def started(monkeypatch):
    """The arguments with which `joined` starts the runtime."""
    recorded = {}
    monkeypatch.setattr(
        jax.distributed, "initialize", lambda **arguments: recorded.update(arguments)
    )
    for name in processes.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    return recorded


@pytest.mark.parametrize(
    ("environment", "arguments", "source", "expected"),
    [
        (("elsewhere:1",), ("here:2", 4, 3), "flags", ("here:2", 4, 3)),
        (("host:1", "2", "1"), (), "the environment", ("host:1", 2, 1)),
        ((), (), "SLURM", ()),  # JAX asks the cluster
    ],
)
def test_flags_precede_the_environment_and_that_a_cluster(
    started, monkeypatch, environment, arguments, source, expected
):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    for name, value in zip(processes.ENVIRONMENT, environment, strict=False):
        monkeypatch.setenv(name, value)
    with processes.joined(*arguments) as summary:
        assert summary == f"process 0 of 1 (from {source}), 4 of 4 devices"
    keys = "coordinator_address", "num_processes", "process_id"
    assert tuple(started[key] for key in keys if key in started) == expected
    assert started["heartbeat_timeout_seconds"] == processes.HEARTBEAT


@pytest.mark.parametrize(
    ("arguments", "environment", "facts"),
    [
        (("host:1", None, None), (), ["--coordinator", "--num_processes, --process_id"]),
        (("host:1", 2, 2), (), ["process 2 of 2", "'host:1'"]),
        (("host", 2, 1), (), ["'host'", "HOST:PORT"]),
        ((), ("host:1", "two", "1"), ["JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "numbers"]),
    ],
)
def test_addresses_that_are_not_possible_are_refused(
    started, monkeypatch, arguments, environment, facts
):
    for name, value in zip(processes.ENVIRONMENT, environment, strict=False):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught, processes.joined(*arguments):
        pass
    for fact in facts:
        assert fact in str(caught.value)


def test_without_a_cluster_the_error_says_what_is_needed():
    environment = {k: v for k, v in os.environ.items() if k not in processes.ENVIRONMENT}
    result = subprocess.run(
        [
            *(sys.executable, "-m", "kdgan_jax.main", "--distributed"),
            *("--config=configs/kd.py:scratch,smoke", "--workdir=runs/none"),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 2
    for fact in "error: --distributed", "--coordinator", "JAX_PROCESS_ID", "launch/local.py":
        assert fact in result.stderr


class Exited(Exception):
    """Takes the place of the end of the process."""


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UserError("no photos"), 2, "error: no photos"),
        (ZeroDivisionError(), 1, "ZeroDivisionError"),
        (jax.errors.JaxRuntimeError("no memory"), 1, "JaxRuntimeError: no memory"),
        (ValueError("UNKNOWN: Gloo AllGather failed"), 1, "error: another process"),
    ],
)
def test_an_error_is_printed_and_ends_the_process(started, monkeypatch, capsys, error, code, text):
    def leave(status):
        raise Exited(status)

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(processes, "PATIENCE", 0)
    with pytest.raises(Exited) as caught, processes.joined("host:1", 2, 0):
        raise error
    assert caught.value.args == (code,)
    assert text in capsys.readouterr().err


def test_a_run_that_has_saved_ends_in_the_usual_way(started):
    with pytest.raises(Stopped), processes.joined("host:1", 2, 0):
        raise Stopped


def test_a_process_that_fails_does_not_wait_for_the_others():
    program = """
import atexit, jax, time
from kdgan_jax.runtime import processes
jax.distributed.initialize = lambda **arguments: atexit.register(time.sleep, 100)
with processes.joined("host:1", 2, 0):
    raise ZeroDivisionError
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr


def test_ctrl_c_reaches_the_other_processes_as_sigterm(many, monkeypatch):
    sent = []
    monkeypatch.setattr(os, "kill", lambda process, number: sent.append(number))
    stop = Stop()
    stop.handle(signal.SIGINT)
    assert sent == [signal.SIGTERM]
    stop.check()  # does not stop here: all processes must stop after the same step


def test_all_stop_after_the_step_that_jax_names(many, monkeypatch):
    monkeypatch.setattr(processes, "preempted", lambda call: call == 3)
    stop = Stop()
    assert [stop.after_step() for _ in range(3)] == [None, None, signal.SIGTERM]
