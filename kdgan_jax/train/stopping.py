"""Stopping a run on request: by Ctrl-C, SIGTERM, or a cluster that reclaims a machine."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from kdgan_jax.runtime import interrupts, processes
from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import Stopped

SIGNALS = signal.SIGINT, signal.SIGTERM


class Stop:
    """Whether the run has been asked to stop.

    During training, a request takes effect when the current step is done and saved. At any other
    time there is nothing to save, and it ends the run immediately. Several processes must stop
    after the same step: JAX receives SIGTERM in any of them and decides on the step, so outside
    training a request waits for the next step.

    Attributes:
      asked: the signal that asked, if any.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._waiting = False
        self._calls = 0

    def handle(self, number: int, frame: FrameType | None = None) -> None:
        """Handles a signal."""
        if self.asked is not None:
            if number == signal.SIGINT:
                interrupts.at_once()
            return
        self.asked = signal.Signals(number)
        if processes.several():
            os.kill(os.getpid(), signal.SIGTERM)
        elif not self._waiting:
            raise Stopped(f"Stopped by {self.asked.name}. Run the same command to resume.")
        log.warning("Stopping after this step. Press Ctrl-C again to quit immediately.")

    def after_step(self) -> signal.Signals | None:
        """Returns the signal that ends the run after this step, the same in all processes."""
        if not processes.several():
            return self.asked
        self._calls += 1
        return signal.SIGTERM if processes.preempted(self._calls) else None

    def check(self) -> None:
        """Raises `Stopped` if a request came after the last step."""
        if self.asked is not None and not processes.several():
            raise Stopped(f"Stopped by {self.asked.name}. Run the same command to resume.")

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Lets requests wait inside the block, which must look at `after_step`."""
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False


@contextlib.contextmanager
def listening() -> Iterator[Stop]:
    """Yields a `Stop` that signals set; outside the main thread, none do."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    signals = [signal.SIGINT] if processes.several() else SIGNALS
    before = {number: signal.signal(number, stop.handle) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
