import dataclasses
import functools
import itertools
import json
import logging
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from described import loss, phase_config, quick_compilation  # noqa: F401

from kdgan_jax import config as configuration
from kdgan_jax import replay
from kdgan_jax.config.settings import (
    BatchConfig,
    DataConfig,
    DiscriminatorConfig,
    LoopConfig,
    OptimizerConfig,
    Spec,
    TeacherConfig,
)
from kdgan_jax.data.batches import Batch
from kdgan_jax.data.photos import Photo
from kdgan_jax.inference.load import load
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import devices
from kdgan_jax.runtime.errors import Stopped, UserError
from kdgan_jax.train import loop, phase_setup, state, steps
from kdgan_jax.train.feed import Feed, feed_factory
from kdgan_jax.train.heldout import Scores
from kdgan_jax.train.phase_setup import PhaseSetup
from kdgan_jax.train.stopping import Stop
from kdgan_jax.workdir import checkpoint
from kdgan_jax.workdir.metrics import read_metrics


class Interrupted(Exception):
    """Something that ends a run."""


def host_batches(start):
    """Yields random batches for one device, each a function of its step."""
    for step in range(start, 6):
        random = np.random.default_rng(step)
        lr, hr = (random.integers(0, 256, (1, 4, n, n, 3), np.uint8) for n in (4, 16))
        yield Batch(lr, {"hr": hr}, {}, np.arange(4, dtype=np.uint32)[None] + 4 * step)


HOST = Feed({}, lambda arrays, item, step: item, host_batches, on_device=False)


