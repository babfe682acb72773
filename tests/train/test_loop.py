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

from kdgan_jax import config as configuration
from kdgan_jax import devices, replay
from kdgan_jax.data.photos import Photo
from kdgan_jax.errors import Stopped, UserError
from kdgan_jax.io import checkpoint, logs
from kdgan_jax.train import feed as feeds
from kdgan_jax.train import loop
from kdgan_jax.train import phase as phases
from kdgan_jax.train.feed import Feed
from kdgan_jax.train.stopping import Stop
from kdgan_jax.zoo.load import load
from kdgan_jax.zoo.model import Model


class Interrupted(Exception):
    """Something that ends a run."""


def host(start, stop=6):
    """Yields random batches for one device, each a function of its step."""
    for step in range(start, stop):
        generator = np.random.default_rng(step)
        yield {
            name: generator.integers(0, 256, (1, 4, side, side, 3), np.uint8)
            for name, side in (("lr", 4), ("hr", 16))
        }
    raise Interrupted


HOST = Feed({}, lambda arrays, given, step: given, host, on_device=False)


@functools.cache
def on_device(number=1):
    """Returns the feed of noise that lies on the devices, for `phase`."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    config = configuration.default()
    config.data.backend = "device"
    source = feeds.source(config, [Photo("noise", noise, None, (40, 60))], None, number)
    return source(7, configuration.phase(steps=6, batch=4, hr_patch=16))


@pytest.fixture
def phase(tmp_path):
    config = configuration.default()
    config.log_every, config.evaluate_every, config.checkpoint_every = 2, 3, 2
    settings = configuration.phase(steps=6, batch=4, hr_patch=16)
    model = Model("compact", {"features": 4, "depth": 1}, 4, None)
    return phases.Phase("teacher", settings, config, tmp_path, model, None, 1)


def train(phase, feed=HOST):
    loop.train(phase, feed, lambda model: 30.0 + model.scale)
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


def stopped_after(feed, calls):
    """Returns `feed`, which ends the run after so many calls."""

    def given(start):
        yield from itertools.islice(feed.given(start), calls)
        raise Interrupted

    return feed._replace(given=given)


@pytest.mark.parametrize("way", ["host", "device"])
def test_a_phase_cut_short_ends_as_an_unbroken_one(phase, way):
    feed = HOST if way == "host" else on_device()
    unbroken = train(phase, feed)
    again = dataclasses.replace(phase, workdir=phase.workdir / "again")
    again.workdir.mkdir()
    with pytest.raises(Interrupted):
        train(again, stopped_after(feed, 3))
    assert checkpoint.steps(again.folder) == [2]
    assert not loop.finished(again.workdir, "teacher", 6)
    chex.assert_trees_all_equal(train(again, feed).params, unbroken.params)
    assert loop.finished(again.workdir, "teacher", 6)


def test_scaled_rates_are_said_when_training_begins(phase, caplog):
    caplog.set_level(logging.INFO, "kdgan_jax")
    train(phase)
    assert "learning rate" not in caplog.text
    phase.config.optim.lr_scaling = "linear"
    phase.settings.reference_batch = 1
    train(phase)  # complete, and started once more
    assert caplog.text.count("(linear in batch") == 1


def test_photos_that_are_gone_end_a_phase_with_its_last_step_saved(phase):
    def given(start):
        yield from itertools.islice(host(start), 3)
        raise UserError("a.png: no such file")

    with pytest.raises(UserError, match=r"a\.png"):
        train(phase, HOST._replace(given=given))
    assert checkpoint.steps(phase.folder) == [2, 3]


def test_several_steps_in_one_call_are_as_many_single_ones(phase):
    # Sums of float32 in a loop may be ordered otherwise; an update is of 1e-3.
    single = train(phase, on_device()).params
    rows = logs.read_metrics(phase.workdir / "metrics.jsonl")
    again = dataclasses.replace(phase, workdir=phase.workdir / "again")
    again.workdir.mkdir()
    again.config.steps_per_call = 4  # cut at 2, 3, 4 and 6, where something is due
    calls = []

    def given(start):
        for one in on_device().given(start):
            calls.append(one)
            yield one

    several = train(again, on_device()._replace(given=given)).params
    assert len(calls) == 4
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), several, single)
    others = logs.read_metrics(again.workdir / "metrics.jsonl")
    assert [row["step"] for row in others] == [row["step"] for row in rows] == [2, 3, 4, 6]
    means = [row["pixel"] for row in rows if "pixel" in row]
    np.testing.assert_allclose([r["pixel"] for r in others if "pixel" in r], means, rtol=1e-5)


def whole_batch(feed, number, step):
    """Returns the batch that the devices see together at `step`."""

    def gather(state, frozen, given):
        share = feed.cut(frozen, given, state)["hr"].astype(np.float32)
        first = given["lane"] * len(share)
        whole = jnp.zeros((number * len(share), *share.shape[1:]))
        placed = jax.lax.dynamic_update_slice_in_dim(whole, share, first, 0)
        return state + 1, number * devices.mean(placed)

    given = next(feed.given(step))
    call = devices.parallel(gather, number)
    return np.asarray(call(devices.replicate(np.int32(step), number), feed.arrays, given)[1])


def test_any_number_of_devices_sees_the_same_batch():
    one = whole_batch(on_device(1), 1, 5)
    assert one.shape == (4, 16, 16, 3)
    assert len(np.unique(one.reshape(4, -1), axis=0)) == 4
    for number in 2, 4:
        np.testing.assert_array_equal(whole_batch(on_device(number), number, 5), one)


def test_photos_on_the_device_are_not_moved_while_training(phase):
    feed = on_device()
    state = phases.initial(phase, phases.optimisers(phase))
    call = phases.compiled(phase, phases.optimisers(phase), feed)(1)
    fixed = {"photos": feed.arrays}
    current, _ = call(devices.replicate(state, 1), fixed, next(feed.given(0)))
    with jax.transfer_guard("disallow_explicit"):
        for given in itertools.islice(feed.given(1), 3):
            current, metrics = call(current, fixed, given)
    assert int(current.step) == 4
    assert np.isfinite(metrics["total"])
    with jax.transfer_guard("disallow"), pytest.raises(Exception, match=r"[Dd]isallowed"):
        call(current, fixed, {"lane": np.zeros(1, np.uint32)})  # from the host: the guard works


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
def test_steps_per_call(phase, monkeypatch, on_device, on_cpu, wanted, every, expected):
    monkeypatch.setattr(devices, "on_cpu", lambda: on_cpu)
    config = phase.config
    config.steps_per_call = wanted
    config.log_every = config.evaluate_every = config.checkpoint_every = every
    settings = configuration.phase(steps=every * 3)
    assert loop.steps_per_call(config, settings, on_device) == expected


def poisoned(*steps, feed=HOST):
    """Returns `feed` with images at `steps` (from 0) that are not finite."""

    def cut(arrays, given, step):
        bad = jnp.isin(step, jnp.array(steps))
        images = feed.cut(arrays, given, step)
        return {name: jnp.where(bad, jnp.nan, image) for name, image in images.items()}

    return feed._replace(cut=cut)


def test_an_update_that_is_not_finite_is_not_made_and_counted(phase):
    phase.config.log_every = 3
    after = train(phase, poisoned(1, 2, 4)).params
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
    rows = {row["step"]: row for row in logs.read_metrics(phase.workdir / "metrics.jsonl")}
    assert {step: row.get("skipped") for step, row in rows.items()} == {2: 1, 3: 1, 4: None, 6: 1}
    assert all(np.isfinite(row.get("pixel", 0)) for row in rows.values())

    # The same as a run that sees only the others, with the step that the schedule knows of.
    other = dataclasses.replace(phase, workdir=phase.workdir / "other")
    other.workdir.mkdir()
    players = phases.optimisers(phase)
    current = phases.initial(phase, players)
    call = phases.compiled(phase, players, HOST)(1)
    current = devices.replicate(current, 1)
    for number, given in enumerate(itertools.islice(host(0), 6)):
        if number not in (1, 2, 4):
            current, _ = call(current, {"photos": {}}, given)
            current = current.replace(step=jnp.asarray(number + 1, jnp.int32))
        else:
            current = current.replace(step=current.step + 1)
    chex.assert_trees_all_equal(devices.to_host(current).ema, after)


@pytest.mark.parametrize("number", [0, 1, 2])  # of devices that cut patches; 0 is the host
def test_too_many_in_a_row_stop_the_run_and_can_be_seen_again(phase, number):
    phase = dataclasses.replace(phase, devices=number or 1)
    feed = on_device(number) if number else HOST
    phase.config.max_bad_steps = phase.config.log_every = 3
    config = phase.config.copy_and_resolve_references()
    config.train.teacher = phase.settings
    (phase.workdir / "config.json").write_text(json.dumps(configuration.to_json(config)))
    with pytest.raises(UserError) as caught:
        train(phase, poisoned(0, 3, 4, 5, feed=feed))
    place = phase.workdir / "debug/teacher/6"
    assert str(caught.value).startswith(
        "teacher: the last 3 updates up to step 6 were not finite and not made; the weights before"
        f" them and the batch are in {place} and 6.npz"
    )
    assert checkpoint.steps(phase.folder) == [2]  # 4 was due while updates failed
    parts, broken = replay.replay(place)
    assert np.isnan(parts["pixel"])
    assert broken
    assert all(line.startswith("gradient ") for line in broken)
    with pytest.raises(UserError, match="is nothing that a run has left"):
        replay.replay(place.with_name("5"))


def test_skipped_steps_are_counted_one_by_one_in_a_call_of_several(phase):
    phase.config.log_every = phase.config.evaluate_every = phase.config.checkpoint_every = 6
    phase.config.steps_per_call, phase.config.max_bad_steps = 6, 4
    train(phase, poisoned(0, 2, 3, feed=on_device()))
    (row,) = logs.read_metrics(phase.workdir / "metrics.jsonl")
    assert row["skipped"] == 3
    assert np.isfinite(row["pixel"])
    again = dataclasses.replace(phase, workdir=phase.workdir / "again")
    again.workdir.mkdir()
    with pytest.raises(UserError, match="the last 4 updates up to step 6 were not finite"):
        train(again, poisoned(2, 3, 4, 5, feed=on_device()))


def test_a_request_that_comes_while_a_row_is_made_waits_for_the_next_step(phase):
    stop = Stop()

    def evaluate(model):
        stop.handle(signal.SIGTERM)
        return 30.0

    with pytest.raises(Stopped, match="after step 4, which is saved"):
        loop.train(phase, HOST, evaluate, stop)
    assert checkpoint.steps(phase.folder) == [2, 4]


def test_a_diverged_phase_stops_and_keeps_its_good_checkpoints(phase):
    train(phase)
    good = checkpoint.steps(phase.folder)
    worse = dataclasses.replace(phase, settings=phase.settings.copy_and_resolve_references())
    worse.settings.steps, worse.settings.learning_rate = 8, 1e38
    more = HOST._replace(given=lambda start: host(start, 8))
    with pytest.raises(
        UserError, match=r"the last 1 updates up to step 8 were not .*learning_rate"
    ):
        loop.train(worse, more, lambda model: 0.0)
    assert checkpoint.steps(phase.folder) == good
