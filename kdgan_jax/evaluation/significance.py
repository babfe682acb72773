"""Compares two models: is their difference larger than chance among the photos?"""

import numpy as np

from kdgan_jax.evaluation.measure import Rows, title
from kdgan_jax.evaluation.metrics import METRICS
from kdgan_jax.runtime.errors import missing

RESAMPLES = 9999
CONFIDENCE = 0.95


def compare(per_image: Rows, a: str, b: str) -> Rows:
    """Returns one row per set, reference and metric: the paired difference `a` - `b`.

    Its interval is the 95 % percentile bootstrap over images (Efron & Tibshirani 1993, chapter
    13), with a fixed seed. It is too narrow for few images (Set5 has five); the row has their
    number. Images whose difference is not finite (a PSNR is infinite) are left out and counted.

    Args:
      per_image: rows of `measure.images`.
      a: name of a model in them.
      b: name of another.

    Raises:
      UserError: SciPy is not installed.
    """
    rows = []
    for name in dict.fromkeys(map(title, per_image)):
        of_set = [row for row in per_image if title(row) == name]
        by_key = {(row["model"], row["image"]): row for row in of_set}
        images = [image for model, image in by_key if model == a and (b, image) in by_key]
        for metric in METRICS:
            pairs = [(by_key[a, image][metric], by_key[b, image][metric]) for image in images]
            if not pairs or None in pairs[0]:
                continue
            with np.errstate(invalid="ignore"):
                differences = np.subtract(*np.array(pairs).T)
            finite = differences[np.isfinite(differences)]
            low, high = _interval(finite)
            rows.append(
                {
                    "a": a,
                    "b": b,
                    "dataset": of_set[0]["dataset"],
                    "reference": of_set[0]["reference"],
                    "metric": metric,
                    "images": len(finite),
                    "left_out": len(differences) - len(finite),
                    "difference": float(finite.mean()) if len(finite) else None,
                    "low": low,
                    "high": high,
                }
            )
    return rows


def _interval(differences: np.ndarray) -> tuple[float | None, float | None]:
    """Returns the interval of the mean; None for fewer than two images."""
    if len(differences) < 2:
        return None, None
    try:
        from scipy.stats import bootstrap
    except ImportError:
        raise missing("scipy", "a comparison of two models") from None
    result = bootstrap(
        (differences,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = result.confidence_interval
    return float(low), float(high)
