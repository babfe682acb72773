"""A task is a folder that some commands fill: a run, the shared phases, labels, decoded photos.

A file beside the folder records which commands are complete and what they were started with, so
that the next start of a sweep knows what is left to do.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kdgan_jax.runtime import files
from kdgan_jax.train.earlier import FREE

Facts = Mapping[str, Any]  # JSON values that a result depends on
REPLACED = "replaced"  # the folder of what was made with another config
# Fields that do not change results. Other photos do, wherever a single run keeps them.
UNIMPORTANT = {f"config.{name}" for name in FREE if name != "data.source"}


class Stage(NamedTuple):
    """A command of a task.

    Attributes:
      command: program and arguments.
      result: exists once the command is complete.
      facts: what the result depends on. If they change, the command runs again.
      replaces: whether the command writes over a `result` that exists.
    """

    command: tuple[str, ...]
    result: Path
    facts: Facts
    replaces: bool = True


@dataclasses.dataclass(frozen=True)
class Task:
    """Commands that run one after another.

    Attributes:
      name: unique in the sweep.
      sweep: the sweep's folder, which has the task's log and record.
      folder: that the first command fills.
      stages: the commands.
      needs: names of tasks whose results they read.
      steps: updates by phase, for a task that trains.
      variant: that it is a run of; "" for other tasks.
      seed: of the run.
    """

    name: str
    sweep: Path
    folder: Path
    stages: tuple[Stage, ...]
    needs: tuple[str, ...] = ()
    steps: Mapping[str, int] = dataclasses.field(default_factory=dict)
    variant: str = ""
    seed: int = 0

    @property
    def log(self) -> Path:
        """The output of its commands."""
        return self.sweep / "logs" / f"{self.name}.log"

    @property
    def record(self) -> Path:
        """The file that its `Record` is kept in."""
        return self.sweep / "tasks" / f"{self.name}.json"


@dataclasses.dataclass
class Record:
    """What is known of a task's commands.

    Attributes:
      started: the facts of every command that was started, in order.
      complete: how many of them are complete.
      seconds: that the commands took, in all starts that ended.
      failed: why the last start failed, "" if it did not.
      process: number and host of the process of the command that was started last; "" if it ended.
    """

    started: list[Facts] = dataclasses.field(default_factory=list)
    complete: int = 0
    seconds: float = 0.0
    failed: str = ""
    process: str = ""

    @property
    def alive(self) -> bool:
        """Whether a process has the task, as far as this host can tell."""
        number, _, host = self.process.partition(" on ")
        if not number.isdecimal() or host != socket.gethostname():
            return bool(self.process)
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True


def recorded(task: Task) -> Record:
    """Returns the record of a task, an empty one if there is none that can be read."""
    try:
        record = Record(**files.read_json(task.record))
        assert isinstance(record.started, list)
        assert all(isinstance(facts, dict) for facts in record.started)
        return dataclasses.replace(record, complete=int(record.complete))
    except (AssertionError, TypeError, ValueError):
        return Record()


def keep(task: Task, record: Record) -> None:
    """Writes a task's record."""
    task.record.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(task.record, dataclasses.asdict(record))


def pending(task: Task, record: Record) -> int:
    """Returns how many of a task's commands need not run again, out of len(task.stages)."""
    for number, stage in enumerate(task.stages):
        known = number < min(record.complete, len(record.started))
        if not known or differences(record.started[number], stage.facts):
            return number
        if not stage.result.exists():
            return number
    return len(task.stages)


def is_done(task: Task) -> bool:
    """Returns whether all commands of a task are complete, with what they are now."""
    return pending(task, recorded(task)) == len(task.stages)


def differences(before: Facts, now: Facts) -> list[str]:
    """Returns what differs between the facts of two starts, in words."""
    old, new = (dict(_flat(facts)) for facts in (before, now))
    return [
        f"{name}: {_shown(old, name)} before, {_shown(new, name)} now"
        for name in [*new, *(name for name in old if name not in new)]
        if name not in UNIMPORTANT and old.get(name, ...) != new.get(name, ...)
    ]


def _shown(values: Facts, name: str) -> str:
    return repr(values[name]) if name in values else "not there"


def _flat(tree: Facts, prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def digest(facts: Facts) -> str:
    """Returns a short hash of facts; what does not change results is left out."""
    counted = {name: value for name, value in _flat(facts) if name not in UNIMPORTANT}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:8]


def changed(task: Task) -> list[str]:
    """Returns what has changed since a task's first command was started, in words."""
    record = recorded(task)
    return differences(record.started[0], task.stages[0].facts) if record.started else []


def in_use(folder: Path) -> bool:
    """Returns whether a process works in a folder: it holds the folder's lock."""
    path = folder / ".lock"
    if not path.is_file():
        return False
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def set_aside(task: Task) -> Path | None:
    """Moves a task's folder to `REPLACED`, since the task is to begin anew; returns where."""
    if not task.folder.exists():
        return None
    root = task.sweep / REPLACED
    root.mkdir(parents=True, exist_ok=True)
    number = 1
    while (place := root / f"{task.name}.{number}").exists():
        number += 1
    os.replace(task.folder, place)
    return place


def last_line(log: Path, since: int = 0) -> str:
    """Returns the last line of a log that is not empty, "" if there is none.

    Args:
      log: the file.
      since: the byte that it begins at.
    """
    try:
        with log.open("rb") as file:
            file.seek(since)
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
