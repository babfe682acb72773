"""A run of seconds on six small pictures with a tiny teacher, for tests of runs without HR."""

import runpy
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from kdgan_jax import models
from kdgan_jax.formats import native
from kdgan_jax.inference.model import Model

OWN = runpy.run_path(str(Path(__file__).parents[2] / "configs" / "own.py"))["get_config"]


def made(folder: Path, photo: np.ndarray):
    """Writes teacher and pictures into `folder`; returns a config that uses them, without HR."""
    size = {"channels": 8, "depth": 1}
    params = models.init(models.generator("compact", size, 4), jax.random.key(0), 8)["params"]
    teacher = Model("compact", size, 4, params, {"licence": "made up"})
    native.save(folder / "teacher.safetensors", teacher)
    (folder / "pictures").mkdir()
    for i in range(6):
        Image.fromarray(photo[20 * i :][:40, :60]).save(folder / f"pictures/{i}.png")
    config = OWN("smoke")
    config.teacher.checkpoint = str(folder / "teacher.safetensors")
    config.data.source = str(folder / "pictures")
    return config
