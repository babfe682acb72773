"""Output of a running command, on stderr: messages and a progress bar."""

import contextlib
import datetime
import functools
import io
import logging
import os
import re
import select
import sys
import threading
import time
import types
from collections.abc import Iterator, Sequence
from typing import IO, Any

log = logging.getLogger("kdgan_jax")
_progress = log.getChild("progress")  # is seen at once, where messages of `log` wait for their turn
_HOME = re.compile(r"(?:^|(?<=[=,:]))~(?=[/,]|$)")
_LONGEST = 10**8  # seconds that are shown, three years
STARTED = time.monotonic()  # of a command: this module is imported before JAX, which takes seconds


def counted(number: int, noun: str) -> str:
    """Returns "no photos", "1 photo" or "2 photos"."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


@functools.cache
def warn_once(message: str) -> None:
    """Warns, unless the same was said before."""
    log.warning("%s", message)


def arguments(argv: Sequence[str] | None = None) -> list[str]:
    """Returns a command's arguments, without its name, in which ~ is the user's home.

    A shell replaces ~ only where a word begins with it, not in --out=~/large.
    """
    words = sys.argv[1:] if argv is None else argv
    return [_HOME.sub(lambda _: os.path.expanduser("~"), word) for word in words]


class _Stderr(logging.StreamHandler):
    """Writes to what stderr is at the time: while a bar is shown, lines go above it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a message."""
        self.stream = sys.stderr
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Says nothing of a terminal that is closed."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def _open_streams() -> None:
    """Opens streams that whoever started the program has closed.

    The next files would get their numbers, and be written into by what libraries print.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            setattr(sys, name, os.fdopen(null, "w" if number else "r"))


def setup() -> None:
    """Sends this package's messages and other packages' warnings to stderr, as bare text.

    Names of files that an encoding cannot write are escaped, here and on stdout.
    """
    _open_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[_Stderr()], force=True
    )
    log.setLevel(logging.INFO)
    sys.excepthook = _uncaught
    threading.excepthook = _of_thread
    # When a disk is full, Orbax's tasks repeat the error at exit, with tracebacks.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def _uncaught(
    kind: type[BaseException], error: BaseException, traceback: types.TracebackType | None
) -> None:
    """Says nothing if the reader of stdout has gone, as in `kdgan zoo | head`."""
    if isinstance(error, BrokenPipeError) and _has_no_reader(sys.stdout):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
    else:
        sys.__excepthook__(kind, error, traceback)


def _has_no_reader(stream: IO[str]) -> bool:
    """Returns whether a stream is a pipe whose other end is closed; False where none can tell."""
    if not hasattr(select, "poll"):  # on Windows
        return False
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _of_thread(failure: threading.ExceptHookArgs) -> None:
    """Tells in one line that a thread cannot write, such as that of TensorBoard's events."""
    if isinstance(failure.exc_value, OSError):
        log.warning("%s", failure.exc_value)
    else:
        threading.__excepthook__(failure)


def printable(text: str) -> str:
    """Returns `text` with escapes for what would move the cursor or is no character."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class Progress:
    """Shows a bar with elapsed time and ETA on a terminal, else a line every 30 seconds.

    Titles and notes are shown as they are: no part of them is read as markup.

    Attributes:
      done: how many items are done.
      under_way: how much of items is done that are not yet counted: 1.5 if it is half of one and
        all but the end of another. The bar shows it, and the number does not.
    """

    interval = 30.0  # seconds between lines

    def __init__(self, title: str, total: int, start: int = 0) -> None:
        self.title, self.total, self.start, self.done = title, total, start, start
        self._began = self._last_line = time.monotonic()
        self._note = ""
        self.under_way = 0.0
        self._bar: Any = None
        try:
            from rich import progress
        except ImportError:
            return
        if sys.stderr.isatty():
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description:<22}", markup=False),
                progress.BarColumn(),
                progress.TextColumn("{task.fields[done]}/{task.total:.0f}"),
                progress.TimeElapsedColumn(),
                progress.TextColumn("ETA"),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.fields[note]}", markup=False),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(
                title, total=total, completed=start, done=start, note=""
            )
            self._bar.start()

    def advance(self, note: str = "", number: int = 1) -> None:
        """Counts `number` items as done; a `note` stays at the end of the line until the next."""
        self.done += number
        self._show(note)

    def move(self, under_way: float, note: str = "") -> None:
        """Moves the bar without counting; a `note` stays until the next."""
        self.under_way = under_way
        self._show(note)

    def _show(self, note: str) -> None:
        self._note = printable(note) or self._note
        completed = min(self.done + self.under_way, self.total)
        if self._bar:
            self._bar.update(self._task, completed=completed, done=self.done, note=self._note)
            return
        now = time.monotonic()
        if self.done < self.total and now < self._last_line + self.interval:
            return
        self._last_line, elapsed = now, now - self._began
        remaining = elapsed / max(completed - self.start, 1e-9) * (self.total - completed)
        _progress.info(
            "%s: %d of %d, %s elapsed, ETA %s  %s",
            self.title,
            self.done,
            self.total,
            datetime.timedelta(seconds=round(elapsed)),
            datetime.timedelta(seconds=round(min(remaining, _LONGEST))),
            self._note,
        )

    def skip(self, number: int) -> None:
        """Counts `number` items as done earlier, which says nothing about today's pace."""
        self.start += number
        self.done += number
        if self._bar:
            self._bar.update(self._task, completed=self.done + self.under_way, done=self.done)

    def close(self) -> None:
        """Leaves the finished bar on the screen."""
        if self._bar:
            with contextlib.suppress(OSError):  # the terminal may be closed
                self._bar.stop()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Logs warnings only, inside the block."""
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def progress(title: str, total: int, start: int = 0) -> Iterator[Progress]:
    """Yields a `Progress` and closes it."""
    bar = Progress(title, total, start)
    try:
        yield bar
    finally:
        bar.close()
