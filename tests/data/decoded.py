"""Photos for the tests of this folder, decoded, some without all images."""

import numpy as np

from kdgan_jax.data import buffers
from kdgan_jax.data.photos import Box, Photo
from kdgan_jax.pictures import bicubic

SIDES = (14, 20), (10, 33), (12, 9)  # of the LR images
PART = Box(16, 8, 64, 88)


def three_photos(photo, scale=4):
    """Three crops of a photo; the first has to be cropped further, the last has its own LR."""
    hr = [photo[: h * scale, : w * scale] for h, w in SIDES]
    sizes = [image.shape[:2] for image in hr]
    hr[0] = photo[: SIDES[0][0] * scale + 1, : SIDES[0][1] * scale + scale - 1]
    own = bicubic.downscale(hr[2], scale) ^ np.uint8(1)
    return [
        Photo(n, h, lr, s) for n, h, lr, s in zip("abc", hr, (None, None, own), sizes, strict=True)
    ]


def of_all_kinds(photo):
    """HR alone, a pair, LR alone, and a part of each; all of 96x112 at x4."""
    hr = [np.ascontiguousarray(photo[40 * i : 40 * i + 96, 50:162]) for i in range(3)]
    lr = [bicubic.downscale(image, 4) ^ np.uint8(1) for image in hr]
    whole = [
        Photo("hr", hr[0], None, (96, 112), entry=0),
        Photo("pair", hr[1], lr[1], (96, 112), entry=1),
        Photo("lr", None, lr[2], (96, 112), entry=1),
    ]
    return [*whole, *(p._replace(name=f"part of {p.name}", part=PART) for p in whole)]


def with_gaps(decoded, present):
    """Returns buffers with LR, and with the images `present` = {name: indices of photos}.

    "hr" is that of `decoded`, at x4; "teacher" is half of it as float32.
    """
    rows, begins = {"lr": decoded.rows["lr"]}, {"lr": decoded.begins["lr"]}
    for name, photos in present.items():
        images = [decoded.image("hr", i) for i in photos]
        if name == "teacher":
            images = [image.astype(np.float32) / 2 for image in images]
        parts = [buffers.to_rows(image, 4) for image in images]
        rows[name] = np.concatenate(parts)
        begins[name] = np.full(len(decoded.sides), -1, np.int64)
        begins[name][photos] = np.cumsum([0, *map(len, parts)])[:-1]
    return buffers.Buffers(rows, decoded.sides, begins)


def turned(image, turn):
    """Applies one of the eight flips and rotations to (H, W, 3)."""
    image = image[:, ::-1] if turn & 1 else image
    image = image[::-1] if turn & 2 else image
    return image.transpose(1, 0, 2) if turn & 4 else image
