"""How far networks move the means of colours, and what `kdgan upscale --keep_colour` does to PSNR.

    python -m launch.benchmarks.colour --data=SETS [--models=clean_x4,clean_gan_x4]

SETS are folders of photos with HR, separated by commas. Prints for each model the mean of its image
of a board of black and white pixels (127.5), with and without --keep_colour, and the PSNR on Y in
dB of each set.
"""

import argparse
import sys

import numpy as np

from kdgan_jax import load
from kdgan_jax.data import sources
from kdgan_jax.data.photos import load_pair
from kdgan_jax.evaluation.metrics import psnr_y
from kdgan_jax.inference.ensemble import quantise
from kdgan_jax.inference.load import SHIPPED
from kdgan_jax.inference.model import Model
from kdgan_jax.inference.pictures import keep_means
from kdgan_jax.runtime import devices


def both(model: Model, lr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the network's image, and the one with the means of `lr`; uint8."""
    sr = model.predict(lr)
    return quantise(sr), quantise(keep_means(sr, lr))


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.benchmarks.colour", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--models", default=",".join(SHIPPED))
    arguments = parser.parse_args()
    devices.configure(kept_from=0.1)
    sets = arguments.data.split(",")
    print("| model | board | " + " | ".join(folder.split("/")[-1] for folder in sets) + " |")
    print("|---" * (len(sets) + 2) + "|")
    board = np.indices((48, 48)).sum(0)[..., None].repeat(3, axis=2) % 2
    for name in arguments.models.split(","):
        model = load(name)
        plain, kept = both(model, np.uint8(255 * board))
        cells = [f"{plain.mean():.1f}, {kept.mean():.1f}"]
        for folder in sets:
            photos = sources.of_place(folder, "", folder, model.scale).photos
            values = []
            for photo in photos:
                hr, lr = load_pair(photo, model.scale)
                values.append([psnr_y(sr, hr, model.scale) for sr in both(model, lr)])
            plain_psnr, kept_psnr = np.mean(values, axis=0)
            cells.append(f"{plain_psnr:.3f}, {kept_psnr:.3f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
