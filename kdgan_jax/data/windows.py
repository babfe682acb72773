"""Windows of images: cut, extended beyond a photo, reduced, and degraded.

A window is in LR pixels, so that the same one cuts an LR image and its HR image.
"""

from collections.abc import Callable, Sequence

import numpy as np

from kdgan_jax.data import degradations
from kdgan_jax.pictures import bicubic

REACH = 4  # LR pixels around a window that the bicubic kernel reaches
BORDER = 16  # LR pixels that are degraded together with a patch, on both sides of it in all

Window = list[tuple[int, int]]  # first and end, of lines and of columns
Cut = Callable[[Window], np.ndarray]  # the pixels of one image in a window
Beyond = list[tuple[int, int]]  # LR pixels that are missing before and after a window


def clipped(
    place: Sequence[int], size: int, margin: int, sides: Sequence[int]
) -> tuple[Window, Beyond]:
    """Returns the window of a patch inside its photo, and how far the patch extends beyond.

    Args:
      place: first line and column, without margins.
      size: side of the patch, without margins.
      margin: around it.
      sides: height and width of the photo.
    """
    inside, beyond = [], []
    for first, side in zip(place, sides, strict=True):
        start, stop = int(first) - margin, int(first) + size + margin
        inside.append((max(start, 0), min(stop, int(side))))
        beyond.append((max(-start, 0), max(stop - int(side), 0)))
    return inside, beyond


def inside(image: np.ndarray, scale: int, window: Window) -> np.ndarray:
    """Returns the pixels in a window of an image that is `scale` times as large as LR."""
    (top, bottom), (left, right) = window
    return image[top * scale : bottom * scale, left * scale : right * scale]


def extended(image: np.ndarray, beyond: Beyond, scale: int) -> np.ndarray:
    """Repeats the edge of an image as far as the patch extends beyond the photo."""
    if not any(map(any, beyond)):
        return image
    widths = [(before * scale, after * scale) for before, after in beyond]
    return np.pad(image, [*widths, (0, 0)], mode="edge")


def downscaled(hr: np.ndarray, scale: int, window: Window) -> np.ndarray:
    """Returns the pixels in a window of MATLAB's bicubic of the whole of `hr`.

    Only the window and its surroundings are downscaled.
    """
    around = [(max(start - REACH, 0), stop + REACH) for start, stop in window]
    lr = bicubic.downscale(inside(hr, scale, around), scale)
    return inside(lr, 1, _within(window, around))


def degraded(
    cut: Cut, window: Window, sides: Sequence[int], level: str, random: np.random.Generator
) -> np.ndarray:
    """Returns the LR pixels in a window, degraded out of an image of any size.

    Up to BORDER pixels around the window are degraded with it, as far as the photo reaches, and
    cut away: the filters see them, and as they are divided at random between the two sides, the
    blocks of JPEG have no fixed place in a patch.

    Args:
      cut: cuts a window out of the HR image, or out of LR.
      window: of the patch.
      sides: height and width of the photo in LR pixels.
      level: one of `degradations.LEVELS`, other than "none".
      random: draws everything.
    """
    around = []
    for (start, stop), side in zip(window, sides, strict=True):
        before = int(random.integers(BORDER, endpoint=True))
        around.append((max(start - before, 0), min(stop + BORDER - before, int(side))))
    height, width = (stop - start for start, stop in around)
    lr = degradations.degrade(cut(around), (height, width), level, random)
    return inside(lr, 1, _within(window, around))


def _within(window: Window, around: Window) -> Window:
    """Returns a window relative to a larger one."""
    return [
        (start - first, stop - first)
        for (start, stop), (first, _) in zip(window, around, strict=True)
    ]
