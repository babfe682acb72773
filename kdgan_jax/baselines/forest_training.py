"""Training of a forest: windows out of photos, trees by scikit-learn, and a linear map per leaf.

The random numbers are drawn in a fixed order, so a seed gives the same forest bit for bit.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdgan_jax.baselines.forest_settings import ForestConfig
from kdgan_jax.baselines.random_forest import (
    BLOCK,
    Forest,
    enlarge,
    gradients,
    groups,
    pad,
    project,
    questions,
    windows,
    with_bias,
)
from kdgan_jax.data.photos import Photo, decode, load_pair
from kdgan_jax.pictures import colour
from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import missing

Axes = tuple[np.ndarray, np.ndarray]  # mean and components, as in `Forest`


def readable(photos: list[Photo], settings: ForestConfig) -> list[Photo]:
    """Returns the photos that can be decoded; names and skips the others.

    Raises:
      UserError: more than `settings.data.max_bad_fraction` of them cannot be decoded.
    """
    sizes = decode(
        photos,
        lambda photo: load_pair(photo, settings.scale)[0].size,
        settings.data.max_bad_fraction,
        "photos",
    )
    return [photo for photo, _ in sizes]


def planes(photo: Photo, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (Y of LR enlarged by bicubic, Y of HR minus it), both (H, W) float32, 0 to 255."""
    hr, lr = load_pair(photo, scale)
    enlarged = enlarge(colour.luma(lr), scale)
    return enlarged, colour.luma(hr).astype(np.float32) - enlarged


