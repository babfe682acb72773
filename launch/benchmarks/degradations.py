"""The cost of a degraded copy of a photo, by level and size.

    OMP_NUM_THREADS=1 python -m launch.benchmarks.degradations [--copies=200]

Prints the mean of the processor's seconds that a copy takes on one thread, without reading the
file: out of an LR image of that size, and out of HR, which is reduced by 4.
"""

import argparse
import sys
import time

import numpy as np

from kdgan_jax.data import degradations, embedded, photos

SCALE = 4
SIZES = (128, 128), (80, 120)  # height and width of LR copies


def seconds(image: np.ndarray, size: tuple[int, int], level: str, copies: int) -> float:
    """Returns the mean time that a copy of `image` at `size` takes."""

    def make(number: int) -> None:
        for i in range(number):
            degradations.degrade(image, size, level, degradations.generator(0, i))

    make(10)  # imports what is needed
    began = time.process_time()
    make(copies)
    return (time.process_time() - began) / copies


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.benchmarks.degradations", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--copies", type=int, default=200)
    arguments = parser.parse_args()
    (photo,) = photos.installed([embedded.TRAIN[0]], SCALE)
    hr = photos.pixels(photo.place)
    print("| LR copy | level | of LR | of HR |\n|---|---|---|---|")
    for height, width in SIZES:
        for level in ("light", "strong"):
            of_lr, of_hr = (
                seconds(hr[: height * n, : width * n], (height, width), level, arguments.copies)
                for n in (1, SCALE)
            )
            print(f"| {width}x{height} | {level} | {of_lr:.4f} s | {of_hr:.4f} s |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
