"""Photos in other colours: contrast, grey, and channels that change places.

Photos have few pure whites and blacks, flat areas and strong colours, of which drawings, posters
and scans are made. A student that learns from photos alone imitates its teacher less well there.
"""

import numpy as np

from kdgan_jax.data.degradations import GREY, to_8_bits

CONTRASTED = 0.7  # probability that contrast is raised
CONTRAST = 10.0  # its largest factor
MIDDLE = 0.2, 0.8  # the value that it keeps, drawn for each channel
GREYED = 0.125  # probability that a photo is grey


def vary(images: dict[str, np.ndarray], random: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns images (H, W, 3) uint8 of one photo, all in the same other colours."""
    order = random.permutation(3)
    middle = random.uniform(*MIDDLE, 3).astype(np.float32)
    factor = CONTRAST ** random.random() if random.random() < CONTRASTED else 1.0
    grey = random.random() < GREYED

    def one(image: np.ndarray) -> np.ndarray:
        image = np.ascontiguousarray(image[..., order])
        if factor == 1 and not grey:
            return image
        result = (image / np.float32(255) - middle) * np.float32(factor) + middle
        if grey:
            result = np.repeat((result.clip(0, 1) @ GREY)[..., None], 3, axis=-1)
        return to_8_bits(result)

    return {name: one(image) for name, image in images.items()}
