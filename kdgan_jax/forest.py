"""Trains a super-resolution forest (Schulter et al. 2015), a baseline that is no network.

python -m kdgan_jax.forest --config=configs/forest.py --workdir=runs/forest
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from kdgan_jax import config as base
from kdgan_jax.baselines import random_forest as zoo
from kdgan_jax.config import command
from kdgan_jax.data import photos as sources
from kdgan_jax.models import SCALES
from kdgan_jax.pictures import bicubic, colour
from kdgan_jax.runtime import console, files
from kdgan_jax.runtime.errors import UserError, missing
from kdgan_jax.train import checks

DATA = "source", "holdout", "memory_mb", "max_bad_fraction"  # fields of a config for networks


def default() -> ml_collections.ConfigDict:
    """Returns every setting with its meaning."""
    config = ml_collections.ConfigDict()
    config.seed = 0  # of the choice of windows and of the trees
    config.scale = 4  # enlargement: 2, 3 or 4
    data = base.default().data  # as for networks, explained there
    config.data = {field: data[field] for field in DATA}
    config.trees = 2  # whose predictions are averaged
    config.leaves = 6000  # of a tree, at most; each stores (components + 1) * basis numbers
    config.depth = 0  # of a tree, at most; 0 has no limit
    config.leaf_samples = 50  # windows that a leaf must hold of those that trees grow on
    config.question_share = 1 / 3  # of the questions, tried at every split
    config.samples = 500_000  # windows that trees grow on, at most
    config.windows = 5_000_000  # windows that leaves are fitted to, at most; 1 GB takes 1 million
    config.components = 40  # principal components of the gradients, that describe a window
    config.basis = 48  # patterns that predictions are made of; (3 * scale)^2 are all
    config.ridge = 100.0  # penalty on the squared numbers of a leaf, its bias apart
    config.lock()
    return config


def check(config: Any) -> None:
    """Checks values before any work.

    Raises:
      UserError: names the field, its value, the constraint and what to do.
    """
    if config.scale not in SCALES:
        raise UserError(f"config.scale={config.scale} is not supported; choose one of {SCALES}")
    if not config.data.source:
        raise UserError("config.data.source is empty; name folders, 'tfds:NAME' or 'embedded'")
    ranges: dict[str, tuple[float, float]] = {
        "trees": (1, 1000),
        "leaves": (2, 1_000_000),
        "depth": (0, 1000),
        "leaf_samples": (1, config.samples),
        "samples": (2, config.windows),
        "components": (1, 4 * (3 * config.scale) ** 2),
        "basis": (1, 9 * max(SCALES) ** 2),
        "seed": (0, 2**32 - 1),
        "ridge": (1e-6, 1e12),
        "question_share": (1e-6, 1),
    }
    for field, (lowest, highest) in ranges.items():
        if not lowest <= config[field] <= highest:
            raise UserError(f"config.{field}={config[field]} must be from {lowest} to {highest}")


def planes(photo: sources.Photo, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (Y of LR enlarged by bicubic, what HR's Y has beyond it), (H, W) float32."""
    hr, lr = sources.load(photo, scale)
    enlarged = zoo.enlarge(colour.luma(lr), scale)
    return enlarged, colour.luma(hr).astype(np.float32) - enlarged