@functools.cache
def on_device(number=1):
    """Returns a feed of noise that lies on the devices."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    data, photos = DataConfig(backend="device"), [Photo("noise", noise, None, (40, 60))]
    batches = BatchConfig(steps=6, batch=4, hr_patch=16)
    return feed_factory(data, 4, photos, None, number)(7, batches)


LOOP = LoopConfig(log_every=2, evaluate_every=3, checkpoint_every=2)


@pytest.fixture
def setup(tmp_path):
    model = Model("compact", {"channels": 4, "depth": 1}, 4, None)
    return PhaseSetup(phase_config(), 0, tmp_path, model, {}, 1)


def scores(model, psnr=30.0):
    return Scores({"holdout_psnr_y": psnr}, np.zeros((4, 4, 3), np.uint8))


def train(setup, feed=HOST, **changes):
    loop.train(setup, feed, scores, dataclasses.replace(LOOP, **changes))
    return load(setup.workdir, setup.name)


def elsewhere(setup, **changes):
    """Returns the phase with a new workdir."""
    workdir = setup.workdir / "again"
    workdir.mkdir()
    return dataclasses.replace(setup, workdir=workdir, **changes)


def rows_of(setup):
    """Returns the rows of the log by step, without times."""
    rows = read_metrics(setup.workdir / "metrics.jsonl")
    of_time = {"seconds_per_step", "seconds_left", "memory_mb"}
    return {r["step"]: {k: v for k, v in r.items() if k not in of_time} for r in rows}


def interrupted(feed, calls, error=Interrupted):
    """Returns `feed`, which raises `error` after some calls."""

    def stream(start):
        yield from itertools.islice(feed.stream(start), calls)
        raise error

    return feed._replace(stream=stream)


def test_rows_are_means_over_the_steps_since_the_last_one(setup):
    train(setup)
    rows = rows_of(setup)
    again = elsewhere(setup)
    train(again, log_every=1)
    losses = [row["pixel"] for row in rows_of(again).values()]
    means = [np.mean(losses[i : i + 2]) for i in (0, 2, 4)]
    np.testing.assert_allclose([rows[step]["pixel"] for step in (2, 4, 6)], means, rtol=1e-6)
    assert [step for step in rows if "holdout_psnr_y" in rows[step]] == [3, 6]


def test_rows_say_how_fast_at_which_rate_and_what_is_left(setup):
    train(setup)
    rows = [r for r in read_metrics(setup.workdir / "metrics.jsonl") if "pixel" in r]
    rates = [row["learning_rate"] for row in rows]
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < rates[0] <= setup.config.optimizer.learning_rate
    for row in rows:
        left = row["seconds_per_step"] * (6 - row["step"])
        assert row["seconds_left"] == pytest.approx(left)
        assert 10 < row["memory_mb"] < 1e6
    shown = {
        loop._note(rows[0], {"pixel": 1, "other": 1}, turn).split(", ")[1] for turn in range(9)
    }
    assert {fact.split()[-1] for fact in shown} >= {"steps/s", "GB"}
    assert {fact.split()[0] for fact in shown} >= {"rate", "gradient", "pixel"}


def test_the_best_checkpoint_stays_beside_the_newest_two(setup, caplog):
    caplog.set_level(logging.INFO, "kdgan_jax")
    psnrs = iter([31.0, 33.0, 32.0, 30.0, 29.0, 28.0])
    every = dict.fromkeys(("log_every", "evaluate_every", "checkpoint_every"), 1)
    loop.train(
        setup, HOST, lambda model: scores(model, next(psnrs)), dataclasses.replace(LOOP, **every)
    )
    assert checkpoint.steps(setup.folder) == [2, 5, 6]
    assert checkpoint.best(setup.folder) == (2, 33.0)
    for fact in ("step 2", "33.00 dB", f"{setup.workdir}:teacher:best"):
        assert fact in caplog.messages[-1]
    checkpoint.record_best(setup.folder, 4, 40.0)  # whose checkpoint has gone
    assert checkpoint.best(setup.folder) is None


def test_a_phase_fed_on_the_device_resumes_to_the_bit(setup):
    unbroken = train(setup, on_device())
    again = elsewhere(setup)
    with pytest.raises(Interrupted):
        train(again, interrupted(on_device(), 3))
    assert checkpoint.steps(again.folder) == [2]
    assert not loop.finished(again.workdir, "teacher", 6)
    chex.assert_trees_all_equal(train(again, on_device()).params, unbroken.params)
    assert loop.finished(again.workdir, "teacher", 6)
    assert rows_of(again) == rows_of(setup)


def test_a_missing_photo_ends_a_phase_with_its_last_step_saved(setup, caplog):
    caplog.set_level(logging.INFO, "kdgan_jax")
    optimizer = OptimizerConfig(1e-3, factor=4.0, scaling="linear in batch 4 over 1")
    config = dataclasses.replace(setup.config, optimizer=optimizer)
    feed = interrupted(HOST, 3, UserError("a.png: no such file"))
    with pytest.raises(UserError, match=r"a\.png"):
        train(dataclasses.replace(setup, config=config), feed)
    assert checkpoint.steps(setup.folder) == [2, 3]
    assert caplog.text.count("linear in batch") == 1  # scaled learning rates are logged


def test_a_call_of_several_steps_makes_the_updates_of_single_ones(setup):
    # A loop may order sums of float32 differently; an update is 1e-3.
    single = train(setup, on_device()).params
    again = elsewhere(setup)
    several = train(again, on_device(), steps_per_call=4).params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), several, single)
    rows = rows_of(setup)
    assert list(rows) == [2, 3, 4, 6]
    chex.assert_trees_all_close(
        [row.get("pixel", 0.0) for row in rows_of(again).values()],
        [row.get("pixel", 0.0) for row in rows.values()],
        rtol=1e-5,
    )


def test_photos_on_the_device_are_not_moved_in_training(setup):
    feed = on_device()
    call = phase_setup.compiled_steps(setup, feed)(1, False)
    frozen = {**phase_setup.frozen_weights(setup), "photos": feed.arrays}
    current = devices.replicate(phase_setup.initial_state(setup), 1)
    current, _ = call(current, frozen, next(feed.stream(0)))
    with jax.transfer_guard("disallow_explicit"):
        for item in itertools.islice(feed.stream(1), 3):
            current, _ = call(current, frozen, item)
    assert int(current.step) == 4
    with jax.transfer_guard("disallow"), pytest.raises(Exception, match=r"[Dd]isallowed"):
        call(current, frozen, {"lane": np.zeros(1, np.uint32)})  # from the host: the guard works


@pytest.mark.parametrize(
    ("on_device", "on_cpu", "wanted", "every", "expected"),
    [
        (False, False, 0, 48, 1),
        (True, True, 0, 48, 1),
        (True, True, 5, 48, 5),
        (True, False, 0, 48, 16),
        (True, False, 0, 50, 10),
        (True, False, 0, 17, 1),
        (True, False, 7, 48, 7),
    ],
)
def test_steps_per_call(monkeypatch, on_device, on_cpu, wanted, every, expected):
    monkeypatch.setattr(devices, "on_cpu", lambda: on_cpu)
    intervals = dict.fromkeys(("log_every", "evaluate_every", "checkpoint_every"), every)
    config = LoopConfig(steps_per_call=wanted, **intervals)
    assert loop.steps_per_call(config, every * 3, on_device) == expected


# Updates that are not finite.


def poisoned(*numbers, feed=HOST):
    """Returns `feed` with images that are NaN at steps `numbers` (from 0)."""

    def cut(arrays, item, step):
        bad = jnp.isin(step, jnp.array(numbers))
        batch = feed.cut(arrays, item, step)
        lr, hr = (
            jnp.where(bad, jnp.nan, steps.to_float(x)) for x in (batch.lr, batch.targets["hr"])
        )
        return batch._replace(lr=lr, targets={"hr": hr})

    return feed._replace(cut=cut)


def test_skipped_updates_are_counted_and_the_run_goes_on(setup):
    params = train(setup, poisoned(1, 2, 4), log_every=3).params
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    rows = rows_of(setup)
    assert {step: row.get("skipped") for step, row in rows.items()} == {2: 1, 3: 1, 4: None, 6: 1}
    assert all(np.isfinite(row.get("pixel", 0)) for row in rows.values())
    assert {row.get("not_finite") for row in rows.values()} == {None, "gradient_norm, pixel, total"}


def test_a_call_of_several_steps_counts_skipped_ones_one_by_one(setup):
    changes = dict.fromkeys(("log_every", "evaluate_every", "checkpoint_every"), 6)
    changes |= {"steps_per_call": 6, "max_bad_steps": 4}
    train(setup, poisoned(0, 2, 3, feed=on_device()), **changes)
    (row,) = rows_of(setup).values()
    assert row["skipped"] == 3
    assert np.isfinite(row["pixel"])
    with pytest.raises(UserError, match="last 4 updates up to step 6"):
        train(elsewhere(setup), poisoned(2, 3, 4, 5, feed=on_device()), **changes)


def save_config(setup):
    """Writes a config that describes the phase."""
    description = configuration.phase(
        "teacher",
        losses={"pixel": configuration.loss("l1", 1.0)},
        **{"steps": 6, "batch": 4, "hr_patch": 16},
    )
    networks = {"teacher": configuration.network("compact:channels=4,depth=1")}
    config = configuration.default(networks, {"teacher": description})
    (setup.workdir / "config.json").write_text(json.dumps(configuration.to_json(config)))


@pytest.mark.parametrize("number", [0, 2])  # of devices that cut patches; 0 for the host
def test_too_many_skipped_updates_stop_the_run_and_can_be_replayed(setup, number):
    setup = dataclasses.replace(setup, devices=number or 1)
    feed = on_device(number) if number else HOST
    save_config(setup)
    with pytest.raises(UserError) as caught:
        train(setup, poisoned(0, 3, 4, 5, feed=feed), max_bad_steps=3, log_every=3)
    folder = setup.workdir / "debug/teacher/6"
    facts = ("teacher: ", "last 3 updates up to step 6", "gradient_norm, pixel, total", "6.npz")
    for fact in (*facts, str(folder), "config.train.teacher.learning_rate"):
        assert fact in str(caught.value)
    last = rows_of(setup)[6]
    assert (last["skipped"], "pixel" in last, "pixel" in last["not_finite"]) == (2, False, True)
    assert checkpoint.steps(setup.folder) == [2]  # 4 was due while updates were skipped
    parts, not_finite = replay.replay(folder)
    assert np.isnan(parts["pixel"])
    assert not_finite
    assert all(line.startswith(("loss ", "generator's gradient ")) for line in not_finite)
    with pytest.raises(UserError, match="debug/teacher/5"):
        replay.replay(folder.with_name("5"))


def test_a_phase_must_not_end_with_a_skipped_update(setup):
    with pytest.raises(UserError, match="last 1 updates up to step 6"):
        train(setup, poisoned(5))
    assert checkpoint.steps(setup.folder) == [2, 4]


def test_a_request_during_an_evaluation_waits_for_the_next_step(setup):
    stop = Stop()

    def evaluate(model):
        stop.handle(signal.SIGTERM)
        return scores(model)

    with pytest.raises(Stopped, match="teacher step 4"):
        loop.train(setup, HOST, evaluate, LOOP, stop)
    assert checkpoint.steps(setup.folder) == [2, 4]


# A phase with adapters, a discriminator with a spectral norm, and a warm-up.


@pytest.fixture
def everything(setup):
    """A phase that trains everything, with three steps of warm-up for the discriminator."""
    discriminator = DiscriminatorConfig(
        network=Spec("origin", {"channels": (4,), "hidden": 4, "spectral_norm": True}),
        adversarial_loss="adversarial",
        optimizer=OptimizerConfig(1e-3),
        warmup_steps=3,
        regularizers={"r1": loss("r1", 0.1, "")},
    )
    losses = {
        "pixel": loss(),
        "hints": loss("fitnet:pairs=((conv1,conv2),)", 0.5, "guide", "linear:end=4"),
        "adversarial": loss("hinge", 0.1),
    }
    teacher = Model("compact", {"channels": 6, "depth": 1}, 4, None)
    start = phase_setup.initial_state(dataclasses.replace(setup, model=teacher))
    teacher = teacher.with_params(devices.to_host(start.ema))
    config = phase_config(
        losses=losses, discriminator=discriminator, teachers={"guide": TeacherConfig("guide")}
    )
    return dataclasses.replace(setup, config=config, teachers={"guide": teacher})


def newest(setup):
    template = state.to_items(devices.to_host(phase_setup.initial_state(setup)))
    return checkpoint.load(setup.folder / str(checkpoint.newest(setup.folder)), template)


def test_everything_that_trains_resumes_to_the_bit(everything):
    train(everything)
    items = newest(everything)
    names = {name.partition(".")[0] for name in items}
    assert names == {"ema", "loop", "generator", "adapters", "discriminator"}
    again = elsewhere(everything)
    with pytest.raises(Interrupted):
        train(again, interrupted(HOST, 5))  # the newest checkpoint is of step 4
    model = train(again)
    chex.assert_trees_all_equal(newest(again), items, strict=True)
    # Adapters stay with the run: a model is the generator alone.
    assert model.params.keys() == everything.model.with_params(items["ema"]).params.keys()
    # Rows of the warm-up have no losses of the generator.
    rows = rows_of(everything)
    of_discriminator = {"discriminator", "r1"}
    assert "pixel" not in rows[2]
    assert of_discriminator <= rows[2].keys()
    assert {"pixel", "hints", "adversarial", *of_discriminator} <= rows[4].keys()
    # Calls of several steps end with the warm-up.
    assert loop.until_due(0, 6, LoopConfig(), everything) == 3
    assert loop.until_due(3, 6, LoopConfig(), everything) == 3


def test_bfloat16_rounds_the_networks_output_but_not_the_weights(setup):
    batch = jax.tree.map(lambda x: x[0], next(host_batches(0)))
    losses = {}
    for dtype in "float32", "bfloat16":
        config = dataclasses.replace(setup.config, dtype=dtype)
        phase = dataclasses.replace(setup, config=config)
        step = steps.make_step(
            phase_setup.networks(phase),
            phase_setup.optimizers(phase),
            phase_setup.losses_of(phase),
        )
        start, frozen = phase_setup.initial_state(phase), phase_setup.frozen_weights(phase)
        after, metrics = jax.jit(step)(start, frozen, batch)
        kept = jax.tree.leaves((after.ema, after.networks["generator"].params))
        assert {leaf.dtype for leaf in kept} == {np.dtype("float32")}
        assert metrics["skipped"] == 0
        losses[dtype] = metrics["pixel"]
    assert losses["bfloat16"] != losses["float32"]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=1e-2)
