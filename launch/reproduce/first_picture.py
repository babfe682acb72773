"""Draws the first picture of the README: a degraded photo as the models of the package enlarge it.

    python launch/reproduce/first_picture.py docs/first.png

The photo is `chelsea` of scikit-image (Stéfan van der Walt, CC0), reduced to a quarter and
degraded. No model has seen it.
"""

import sys
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from skimage import data

from kdgan_jax import load
from kdgan_jax.data import degradations
from kdgan_jax.pictures import bicubic

LEVEL, COPY = "light", 20  # a copy with blur and visible JPEG compression
TOP, LEFT, SIDE = 5, 25, 60  # what is shown, in LR pixels
MODELS = "clean_x4", "photo_x4", "realesr-general-x4v3"


def degraded() -> np.ndarray:
    """Returns the photo as LR."""
    photo = bicubic.crop_to_multiple(data.chelsea(), 4)
    size = photo.shape[0] // 4, photo.shape[1] // 4
    return degradations.degrade(photo, size, LEVEL, degradations.generator(0, COPY))


def draw(path: str, shown: Mapping[str, np.ndarray]) -> None:
    """Draws the same crop of images at x4 side by side, each under its name."""
    figure = Figure(figsize=(15, 3.3), layout="constrained")
    axes = figure.subplots(1, len(shown))
    for axis, (name, image) in zip(axes, shown.items(), strict=True):
        axis.imshow(image[4 * TOP : 4 * (TOP + SIDE), 4 * LEFT : 4 * (LEFT + SIDE)])
        axis.set_title(name)
        axis.set_axis_off()
    figure.savefig(path, dpi=100)


def main(path: str) -> None:
    """Writes the picture to `path`."""
    lr = degraded()
    shown = {"LR": np.kron(lr, np.ones((4, 4, 1), np.uint8)), "bicubic": bicubic.upscale(lr, 4)}
    draw(path, shown | {name: load(name).upscale(lr) for name in MODELS})


if __name__ == "__main__":
    main(sys.argv[1])
