"""Tells whether an LR image belongs to its HR image, and which of the two is wrong."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdgan_jax.pictures import colour

RIGHT_SIZE = "the size is right"


class Verdict(NamedTuple):
    """How an LR image compares with its HR."""

    kind: str  # "same", "degradation", "pair" (mismatch), "content" (shows something else)
    text: str = ""  # a sentence; for "content", what is known of the sizes


def _agree(first: np.ndarray, second: np.ndarray) -> bool:
    """Tells whether two images (H, W, 3) of one size show the same, blurred or not."""
    a, b = colour.luma(first), colour.luma(second)
    if min(a.std(), b.std()) < 1:  # flat: there is nothing to correlate
        return bool(np.abs(a - b).mean() < 4)
    return bool(np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9)


def _cropped(large: np.ndarray, small: np.ndarray) -> tuple[int, int] | None:
    """Returns (y, x) in `large` from where `small` was cut: at a corner, an edge or the middle."""
    spare = [a - b for a, b in zip(large.shape[:2], small.shape[:2], strict=True)]
    if min(spare) < 0:
        return None
    height, width = small.shape[:2]
    error = {}
    for y in {0, spare[0] // 2, spare[0]}:
        for x in {0, spare[1] // 2, spare[1]}:
            part = large[y : y + height, x : x + width]
            if _agree(part, small):
                error[y, x] = np.abs(part.astype(np.int16) - small).mean()
    return min(error, key=lambda place: (error[place], place)) if error else None


def by(size: tuple[int, ...]) -> str:
    """Returns the size (height, width) as people write it: "720x480" is 720 wide."""
    return f"{size[1]}x{size[0]}"


def compare(
    hr: Path,
    lr: Path,
    hr_size: tuple[int, int],
    reduced: np.ndarray,
    lr_image: np.ndarray,
    scale: int,
) -> Verdict:
    """Returns how the image in the file `lr` matches the one in the file `hr`.

    Args:
      hr: HR file, named in the text.
      lr: LR file, named in the text.
      hr_size: (height, width) of the HR image.
      reduced: MATLAB's bicubic of the HR image, uint8 (H // scale, W // scale, 3).
      lr_image: the LR image, uint8 (h, w, 3).
      scale: HR size over LR size.
    """
    expected_size, lr_size = reduced.shape[:2], lr_image.shape[:2]
    sizes = f"{by(lr_size)}, but HR of {by(hr_size)} gives {by(expected_size)}"
    if lr_size == expected_size:
        if np.array_equal(reduced, lr_image):
            return Verdict("same")
        if not _agree(reduced, lr_image):
            return Verdict("content", RIGHT_SIZE)
        error = np.mean((reduced.astype(np.float64) - lr_image) ** 2)
        psnr = 10 * np.log10(255**2 / error)
        return Verdict("degradation", f"{lr}: {psnr:.1f} dB from MATLAB's bicubic of {hr}")
    if lr_size == tuple(hr_size):
        return Verdict("pair", f"{lr}: is not reduced ({sizes}); recreate it from {hr}")
    for other in range(2, 17):
        rounded = [tuple((side + up) // other for side in hr_size) for up in (0, other - 1)]
        if other != scale and lr_size in rounded:
            return Verdict(
                "pair",
                f"{lr}: is reduced x{other}, not x{scale} ({sizes}); recreate it from {hr}, or use"
                f" --scale={other}",
            )
    if place := _cropped(reduced, lr_image):
        return Verdict(
            "pair",
            f"{lr}: LR is cropped ({sizes}) from x={place[1]}, y={place[0]} of the whole LR;"
            f" recreate it from {hr}",
        )
    if place := _cropped(lr_image, reduced):
        return Verdict(
            "pair",
            f"{hr}: HR is cropped ({lr} is {sizes}) from x={place[1]}, y={place[0]} of LR; use the"
            " whole HR, or recreate LR",
        )
    height, width = (min(a, b) for a, b in zip(expected_size, lr_size, strict=True))
    if _agree(reduced[:height, :width], lr_image[:height, :width]):
        text = f"{lr}: HR and LR are cropped differently ({sizes}); recreate it from {hr}"
        return Verdict("pair", text)
    return Verdict("content", sizes)
