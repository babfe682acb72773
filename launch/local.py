"""Starts the processes of a run on this machine, and ends them all when one fails.

python -m launch.local --processes=2 --devices_per_process=2 -- \
    python -m kdgan_jax.main --config=configs/kd.py --workdir=runs/kd

Ctrl-C or SIGTERM lets the run save its step: exit code 75, as of one process; again ends it at
once. Otherwise the exit code is that of the process that failed first.
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

STOPPED, WRONG = 75, 2  # exit codes: a run has saved what it had; what the user has to mend
GOES_ON = "the same command goes on from the newest checkpoint"
GRACE = 5.0  # seconds that the others get to say what is wrong when one has failed


def environment(index: int, processes: int, devices: int, port: int) -> dict[str, str]:
    """Returns the environment of a process: who the others are, and which devices are its own."""
    address = f"127.0.0.1:{port}"
    ours = range(index * devices, (index + 1) * devices)
    return {
        **os.environ,
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_COORDINATOR_BIND_ADDRESS": address,  # not to be reached from elsewhere
        "JAX_NUM_PROCESSES": str(processes),
        "JAX_PROCESS_ID": str(index),
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_LOCAL_DEVICE_IDS": ",".join(map(str, ours)),  # of GPUs
    }


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(
    children: list[subprocess.Popen], command: Sequence[str], processes: int, devices: int
) -> list[threading.Thread]:
    """Adds the processes to `children` as they start; returns threads that copy what they say.

    The first one has the terminal; lines of others begin with "[1] ".
    """
    port = _free_port()
    copying = []
    for index in range(processes):
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if index else {}
        child = subprocess.Popen(
            command,
            env=environment(index, processes, devices, port),
            start_new_session=True,  # Ctrl-C comes here alone
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
    """Waits for all to end well, or for the first that fails, and ends the others then.

    Args:
      children: the processes.
      copying: threads that copy what they say; they finish before the last word here.

    Returns:
      the exit code: 0, or `STOPPED` if they have saved and left, or that of the one that failed
      (128 and the number of the signal that killed it).
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
    print(
        f"process {failed} of {len(children)} {how}; the others are ended, since they cannot go on"
        f" without it; {'its error is above' if code == WRONG else GOES_ON}",
        file=sys.stderr,
    )
    return 128 - code if code < 0 else code


def _first_failed(children: Sequence[subprocess.Popen]) -> int | None:
    """Returns which process has failed; of several, the one that the others followed."""

    def follows(index: int) -> int:
        code = children[index].returncode
        # Killed; a user's error; any other; ended by JAX, since another one had.
        return 3 if code == -signal.SIGABRT else 0 if code < 0 else 1 if code == WRONG else 2

    failed = [i for i, child in enumerate(children) if child.poll() not in (None, 0, STOPPED)]
    return min(failed, key=follows, default=None)


def _kill(children: Sequence[subprocess.Popen]) -> None:
    for child in children:
        if child.poll() is None:
            child.kill()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], usage="%(prog)s [options] -- COMMAND ..."
    )
    parser.add_argument("--processes", type=int, required=True, help="how many to start")
    parser.add_argument(
        "--devices_per_process",
        type=int,
        default=1,
        help="GPUs of each, or CPU devices where there are none (default: 1)",
    )
    parser.add_argument("command", nargs="+", help="python -m kdgan_jax.main ...")
    arguments = parser.parse_args(argv)
    for name in ("processes", "devices_per_process"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name}={getattr(arguments, name)} must be at least 1")
    children: list[subprocess.Popen] = []
    asked: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        asked.append(number)
        if len(asked) > 1 and number == signal.SIGINT:
            _kill(children)
            os._exit(130)
        for child in children[:1]:
            child.send_signal(signal.SIGTERM)  # it tells the others

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    command = [*arguments.command, "--distributed"]
    copying = start(children, command, arguments.processes, arguments.devices_per_process)
    return wait(children, copying)


if __name__ == "__main__":
    sys.exit(main())
