"""Searches for values of config fields with Optuna: each trial is a variant of the sweep.

Trials are judged by the held-out photos alone. A file keeps their values, so that the next start of
the sweep goes on with them.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kdgan_jax.runtime import files
from kdgan_jax.runtime.errors import UserError
from launch.ablation import comparison, figures, planning, progress, tasks
from launch.ablation.figures import HELD_OUT, LOWER, Made
from launch.ablation.planning import Plan
from launch.ablation.sweep import TRIAL, Sweep

if TYPE_CHECKING:
    import optuna

FILE = "search.json"  # in the sweep's folder: values by field, by trial
FAILURES = 3  # trials in a row; a full disk, say, would fail all of them
Values = Mapping[str, float]  # by config field


class Trial(NamedTuple):
    """A trial of a search.

    Attributes:
      name: of its variant.
      values: by config field.
      score: mean of the search's metric over the held-out photos and over seeds; NaN if a run has
        failed, None if one is not finished.
    """

    name: str
    values: Values
    score: float | None


def check(sweep: Sweep, folder: Path, where: str) -> None:
    """Checks a search before anything runs: both ends of all ranges must be valid configs.

    Raises:
      UserError: Optuna is not installed, a field cannot have such values, or no photos are held
        out.
    """
    if not sweep.search:
        return
    try:
        import optuna as _optuna  # noqa: F401
    except ImportError:
        raise UserError(
            f"{where}: search needs Optuna, which is not installed; run pip install"
            " 'kdgan_jax[search]'"
        ) from None
    ends = {
        f"{TRIAL}{word}": {name: ends[i] for name, ends in sweep.search.items()}
        for i, word in enumerate(("lowest", "highest"))
    }
    plan = planning.make(_only(sweep, ends), folder, where)
    if not plan.runs[0].config.data.holdout:
        raise UserError(
            f"{where}: search judges by the held-out photos, and there are none; set data.holdout"
        )


def with_trials(sweep: Sweep, folder: Path) -> Sweep:
    """Returns the sweep with a variant for each trial that was begun."""
    return dataclasses.replace(sweep, variants={**sweep.variants, **_begun(sweep, folder)})


def with_next(sweep: Sweep, folder: Path, where: str) -> Sweep | None:
    """Returns the sweep of the control and the trial that comes next; None if there are enough.

    That is the one that was begun and is not finished, or one with new values, which Optuna
    chooses (tree of Parzen estimators; Bergstra et al., "Algorithms for Hyper-Parameter
    Optimization", NeurIPS 2011) and `FILE` then has. A trial that has failed is not tried again.

    Args:
      sweep: with or without a search.
      folder: of the sweep, which exists.
      where: the argument that names the sweep, for messages.
    """
    if not sweep.search:
        return None
    begun = _found(sweep, folder, where)
    for trial in begun:
        if trial.score is None:
            return _only(sweep, {trial.name: trial.values})
    if len(begun) >= sweep.trials:
        return None
    kept = _kept(folder)
    name = next(name for i in range(len(kept) + 1) if (name := f"{TRIAL}{i:02d}") not in kept)
    values = _chosen(sweep, begun)
    files.write_json(folder / FILE, {**kept, name: values})
    return _only(sweep, {name: values})


def ended(plan: Plan, failures: int) -> str:
    """Returns why a search cannot go on after a plan was carried out, and what to do; "" if it can.

    Args:
      plan: of the control and at most one trial.
      failures: how many plans have failed in a row, this one included.
    """
    if failures >= FAILURES:
        return f"{failures} trials have failed in a row; see why above, and mend it"
    for one in progress.standings(plan):
        is_trial = one.task.variant.startswith(TRIAL)
        if one.state == progress.FAILED and not is_trial:
            return f"all trials need {one.task.name}, which has failed; mend it"
    return ""


def _found(sweep: Sweep, folder: Path, where: str) -> list[Trial]:
    """Returns the trials that were begun, in their order."""
    begun = _begun(sweep, folder)
    plan = planning.make(_only(sweep, begun), folder, where)
    runs = figures.made(plan)
    return [Trial(name, begun[name], _score(plan, name, runs[name])) for name in begun]


def _begun(sweep: Sweep, folder: Path) -> dict[str, Values]:
    """Returns the values of all trials that are in the ranges of the search."""
    return {name: values for name, values in _kept(folder).items() if _fits(sweep, values)}


def _kept(folder: Path) -> dict[str, Values]:
    """Returns what the file has; nothing if it cannot be read."""
    try:
        return files.read_json(folder / FILE) if (folder / FILE).is_file() else {}
    except ValueError:
        return {}


def _fits(sweep: Sweep, values: Values) -> bool:
    same = isinstance(values, Mapping) and set(values) == set(sweep.search)
    return same and all(low <= values[name] <= high for name, (low, high) in sweep.search.items())


def _only(sweep: Sweep, trials: Mapping[str, Values]) -> Sweep:
    """Returns the sweep with the control and some trials as its variants."""
    control = {sweep.control: sweep.variants[sweep.control]}
    return dataclasses.replace(sweep, variants={**control, **trials})


def _score(plan: Plan, name: str, runs: Sequence[Made]) -> float | None:
    own = [run.task for run in plan.runs_of(name)]
    if any(tasks.recorded(task).failed and not tasks.changed(task) for task in own):
        return math.nan
    if len(runs) < len(plan.sweep.seeds):
        return None
    scores = [comparison.mean_of(made, HELD_OUT, plan.sweep.metrics[0]) for made in runs]
    return sum(score if score is not None else math.nan for score in scores) / len(scores)


def _chosen(sweep: Sweep, begun: list[Trial]) -> dict[str, float]:
    """Returns the values of another trial; the same ones for the same trials before it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ranges = {
        name: optuna.distributions.FloatDistribution(low, high, log=True)
        for name, (low, high) in sweep.search.items()
    }
    study = optuna.create_study(
        direction="minimize" if sweep.metrics[0] in LOWER else "maximize",
        sampler=optuna.samplers.TPESampler(seed=len(begun)),
    )
    for trial in begun:
        study.add_trial(_past(trial, ranges))
    return study.ask(dict(ranges)).params


def _past(
    trial: Trial, ranges: Mapping[str, "optuna.distributions.BaseDistribution"]
) -> "optuna.trial.FrozenTrial":
    import optuna

    failed = trial.score is None or math.isnan(trial.score)
    return optuna.trial.create_trial(
        params=dict(trial.values),
        distributions=dict(ranges),
        value=None if failed else trial.score,
        state=optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE,
    )
