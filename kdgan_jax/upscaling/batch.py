"""Runs a batch: pictures are decoded, enlarged and encoded at the same time, each by its thread.

The network runs in the thread that asks for outcomes. Few pictures are in memory at a time.
Outcomes come in the order of jobs, with what was logged about each.
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeVar

from kdgan_jax.pictures.picture import Picture
from kdgan_jax.runtime import console, devices
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.upscaling.claims import Claim, claim

Frames = Sequence[tuple[Picture, float]]  # with their milliseconds; of a photo, one
Value = TypeVar("Value")

AT_ONCE = 4  # most pictures between decoding and the file
PIXELS = 2**23  # most that they have together before they are enlarged, unless there is one alone
NETWORK = 0.8  # share of the work on a picture that is done when the network is


class Job(NamedTuple):
    """A picture and its results.

    Attributes:
      source: the picture.
      targets: a result for each model.
      sheet: where its comparison sheet goes, if there is to be one.
    """

    source: Path
    targets: tuple[Path, ...]
    sheet: Path | None = None


class Outcome(NamedTuple):
    """What came of a job.

    Attributes:
      job: the job.
      state: "made"; "there" if all results existed before; "elsewhere" if another process makes
        some; or "failed".
      error: one sentence if it failed, else "".
    """

    job: Job
    state: Literal["made", "there", "elsewhere", "failed"]
    error: str = ""


class Stages(Protocol):
    """What is done to pictures. Several threads may write at a time."""

    def pixels(self, source: Path) -> int:
        """Returns the number of pixels of a picture; 0 if it cannot be read."""

    def read(self, source: Path) -> Frames:
        """Returns a decoded picture."""

    def enlarge(self, model: int, frames: Frames, on_share: Callable[[float], None]) -> Frames:
        """Returns the image of model number `model`; calls `on_share` with the share done."""

    def write(self, model: int, target: Path, frames: Frames) -> Callable[[Path], None]:
        """Encodes a result for `target`, and returns what writes it to a path."""

    def draw(self, job: Job, frames: Frames, results: Mapping[int, Frames], path: Path) -> None:
        """Draws the comparison sheet of a job as `path`; results that are not given are there."""


@dataclass
class _Task:
    """A job under way.

    Attributes:
      job: the job.
      claims: on those of its results that are to be made, by the model's number.
      sheet: the claim on its sheet, if that is to be drawn.
      state: what comes of it if nothing fails.
      pixels: of the picture.
      share: of the work that is done.
      read: the decoded picture.
      written: is done when all results are in place.
      records: what was logged about it.
    """

    job: Job
    claims: dict[int, Claim] = field(default_factory=dict)
    sheet: Claim | None = None
    state: Literal["made", "there", "elsewhere"] = "made"
    pixels: int = 0
    share: float = 0.0
    read: "Future[Frames]" = field(default_factory=Future)
    written: "Future[None]" = field(default_factory=Future)
    records: list[logging.LogRecord] = field(default_factory=list)

    def release(self) -> None:
        """Gives up all claims; what is in its place stays."""
        for held in (*self.claims.values(), self.sheet):
            if held:
                held.release()


class Lane:
    """A thread that makes one call after another.

    Unlike a pool's thread it does not keep the program from ending.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def do(self, call: Callable[[], Value], future: "Future[Value]") -> None:
        """Lets the thread make a call, and puts its result or exception into `future`."""

        def made() -> None:
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)

        self._calls.put(made)

    def end(self) -> None:
        """Ends the thread after the calls that it has."""
        self._calls.put(None)


