"""The search for weights: which values come next, and what its file is worth."""

import dataclasses
import json
import math
import sys

import pretend
import pytest
from conftest import ROOT

from kdgan_jax.runtime.errors import UserError
from launch.ablation import search, sweep
from launch.ablation.search import Trial

FIELD = "train.distill.losses.distill.weight"
SMOKE = pretend.bare(sweep.read(str(ROOT / "configs/sweeps/smoke.py")))
CONTROL = {"control": SMOKE.variants["control"]}
SEARCH = dataclasses.replace(SMOKE, variants=CONTROL, search={FIELD: (0.05, 5.0)}, trials=4)


def scored(value, metric):
    """Returns a score that is best at 0.5."""
    distance = abs(math.log(value / 0.5))
    return distance if metric == "lpips_alex" else -distance


@pytest.mark.parametrize("metric", ["psnr_y", "lpips_alex"])
def test_trials_gather_where_scores_are_good(metric):
    wanted = dataclasses.replace(SEARCH, metrics=(metric,), search={FIELD: (1e-3, 1e3)})
    trials = [Trial("trial-00", {FIELD: 900.0}, math.nan)]
    for number in range(1, 40):
        values = search._chosen(wanted, trials)
        assert values == search._chosen(wanted, trials)
        trials.append(Trial(f"trial-{number:02d}", values, scored(values[FIELD], metric)))
    late = [abs(math.log(trial.values[FIELD] / 0.5)) for trial in trials[25:]]
    assert sorted(late)[len(late) // 2] < math.log(4)  # chance alone: log(30)


def test_a_trial_outside_of_new_ranges_is_kept_and_no_other_takes_its_name(tmp_path, monkeypatch):
    begun = {f"trial-0{i}": {FIELD: value} for i, value in enumerate((1.0, 4.0, 0.5))}
    (tmp_path / search.FILE).write_text(json.dumps(begun))
    narrow = dataclasses.replace(SEARCH, search={FIELD: (0.05, 2.0)})
    trials = [Trial(name, begun[name], 30.0) for name in ("trial-00", "trial-02")]
    monkeypatch.setattr(search, "_found", lambda *_: trials)
    more = search.with_next(narrow, tmp_path, "--sweep=S")
    assert list(more.variants) == ["control", "trial-03"]
    kept = json.loads((tmp_path / search.FILE).read_text())
    assert kept == begun | {"trial-03": more.variants["trial-03"]}


def test_a_file_that_cannot_be_read_is_no_search(tmp_path):
    (tmp_path / search.FILE).write_text("{")
    assert search.with_trials(SEARCH, tmp_path) == SEARCH
    (tmp_path / search.FILE).write_text(json.dumps({"trial-00": {"other": 1.0}}))
    assert search.with_trials(SEARCH, tmp_path) == SEARCH
    (tmp_path / search.FILE).write_text(json.dumps({"trial-00": {FIELD: 1.0}}))
    assert list(search.with_trials(SEARCH, tmp_path).variants) == ["control", "trial-00"]


def test_without_optuna_a_search_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"search needs Optuna.*pip install"):
        search.check(SEARCH, tmp_path, "--sweep=S")
    search.check(SMOKE, tmp_path, "--sweep=S")
