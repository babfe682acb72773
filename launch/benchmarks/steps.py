"""Speed of a training step beside PyTorch's, for launch/benchmarks/speed.py.

    python -m launch.benchmarks.steps

answers as peers.py does, with the program's own step: the student of configs/kd.py, a batch of 16
that stays on the devices, L1 to HR, Adam, and the average of the weights.
"""

import sys
from pathlib import Path

import numpy as np

from kdgan_jax.runtime import console, devices
from launch.benchmarks import peers, workers
from launch.benchmarks.data import Loop, fixed_feed, student_phase

OURS = "ours"
SIDES = 24, 32, 64  # of LR patches


def step() -> tuple[peers.Run, int]:
    """Returns a call that makes one step, and the number of parameters.

    The side of the array that it is called with is the LR patch's.
    """
    devices.configure(training=True)
    number = devices.count(0, (peers.BATCH,))
    loops: dict[int, Loop] = {}

    def run(lr: np.ndarray) -> np.ndarray:
        side = len(lr)
        if side not in loops:
            phase = student_phase(side, peers.BATCH, number)
            loops[side] = Loop(phase, fixed_feed(phase), 1)
        loops[side].run(1)
        return lr

    return run, 0


def table(torch: str, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Prints the table; returns the seconds by case and engine.

    Args:
      torch: a Python that has PyTorch.
      rounds: of calls.
    """
    ours = sys.executable, "-m", "launch.benchmarks.steps"
    commands: dict[str, workers.Command] = {OURS: ours}
    commands |= {name: workers.of_peer(name, "compact", Path("-"), torch) for name in peers.STEPS}
    print(f"\n| LR patches | {' | '.join(commands)} | best of PyTorch / ours |")
    print("|" + "---|" * (2 + len(commands)), flush=True)
    kept = {}
    with workers.started(commands) as running:
        for side in SIDES:
            times = workers.measured(running, side, side, rounds)
            kept[f"step {side}"] = times
            cells = [f"{1e3 * np.median(times[e]):.3g}" if e in times else "-" for e in commands]
            theirs = [name for name in peers.STEPS if name in times]
            gain = workers.ratio(workers.best(times, theirs), times[OURS]) if theirs else "-"
            print(f"| {side}x{side} | {' | '.join(cells)} | {gain} |", flush=True)
    return kept


if __name__ == "__main__":
    console.setup()
    peers.answer(*step())
