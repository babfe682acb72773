"""Compares the variants of a sweep: rows of figures, of differences to the control, of costs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kdgan_jax.evaluation.measure import Rows, title
from launch.ablation.figures import HELD_OUT, LOWER, Curve, Made
from launch.ablation.planning import Plan
from launch.ablation.statistics import Mean, crossing, over_images, over_seeds

Runs = Mapping[str, Sequence[Made]]  # finished runs by variant


class Comparison(NamedTuple):
    """All that a report says, as rows of JSON values.

    Attributes:
      figures: per variant, set and metric: mean and interval over seeds.
      differences: per variant, set and metric: paired with the control of the same seed.
      curves: per variant: mean PSNR on the held-out photos and its paired difference, by update.
      costs: per variant.
      unequal: why variants have no differences, or no curve, by variant.
    """

    figures: Rows
    differences: Rows
    curves: Rows
    costs: Rows
    unequal: dict[str, str]


def compare(plan: Plan, runs: Runs) -> Comparison:
    """Returns the comparison of the runs that are finished."""
    control = {made.seed: made for made in runs[plan.sweep.control]}
    unequal = {
        variant: reason
        for variant, own in runs.items()
        if own and (reason := _unequal(own[0], plan))
    }
    found = Comparison([], [], [], [], unequal)
    for variant, own in runs.items():
        if not own:
            continue
        pairs = [(made, control[made.seed]) for made in own if made.seed in control]
        found.figures.extend(_figures(variant, own, plan.sweep.metrics))
        if variant != plan.sweep.control and pairs:
            found.differences.extend(_differences(variant, pairs, plan.sweep.metrics))
        found.curves.append(_curves(variant, own, pairs))
        found.costs.append(_costs(variant, own, pairs, plan.sweep.target_psnr))
    return found


def _unequal(made: Made, plan: Plan) -> str:
    """Returns why a run cannot be compared with the control at equal updates, "" if it can."""
    control = plan.runs_of(plan.sweep.control)[0]
    reasons = []
    if made.run.updates != control.updates:
        reasons.append(f"makes {made.run.updates:,} updates and the control {control.updates:,}")
    if made.run.phase.name != control.phase.name:
        reasons.append(
            f"ends with the phase {made.run.phase.name!r} and the control with"
            f" {control.phase.name!r}, so weights and patches of one seed differ"
        )
    return " and ".join(reasons)


def _figures(variant: str, own: Sequence[Made], metrics: Sequence[str]) -> Rows:
    rows = []
    for name in dict.fromkeys(title(row) for made in own for row in made.images):
        for metric in metrics:
            values = [mean_of(made, name, metric) for made in own]
            mean = over_seeds([value for value in values if value is not None])
            if mean.number:
                images = len({row["image"] for row in own[0].images if title(row) == name})
                row = {"variant": variant, "set": name, "images": images, "metric": metric}
                rows.append({**row, **_told(mean), "updates": own[0].run.updates})
    return rows


def _told(mean: Mean) -> dict[str, Any]:
    return {"mean": mean.mean, "low": mean.low, "high": mean.high, "seeds": mean.number}


def mean_of(made: Made, name: str, metric: str) -> float | None:
    """Returns the mean of a metric over the images of a set; None if it was not measured."""
    values = [row[metric] for row in made.images if title(row) == name]
    return float(np.mean(values)) if values and None not in values else None


def _differences(variant: str, pairs: Sequence[tuple[Made, Made]], metrics: Sequence[str]) -> Rows:
    """Returns a row per set and metric."""
    rows = []
    same = all(made.held_out == control.held_out for made, control in pairs)
    for row in over_images([(made.images, control.images) for made, control in pairs]):
        if row["metric"] not in metrics or (row["dataset"] == HELD_OUT and not same):
            continue
        values = []
        for pair in pairs:
            one, other = (mean_of(made, title(row), row["metric"]) for made in pair)
            if one is not None and other is not None and np.isfinite([one, other]).all():
                values.append(one - other)
        mean = over_seeds(values)
        rows.append(
            {
                "variant": variant,
                "set": title(row),
                "images": row["images"],
                "metric": row["metric"],
                "difference": mean.mean,
                "low": mean.low,
                "high": mean.high,
                "seeds": mean.number,
                "by_seed": values,
                "images_low": row["low"],
                "images_high": row["high"],
            }
        )
    return rows


def verdict(row: Mapping[str, Any]) -> str:
    """Returns "better" or "worse" if a difference exceeds its interval over seeds, else ""."""
    if row["low"] is None or row["low"] <= 0 <= row["high"]:
        return ""
    return "better" if (row["difference"] > 0) != (row["metric"] in LOWER) else "worse"


def _curves(
    variant: str, own: Sequence[Made], pairs: Sequence[tuple[Made, Made]]
) -> dict[str, Any]:
    """Returns a variant's points: PSNR, and its difference to the control at equal updates.

    There is no difference where the two curves do not show the same.
    """
    same = [(made, control) for made, control in pairs if made.logs_as(control)]
    gains = [_gain(made.curve, control.curve) for made, control in same]
    return {
        "variant": variant,
        "reference": own[0].reference,
        "comparable": len(same) == len(pairs),
        "psnr": _points([made.curve for made in own]),
        "difference": _points(gains),
        "psnr_by_seed": {str(made.seed): made.curve for made in own},
        "difference_by_seed": {
            str(made.seed): gain for (made, _), gain in zip(same, gains, strict=True)
        },
    }


def _gain(curve: Curve, control: Curve) -> Curve:
    other = dict(control)
    return [(step, psnr - other[step]) for step, psnr in curve if step in other]


def _points(curves: Sequence[Curve]) -> Rows:
    """Returns mean and interval over seeds at the updates that all curves have."""
    by_step = [dict(curve) for curve in curves]
    steps = [step for step in by_step[0] if all(step in c for c in by_step)] if by_step else []
    return [{"update": step, **_told(over_seeds([c[step] for c in by_step]))} for step in steps]


def _costs(
    variant: str, own: Sequence[Made], pairs: Sequence[tuple[Made, Made]], target: float
) -> dict[str, Any]:
    """Returns what a variant costs, and when it reaches the PSNR that is asked for."""

    def ratio(of: Callable[[Made], float | None]) -> dict[str, Any]:
        both = [(of(made), of(control)) for made, control in pairs]
        return _told(over_seeds([a / b for a, b in both if a is not None and b]))

    paces = [made.pace for made in own if made.pace is not None]
    row: dict[str, Any] = {
        "variant": variant,
        "seconds_per_update": _told(over_seeds(paces)),
        "relative": ratio(lambda made: made.pace),
        "training_seconds": _told(over_seeds([made.training for made in own])),
        "seconds": _told(over_seeds([made.seconds for made in own])),
        "memory_mb": max((made.memory for made in own if made.memory is not None), default=None),
    }
    return row | {"reached": _reached(pairs, target)}


def _reached(pairs: Sequence[tuple[Made, Made]], target: float) -> dict[str, Any]:
    """Returns when a variant reaches the target, in updates, seconds, and relative to the control.

    Seconds are updates of the last phase times the median seconds of one.
    """
    found = []
    levels = []
    for made, control in pairs:
        level = target or (control.curve[-1][1] if control.curve else np.inf)
        same = made.logs_as(control)
        updates, others = (crossing(m.curve, level) if same else None for m in (made, control))
        levels.append(level)
        found.append((made, control, updates, others))
    ours = [(made, updates) for made, _, updates, _ in found if updates is not None]
    both = [f for f in found if f[2] is not None and f[3]]
    times = [u * m.pace / (o * c.pace) for m, c, u, o in both if u and o and m.pace and c.pace]
    return {
        "psnr": over_seeds(levels).mean,
        "seeds": len(found),
        "reached": len(ours),
        "updates": _told(over_seeds([u for _, u in ours])),
        "seconds": _told(over_seeds([u * made.pace for made, u in ours if made.pace])),
        "relative_updates": _told(over_seeds([u / o for _, _, u, o in both if u and o])),
        "relative_seconds": _told(over_seeds(times)),
    }
