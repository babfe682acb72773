"""Takes the mesh out of a network that ends in a pixel shuffle, by least squares.

The last convolution has filters of its own for every place in a block of pixels. Averaged over an
image, all places should have the same mean; what they lack is a pattern that repeats with the
blocks, the mesh that an adversarial phase leaves. The smallest change of the filters that removes
most of it is found in closed form, from the features of training photos.

Equal sums of the filters (Sugawara et al., "Super-Resolution Using Convolutional Neural Networks
Without Any Checkerboard Artifacts", ICIP 2018) would remove all of it, and with it the slopes
inside blocks: pictures get stairs. So does a weight that is too large.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kdgan_jax import models
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime.errors import UserError

PHOTOS = 300  # at most that are looked at
SIDE = 96  # of the part of a photo that is looked at, in LR pixels, at most
LEAST = 16  # sides of parts, at least
RIDGE = 1e-7  # of the mean square of a feature, which keeps the equations solvable


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


def levelled(model: Model, images: Sequence[np.ndarray], weight: float) -> Model:
    """Returns the model with the smallest change of its last convolution that removes the mesh.

    Minimises, over training photos, the mean square of the change of the image plus `weight` times
    that of the mean at each place of a block, less the mean over all places.

    Args:
      model: `check` accepts it.
      images: LR (h, w, 3), uint8.
      weight: of the pattern; 10 changes images by a third of a level.

    Raises:
      UserError: all images are too small.
    """
    feature, path = model.module.before_shuffle
    layer = model.params
    for name in path:
        layer = layer[name]
    kernel, bias = (np.asarray(layer[name], np.float64) for name in ("kernel", "bias"))
    squares, means = _moments(model, feature, kernel.shape[0], _parts(images))
    weights = np.concatenate([kernel.reshape(-1, kernel.shape[-1]), bias[None]])
    by_place = weights.reshape(len(weights), -1, model.scale**2)
    apart = (by_place - by_place.mean(-1, keepdims=True)).reshape(weights.shape)
    squares += RIDGE * np.trace(squares) / len(squares) * np.eye(len(squares))
    weights -= np.linalg.solve(squares + weight * means, weight * means @ apart)
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


def _parts(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the middles of images, of one size: the network is compiled once."""
    sides = [min(image.shape[:2]) for image in images]
    large = [side for side in sides if side >= LEAST]
    if not large:
        raise UserError(f"levelling needs photos of at least {LEAST} LR pixels on each side")
    side = min(SIDE, *large)
    parts = []
    for image in (image for image, size in zip(images, sides, strict=True) if size >= side):
        top, left = ((length - side) // 2 for length in image.shape[:2])
        parts.append(image[top : top + side, left : left + side])
    return parts


def _moments(
    model: Model, feature: str, size: int, images: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean squares of what the convolution sees, and those of its means over images.

    Each is (K, K), with K = size² * channels + 1: the last stands for the bias.
    """
    module = model.module

    @jax.jit
    def of_image(params: Any, lr: Array) -> tuple[Array, Array]:
        _, features = models.apply(module, {"params": params}, lr[None] / jnp.float32(255))
        x = features[feature][0]
        height, width = (length - size + 1 for length in x.shape[:2])
        seen = [x[i : i + height, j : j + width] for i in range(size) for j in range(size)]
        ones = jnp.ones((height, width, 1))
        rows = jnp.concatenate([*seen, ones], axis=-1).reshape(height * width, -1)
        return rows.T @ rows / len(rows), rows.mean(0)

    of_images = [
        [np.asarray(x, np.float64) for x in of_image(model.params, image)] for image in images
    ]
    squares = np.mean([of_one for of_one, _ in of_images], axis=0)
    means = np.stack([mean for _, mean in of_images])
    return squares, means.T @ means / len(means)