class _Records(logging.Filter):
    """Keeps what is logged about a job for the time when it is that job's turn."""

    def __init__(self) -> None:
        super().__init__()
        self._of = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether a record is to be written now."""
        task = getattr(self._of, "task", None)
        if task is not None:
            task.records.append(record)
        return task is None

    def about(self, task: _Task, call: Callable[[], Value]) -> Callable[[], Value]:
        """Returns `call`, during which what this thread logs is about `task`."""

        def inner() -> Value:
            self._of.task = task
            try:
                return call()
            finally:
                self._of.task = None

        return inner


class Batch:
    """The jobs of a command, and how far they are.

    Attributes:
      written: how many jobs have got their results.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        stages: Stages,
        root: Path,
        *,
        overwrite: bool = False,
        on_move: Callable[[Job], None] = lambda job: None,
    ) -> None:
        """Prepares a batch.

        Args:
          jobs: in the order of their outcomes.
          stages: what is done to a picture.
          root: the folder that no result may leave, as by a link in it.
          overwrite: whether results that exist are made again.
          on_move: called when more of a job is done, in the thread that asks for outcomes.
        """
        self.written = 0
        self._jobs = deque(jobs)
        self._stages, self._root = stages, root
        self.on_move, self._overwrite = on_move, overwrite
        self._tasks: deque[_Task] = deque()  # in order, until their outcomes are told
        self._records = _Records()
        self._placing = threading.Lock()
        self._stopped = False
        self._reading = Lane()
        self._writing = [Lane() for _ in range(min(AT_ONCE - 1, devices.cores()))]

    @property
    def under_way(self) -> float:
        """The shares of the jobs under way that are done, together."""
        return sum(task.share for task in self._tasks)

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Yields what came of each job, in their order; logs what was said about it before that.

        To close the generator, as an exception does, gives up what is under way: no part of a
        result stays.
        """
        reading: deque[_Task] = deque()
        console.log.addFilter(self._records)
        number = 0
        try:
            while self._jobs or self._tasks:
                while self._jobs and self._has_room(self._jobs[0]):
                    task = self._begin(self._jobs.popleft())
                    if not task.written.done():
                        reading.append(task)
                if reading:
                    task = reading.popleft()
                    self._enlarge(task, self._writing[number % len(self._writing)])
                    number += 1
                while self._tasks and self._tasks[0].written.done():
                    yield self._end()
                if self._tasks and not reading:  # there is nothing to do but wait
                    yield self._end()
        finally:
            with self._placing:  # not while a result is put in its place
                self._stopped = True
            for task in self._tasks:
                task.release()
            for lane in (self._reading, *self._writing):
                lane.end()
            console.log.removeFilter(self._records)

    def _has_room(self, job: Job) -> bool:
        """Returns whether another picture may be taken into memory."""
        held = [task for task in self._tasks if not task.written.done()]
        if not held or len(held) >= AT_ONCE:
            return not held
        return sum(t.pixels for t in held) + self._stages.pixels(job.source) <= PIXELS

    def _begin(self, job: Job) -> _Task:
        """Claims the results of a job and lets its picture be read, or ends it at once."""
        task = _Task(job)
        self._tasks.append(task)

        def claimed() -> None:
            for number, target in enumerate(job.targets):
                if held := self._claim(task, target):
                    task.claims[number] = held
            if job.sheet:
                task.sheet = self._claim(task, job.sheet)

        try:
            self._records.about(task, claimed)()
        except (OSError, UserError) as error:
            task.written.set_exception(error)
            return task
        if not task.claims and not task.sheet:
            task.state = "there" if task.state == "made" else task.state
            task.written.set_result(None)
            return task
        task.pixels = self._stages.pixels(job.source)
        read = self._records.about(task, lambda: self._stages.read(job.source))
        self._reading.do(read, task.read)
        return task

    def _claim(self, task: _Task, target: Path) -> Claim | None:
        """Returns the claim on a result, None if it is there or another process makes it."""
        if not target.parent.resolve().is_relative_to(self._root.resolve()):
            raise UserError(
                f"{task.job.source}: the link {target.parent} leads out of the folder for results,"
                f" {self._root}; remove the link"
            )
        if target.exists() and not self._overwrite:
            return None
        target.parent.mkdir(parents=True, exist_ok=True)
        held = claim(target)
        if held is None:
            task.state = "elsewhere"
        elif target.exists() and not self._overwrite:  # it was finished in between
            held.release()
            return None
        return held

    def _enlarge(self, task: _Task, lane: Lane) -> None:
        """Waits for a picture, enlarges it with each model, and lets the results be written."""

        def enlarged() -> dict[int, Frames]:
            frames = task.read.result()
            results: dict[int, Frames] = {}
            for model in task.claims:

                def on_share(share: float, done: int = len(results)) -> None:
                    task.share = NETWORK * (done + share) / len(task.claims)
                    self.on_move(task.job)

                results[model] = self._stages.enlarge(model, frames, on_share)
            return results

        try:
            results = self._records.about(task, enlarged)()
        except Exception as error:
            task.written.set_exception(error)
            return
        task.share = NETWORK
        self.on_move(task.job)
        lane.do(self._records.about(task, lambda: self._write(task, results)), task.written)

    def _write(self, task: _Task, results: dict[int, Frames]) -> None:
        job, sheet = task.job, task.sheet if task.state == "made" else None
        left = len(task.claims)
        for model, held in task.claims.items():
            put = self._stages.write(model, held.target, results[model])
            with self._placing:
                if self._stopped:
                    return
                put(held.path)
                held.publish()
                left -= 1
                self.written += not left and not sheet  # with the result: a stop may follow
        if not sheet:
            return
        with self._placing:
            if self._stopped:
                return
            self._stages.draw(job, task.read.result(), results, sheet.path)
            sheet.publish()
            self.written += 1

    def _end(self) -> Outcome:
        """Waits for the results of the first job, and returns what came of it."""
        task = self._tasks[0]
        error = task.written.exception()
        self._tasks.popleft()
        for record in task.records:
            console.log.handle(record)
        task.release()
        if error is None:
            return Outcome(task.job, task.state)
        if not isinstance(error, UserError | OSError | MemoryError | RuntimeError):
            raise error
        return Outcome(task.job, "failed", _sentence(task, error))


def _sentence(task: _Task, error: BaseException) -> str:
    """Returns what went wrong, with the file's name."""
    source = task.job.source
    if isinstance(error, UserError):
        return str(error) if str(source) in str(error) else f"{source}: {error}"
    if isinstance(error, OSError) and task.read.done() and not task.read.exception():
        return f"{source}: its result cannot be written ({error.strerror or error!r})"
    return f"{source}: {error!r}"
