import dataclasses

import chex
import numpy as np
import pytest

from kdgan_jax import config as configuration
from kdgan_jax.errors import UserError
from kdgan_jax.io import checkpoint, logs
from kdgan_jax.train import phase as phases
from kdgan_jax.zoo.load import load
from kdgan_jax.zoo.model import Model


def batches(start):
    """Yields random batches up to step 6, each a function of its step."""
    for step in range(start, 6):
        generator = np.random.default_rng(step)
        yield {
            name: generator.integers(0, 256, (4, side, side, 3), np.uint8)
            for name, side in (("lr", 4), ("hr", 16))
        }


@pytest.fixture
def phase(tmp_path):
    config = configuration.default()
    config.log_every, config.evaluate_every, config.checkpoint_every = 2, 3, 2
    settings = configuration.phase(steps=6, batch=4, hr_patch=16)
    model = Model("compact", {"features": 4, "depth": 1}, 4, None)
    return phases.Phase("teacher", settings, config, tmp_path, model, None, 1)


def train(phase, source=batches):
    phases.train(phase, source, lambda model: 30.0 + model.scale)
    return load(phase.workdir, phase.name)


def test_a_row_is_the_mean_over_the_steps_since_the_last_one(phase):
    train(phase)
    rows = logs.read_metrics(phase.workdir / "metrics.jsonl")
    fine = dataclasses.replace(phase, workdir=phase.workdir / "fine")
    fine.workdir.mkdir()
    fine.config.log_every = 1
    train(fine)
    single = logs.read_metrics(fine.workdir / "metrics.jsonl")
    means = [np.mean([row["pixel"] for row in single[i : i + 2]]) for i in (0, 2, 4)]
    np.testing.assert_allclose([row["pixel"] for row in rows if "pixel" in row], means, rtol=1e-6)
    assert [row["step"] for row in rows if "holdout_psnr_y" in row] == [3, 6]


def test_a_phase_cut_short_ends_as_an_unbroken_one(phase):
    unbroken = train(phase)

    def cut(start):
        yield from (batch for _, batch in zip(range(3), batches(start), strict=False))

    again = dataclasses.replace(phase, workdir=phase.workdir / "again")
    again.workdir.mkdir()
    train(again, cut)
    assert checkpoint.steps(again.folder) == [2]
    assert not phases.finished(again.workdir, "teacher", 6)
    chex.assert_trees_all_equal(train(again).params, unbroken.params)
    assert phases.finished(again.workdir, "teacher", 6)


def test_a_diverged_phase_stops_and_keeps_its_good_checkpoints(phase):
    train(phase)
    good = checkpoint.steps(phase.folder)
    worse = dataclasses.replace(phase, settings=phase.settings.copy_and_resolve_references())
    worse.settings.steps, worse.settings.learning_rate = 8, 1e38

    def more(start):
        yield from batches(4)

    with pytest.raises(UserError, match=r"teacher: .*not finite by step 8; .*learning_rate"):
        phases.train(worse, more, lambda model: 0.0)
    assert checkpoint.steps(phase.folder) == good
