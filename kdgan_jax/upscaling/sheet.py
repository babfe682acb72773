"""Side by side: a picture and what each model makes of it, as one image."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kdgan_jax.evaluation import measure, sheets
from kdgan_jax.pictures.samples import rounded


def draw(path: Path, name: str, lr: np.ndarray, images: Mapping[str, np.ndarray]) -> None:
    """Writes a PNG: the whole picture with a frame, and in it LR and every model.

    The frame is where the models differ most.

    Args:
      path: of the PNG.
      name: of the picture.
      lr: (h, w, 3), uint8 or uint16.
      images: (h * scale, w * scale, 3) of each model, by its name, in any of these dtypes.
    """
    small = rounded(lr)
    large = {model: rounded(image) for model, image in images.items()}
    scale = next(iter(large.values())).shape[0] // small.shape[0]
    example = measure.alone(name, small, scale)
    nothing = dict.fromkeys(sheets.ALONE)  # no figures
    rows = [{"model": model, "image": name, "reference": None, **nothing} for model in large]
    sheets.sheet(path, [sheets.line(example, large, rows, scale=scale)])
