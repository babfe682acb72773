"""Makes simple drawings, for the example of docs/own-pictures.md: flat colours with dark outlines.

python launch/reproduce/drawings.py FOLDER [NUMBER]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE, FINER = (320, 240), 4  # pixels; drawn at FINER times the size, then reduced


def outline(random: np.random.Generator) -> list[tuple[float, float]]:
    """Returns the corners of a smooth closed shape."""
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    waves = sum(
        random.normal(0, 0.25 / order) * np.cos(order * angles + random.uniform(0, 7))
        for order in range(2, 6)
    )
    radius = random.uniform(15, 80) * FINER * (1 + waves)
    x, y = (random.uniform(0, side * FINER) for side in SIZE)
    across = x + radius * np.cos(angles) * random.uniform(0.5, 1.0)
    return list(zip(across.tolist(), (y + radius * np.sin(angles)).tolist(), strict=True))


def drawing(seed: int) -> Image.Image:
    """Returns a drawing that depends on its number only."""
    random = np.random.default_rng(seed)

    def colour() -> tuple[int, ...]:
        return tuple(random.integers(40, 256, 3).tolist())

    picture = Image.new("RGB", (SIZE[0] * FINER, SIZE[1] * FINER), colour())
    pen = ImageDraw.Draw(picture)
    for _ in range(random.integers(6, 14)):
        corners, ink = outline(random), tuple(random.integers(0, 50, 3).tolist())
        width = int(random.integers(1, 4) * FINER)
        pen.polygon(corners, fill=colour())
        pen.line([*corners, corners[0]], fill=ink, width=width, joint="curve")
        for x, y in corners[:: int(random.integers(8, 40))]:  # hatching, or eyes
            end = x + random.normal(0, 20 * FINER), y + random.normal(0, 20 * FINER)
            pen.line([(x, y), end], fill=ink, width=max(FINER, width // 2))
    return picture.resize(SIZE, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(int(sys.argv[2]) if len(sys.argv) > 2 else 40):
        drawing(number).save(folder / f"{number:03}.jpg", quality=80)
