"""Carries out the tasks of a sweep, some at a time, here or on a cluster."""

import os
import signal
import time
from collections.abc import Collection
from types import FrameType
from typing import Protocol

from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import STOPPED
from launch.ablation import progress, tasks
from launch.ablation.planning import Plan
from launch.ablation.running import Work, shares
from launch.ablation.tasks import Task

PAUSE = 0.2  # seconds between two looks at the tasks
TABLE = 600.0  # seconds after which the table is shown again


class Working(Protocol):
    """A task at work."""

    def poll(self) -> int | None:
        """Returns its exit code once it has ended, else None."""

    def stop(self) -> None:
        """Asks it to save its step and end."""

    def kill(self) -> None:
        """Ends it at once."""


class Place(Protocol):
    """Where tasks are carried out."""

    @property
    def at_once(self) -> int:
        """How many tasks run at a time."""

    def begin(self, task: Task) -> Working:
        """Starts a task."""


class Here:
    """This machine, whose cores and GPUs are divided among `at_once` tasks."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self._parts = shares(at_once)
        self._works: list[Work] = []

    def begin(self, task: Task) -> Work:
        """Starts a task on a part of the machine that is free."""
        self._works = [work for work in self._works if work.poll() is None]
        taken = [id(work.share) for work in self._works]
        work = Work(task, next(part for part in self._parts if id(part) not in taken))
        self._works.append(work)
        return work


class Asked:
    """Whether the sweep has been asked to stop; a second Ctrl-C ends it at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.working: dict[str, Working] = {}

    def listen(self) -> None:
        """Handles signals from now on."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            for work in self.working.values():
                work.kill()
            os._exit(130)
        self.signal = self.signal or signal.Signals(number)


def carry_out(plan: Plan, place: Place, asked: Asked) -> int:
    """Carries out what is left of a sweep; logs every change, and a table.

    A task that fails does not stop those that do not need it. One that another process works on,
    such as one that a killed launcher left behind, is waited for.

    Args:
      plan: of the sweep.
      place: where its tasks run.
      asked: whether to stop; tasks then save their step.

    Returns:
      the exit code: 0, 1 if tasks failed, or `STOPPED`.
    """
    try:
        return _carried_out(plan, place, asked)
    finally:
        for work in asked.working.values():  # there are none, unless something unforeseen happened
            work.stop()


def _carried_out(plan: Plan, place: Place, asked: Asked) -> int:
    done = {task.name for task in plan.tasks if tasks.is_done(task)}
    ended: set[str] = set()  # in this start
    working = asked.working
    shown = time.monotonic()

    def ready(task: Task) -> bool:
        return task.name not in done | ended | working.keys() and done.issuperset(task.needs)

    _announce(plan, done, place.at_once)
    while True:
        for name in list(working):
            code = working[name].poll()
            if code is not None:
                del working[name]
                ended.add(name)
                if code == 0:
                    done.add(name)
                if asked.signal is None:
                    _tell(plan, name, working, place.at_once)
                    shown = time.monotonic()
        waiting = [task for task in plan.tasks if ready(task)]
        busy = [task for task in waiting if tasks.in_use(task.folder)]
        if asked.signal is not None:
            for work in working.values():
                work.stop()
            if not working:
                return STOPPED
        else:
            free = place.at_once - len(working) - len(busy)
            for task in [task for task in waiting if task not in busy][: max(0, free)]:
                working[task.name] = place.begin(task)
            if not working and not busy:
                return int(len(done) < len(plan.tasks))
        if time.monotonic() > shown + TABLE:
            shown = time.monotonic()
            log.info("%s", progress.table(progress.standings(plan, working), place.at_once))
        time.sleep(PAUSE)


def _announce(plan: Plan, done: Collection[str], at_once: int) -> None:
    """Logs which tasks begin anew since their config has changed, and why, and what is done."""
    for task in plan.tasks:
        if task.name not in done and task.folder.exists() and (changes := tasks.changed(task)):
            log.info(
                "%s has changed and begins anew; what it made goes to %s (%s)",
                *(task.name, plan.folder / tasks.REPLACED, "; ".join(changes)),
            )
    log.info("%s\n", progress.table(progress.standings(plan), at_once))


def _tell(plan: Plan, name: str, working: Collection[str], at_once: int) -> None:
    """Logs how a task ended, and how far the sweep is."""
    found = progress.standings(plan, working)
    one = next(s for s in found if s.task.name == name)
    if one.state == progress.DONE:
        log.info("%s: done in %s", name, progress.time(one.seconds))
    else:
        log.warning("%s failed: %s (its log is %s)", name, one.note, one.task.log)
    log.info("%s\n", progress.table(found, at_once))
