"""Writes pictures to files: the one place that encodes pixels."""

from pathlib import Path

import numpy as np
from PIL import Image

from kdgan_jax.pictures.picture import Picture
from kdgan_jax.runtime.files import replacing


def write(path: str | Path, picture: Picture) -> None:
    """Writes `picture` as `path`, in the format that its suffix names."""
    path = Path(path)
    rgb, alpha, grey = picture[:3]
    image = Image.fromarray(rgb)
    if grey:
        # Not convert("L"): a grey picture's three channels differ only by a network's rounding.
        image = Image.fromarray(((rgb.sum(axis=-1, dtype=np.uint16) + 1) // 3).astype(np.uint8))
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha[..., 0]))
    with replacing(path) as temporary:
        image.save(temporary, format=Image.registered_extensions()[path.suffix.lower()])
