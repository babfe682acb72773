"""Mixup and dropout: what they change, and that steps make them alike on any number of devices."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest
from described import phase_config, quick_compilation  # noqa: F401

from kdgan_jax import models
from kdgan_jax.data.batches import Batch
from kdgan_jax.inference.model import Model
from kdgan_jax.losses.pixel import L1
from kdgan_jax.losses.schedules import Constant
from kdgan_jax.runtime import devices
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import phase_setup, state, steps
from kdgan_jax.train.regularization import drop_channels, mixed

STUDENT = models.generator("compact", {"channels": 6, "depth": 1}, 2)
NUMBER = 8
random = np.random.default_rng(0)
BATCH = Batch(
    random.integers(0, 256, (NUMBER, 6, 6, 3), np.uint8),
    {
        name: random.integers(0, 256, (NUMBER, 12, 12, 3), np.uint8)
        for name in ("hr", "teacher")  # whose images are stored
    },
    {"hr": np.array([True] * 6 + [False, True])},
    np.arange(NUMBER, dtype=np.uint32),
)


def keys(number=NUMBER):
    return jax.random.split(jax.random.key(0), number)


def test_neighbours_are_mixed_with_one_share_for_all_their_images():
    result = mixed(BATCH, keys(), 0.4)
    images = {name: (result.targets[name], image) for name, image in BATCH.targets.items()}
    images["lr"] = result.lr, BATCH.lr
    other = np.arange(NUMBER) ^ 1
    shares = {}
    for name, (mixture, image) in images.items():
        own = image.astype(np.float64) / 255
        difference = own - own[other]
        away = np.asarray(mixture) - own[other]
        shares[name] = (away * difference).sum((1, 2, 3)) / (difference**2).sum((1, 2, 3))
        expected = shares[name].reshape(-1, 1, 1, 1) * difference + own[other]
        np.testing.assert_allclose(mixture, expected, atol=1e-5)
    for name in BATCH.targets:
        np.testing.assert_allclose(shares["lr"], shares[name], atol=1e-5)
    assert len(set(shares["lr"].round(4))) == NUMBER
    np.testing.assert_array_equal(result.valid["hr"], [True] * 6 + [False] * 2)
    np.testing.assert_array_equal(result.index, BATCH.index)


def test_shares_have_the_variance_of_beta():
    number = 4000
    lr = np.tile(np.array([0.0, 1.0], np.float32).reshape(2, 1, 1, 1), (number // 2, 1, 1, 3))
    share = mixed(Batch(lr, {}, {}, np.arange(number)), keys(number), 0.4).lr[::2, 0, 0, 0]
    np.testing.assert_allclose([share.mean(), share.var()], [0.5, 0.25 / 1.8], atol=0.02)


def test_pairs_need_an_even_number():
    with pytest.raises(UserError, match=r"mixup.*\b7\b"):
        mixed(jax.tree.map(lambda x: x[:7], BATCH), keys(7), 0.4)


@pytest.fixture(scope="module")
def generator():
    params = models.init(STUDENT, jax.random.key(1), 6)["params"]
    return functools.partial(models.apply, STUDENT, {"params": params})


def test_channels_before_the_last_convolution_are_dropped_as_a_whole(generator):
    lr = steps.to_float(BATCH.lr)
    whole, features = generator(lr)
    seen = {}

    def watched(lr, replaced):
        seen.update(replaced)
        return generator(lr, replaced)

    sr = drop_channels(watched, lr, features, keys(), "conv2", 0.25)
    kept = np.asarray(seen["conv2"] / features["conv2"]).round(4)
    assert set(kept[np.isfinite(kept)]) == {0, np.float32(1 / 0.75).round(4)}
    per_channel = np.nanmax(kept, axis=(1, 2))
    np.testing.assert_array_equal(per_channel, np.nanmin(kept, axis=(1, 2)))
    assert len({tuple(row) for row in per_channel}) > 1
    assert (np.abs(sr - whole).max((1, 2, 3)) > 0)[(per_channel < 1).any(axis=1)].all()


def test_a_feature_that_the_network_lacks_is_named_before_training(tmp_path):
    phase = dataclasses.replace(phase_config(), dropout=("conv9", 0.1))
    model = Model("compact", {"channels": 4, "depth": 1}, 4, None)
    setup = phase_setup.PhaseSetup(phase, 0, tmp_path, model, {}, 1)
    with pytest.raises(UserError, match=r"train\.[a-z]+\.dropout: .*'conv9'.*known: conv1, conv2"):
        phase_setup.check_features(setup)
    phase_setup.check_features(
        dataclasses.replace(setup, config=dataclasses.replace(phase, dropout=("conv2", 0.1)))
    )


# In a step.

SGD = {state.GENERATOR: optax.sgd(0.1)}


def update(number=1, mixup=0.0, dropout=None, key=4):
    """Returns (weights after an SGD step on `number` devices, metrics)."""
    networks = steps.Networks(functools.partial(models.apply, STUDENT), dropout=dropout)
    losses = steps.Losses({"pixel": steps.Weighted(L1(), 1.0, Constant())}, mixup=mixup)
    step = steps.make_step(networks, SGD, losses, mean=devices.mean)
    variables = {"generator": models.init(STUDENT, jax.random.key(2), 6)}
    start = devices.to_host(state.create(jax.random.key(key), variables, SGD))
    current, frozen = devices.replicate((start, {"teachers": {}, "extractors": {}}), number)
    given = devices.shard(BATCH._replace(valid={}), number)
    after, metrics = devices.parallel(step, number)(current, frozen, given)
    return devices.to_host(after).networks["generator"].params, devices.to_host(metrics)


@pytest.mark.parametrize("how", [{"mixup": 0.4}, {"dropout": ("conv2", 0.3)}])
def test_a_step_is_the_same_on_4_devices_and_differs_from_a_plain_one(how):
    plain, _ = update()
    one, metrics = update(**how)
    four, metrics_of_4 = update(4, **how)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=2e-6), four, one)
    np.testing.assert_allclose(metrics_of_4["pixel"], metrics["pixel"], rtol=1e-5)
    other, _ = update(**how, key=5)
    for different in plain, other:
        gap = jax.tree.map(lambda x, y: np.abs(x - y).max(), one, different)
        assert max(jax.tree.leaves(gap)) > 1e-5
