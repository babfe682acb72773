"""Whether an LR image belongs to its HR image, and which of the two is wrong."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdgan_jax.pictures import colour

RIGHT_SIZE = "its size is right"


class Verdict(NamedTuple):
    """How an LR image compares with its HR."""

    kind: str  # "same", "degradation", "pair" (mismatch), "content" (shows something else)
    text: str = ""  # a sentence; of "content", what is known of the sizes


def _agree(first: np.ndarray, second: np.ndarray) -> bool:
    """Says whether two images (H, W, 3) of one size show the same, whatever blurred one."""
    a, b = colour.luma(first), colour.luma(second)
    if min(a.std(), b.std()) < 1:  # flat: there is nothing to correlate
        return bool(np.abs(a - b).mean() < 4)
    return bool(np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9)


def _cropped(large: np.ndarray, small: np.ndarray) -> tuple[int, int] | None:
    """Returns (y, x) in `large` where `small` was cut out: at a corner or edge, or the middle."""
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


def _by(size: tuple[int, ...]) -> str:
    return f"{size[1]}x{size[0]}"


def compare(
    hr: Path, lr: Path, hr_size: tuple[int, int], reduced: np.ndarray, found: np.ndarray, scale: int
) -> Verdict:
    """Returns how the image `found` in the file `lr` matches the one in the file `hr`.

    Args:
      hr: named in the text.
      lr: named in the text.
      hr_size: (height, width) of the HR image.
      reduced: MATLAB's bicubic of the HR image, uint8 (H // scale, W // scale, 3).
      found: the LR image, uint8 (h, w, 3).
      scale: HR size over LR size.
    """
    want, got = reduced.shape[:2], found.shape[:2]
    sizes = f"{_by(got)} where HR of {_by(hr_size)} gives {_by(want)}"
    if got == want:
        if np.array_equal(reduced, found):
            return Verdict("same")
        if not _agree(reduced, found):
            return Verdict("content", RIGHT_SIZE)
        error = np.mean((reduced.astype(np.float64) - found) ** 2)
        psnr = 10 * np.log10(255**2 / error)
        return Verdict("degradation", f"{lr}: {psnr:.1f} dB from MATLAB's bicubic of {hr}")
    if got == tuple(hr_size):
        return Verdict("pair", f"{lr}: is not reduced at all, {sizes}; make it anew from {hr}")
    for other in range(2, 17):
        rounded = [tuple((side + up) // other for side in hr_size) for up in (0, other - 1)]
        if other != scale and got in rounded:
            return Verdict(
                "pair",
                f"{lr}: is reduced x{other}, not x{scale}: {sizes}; make it anew from {hr}, or use"
                f" --scale={other}",
            )
    if place := _cropped(reduced, found):
        return Verdict(
            "pair",
            f"{lr}: LR is cropped, {sizes}, its top left is at x={place[1]}, y={place[0]}; make it"
            f" anew from {hr}",
        )
    if place := _cropped(found, reduced):
        return Verdict(
            "pair",
            f"{hr}: HR is cropped, {lr} shows more: {sizes}, HR's top left is at x={place[1]},"
            f" y={place[0]} of LR; take the whole HR, or make LR anew",
        )
    height, width = (min(a, b) for a, b in zip(want, got, strict=True))
    if _agree(reduced[:height, :width], found[:height, :width]):
        return Verdict("pair", f"{lr}: HR and LR are cropped differently, {sizes}; make it anew")
    return Verdict("content", sizes)
