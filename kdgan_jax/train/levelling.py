"""Takes the mesh out of a network that ends in a pixel shuffle, by least squares.

The last convolution has filters of its own for every place in a block of pixels. So images may have
a pattern that repeats with the blocks, the mesh that an adversarial phase leaves: the means at all
places of blocks differ. In photos they differ as well, by their content. The smallest change of the
filters that brings the pattern of images near to that of HR is found in closed form, from the
features of training photos.

Aiming at no pattern at all would take the slopes inside blocks away, and pictures would get stairs;
so would filters with equal sums (Sugawara et al., "Super-Resolution Using Convolutional
Neural Networks Without Any Checkerboard Artifacts", ICIP 2018).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kdgan_jax import models
from kdgan_jax.data.buffers import to_rows
from kdgan_jax.data.windows import Window, inside
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime.errors import UserError

PHOTOS = 300  # at most that are looked at
SIDE = 64  # of the squares that they are cut into, in LR pixels
LEAST = 16  # of that side, where all photos are smaller
RIDGE = 1e-7  # of the mean square of a feature, which keeps the equations solvable

Pair = tuple[np.ndarray, np.ndarray]  # LR (h, w, 3) and HR (H, W, 3) of a photo, uint8


def check(module: Any, field: str) -> None:
    """Checks that a network can be levelled.

    Raises:
      UserError: it does not say which convolution its pixel shuffle follows.
    """
    if getattr(module, "before_shuffle", None) is None:
        raise UserError(
            f"{field}: {type(module).__name__} does not say which convolution its pixel shuffle"
            " follows; set it to 0, or train a network of kind compact without branches"
        )


def chosen(sizes: Sequence[Sequence[int]], scale: int) -> tuple[list[int], int]:
    """Returns which photos are looked at, at most `PHOTOS`, and the side of their squares in LR.

    All squares have one size, so the network is compiled once. Photos that are smaller are passed
    over, the others are evenly spread.

    Args:
      sizes: (height, width) of HR.
      scale: HR size over LR size.

    Raises:
      UserError: all photos are too small.
    """
    sides = [min(size) // scale for size in sizes]
    side = min(SIDE, max(sides, default=0))
    if side < LEAST:
        raise UserError(f"levelling needs a photo of at least {LEAST} LR pixels on each side")
    large = [i for i, length in enumerate(sides) if length >= side]
    return large[:: -(-len(large) // PHOTOS)], side


def levelled(model: Model, pairs: Iterable[Pair], weight: float, side: int) -> Model:
    """Returns the model whose images have a pattern near to that of HR.

    Minimises, over training photos, the mean square of the change of the image plus `weight` times
    that of what is left of the difference to HR of the means at the places of a block.

    Args:
      model: `check` accepts it.
      pairs: LR and HR of photos, of which one at a time is needed.
      weight: of the pattern; 100 changes images of `clean_gan_x4` by half a level of 255.
      side: of the squares that they are cut into, in LR pixels; into one photo at least, one fits.
        Many squares of few photos keep the change from fitting the photos alone.
    """
    feature, path = model.module.before_shuffle
    layer = model.params
    for name in path:
        layer = layer[name]
    kernel, bias = (np.asarray(layer[name], np.float64) for name in ("kernel", "bias"))
    weights = np.concatenate([kernel.reshape(-1, kernel.shape[-1]), bias[None]])
    moments = _moments(model, feature, kernel.shape[0])
    sums: Any = 0.0
    means, goals = [], []
    for lr, hr in pairs:
        for window in _squares(lr, side):
            square, mean = moments(model.params, inside(lr, 1, window))
            sums += np.asarray(square, np.float64)
            means.append(np.asarray(mean, np.float64))
            goals.append(_means(inside(hr, model.scale, window), kernel.shape[0], model.scale))
    squares, seen = sums / len(means), np.stack(means)
    excess = _apart(seen @ weights - np.stack(goals), model.scale)
    ridge = RIDGE * np.trace(squares) / len(squares) * np.eye(len(squares))
    across = weight / len(seen) * seen.T
    weights -= np.linalg.solve(squares + ridge + across @ seen, across @ excess)
    changed: dict[str, Any] = {
        "kernel": weights[:-1].reshape(kernel.shape).astype(np.float32),
        "bias": weights[-1].astype(np.float32),
    }
    return model.with_params(_with(model.params, path, changed))


def _with(params: Any, path: Sequence[str], value: Any) -> Any:
    """Returns `params` with `value` at `path`."""
    if not path:
        return value
    return dict(params) | {path[0]: _with(params[path[0]], path[1:], value)}


def _squares(lr: np.ndarray, side: int) -> list[Window]:
    """Returns the windows of all squares that fit into an image side by side."""
    lines, columns = (
        [(first, first + side) for first in range(0, length - side + 1, side)]
        for length in lr.shape[:2]
    )
    return [[rows, across] for rows in lines for across in columns]


def _means(hr: np.ndarray, size: int, scale: int) -> np.ndarray:
    """Returns the mean at each place of a block where a kernel of `size` sees LR whole.

    They are (3 * scale²,), in the order of the channels before the pixel shuffle, 0 to 1.
    """
    near = size // 2
    height, width = (length // scale - near for length in hr.shape[:2])
    rows = to_rows(inside(hr, scale, [(near, height), (near, width)]), scale)
    return (rows.mean(0) / 255).reshape(scale**2, 3).T.reshape(-1)


def _apart(means: np.ndarray, scale: int) -> np.ndarray:
    """Returns (N, 3 * scale²) means at places, less their mean in each colour."""
    by_place = means.reshape(len(means), -1, scale**2)
    return (by_place - by_place.mean(-1, keepdims=True)).reshape(means.shape)


def _moments(
    model: Model, feature: str, size: int
) -> Callable[[Any, np.ndarray], tuple[Array, Array]]:
    """Returns a function from parameters and LR to the moments of what the convolution sees.

    They are mean squares (K, K) and means (K,), where K is size² * channels + 1: the last stands
    for the bias.
    """

    @jax.jit
    def moments(params: Any, lr: Array) -> tuple[Array, Array]:
        image = lr[None] / jnp.float32(255)
        _, features = models.apply(model.module, {"params": params}, image)
        x = features[feature][0]
        height, width = (length - size + 1 for length in x.shape[:2])
        seen = [x[i : i + height, j : j + width] for i in range(size) for j in range(size)]
        ones = jnp.ones((height, width, 1))
        rows = jnp.concatenate([*seen, ones], axis=-1).reshape(height * width, -1)
        return rows.T @ rows / len(rows), rows.mean(0)

    return moments
