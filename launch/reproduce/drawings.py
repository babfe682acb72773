"""Makes simple drawings: flat colours, outlines, hatching and signs.

python launch/reproduce/drawings.py FOLDER [NUMBER]

They are the example of docs/own-pictures.md, and part of what configs/photo_soft.py learns from.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE, FINER = (320, 240), 4  # pixels; drawn at FINER times the size, then reduced
Colour = tuple[int, int, int]


def colour(random: np.random.Generator, plain: float) -> Colour:
    """Returns a colour: black or white, each with the probability `plain`, or any."""
    kind = random.random()
    if kind < 2 * plain:
        r, g, b = random.integers(0, 20, 3) + (235 if kind < plain else 0)
    else:
        r, g, b = random.integers(0, 256, 3)
    return int(r), int(g), int(b)


def outline(random: np.random.Generator) -> list[tuple[float, float]]:
    """Returns the corners of a smooth closed shape."""
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    waves = sum(
        random.normal(0, 0.25 / order) * np.cos(order * angles + random.uniform(0, 7))
        for order in range(2, 6)
    )
    radius = random.uniform(8, 80) * FINER * (1 + waves)
    x, y = (random.uniform(0, side * FINER) for side in SIZE)
    across = x + radius * np.cos(angles) * random.uniform(0.5, 1.0)
    return list(zip(across.tolist(), (y + radius * np.sin(angles)).tolist(), strict=True))


def shape(pen: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    """Draws a filled shape with an outline, mostly dark, and strokes from it."""
    corners = outline(random)
    ink = colour(random, 0.15)
    if random.random() < 0.6:
        ink = ink[0] // 5, ink[1] // 5, ink[2] // 5
    width = round(random.uniform(0.75, 4) * FINER)
    pen.polygon(corners, fill=colour(random, 0.2))
    pen.line([*corners, corners[0]], fill=ink, width=width, joint="curve")
    for x, y in corners[:: int(random.integers(8, 40))]:  # hatching, or eyes
        end = x + random.normal(0, 20 * FINER), y + random.normal(0, 20 * FINER)
        pen.line([(x, y), end], fill=ink, width=max(FINER, width // 2))


def sign(pen: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    """Draws a line of characters that are made of bars."""
    ink, side = colour(random, 0.35), random.uniform(8, 50) * FINER
    x, y = (random.uniform(0, length * FINER) for length in SIZE)
    width = max(FINER, round(side * random.uniform(0.08, 0.25)))
    for number in range(random.integers(2, 7)):
        left = x + 1.3 * side * number
        for _ in range(random.integers(3, 7)):
            ends = random.integers(0, 3, (2, 2)) / 2
            if random.random() < 0.8:  # across or upright
                ends[1, random.integers(2)] = ends[0].min()
            pen.line([(left + side * u, y + side * v) for u, v in ends], fill=ink, width=width)


def drawing(seed: int) -> Image.Image:
    """Returns a drawing that depends on its number only."""
    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (SIZE[0] * FINER, SIZE[1] * FINER), colour(random, 0.2))
    pen = ImageDraw.Draw(picture)
    for _ in range(random.integers(6, 16)):
        (sign if random.random() < 0.3 else shape)(pen, random)
    return picture.resize(SIZE, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(int(sys.argv[2]) if len(sys.argv) > 2 else 40):
        drawing(number).save(folder / f"{number:03}.jpg", quality=80)
