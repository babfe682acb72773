"""Means with 95 % intervals: over seeds by Student's t, over images by the bootstrap."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kdgan_jax.evaluation.measure import Rows, title
from kdgan_jax.evaluation.metrics import METRICS
from kdgan_jax.evaluation.significance import CONFIDENCE, compare
from kdgan_jax.runtime.errors import missing


class Mean(NamedTuple):
    """A mean with its interval.

    Attributes:
      mean: None without values.
      low: end of the 95 % interval; None for fewer than two values.
      high: its other end.
      number: of values.
    """

    mean: float | None
    low: float | None
    high: float | None
    number: int


def over_seeds(values: Sequence[float]) -> Mean:
    """Returns the mean of one value per seed, with the interval of Student's t.

    It is for values that are normally distributed, and wide for few of them: with two, 12.7 times
    half their difference on each side.

    Raises:
      UserError: SciPy is not installed.
    """
    finite = np.array([value for value in values if np.isfinite(value)])
    if len(finite) < 2:
        return Mean(float(finite[0]) if len(finite) else None, None, None, len(finite))
    try:
        from scipy.stats import t
    except ImportError:
        raise missing("scipy", "an interval over seeds") from None
    mean, error = finite.mean(), finite.std(ddof=1) / np.sqrt(len(finite))
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(finite) - 1) * error)
    return Mean(float(mean), float(mean - half), float(mean + half), len(finite))


def over_images(by_seed: Sequence[tuple[Rows, Rows]]) -> Rows:
    """Returns rows of `significance.compare`: paired differences of two variants.

    The figures of an image are means over the seeds, so the interval is about other images, with
    these seeds.

    Args:
      by_seed: for each seed that both have, the rows per image of a variant and of the control.
    """
    pairs = list(zip(*by_seed, strict=True))
    rows = [row for name, side in zip("ab", pairs, strict=False) for row in _averaged(name, side)]
    return compare(rows, "a", "b")


def _averaged(name: str, by_seed: Sequence[Rows]) -> Rows:
    """Returns a row per set and image, with means over the seeds that all have it."""
    keyed = [{(title(row), row["image"]): row for row in rows} for rows in by_seed]
    averaged = []
    for key, row in keyed[0].items():
        if all(key in rows for rows in keyed):
            own = [rows[key] for rows in keyed]
            averaged.append({**row, "model": name} | {m: _mean(own, m) for m in METRICS})
    return averaged


def _mean(rows: Rows, metric: str) -> float | None:
    values = [row[metric] for row in rows]
    return None if None in values else float(np.mean(values))


def crossing(points: Sequence[tuple[float, float]], level: float) -> float | None:
    """Returns where a curve first reaches a level, None if it does not.

    Args:
      points: of the curve, in order; straight lines join them.
      level: to reach.
    """
    for number, (x, y) in enumerate(points):
        if y >= level:
            if number == 0:
                return x
            before, under = points[number - 1]
            return before + (x - before) * (level - under) / (y - under)
    return None