def principal(
    photos: Sequence[sources.Photo], scale: int, number: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (mean (f,), components (f, number)), float32, of windows out of every photo."""
    parts = []
    for photo in photos:
        # A square of 64x64 LR pixels, of which every 16th is plenty.
        square = [slice(scale * random.integers(max(1, n // scale - 63)), None) for n in photo.size]
        part = planes(photo, scale)[0][*square][: 64 * scale, : 64 * scale]
        parts.append(zoo.features(zoo.pad(part, 2 * scale), scale)[::16])
    mean: np.ndarray = np.concatenate(parts).mean(axis=0, dtype=np.float64)
    products = np.zeros((len(mean), len(mean)))
    for part in parts:
        products += (part - mean).T @ (part - mean)
    return mean.astype(np.float32), leading(products, number).astype(np.float32)


def leading(products: np.ndarray, number: int) -> np.ndarray:
    """Returns the eigenvectors of `products` (n, n) with the largest eigenvalues, (n, number)."""
    return np.linalg.eigh(products)[1][:, ::-1][:, :number]


def describe(
    photos: Sequence[sources.Photo], config: Any, axes: Sequence[np.ndarray], random: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Returns windows out of all photos: (components (n, d) float32, targets (n, t) float16).

    Targets are what bicubic misses; `axes` are those of `principal`, `random` chooses windows.
    """
    scale = config.scale
    share = config.windows / sum(photo.size[0] * photo.size[1] // scale**2 for photo in photos)
    x, y = [], []
    with console.progress("windows", len(photos)) as bar:
        for photo in photos:
            enlarged, missing = planes(photo, scale)
            found = zoo.windows(zoo.pad(missing, scale), scale)
            chosen = random.random(found.shape[:2]) < share
            x.append(zoo.project(enlarged, scale, *axes)[chosen.ravel()])
            y.append(found[chosen].reshape(-1, 9 * scale**2).astype(np.float16))
            bar.advance()
    return np.concatenate(x), np.concatenate(y)


def fit_leaves(numbers: np.ndarray, x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """Returns a linear map per leaf (leaves, d + 1, t) float32, by ridge regression.

    Of windows `x` (n, d) float32 in leaves `numbers` (n,), each of which has some, to `y` (n, t).
    `ridge` is the penalty on squared entries of a map, save its last row, the bias.
    """
    penalty = np.diag(np.append(np.full(x.shape[1], ridge), 0.0))
    maps = []
    for _, members in zoo.groups(numbers):
        inputs, outputs = zoo.with_one(x[members]), y[members].astype(np.float32)
        products = (inputs.T @ inputs).astype(np.float64) + penalty
        maps.append(np.linalg.solve(products, (inputs.T @ outputs).astype(np.float64)))
    return np.array(maps, np.float32)


def grow(x: np.ndarray, y: np.ndarray, config: Any) -> Any:
    """Returns scikit-learn's forest that sorts windows by what is missing and by what is there.

    Splits lower the spread of both, as Schulter et al. have it: leaves are linear, so windows of
    one leaf should look alike. Each window is taken at about the same contrast, or the few strong
    edges would take all the leaves.
    """
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError:
        raise missing("scikit-learn", "the forest") from None

    goals = np.hstack([y @ leading(y.T @ y, 16), 0.1 * x[:, :20]])
    goals /= np.sqrt(np.square(x).sum(axis=1, keepdims=True)) + 20
    return RandomForestRegressor(
        config.trees,
        max_leaf_nodes=config.leaves,
        max_depth=config.depth or None,
        min_samples_leaf=config.leaf_samples,
        max_features=float(config.question_share),
        random_state=config.seed,
        n_jobs=-1,
    ).fit(zoo.questions(x), goals)


def patterns(numbers: np.ndarray, x: np.ndarray, y: np.ndarray, config: Any) -> np.ndarray:
    """Returns (k, t) float32: orthonormal windows that hold most of one tree's predictions."""
    maps = fit_leaves(numbers, x, y, config.ridge)
    products = np.zeros((y.shape[1], y.shape[1]))
    for leaf, (_, members) in zip(maps, zoo.groups(numbers), strict=True):
        made = zoo.with_one(x[members]) @ leaf
        products += made.T @ made
    return leading(products, config.basis).T.astype(np.float32)


def flatten(grown: Any) -> dict[str, np.ndarray]:
    """Returns the nodes of scikit-learn's forest as the arrays of `zoo.Forest`."""
    trees = [tree.tree_ for tree in grown.estimators_]

    def nodes(field: str, dtype: type) -> np.ndarray:
        return np.concatenate([getattr(tree, field) for tree in trees]).astype(dtype)

    exact, rounded = nodes("threshold", np.float64), nodes("threshold", np.float32)
    # Answers are float32, so a threshold rounded down decides like the exact one.
    rounded = np.where(rounded > exact, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    return {
        "roots": np.cumsum([0] + [tree.node_count for tree in trees[:-1]], dtype=np.int32),
        "feature": nodes("feature", np.int32),
        "threshold": rounded,
        "left": nodes("children_left", np.int32),
        "right": nodes("children_right", np.int32),
    }


def train(photos: Sequence[sources.Photo], config: Any) -> zoo.Forest:
    """Returns the forest trained on `photos` as `config` says; the same bits for the same seed."""
    random, scale = np.random.default_rng(config.seed), config.scale
    mean, components = axes = principal(photos, scale, config.components, random)
    x, y = describe(photos, config, axes, random)
    chosen = np.sort(random.permutation(len(x))[: config.samples])
    some, goals = x[chosen], y[chosen].astype(np.float32)
    console.log.info("%d windows; %d trees grow on %d of them", len(x), config.trees, len(some))
    nodes = flatten(grown := grow(some, goals, config))
    first = grown.estimators_[0].apply(zoo.questions(some))
    basis = patterns(first, some, goals, config)
    nodes |= {"matrices": np.empty(0), "basis": basis}
    forest = zoo.Forest(scale, mean, components, **nodes, recipe=base.to_json(config))
    parts = range(0, len(x), zoo.BLOCK)  # so that what is made on the way stays small
    targets = np.concatenate([y[i : i + zoo.BLOCK].astype(np.float32) @ basis.T for i in parts])
    del y
    numbers = np.concatenate([forest.leaf_numbers(x[i : i + zoo.BLOCK]) for i in parts])
    console.log.info("%d leaves are fitted", numbers.max() + 1)
    matrices = [fit_leaves(column, x, targets, config.ridge) for column in numbers.T]
    return dataclasses.replace(forest, matrices=np.concatenate(matrices).astype(np.float16))


def evaluate(forest: zoo.Forest, photos: list[sources.Photo], data: Any) -> list[dict[str, Any]]:
    """Returns PSNR on Y in dB of bicubic and of the forest, for every photo that can be read."""
    from kdgan_jax.evaluation.metrics import psnr_y

    scale, rows = forest.scale, []
    for photo, (hr, lr) in sources.decode(
        photos, lambda p: sources.load(p, scale), data.max_bad_fraction, "the held-out photos"
    ):
        made = {"bicubic": bicubic.upscale(lr, scale), "forest": forest.upscale(lr)}
        rows.append({"photo": photo.name} | {k: psnr_y(sr, hr, scale) for k, sr in made.items()})
    return rows


def finished(config: Any, workdir: Path) -> bool:
    """Returns whether `workdir` holds the forest of `config`.

    Raises:
      UserError: it holds another's, or the forest is damaged.
    """
    checks.same_config(base.to_json(config), workdir / "config.json", {}, checks.FREE)
    if not (workdir / "results.json").is_file():
        return False
    saved = zoo.load(workdir).recipe["data"]["source"]
    if saved != config.data.source:
        raise UserError(
            f"{workdir} holds a forest of config.data.source={saved!r}, not {config.data.source!r};"
            " choose another --workdir, or the same photos"
        )
    return True


def run(config: Any, workdir: str | Path) -> None:
    """Trains what `config` says and leaves forest, config and held-out figures in `workdir`.

    Raises:
      UserError: something is wrong with the config, the photos or what lies in `workdir`.
    """
    workdir, begin = Path(workdir), time.monotonic()
    check(config)
    if finished(config, workdir):
        console.log.info("%s: the forest is complete", workdir)
        return
    photos = sources.gather(config.data, config.scale, 3 * config.scale)
    bad = config.data.max_bad_fraction
    decoded = sources.decode(
        photos.train, lambda p: sources.load(p, config.scale)[0].size, bad, "photos"
    )
    train_on = [photo for photo, _ in decoded]
    console.log.info("%d photos to train on, %d held out", len(train_on), len(photos.holdout))
    workdir.mkdir(parents=True, exist_ok=True)
    files.write_json(workdir / "config.json", base.to_json(config))
    forest = train(train_on, config)
    forest.save(workdir / zoo.FILE)
    seconds = time.monotonic() - begin
    rows = evaluate(forest, photos.holdout, config.data)
    means = {name: float(np.mean([row[name] for row in rows])) for name in ("bicubic", "forest")}
    costs = {"parameters": forest.parameters, "seconds_of_training": seconds}
    files.write_json(workdir / "results.json", {"psnr_y": means, **costs, "per_photo": rows})
    said = f"bicubic {means['bicubic']:.3f} dB, forest {means['forest']:.3f} dB"
    console.log.info("held out (%d): %s; %.0f s of training", len(rows), said, seconds)


if __name__ == "__main__":
    command.start(run, default(), default="runs/forest")
