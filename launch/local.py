"""Starts the processes of a run on this machine, and ends them all if one fails.

python -m launch.local --processes=2 --devices_per_process=2 -- \
    python -m kdgan_jax.main --config=configs/kd.py --workdir=runs/kd

On Ctrl-C or SIGTERM the run saves its step and exits with code 75, as a single process would; a
second Ctrl-C ends it at once. Otherwise the exit code is that of the process that failed first.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO

from kdgan_jax.runtime.errors import STOPPED

USER_ERROR = 2  # exit code
GRACE = 5.0  # seconds that the other processes get to print their errors when one has failed


def environment(index: int, processes: int, devices: int, port: int) -> dict[str, str]:
    """Returns the environment of a process: the coordinator's address and its own devices."""
    address = f"127.0.0.1:{port}"
    gpus = range(index * devices, (index + 1) * devices)
    return {
        **os.environ,
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_COORDINATOR_BIND_ADDRESS": address,  # the default can be reached from other machines
        "JAX_NUM_PROCESSES": str(processes),
        "JAX_PROCESS_ID": str(index),
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_LOCAL_DEVICE_IDS": ",".join(map(str, gpus)),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(
    children: list[subprocess.Popen], command: Sequence[str], processes: int, devices: int
) -> list[threading.Thread]:
    """Starts the processes.

    Process 0 has the terminal. The output of others goes to stderr, with "[1] " before each line.

    Args:
      children: each process is appended to it as soon as it has started, for signal handlers.
      command: to run in every process.
      processes: how many.
      devices: of each process.

    Returns:
      threads that copy the output.
    """
    port = _free_port()
    copying = []
    for index in range(processes):
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if index else {}
        child = subprocess.Popen(
            command,
            env=environment(index, processes, devices, port),
            start_new_session=True,  # the terminal's Ctrl-C must not reach it
            **piped,
        )
        children.append(child)
        if child.stdout:
            copying.append(threading.Thread(target=_copy, args=(index, child.stdout), daemon=True))
            copying[-1].start()
    return copying


def _copy(index: int, lines: IO[bytes]) -> None:
    for line in lines:
        sys.stderr.write(f"[{index}] {line.decode(errors='replace')}")
        sys.stderr.flush()


def wait(children: Sequence[subprocess.Popen], copying: Sequence[threading.Thread]) -> int:
    """Waits until all processes succeed, or one fails; then ends the others.

    Args:
      children: the processes.
      copying: threads that copy their output; they finish before the last message here.

    Returns:
      the exit code: 0, `STOPPED` if the run has saved its step, or that of the process that failed
      (128 + the number of the signal that killed it).
    """
    failed = None
    while failed is None and any(child.poll() is None for child in children):
        time.sleep(0.01)
        failed = _first_failed(children)
    failed = _first_failed(children) if failed is None else failed
    end = time.monotonic() + GRACE * (failed is not None)
    while time.monotonic() < end and any(child.poll() is None for child in children):
        time.sleep(0.05)
    _kill(children)
    for thread in copying:
        thread.join(GRACE)
    if failed is None:
        return max(child.returncode for child in children)
    code = children[failed].returncode
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    advice = "the same command continues from the newest checkpoint"
    print(
        f"process {failed} of {len(children)} {how}; the others were ended, since they cannot"
        f" continue without it; {'its error is above' if code == USER_ERROR else advice}",
        file=sys.stderr,
    )
    return 128 - code if code < 0 else code


def _first_failed(children: Sequence[subprocess.Popen]) -> int | None:
    """Returns the process that failed; of several, the most likely cause of the others' failure."""

    def rank(index: int) -> int:
        code = children[index].returncode
        # First a kill, then a user's error, then any other; last SIGABRT, with which JAX ends a
        # process after another has failed.
        return 3 if code == -signal.SIGABRT else 0 if code < 0 else 1 if code == USER_ERROR else 2

    failed = [i for i, child in enumerate(children) if child.poll() not in (None, 0, STOPPED)]
    return min(failed, key=rank, default=None)


def _kill(children: Sequence[subprocess.Popen]) -> None:
    for child in children:
        if child.poll() is None:
            child.kill()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], usage="%(prog)s [options] -- COMMAND ..."
    )
    parser.add_argument("--processes", type=int, required=True, help="number of processes")
    parser.add_argument(
        "--devices_per_process",
        type=int,
        default=1,
        help="GPUs of each process, or CPU devices if there are no GPUs (default: 1)",
    )
    parser.add_argument("command", nargs="+", help="python -m kdgan_jax.main ...")
    arguments = parser.parse_args(argv)
    for name in ("processes", "devices_per_process"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name}={getattr(arguments, name)} must be at least 1")
    children: list[subprocess.Popen] = []
    signals: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        signals.append(number)
        if len(signals) > 1 and number == signal.SIGINT:
            _kill(children)
            os._exit(130)
        for child in children[:1]:
            child.send_signal(signal.SIGTERM)  # process 0 tells the others

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    command = [*arguments.command, "--distributed"]
    copying = start(children, command, arguments.processes, arguments.devices_per_process)
    return wait(children, copying)


if __name__ == "__main__":
    sys.exit(main())
