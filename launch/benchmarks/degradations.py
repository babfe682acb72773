"""The cost of degradations: of a copy that is made once, or of every sample.

    OMP_NUM_THREADS=1 python -m launch.benchmarks.degradations [--copies=200]
    OMP_NUM_THREADS=1 taskset -c 0 python -m launch.benchmarks.degradations --fresh [--rounds=5]

The first prints the mean of the processor's seconds that a copy takes on one thread, without
reading the file: out of an LR image of that size, and out of HR, which is reduced by 4. The second
prints how many patches tf.data makes in a second on the cores that it may use, in the best of some
rounds of a second, and the processor's time that a patch takes, their median: as they are, and
degraded anew (config.data.copies=0), from photos with HR that are decoded already.
"""

import argparse
import contextlib
import os
import sys
import time

import numpy as np

from kdgan_jax.config.settings import BatchConfig, DataConfig
from kdgan_jax.data import buffers, degradations, embedded, photos, sources

SCALE = 4
LEVELS = [level for level in degradations.LEVELS if level != "none"]
SIZES = (128, 128), (80, 120)  # height and width of LR copies
HR_PATCHES = 96, 256
BATCH = 16
WARM_UP = 2  # rounds, in which tf.data finds out how many calls to make at once


def seconds(image: np.ndarray, size: tuple[int, int], level: str, copies: int) -> float:
    """Returns the mean time that a copy of `image` at `size` takes."""

    def make(number: int) -> None:
        for i in range(number):
            degradations.degrade(image, size, level, degradations.generator(0, i))

    make(10)  # imports what is needed
    began = time.process_time()
    make(copies)
    return (time.process_time() - began) / copies


def rates(decoded: buffers.Buffers, level: str, hr_patch: int, rounds: int) -> tuple[float, float]:
    """Returns patches per second, and the processor's seconds per patch, of tf.data."""
    from kdgan_jax.data.pipeline import PatchSource  # imports TensorFlow

    data = DataConfig(copies=0 if level != "none" else 1, degradation=level)
    batches = PatchSource(decoded, data, SCALE).batches(BatchConfig(10**6, BATCH, hr_patch), seed=0)
    speeds, costs = [], []
    with contextlib.closing(batches):
        for _ in range(WARM_UP + rounds):
            number, began, used = 0, time.perf_counter(), time.process_time()
            while time.perf_counter() < began + 1:
                next(batches)
                number += BATCH
            speeds.append(number / (time.perf_counter() - began))
            costs.append((time.process_time() - used) / number)
    return max(speeds[WARM_UP:]), float(np.median(costs[WARM_UP:]))


def print_copies(number: int) -> None:
    """Prints the table of copies."""
    (photo,) = sources.installed([embedded.TRAIN[0]], SCALE)
    hr = photos.pixels(photo.place)
    print("| LR copy | level | of LR | of HR |\n|---|---|---|---|")
    for height, width in SIZES:
        for level in LEVELS:
            of_lr, of_hr = (
                seconds(hr[: height * n, : width * n], (height, width), level, number)
                for n in (1, SCALE)
            )
            print(f"| {width}x{height} | {level} | {of_lr:.4f} s | {of_hr:.4f} s |", flush=True)


def print_samples(rounds: int) -> None:
    """Prints the table of samples."""
    decoded, _ = buffers.build(sources.installed(embedded.TRAIN, SCALE), SCALE, 0.0)
    print(
        "| HR patch | level | cores | patches per second | CPU time each |\n|---|---|---|---|---|"
    )
    cores = len(os.sched_getaffinity(0))
    for hr_patch in HR_PATCHES:
        for level in ("none", *LEVELS):
            speed, cost = rates(decoded, level, hr_patch, rounds)
            row = f"| {hr_patch} | {level} | {cores} | {speed:,.0f} | {cost * 1e3:.2g} ms |"
            print(row, flush=True)


def main() -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.benchmarks.degradations", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("--fresh", action="store_true", help="measure samples that are degraded")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.fresh:
        print_samples(arguments.rounds)
    else:
        print_copies(arguments.copies)
    return 0


if __name__ == "__main__":
    sys.exit(main())
