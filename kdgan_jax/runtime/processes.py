"""Several processes in one run, on one host or on many: joining, waiting, exchanging, agreeing.

All of it rests on JAX's distributed runtime. Without `joined` the program is a single process, and
the functions here return at once.
"""

import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import Stopped, UserError

Item = TypeVar("Item")

# Seconds without a heartbeat after which a process counts as dead and the others are ended. JAX's
# default of 100 exceeds the minute within which a run is to report its failure.
HEARTBEAT = 20
JOINING = 300  # seconds to wait for the other processes at the start
# Seconds that process 0 waits before it exits with an error: JAX aborts the others when it does,
# and they may have the same error to print.
PATIENCE = 1.0
LOST = "Gloo ", "gloo", "NCCL", "nccl"  # in the errors of a collective that lacks a process
ENVIRONMENT = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"


def _initialize_arguments(
    coordinator: str | None, count: int | None, place: int | None
) -> tuple[dict[str, Any], str]:
    """Returns arguments of `jax.distributed.initialize`, and where they come from."""
    flags = {"--coordinator": coordinator, "--num_processes": count, "--process_id": place}
    environment = {name: os.environ.get(name) for name in ENVIRONMENT}
    for where, values in ("flags", flags), ("the environment", environment):
        missing = [name for name, value in values.items() if value in (None, "")]
        if len(missing) == len(values):
            continue
        if missing:
            raise UserError(
                f"--distributed: {', '.join(values.keys() - set(missing))} is given without"
                f" {', '.join(missing)}; give all three, or none on a cluster that JAX knows"
            )
        address, *words = values.values()
        try:
            total, process = (int(str(word)) for word in words)
        except ValueError:
            names = " and ".join(list(values)[1:])
            raise UserError(f"--distributed: {names} must be numbers") from None
        if not 0 <= process < total or ":" not in str(address):
            raise UserError(
                f"--distributed: process {process} of {total} at {address!r} ({where}) is not"
                " possible; count processes from 0, and give the first one's address as HOST:PORT"
            )
        arguments = {"coordinator_address": address, "num_processes": total, "process_id": process}
        return arguments, where
    return {}, "SLURM" if "SLURM_JOB_ID" in os.environ else "the cluster"


@contextlib.contextmanager
def joined(
    coordinator: str | None = None, count: int | None = None, place: int | None = None
) -> Iterator[str]:
    """Joins the other processes of a run, before JAX is used; yields a line for the log.

    A process that fails exits at once: it must not wait for the others, which wait for it. JAX's
    runtime ends them within about `HEARTBEAT` seconds. If the others do not appear within `JOINING`
    seconds, the runtime aborts this process with its own message (SIGABRT).

    Args:
      coordinator: "host:port" of process 0. If all three are None, they come from the variables
        `ENVIRONMENT`, else from a cluster that JAX knows (SLURM, Open MPI, ...).
      count: of processes.
      place: of this process, from 0.

    Raises:
      UserError: the arguments are incomplete or wrong, or there are none and no cluster is found.
    """
    arguments, where = _initialize_arguments(coordinator, count, place)
    log.info("waiting up to %d s for the other processes", JOINING)
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=JOINING,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=HEARTBEAT,
        )
    except (ValueError, TypeError, KeyError):
        raise UserError(
            "--distributed: neither --coordinator, --num_processes and --process_id nor"
            f" {', '.join(ENVIRONMENT)} are given, and JAX finds no cluster here; give them, or"
            " start with launch/local.py or launch/slurm.sbatch"
        ) from None
    try:
        yield (
            f"process {index()} of {number()} (from {where}),"
            f" {jax.local_device_count()} of {jax.device_count()} devices"
        )
        barrier("the end")
    except Stopped:
        raise  # all processes stop after the same step
    except BaseException as error:
        if isinstance(error, UserError):
            print(f"error: {error}", file=sys.stderr)
        elif any(word in str(error) for word in LOST):
            reason = str(error).splitlines()[0]
            print(
                f"error: another process has ended or cannot be reached ({reason}); see its own"
                " last lines; the same command continues from the newest checkpoint",
                file=sys.stderr,
            )
        else:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        if first():
            time.sleep(PATIENCE)
        os._exit(2 if isinstance(error, UserError) else 1)


def number() -> int:
    """Returns how many processes there are."""
    return jax.process_count()


def index() -> int:
    """Returns the place of this process, from 0."""
    return jax.process_index()


def several() -> bool:
    """Returns whether there is more than one process."""
    return number() > 1


def first() -> bool:
    """Returns whether this is process 0, which alone writes files and log messages."""
    return index() == 0


def barrier(name: str) -> None:
    """Waits until all processes are here; `name` must be the same in all."""
    if several():
        multihost_utils.sync_global_devices(name)


def exchange(value: Any) -> list[Any]:
    """Returns the JSON `value` of every process, in their order, in every process.

    Floats keep all their bits, which JAX's arrays (float32) would not.
    """
    if not several():
        return [value]
    local = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(len(local)))
    padded = np.zeros(lengths.max(), np.uint8)
    padded[: len(local)] = local
    everyone = multihost_utils.process_allgather(padded)
    return [
        json.loads(row[:length].tobytes()) for row, length in zip(everyone, lengths, strict=True)
    ]


def share(items: Sequence[Item]) -> list[Item]:
    """Returns the `items` that this process is to work on; `collect` gathers the results."""
    return list(items[index() :: number()])


def collect(values: Sequence[Any]) -> list[Any]:
    """Returns the JSON results of all processes' `share`s, in the order of the items."""
    shares = exchange(list(values))
    total = sum(len(row) for row in shares)
    return [shares[i % len(shares)][i // len(shares)] for i in range(total)]


def agree(value: Any, what: str) -> None:
    """Checks that the JSON `value` is the same in all processes.

    Raises:
      UserError: the values differ; raised in all processes, with `what` and the first process
        that differs.
    """
    values = exchange(value)
    for place, other in enumerate(values):
        if other != values[0]:
            raise UserError(
                f"process {place} of {len(values)} has another {what} than process 0; start all"
                " with the same command, on the same photos, and on one file system for --workdir"
            )


def preempted(call: int) -> bool:
    """Returns whether the run is to stop now because a process got SIGTERM; the same in all.

    Args:
      call: the number of this call, counted alike in all processes.
    """
    return multihost_utils.reached_preemption_sync_point(call)
