"""Draws a degraded photo at several strengths of a refined model.

    python launch/reproduce/strength_picture.py docs/strength.png

The photo is that of `first_picture.py`.
"""

import sys

from first_picture import degraded, draw

from kdgan_jax import load

MODEL, STRENGTHS = "photo_x4", (0.0, 0.25, 0.5, 0.75, 1.0)


def main(path: str) -> None:
    """Writes the picture to `path`."""
    lr = degraded()
    models = {f"strength {share:g}": load(MODEL, strength=share) for share in STRENGTHS}
    draw(path, {name: model.upscale(lr) for name, model in models.items()})


if __name__ == "__main__":
    main(sys.argv[1])