def principal(
    photos: Sequence[Photo], scale: int, number: int, random: np.random.Generator
) -> Axes:
    """Returns mean (f,) and principal components (f, number), float32, of gradients of all photos.

    Of each photo a square of 64x64 LR pixels is used, and every 16th of its windows.
    """
    parts = []
    for photo in photos:
        square = [slice(scale * random.integers(max(1, n // scale - 63)), None) for n in photo.size]
        luma = planes(photo, scale)[0][*square][: 64 * scale, : 64 * scale]
        parts.append(gradients(pad(luma, 2 * scale), scale)[::16])
    mean: np.ndarray = np.concatenate(parts).mean(axis=0, dtype=np.float64)
    covariance = np.zeros((len(mean), len(mean)))
    for part in parts:
        covariance += (part - mean).T @ (part - mean)
    return mean.astype(np.float32), leading(covariance, number).astype(np.float32)


def leading(products: np.ndarray, number: int) -> np.ndarray:
    """Returns the eigenvectors of `products` (n, n) with the largest eigenvalues, (n, number)."""
    return np.linalg.eigh(products)[1][:, ::-1][:, :number]


def sample(
    photos: Sequence[Photo], settings: ForestConfig, axes: Axes, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns about `settings.windows` windows, drawn uniformly from all photos.

    Returns:
      Descriptions (n, d) float32, by `axes`; and residuals (n, t) float16, HR minus bicubic.
    """
    scale = settings.scale
    available = sum(photo.size[0] * photo.size[1] // scale**2 for photo in photos)
    share = settings.windows / available
    x, y = [], []
    with console.progress("windows", len(photos)) as bar:
        for photo in photos:
            enlarged, residual = planes(photo, scale)
            residuals = windows(pad(residual, scale), scale)
            chosen = random.random(residuals.shape[:2]) < share
            x.append(project(enlarged, scale, *axes)[chosen.ravel()])
            y.append(residuals[chosen].reshape(-1, 9 * scale**2).astype(np.float16))
            bar.advance()
    return np.concatenate(x), np.concatenate(y)


def fit_leaves(numbers: np.ndarray, x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """Returns the linear map of every leaf, (leaves, d + 1, t) float32, by ridge regression.

    Args:
      numbers: (n,), the leaf of every window; every leaf has some.
      x: descriptions (n, d) float32.
      y: targets (n, t), any float type.
      ridge: penalty on the squared entries of a map, except its last row, the bias.
    """
    penalty = np.diag(np.append(np.full(x.shape[1], ridge), 0.0))
    maps = []
    for _, members in groups(numbers):
        inputs, outputs = with_bias(x[members]), y[members].astype(np.float32)
        products = (inputs.T @ inputs).astype(np.float64) + penalty
        maps.append(np.linalg.solve(products, (inputs.T @ outputs).astype(np.float64)))
    return np.array(maps, np.float32)


def grow(x: np.ndarray, y: np.ndarray, settings: ForestConfig) -> Any:
    """Returns scikit-learn's forest, grown on descriptions `x` (n, d) and residuals `y` (n, t).

    As in Schulter et al., splits reduce the variance of both: a leaf is linear, so its windows
    should also look alike. Both are divided by the window's contrast, or else the few strong edges
    would take all leaves.

    Raises:
      UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError:
        raise missing("scikit-learn", "the forest") from None

    goals = np.hstack([y @ leading(y.T @ y, 16), 0.1 * x[:, :20]])
    goals /= np.sqrt(np.square(x).sum(axis=1, keepdims=True)) + 20
    return RandomForestRegressor(
        settings.trees,
        max_leaf_nodes=settings.leaves,
        max_depth=settings.depth or None,
        min_samples_leaf=settings.leaf_samples,
        max_features=float(settings.question_share),
        random_state=settings.seed,
        n_jobs=-1,
    ).fit(questions(x), goals)


def prediction_basis(
    numbers: np.ndarray, x: np.ndarray, y: np.ndarray, settings: ForestConfig
) -> np.ndarray:
    """Returns (k, t) float32: orthonormal windows that span most of one tree's predictions.

    Args:
      numbers: (n,), the tree's leaf of every window.
      x: descriptions (n, d).
      y: residuals (n, t).
      settings: `basis` is k, `ridge` as in `fit_leaves`.
    """
    maps = fit_leaves(numbers, x, y, settings.ridge)
    products = np.zeros((y.shape[1], y.shape[1]))
    for leaf, (_, members) in zip(maps, groups(numbers), strict=True):
        predicted = with_bias(x[members]) @ leaf
        products += predicted.T @ predicted
    return leading(products, settings.basis).T.astype(np.float32)


def nodes_of(grown: Any) -> dict[str, np.ndarray]:
    """Returns the nodes of scikit-learn's forest as the arrays of `Forest`."""
    trees = [tree.tree_ for tree in grown.estimators_]

    def column(field: str, dtype: type) -> np.ndarray:
        return np.concatenate([getattr(tree, field) for tree in trees]).astype(dtype)

    exact, threshold = column("threshold", np.float64), column("threshold", np.float32)
    # Compared values are float32, so a threshold rounded down decides as the exact one does.
    below = np.nextafter(threshold, np.float32(-np.inf))
    return {
        "roots": np.cumsum([0] + [tree.node_count for tree in trees[:-1]], dtype=np.int32),
        "feature": column("feature", np.int32),
        "threshold": np.where(threshold > exact, below, threshold),
        "left": column("children_left", np.int32),
        "right": column("children_right", np.int32),
    }


def train(photos: Sequence[Photo], settings: ForestConfig) -> Forest:
    """Returns the forest trained on `photos`, all of which can be decoded."""
    random, scale = np.random.default_rng(settings.seed), settings.scale
    mean, components = axes = principal(photos, scale, settings.components, random)
    x, y = sample(photos, settings, axes, random)
    chosen = np.sort(random.permutation(len(x))[: settings.samples])
    inputs, residuals = x[chosen], y[chosen].astype(np.float32)
    console.log.info("%d windows; %d trees grow on %d of them", len(x), settings.trees, len(chosen))
    grown = grow(inputs, residuals, settings)
    first_tree = grown.estimators_[0].apply(questions(inputs))
    basis = prediction_basis(first_tree, inputs, residuals, settings)
    forest = Forest(
        scale,
        mean,
        components,
        **nodes_of(grown),
        matrices=np.empty(0),
        basis=basis,
        recipe=dict(settings.saved),
    )
    # In blocks, to keep float32 intermediates small.
    blocks = [slice(start, start + BLOCK) for start in range(0, len(x), BLOCK)]
    targets = np.concatenate([y[block].astype(np.float32) @ basis.T for block in blocks])
    del y
    numbers = np.concatenate([forest.leaf_numbers(x[block]) for block in blocks])
    console.log.info("fitting %d leaves", numbers.max() + 1)
    matrices = [fit_leaves(column, x, targets, settings.ridge) for column in numbers.T]
    return dataclasses.replace(forest, matrices=np.concatenate(matrices).astype(np.float16))
