"""Processes that run networks in turn, for launch/benchmarks/speed.py."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from kdgan_jax.runtime.console import log
from launch.benchmarks import peers
from launch.benchmarks.data import quartiles

SECONDS = 0.4  # of calls in a round

Command = Sequence[object]


class Worker:
    """An engine that runs a network in a process of its own, started by a command."""

    def __init__(self, engine: str, command: Command) -> None:
        """Starts the process.

        Raises:
          RuntimeError: it ends.
        """
        self.engine = engine
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.parameters = int(self._answer())

    def _answer(self) -> float:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.engine} does not run here")
        return float(line)

    def seconds(self, height: int, width: int, calls: int) -> float:
        """Returns the median time of a call."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{height} {width} {calls}\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def of_peer(engine: str, network: str, graph: Path, torch: str) -> Command:
    """Returns the command of one of `peers.ENGINES`; `torch` is a Python that has PyTorch."""
    python = torch if engine.startswith("torch") else sys.executable
    return python, Path(peers.__file__), engine, network, graph


@contextlib.contextmanager
def started(commands: Mapping[str, Command]) -> Iterator[list[Worker]]:
    """Yields the workers of those engines that run here; a warning names the others."""
    with contextlib.ExitStack() as stack:
        workers = []
        for engine, command in commands.items():
            try:
                worker = Worker(engine, command)
            except RuntimeError as error:
                log.warning("%s: left out", error)
                continue
            workers.append(worker)
            stack.callback(worker.close)
        yield workers


def measured(
    workers: Sequence[Worker], height: int, width: int, rounds: int
) -> dict[str, list[float]]:
    """Returns the seconds of a call in every round, by engine; calls take turns."""
    times: dict[str, list[float]] = {worker.engine: [] for worker in workers}
    calls = {}
    for worker in workers:
        first = worker.seconds(height, width, 1)
        calls[worker.engine] = max(1, min(50, round(SECONDS / first)))
    for _ in range(rounds):
        for worker in workers:
            seconds = worker.seconds(height, width, calls[worker.engine])
            times[worker.engine].append(seconds)
    return times


def ratio(theirs: Sequence[float], mine: Sequence[float]) -> str:
    """Returns the median of theirs / mine and its quartiles."""
    low, middle, high = quartiles(np.array(theirs) / np.array(mine))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def best(times: Mapping[str, Sequence[float]], engines: Sequence[str]) -> list[float]:
    """Returns the least seconds of every round among those of `engines` that have run."""
    return np.min([times[engine] for engine in engines if engine in times], axis=0).tolist()
