"""What of a sweep is done, and how long the rest will take, told from the logs of its runs."""

import datetime
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from kdgan_jax.runtime.console import counted
from kdgan_jax.workdir.metrics import read_metrics
from launch.ablation import tasks
from launch.ablation.planning import Plan
from launch.ablation.tasks import Record, Task

DONE, RUNNING, FAILED, BEGUN, BLOCKED, WAITING = (
    *("done", "running", "failed", "begun", "blocked", "waiting"),
)


class Standing(NamedTuple):
    """How far a task is.

    Attributes:
      task: the task.
      state: done; running; failed, and not tried again since; begun, and it continues; blocked by
        another that failed; or waiting.
      updates: that are made.
      seconds: that it took if it is done, else those that are left; None if that is unknown.
      note: why it failed, or what it waits for.
    """

    task: Task
    state: str
    updates: int
    seconds: float | None
    note: str = ""


def standings(plan: Plan, working: Collection[str] = ()) -> list[Standing]:
    """Returns how far each task of a sweep is, in their order.

    Args:
      plan: of the sweep.
      working: names of tasks that are known to run; others run if their process does.
    """
    records = {task.name: tasks.recorded(task) for task in plan.tasks}
    states: dict[str, str] = {}
    found = []
    for task in plan.tasks:
        record = records[task.name]
        states[task.name] = _state(task, record, states, working)
        blocking = [name for name in task.needs if states[name] in (FAILED, BLOCKED)]
        note = {FAILED: record.failed, BLOCKED: f"needs {', '.join(blocking)}"}
        note[WAITING] = "has changed" if tasks.changed(task) else ""
        updates = _updates(task, record)
        found.append(
            Standing(task, states[task.name], updates, None, note.get(states[task.name], ""))
        )
    whole = {s.task.name: records[s.task.name].seconds for s in found if s.state == DONE}
    return [s._replace(seconds=_seconds(s, found, whole)) for s in found]


def _state(task: Task, record: Record, states: dict[str, str], working: Collection[str]) -> str:
    if task.name in working:
        return RUNNING
    if tasks.pending(task, record) == len(task.stages):
        return DONE
    if any(states[name] in (FAILED, BLOCKED) for name in task.needs):
        return BLOCKED
    if record.alive:
        return RUNNING
    if record.failed:
        return FAILED
    return BEGUN if record.started and not tasks.changed(task) else WAITING


def _rows(task: Task) -> list[dict[str, Any]]:
    return read_metrics(task.folder / "metrics.jsonl") if task.steps else []


def _updates(task: Task, record: Record) -> int:
    """Returns the updates that a task has made with the config that it has now."""
    if not record.started or tasks.changed(task):
        return 0
    last = {row["phase"]: row["step"] for row in _rows(task)}
    return sum(min(last.get(phase, 0), steps) for phase, steps in task.steps.items())


def _pace(task: Task) -> float | None:
    """Returns the median seconds of an update of a task that has made some."""
    paces = [row["seconds_per_step"] for row in _rows(task) if "seconds_per_step" in row]
    return float(np.median(paces)) if paces else None


def _seconds(one: Standing, found: Sequence[Standing], whole: dict[str, float]) -> float | None:
    """Returns what a task took, or the seconds that are left of it.

    A task takes as long as others of its variant, else as other runs did. Before one is done, the
    pace of its own updates tells, else that of other runs.
    """
    task, total = one.task, sum(one.task.steps.values())
    if one.state == DONE:
        return whole[task.name]
    if not total:
        return None
    share = 1 - one.updates / total
    runs = [s.task for s in found if s.task.variant and s.state == DONE]
    same = [whole[run.name] for run in runs if run.variant == task.variant]
    if task.variant and (known := same or [whole[run.name] for run in runs]):
        return share * float(np.mean(known))
    if one.updates and (pace := _pace(task)):
        return (total - one.updates) * pace
    others = [s.task for s in found if s.task.variant and s.updates]
    paces = [pace for run in others if (pace := _pace(run))]
    return total * share * float(np.mean(paces)) if task.variant and paces else None


def left(found: Sequence[Standing], at_once: int) -> float | None:
    """Returns the seconds until all tasks that can be done are; None if they are unknown."""
    open_ones = [s for s in found if s.state not in (DONE, FAILED, BLOCKED)]
    times = [s.seconds for s in open_ones if s.seconds is not None]
    if not open_ones:
        return 0.0
    known_runs = all(s.seconds is not None for s in open_ones if s.task.variant)
    return max(*times, sum(times) / at_once, 0.0) if times and known_runs else None


def time(seconds: float | None) -> str:
    """Returns seconds as "0:01:30", "?" for None."""
    return "?" if seconds is None else str(datetime.timedelta(seconds=round(seconds)))


def summary(found: Sequence[Standing], at_once: int) -> str:
    """Returns how many tasks are done and the time left, in one line."""
    number = {state: sum(s.state == state for s in found) for state in (DONE, FAILED, BLOCKED)}
    parts = [f"{number[DONE]} of {counted(len(found), 'task')} done"]
    parts += [f"{number[state]} {state}" for state in (FAILED, BLOCKED) if number[state]]
    seconds = left(found, at_once)
    if seconds != 0.0:
        known = "time left: unknown until runs have made updates"
        parts.append(known if seconds is None else f"about {time(seconds)} left")
    return "; ".join(parts)


def table(found: Sequence[Standing], at_once: int) -> str:
    """Returns a line for each task, and the summary."""
    columns: list[Callable[[Standing], str]] = [
        lambda s: s.task.name,
        lambda s: s.state,
        lambda s: f"{s.updates} of {sum(s.task.steps.values())}" if s.task.steps else "-",
        lambda s: time(s.seconds) if s.state == DONE else "-",
        lambda s: "-" if s.state in (DONE, FAILED, BLOCKED) else time(s.seconds),
        lambda s: s.note,
    ]
    rows = [["task", "state", "updates", "took", "left", ""]]
    rows += [[column(s) for column in columns] for s in found]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    ]
    return "\n".join([*(line.rstrip() for line in lines), summary(found, at_once)])
