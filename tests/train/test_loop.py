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
from described import loss, phase_config

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
from kdgan_jax.train import feed as feeds
from kdgan_jax.train import loop, state, steps
from kdgan_jax.train import phase as phases
from kdgan_jax.train.feed import Feed
from kdgan_jax.train.stopping import Stop
from kdgan_jax.workdir import checkpoint
from kdgan_jax.workdir.metrics import read_metrics


class Interrupted(Exception):
    """Something that ends a run."""


def host(start, stop=6):
    """Yields random batches for one device, each a function of its step."""
    for step in range(start, stop):
        generator = np.random.default_rng(step)
        lr, hr = (generator.integers(0, 256, (1, 4, n, n, 3), np.uint8) for n in (4, 16))
        yield Batch(lr, {"hr": hr}, {}, np.arange(4, dtype=np.uint32)[None] + 4 * step)
    raise Interrupted


HOST = Feed({}, lambda arrays, given, step: given, host, on_device=False)


@functools.cache
def on_device(number=1):
    """Returns the feed of noise that lies on the devices, for `phase`."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    data = DataConfig(backend="device")
    source = feeds.source(data, 4, [Photo("noise", noise, None, (40, 60))], None, number)
    return source(7, BatchConfig(steps=6, batch=4, hr_patch=16))


LOOP = LoopConfig(log_every=2, evaluate_every=3, checkpoint_every=2)


@pytest.fixture
def phase(tmp_path):
    model = Model("compact", {"channels": 4, "depth": 1}, 4, None)
    return phases.Phase(phase_config(), 0, tmp_path, model, {}, 1)


def train(phase, feed=HOST, **changes):
    loop.train(phase, feed, lambda model: 30.0 + model.scale, dataclasses.replace(LOOP, **changes))
    return load(phase.workdir, phase.name)


def elsewhere(phase, name="again", **changes):
    """Returns the phase with a workdir of its own."""
    workdir = phase.workdir / name
    workdir.mkdir()
    return dataclasses.replace(phase, workdir=workdir, **changes)


def test_a_row_is_the_mean_over_the_steps_since_the_last_one(phase):
    train(phase)
    rows = read_metrics(phase.workdir / "metrics.jsonl")
    fine = elsewhere(phase)
    train(fine, log_every=1)
    single = read_metrics(fine.workdir / "metrics.jsonl")
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
    again = elsewhere(phase)
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
    own = phase.config.optimizer
    scaled = dataclasses.replace(own, factor=4.0, scaling="linear in batch 4 over 1")
    config = dataclasses.replace(phase.config, optimizer=scaled)
    train(dataclasses.replace(phase, config=config))  # complete, and started once more
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
    rows = read_metrics(phase.workdir / "metrics.jsonl")
    again = elsewhere(phase)
    calls = []

    def given(start):
        for one in on_device().given(start):
            calls.append(one)
            yield one

    # Cut at 2, 3, 4 and 6, where something is due.
    several = train(again, on_device()._replace(given=given), steps_per_call=4).params
    assert len(calls) == 4
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), several, single)
    others = read_metrics(again.workdir / "metrics.jsonl")
    assert [row["step"] for row in others] == [row["step"] for row in rows] == [2, 3, 4, 6]
    means = [row["pixel"] for row in rows if "pixel" in row]
    np.testing.assert_allclose([r["pixel"] for r in others if "pixel" in r], means, rtol=1e-5)


def whole_batch(feed, number, step):
    """Returns the batch that the devices see together at `step`."""

    def gather(state, frozen, given):
        share = feed.cut(frozen, given, state).targets["hr"].astype(np.float32)
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
    state = phases.initial(phase)
    call = phases.compiled(phase, feed)(1, False)
    fixed = {**phases.frozen(phase), "photos": feed.arrays}
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
def test_steps_per_call(monkeypatch, on_device, on_cpu, wanted, every, expected):
    monkeypatch.setattr(devices, "on_cpu", lambda: on_cpu)
    due = dict.fromkeys(("log_every", "evaluate_every", "checkpoint_every"), every)
    wanted = LoopConfig(steps_per_call=wanted, **due)
    assert loop.steps_per_call(wanted, every * 3, on_device) == expected


def poisoned(*numbers, feed=HOST):
    """Returns `feed` with images at steps `numbers` (from 0) that are not finite."""

    def cut(arrays, given, step):
        bad = jnp.isin(step, jnp.array(numbers))
        batch = feed.cut(arrays, given, step)
        lr, hr = (
            jnp.where(bad, jnp.nan, steps.to_float(x)) for x in (batch.lr, batch.targets["hr"])
        )
        return batch._replace(lr=lr, targets={"hr": hr})

    return feed._replace(cut=cut)


def test_an_update_that_is_not_finite_is_not_made_and_counted(phase):
    after = train(phase, poisoned(1, 2, 4), log_every=3).params
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
    rows = {row["step"]: row for row in read_metrics(phase.workdir / "metrics.jsonl")}
    assert {step: row.get("skipped") for step, row in rows.items()} == {2: 1, 3: 1, 4: None, 6: 1}
    assert all(np.isfinite(row.get("pixel", 0)) for row in rows.values())

    # The same as a run that sees only the others, with the step that the schedule knows of.
    feed = poisoned()
    current = devices.replicate(phases.initial(phase), 1)
    call = phases.compiled(phase, feed)(1, False)
    fixed = {**phases.frozen(phase), "photos": {}}
    for number, given in enumerate(itertools.islice(host(0), 6)):
        if number not in (1, 2, 4):
            current, _ = call(current, fixed, given)
            current = current.replace(step=jnp.asarray(number + 1, jnp.int32))
        else:
            current = current.replace(step=current.step + 1)
    chex.assert_trees_all_equal(devices.to_host(current).ema, after)


def save_config(phase):
    """Leaves the config that `phase` may be of."""
    described = configuration.phase(
        "teacher",
        losses={"pixel": configuration.loss("l1", 1.0)},
        **{"steps": 6, "batch": 4, "hr_patch": 16},
    )
    networks = {"teacher": configuration.network("compact:channels=4,depth=1")}
    config = configuration.default(networks, {"teacher": described})
    (phase.workdir / "config.json").write_text(json.dumps(configuration.to_json(config)))


@pytest.mark.parametrize("number", [0, 1, 2])  # of devices that cut patches; 0 is the host
def test_too_many_in_a_row_stop_the_run_and_can_be_seen_again(phase, number):
    phase = dataclasses.replace(phase, devices=number or 1)
    feed = on_device(number) if number else HOST
    save_config(phase)
    with pytest.raises(UserError) as caught:
        train(phase, poisoned(0, 3, 4, 5, feed=feed), max_bad_steps=3, log_every=3)
    place = phase.workdir / "debug/teacher/6"
    assert "teacher: the last 3 updates up to step 6 " in str(caught.value)
    assert "(not finite: gradient_norm, pixel, total)" in str(caught.value)
    assert f"in {place} and 6.npz" in str(caught.value)
    assert checkpoint.steps(phase.folder) == [2]  # 4 was due while updates failed
    parts, broken = replay.replay(place)
    assert np.isnan(parts["pixel"])
    assert broken
    assert all(line.startswith(("loss ", "generator's gradient ")) for line in broken)
    with pytest.raises(UserError, match="is nothing that a run has left"):
        replay.replay(place.with_name("5"))


def test_skipped_steps_are_counted_one_by_one_in_a_call_of_several(phase):
    every = dict.fromkeys(("log_every", "evaluate_every", "checkpoint_every"), 6)
    every |= {"steps_per_call": 6, "max_bad_steps": 4}
    train(phase, poisoned(0, 2, 3, feed=on_device()), **every)
    (row,) = read_metrics(phase.workdir / "metrics.jsonl")
    assert row["skipped"] == 3
    assert np.isfinite(row["pixel"])
    again = elsewhere(phase)
    with pytest.raises(UserError, match="the last 4 updates up to step 6 were not finite"):
        train(again, poisoned(2, 3, 4, 5, feed=on_device()), **every)


def test_a_request_that_comes_while_a_row_is_made_waits_for_the_next_step(phase):
    stop = Stop()

    def evaluate(model):
        stop.handle(signal.SIGTERM)
        return 30.0

    with pytest.raises(Stopped, match="after step 4, which is saved"):
        loop.train(phase, HOST, evaluate, LOOP, stop)
    assert checkpoint.steps(phase.folder) == [2, 4]


def test_a_diverged_phase_stops_and_keeps_its_good_checkpoints(phase):
    train(phase)
    good = checkpoint.steps(phase.folder)
    config = dataclasses.replace(
        phase.config, batches=BatchConfig(8, 4, 16), optimizer=OptimizerConfig(1e38)
    )
    worse = dataclasses.replace(phase, config=config)
    more = HOST._replace(given=lambda start: host(start, 8))
    with pytest.raises(
        UserError, match=r"the last 1 updates up to step 8 were not .*learning_rate"
    ):
        loop.train(worse, more, lambda model: 0.0, LOOP)
    assert checkpoint.steps(phase.folder) == good


# Phases with adapters, a discriminator with a spectral norm, and a warm-up.


@pytest.fixture
def whole(phase):
    """A phase in which all that can train does, with two steps of the discriminator's warm-up."""
    other = DiscriminatorConfig(
        network=Spec("origin", {"channels": (4,), "hidden": 4, "spectral_norm": True}),
        game="adversarial",
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
    shapes = phases.initial(dataclasses.replace(phase, model=teacher))
    teacher = teacher.with_params(devices.to_host(shapes.ema))
    config = phase_config(
        losses=losses, discriminator=other, teachers={"guide": TeacherConfig("guide")}
    )
    return dataclasses.replace(phase, config=config, teachers={"guide": teacher})


def newest(phase):
    fresh = state.to_items(devices.to_host(phases.initial(phase)))
    return checkpoint.load(phase.folder / str(checkpoint.newest(phase.folder)), fresh)


def test_all_that_trains_goes_on_to_the_bit(whole):
    train(whole)
    items = newest(whole)
    names = {name.partition(".")[0] for name in items}
    assert names == {"ema", "loop", "generator", "adapters", "discriminator"}
    again = elsewhere(whole)
    with pytest.raises(Interrupted):
        train(again, stopped_after(HOST, 5))  # the newest checkpoint is of step 4
    train(again)
    chex.assert_trees_all_equal(newest(again), items, strict=True)
    # Adapters stay with the run: a model is the generator alone.
    assert (
        load(whole.workdir, "teacher").params.keys()
        == whole.model.with_params(items["ema"]).params.keys()
    )


def test_rows_of_a_warm_up_have_no_losses_of_the_generator(whole):
    train(whole)
    rows = {row["step"]: row for row in read_metrics(whole.workdir / "metrics.jsonl")}
    assert "pixel" not in rows[2]
    assert {"discriminator", "r1"} <= rows[2].keys()
    assert {"pixel", "hints", "adversarial", "discriminator", "r1"} <= rows[4].keys()


def test_a_call_of_several_steps_ends_where_something_is_due_or_a_warm_up_ends(whole):
    starts = [0]
    while starts[-1] < 6:
        starts.append(starts[-1] + loop.until_due(starts[-1], 6, LoopConfig(), whole))
    assert starts == [0, 3, 6]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_convolutions_compute_in_the_dtype_and_weights_stay_float32(phase, dtype):
    config = dataclasses.replace(phase.config, dtype=dtype)
    phase = dataclasses.replace(phase, config=config)
    step = steps.make_step(
        phases.networks(phase), phases.optimizers(phase), phases.losses_of(phase)
    )
    batch = jax.tree.map(lambda x: x[0], next(host(0)))
    program = jax.make_jaxpr(step)(phases.initial(phase), phases.frozen(phase), batch)
    kinds = {
        str(equation.outvars[0].aval.dtype)
        for equation in program.eqns
        if equation.primitive.name == "conv_general_dilated"
    }
    assert kinds == {dtype}
    after, metrics = jax.jit(step)(phases.initial(phase), phases.frozen(phase), batch)
    assert {
        leaf.dtype for leaf in jax.tree.leaves((after.ema, after.networks["generator"].params))
    } == {np.dtype("float32")}
    assert metrics["skipped"] == 0
