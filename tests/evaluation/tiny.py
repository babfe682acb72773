"""A small set of photos and a small model, for tests of evaluation."""

import jax
from PIL import Image

from kdgan_jax import models
from kdgan_jax.inference.model import Model


def photos(folder, photo):
    """Makes `folder` with two HR images, 0 and 1, of 64 x 96 pixels, and returns it."""
    folder.mkdir(parents=True)
    for i in range(2):
        Image.fromarray(photo[100 * i : 100 * i + 64, 100:196]).save(folder / f"{i}.png")
    return folder


def lr_photos(folder, photo):
    """Makes `folder` with two LR images, a and b, of 16 x 24 pixels, and returns it."""
    folder.mkdir(parents=True)
    for i, name in enumerate("ab"):
        Image.fromarray(photo[100 * i : 100 * i + 16, 100:124]).save(folder / f"{name}.png")
    return folder


def model(seed=0, depth=1, scale=4):
    """Returns a network of 4 channels with random weights."""
    kwargs = {"channels": 4, "depth": depth}
    module = models.generator("compact", kwargs, scale)
    return Model("compact", kwargs, scale, models.init(module, jax.random.key(seed), 8)["params"])
