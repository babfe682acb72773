"""Decoded photos that lack images."""

import numpy as np

from kdgan_jax.data import buffers


def with_gaps(built, having):
    """Returns `built` with the images `having` = {name: photos that have it}, and with LR.

    "hr" is the one of `built`, "teacher" is half of that, as float32.
    """
    rows, begins = {"lr": built.rows["lr"]}, {"lr": built.begins["lr"]}
    dtypes = {"hr": np.uint8, "teacher": np.float32}
    for name, photos in having.items():
        images = [built.image("hr", i) for i in photos]
        if name == "teacher":
            images = [image.astype(np.float32) / 2 for image in images]
        parts = [buffers.to_rows(image, 4) for image in images]
        rows[name] = np.concatenate([np.empty((0, 48), dtypes[name]), *parts])
        begins[name] = np.full(len(built.sides), -1, np.int64)
        begins[name][photos] = np.cumsum([0, *map(len, parts)])[:-1]
    return buffers.Buffers(rows, built.sides, begins)
