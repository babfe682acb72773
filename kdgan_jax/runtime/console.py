"""Output of a running command, on stderr: messages and a progress bar."""

import contextlib
import datetime
import functools
import io
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

log = logging.getLogger("kdgan_jax")
_HOME = re.compile(r"(?:^|(?<=[=,:]))~(?=[/,]|$)")
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


def setup() -> None:
    """Sends this package's messages and other packages' warnings to stderr, as bare text.

    Names of files that an encoding cannot write are escaped, here and on stdout.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True)
    log.setLevel(logging.INFO)
    threading.excepthook = _of_thread
    # When a disk is full, Orbax's tasks repeat the error at exit, with tracebacks.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def _of_thread(failure: threading.ExceptHookArgs) -> None:
    """Tells in one line that a thread cannot write, such as that of TensorBoard's events."""
    if isinstance(failure.exc_value, OSError):
        log.warning("%s", failure.exc_value)
    else:
        threading.__excepthook__(failure)


class Progress:
    """Shows a bar with elapsed time and ETA on a terminal, else a line every 30 seconds."""

    interval = 30.0  # seconds between lines

    def __init__(self, title: str, total: int, start: int = 0) -> None:
        self.title, self.total, self.start, self.done = title, total, start, start
        self._began = self._last_line = time.monotonic()
        self._note = ""
        self._bar: Any = None
        try:
            from rich import progress
        except ImportError:
            return
        if sys.stderr.isatty():
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description:<22}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeElapsedColumn(),
                progress.TextColumn("ETA"),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(title, total=total, completed=start, note="")
            self._bar.start()

    def advance(self, note: str = "", number: int = 1) -> None:
        """Counts `number` items as done; a `note` stays at the end of the line until the next."""
        self.done += number
        if self._bar:
            self._bar.update(self._task, advance=number, **({"note": note} if note else {}))
            return
        now = time.monotonic()
        self._note = note or self._note
        if self.done < self.total and now < self._last_line + self.interval:
            return
        self._last_line, elapsed = now, now - self._began
        remaining = elapsed / (self.done - self.start) * (self.total - self.done)
        log.info(
            "%s: %d of %d, %s elapsed, ETA %s  %s",
            self.title,
            self.done,
            self.total,
            datetime.timedelta(seconds=round(elapsed)),
            datetime.timedelta(seconds=round(remaining)),
            self._note,
        )

    def skip(self, number: int) -> None:
        """Counts `number` items as done earlier, which says nothing about today's pace."""
        self.start += number
        self.done += number
        if self._bar:
            self._bar.update(self._task, advance=number)

    def close(self) -> None:
        """Leaves the finished bar on the screen."""
        if self._bar:
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
