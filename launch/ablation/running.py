"""One task at work: its commands as processes, its log, its record."""

import contextlib
import math
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kdgan_jax.runtime import devices
from kdgan_jax.runtime.errors import STOPPED
from launch.ablation import tasks
from launch.ablation.tasks import Task

GPU_SHARE = 0.9  # of a GPU's memory, for all tasks on it


@dataclass(frozen=True)
class Share:
    """A task's part of the machine.

    Attributes:
      cores: CPU cores that it may use; () for all.
      environment: variables that give it its devices.
    """

    cores: tuple[int, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def shares(number: int) -> list[Share]:
    """Returns the parts of this machine for `number` tasks at a time.

    A single task has everything. Otherwise each has its own cores, each of which is a device on a
    CPU, and its own GPUs; where there are more tasks than GPUs, those on one GPU share its memory.
    Devices that the environment sets stay as they are.
    """
    if number == 1:
        return [Share()]
    return [_share(i, number, _cores(), _gpus()) for i in range(number)]


def _share(index: int, number: int, cores: Sequence[int], gpus: Sequence[str]) -> Share:
    own = _part(cores, index, number)
    environment = {}
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        environment["JAX_NUM_CPU_DEVICES"] = str(len(own))
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(_part(gpus, index, number))
    if 0 < len(gpus) < number:
        share = GPU_SHARE / math.ceil(number / len(gpus))
        environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{share:.2f}"
    return Share(tuple(own), environment)


def _part(things: Sequence, index: int, number: int) -> Sequence:
    """Returns one of `number` parts of `things`; with fewer of them, one that others have, too."""
    if len(things) < number:
        return [things[index % len(things)]]
    return things[index * len(things) // number : (index + 1) * len(things) // number]


def _cores() -> list[int]:
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(devices.cores()))


def _gpus() -> list[str]:
    """Returns the GPUs that a process would see, without starting JAX, which takes their memory."""
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    return listed.stdout.split() if listed.returncode == 0 else []


@contextlib.contextmanager
def _on(cores: Sequence[int]) -> Iterator[None]:
    """Lets processes that are started inside the block run on `cores` only, on Linux."""
    if not cores or sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Work:
    """A task at work, from its first command that is not complete.

    Its processes do not receive the terminal's Ctrl-C; `stop` lets them save their step.
    """

    def __init__(self, task: Task, share: Share | None = None) -> None:
        self.task, self.share = task, share or Share()
        self._record = tasks.recorded(task)
        self._record.failed = ""
        self._stage = tasks.pending(task, self._record)
        self._child: subprocess.Popen | None = None
        self._began = time.monotonic()
        self._from = 0  # the byte of the log at which this start begins
        self._stopping = False
        self._code: int | None = None  # with which it ended
        self._unable = ""  # why a command could not be started
        self._try_to_start()

    def _try_to_start(self) -> None:
        try:
            self._start()
        except OSError as error:
            self._unable = f"cannot be started ({error})"

    def _start(self) -> None:
        """Starts the next command, if there is one."""
        task, record, number = self.task, self._record, self._stage
        if number == len(task.stages) or self._stopping:
            return
        stage = task.stages[number]
        known = record.started[number] if number < len(record.started) else stage.facts
        if number == 0 and (tasks.differences(known, stage.facts) or not task.folder.exists()):
            tasks.set_aside(task)
            record.seconds = 0.0
        if not stage.replaces:
            stage.result.unlink(missing_ok=True)
        record.started[number:] = [stage.facts]
        record.complete = number
        task.folder.parent.mkdir(parents=True, exist_ok=True)
        task.log.parent.mkdir(parents=True, exist_ok=True)
        tasks.keep(task, record)  # before anything is written to the folder
        with task.log.open("ab") as log, _on(self.share.cores):
            log.write(f"$ {shlex.join(stage.command)}\n".encode())
            log.flush()
            self._from = log.tell()
            self._child = subprocess.Popen(
                stage.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.share.environment},
                start_new_session=True,
            )
        record.process = f"{self._child.pid} on {socket.gethostname()}"
        tasks.keep(task, record)

    def poll(self) -> int | None:
        """Returns the exit code once the task has ended, else None; starts the next command."""
        if self._code is None:
            self._code = self._looked()
        return self._code

    def _looked(self) -> int | None:
        if self._unable:
            return self._ended(1, self._unable)
        code = self._child.poll() if self._child else 0
        if code is None:
            return None
        stages, record = self.task.stages, self._record
        if code == 0 and self._stage < len(stages):
            if not stages[self._stage].result.exists():
                return self._ended(1, f"{stages[self._stage].result} was not written")
            self._stage += 1
            record.complete = self._stage
            tasks.keep(self.task, record)
            self._child = None
            self._try_to_start()
            if self._child or self._unable:
                return None
        unfinished = self._stage < len(stages)
        if self._stopping and unfinished:
            return self._ended(STOPPED, "")
        return self._ended(code, self._reason(code) if code else "")

    def _ended(self, code: int, reason: str) -> int:
        self._record.seconds += time.monotonic() - self._began
        self._record.failed, self._record.process = reason, ""
        tasks.keep(self.task, self._record)
        return code

    def _reason(self, code: int) -> str:
        """Returns why a command failed: the last line of its log, or the signal that ended it."""
        line = tasks.last_line(self.task.log, self._from)
        if code < 0:
            return f"killed by {signal.Signals(-code).name}" + f"; its log ends: {line}" * bool(
                line
            )
        return line.removeprefix("error: ") or f"ended with code {code} and no message"

    def stop(self) -> None:
        """Asks the task to save its step and end; `poll` tells when it has."""
        if not self._stopping:
            self._stopping = True
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the task at once."""
        self._stopping = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._child and self._child.poll() is None:
            self._child.send_signal(number)
