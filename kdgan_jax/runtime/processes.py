"""Several processes in one run, on one host or many: who is there, who writes, what all agree on.

All of it is JAX's own distributed runtime. Without `joined` a program is one process, and every
function here says so at once.
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

# Seconds without a sign of life after which a process counts as dead and the others are ended.
# JAX's default of 100 is more than the minute in which a run is to say that it has failed.
HEARTBEAT = 20
JOINING = 300  # seconds that processes may come after each other
PATIENCE = 1.0  # seconds that the first leaves after others who fail of the same: JAX aborts them
LOST = "Gloo ", "gloo", "NCCL", "nccl"  # in errors of a collective that lacks a process
ENVIRONMENT = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"


def _given(
    coordinator: str | None, count: int | None, place: int | None
) -> tuple[dict[str, Any], str]:
    """Returns arguments of `jax.distributed.initialize`, and where they come from."""
    flags = {"--coordinator": coordinator, "--num_processes": count, "--process_id": place}
    environment = {name: os.environ.get(name) for name in ENVIRONMENT}
    for where, found in ("flags", flags), ("the environment", environment):
        missing = [name for name, value in found.items() if value in (None, "")]
        if len(missing) == len(found):
            continue
        if missing:
            raise UserError(
                f"--distributed: {', '.join(found.keys() - set(missing))} is given without"
                f" {', '.join(missing)}; give all three, or none on a cluster that JAX knows"
            )
        address, *words = found.values()
        try:
            of, this = (int(str(word)) for word in words)
        except ValueError:
            names = " and ".join(list(found)[1:])
            raise UserError(f"--distributed: {names} must be numbers") from None
        if not 0 <= this < of or ":" not in str(address):
            raise UserError(
                f"--distributed: process {this} of {of} at {address!r} ({where}) cannot be; count"
                " processes from 0, and give the first one's host and port as HOST:PORT"
            )
        return {"coordinator_address": address, "num_processes": of, "process_id": this}, where
    return {}, "SLURM" if "SLURM_JOB_ID" in os.environ else "the cluster"


@contextlib.contextmanager
def joined(
    coordinator: str | None = None, count: int | None = None, place: int | None = None
) -> Iterator[str]:
    """Joins the other processes of a run, before JAX is used; yields a line on what was found.

    A process that fails alone leaves at once: it must not wait for the others, who wait for it.
    The runtime ends them within `HEARTBEAT` seconds or so, and this one with its own last words
    (SIGABRT) if the others have not come within `JOINING` seconds.

    Args:
      coordinator: "host:port" of the first process. All three None: from the environment variables
        of `ENVIRONMENT`, else from a cluster that JAX knows (SLURM, Open MPI, ...).
      count: of processes.
      place: of this one, from 0.

    Raises:
      UserError: they are not to be found.
    """
    arguments, where = _given(coordinator, count, place)
    log.info("waiting for the other processes, %d s at most", JOINING)
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
        together("the end")
    except Stopped:
        raise  # all of them leave, after the same step
    except BaseException as error:
        if isinstance(error, UserError):
            print(f"error: {error}", file=sys.stderr)
        elif any(word in str(error) for word in LOST):
            what = str(error).splitlines()[0]
            print(
                f"error: another process is gone or out of reach ({what}); its own last lines say"
                " why; the same command goes on from the newest checkpoint",
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
    """Returns which of them this one is, from 0."""
    return jax.process_index()


def several() -> bool:
    """Returns whether there is more than one process."""
    return number() > 1


def first() -> bool:
    """Returns whether this process is the one that writes files and speaks."""
    return index() == 0


def together(name: str) -> None:
    """Waits until all processes are here; `name` must be the same in all."""
    if several():
        multihost_utils.sync_global_devices(name)


def exchange(value: Any) -> list[Any]:
    """Returns the JSON `value` of every process, in their order; in every process.

    Floats keep all their bits, which they would not as arrays (float32).
    """
    if not several():
        return [value]
    ours = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(len(ours)))
    padded = np.zeros(lengths.max(), np.uint8)
    padded[: len(ours)] = ours
    everyone = multihost_utils.process_allgather(padded)
    return [
        json.loads(row[:length].tobytes()) for row, length in zip(everyone, lengths, strict=True)
    ]


def share(items: Sequence[Item]) -> list[Item]:
    """Returns those of `items` that are this process's to work on; `collect` brings them back."""
    return list(items[index() :: number()])


def collect(values: Sequence[Any]) -> list[Any]:
    """Returns what all processes have made of their `share`, as JSON, in the order of the items."""
    shares = exchange(list(values))
    total = sum(len(row) for row in shares)
    return [shares[i % len(shares)][i // len(shares)] for i in range(total)]


def agree(value: Any, what: str) -> None:
    """Checks that the JSON `value` is the same in all processes.

    Raises:
      UserError: in all of them; names `what` and the first process that differs.
    """
    values = exchange(value)
    for place, other in enumerate(values):
        if other != values[0]:
            raise UserError(
                f"process {place} of {len(values)} has another {what} than process 0; start all"
                " with the same command, on the same photos, and on one file system for --workdir"
            )


def preempted(call: int) -> bool:
    """Returns whether the run is to end now, since a process got SIGTERM; all get the same answer.

    Args:
      call: how often this has been asked, counted in the same way by all.
    """
    return multihost_utils.reached_preemption_sync_point(call)
