"""Leaving a run on request: Ctrl-C, SIGTERM, and what a cluster sends before it takes a machine."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from kdgan_jax.runtime import processes
from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import Stopped

SIGNALS = signal.SIGINT, signal.SIGTERM
AT_ONCE = 130  # exit code after a second Ctrl-C


class Stop:
    """Whether the run has been asked to end.

    While steps are made the request waits until one is done and saved; at any other time there is
    nothing to save, and it ends the run where it is. Several processes must end after the same
    step: JAX takes SIGTERM, of any of them, and says after which; until one is made it waits.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._waiting = False
        self._calls = 0

    def handle(self, number: int, frame: FrameType | None = None) -> None:
        """Takes a signal."""
        if self.asked is not None:
            if number == signal.SIGINT:
                os._exit(AT_ONCE)
            return
        self.asked = signal.Signals(number)
        if processes.several():
            os.kill(os.getpid(), signal.SIGTERM)
        elif not self._waiting:
            raise Stopped(f"Stopped by {self.asked.name}. Run the same command to resume.")
        log.warning("Stopping after this step. Press Ctrl-C again to quit immediately.")

    def after_step(self) -> signal.Signals | None:
        """Returns what ends the run now, after a step; the same in all processes."""
        if not processes.several():
            return self.asked
        self._calls += 1
        return signal.SIGTERM if processes.preempted(self._calls) else None

    def check(self) -> None:
        """Ends the run if a request came too late for the steps that it waited for."""
        if self.asked is not None and not processes.several():
            raise Stopped(f"Stopped by {self.asked.name}. Run the same command to resume.")

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Makes requests wait; who calls this looks at `asked`."""
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False


@contextlib.contextmanager
def listening() -> Iterator[Stop]:
    """Yields a `Stop` that signals set, in the main thread; elsewhere nothing sets it."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    ours = [signal.SIGINT] if processes.several() else SIGNALS
    before = {number: signal.signal(number, stop.handle) for number in ours}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
