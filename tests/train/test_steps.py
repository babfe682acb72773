"""Steps of tiny networks: `mean` over 4 virtual devices against the identity on one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdgan_jax import devices, losses, models
from kdgan_jax.config import PARTS, phase
from kdgan_jax.io import imagenet
from kdgan_jax.models.discriminator import identity
from kdgan_jax.train import state, steps

SCALE, BATCH, PATCH = 2, 8, 16
VGG_LAYERS = "conv1_2", "conv2_1"
WEIGHTS = {
    "pixel_weight": 1.0,
    "distill_weight": 0.5,
    "blend_weight": 0.7,
    "perceptual_weight": 0.3,
    "adversarial_weight": 0.2,
}
STUDENT = models.generator("compact", {"features": 8, "depth": 1}, SCALE)
TEACHER = models.generator("edsr", {"features": 8, "blocks": 1}, SCALE)
SGD = steps.Optimisers(optax.sgd(0.1), optax.sgd(0.1))
ADAM = steps.Optimisers(optax.adam(1e-3), optax.adam(1e-3))
every_discriminator = pytest.mark.parametrize("discriminator", models.DISCRIMINATORS)


def all_parts(**changes):
    """Returns settings that weigh every part, relativistic adversary included."""
    return phase(**{"perceptual_layers": VGG_LAYERS, **WEIGHTS, **changes})


def only(*parts, **changes):
    """Returns settings that weigh nothing but `parts`."""
    weights = {f"{part}_weight": float(part in parts) for part in PARTS}
    return all_parts(**weights, **changes)


@functools.cache
def batch():
    """Waves with noise, of another brightness in each image; LR is HR's means of 2 x 2."""
    generator = np.random.default_rng(0)
    wave = np.sin(np.arange(PATCH) * generator.uniform(0.1, 1, (BATCH, 1)))
    hr = 128 + 50 * wave[:, :, None, None] * wave[:, None, :, None]
    hr = hr + np.linspace(-40, 40, BATCH).reshape(-1, 1, 1, 1)
    hr = hr + generator.uniform(-20, 20, (BATCH, PATCH, PATCH, 3))
    lr = hr.reshape(BATCH, PATCH // 2, 2, PATCH // 2, 2, 3).mean((2, 4))
    return {"hr": hr.astype(np.uint8), "lr": lr.astype(np.uint8)}


def discriminator_module(name, mean=identity):
    return models.discriminator(name, {"features": (8, 16), "hidden": 16}, mean=mean)


def networks(discriminator="origin", mean=identity):
    judge = discriminator_module(discriminator, mean)
    return steps.Networks(
        lambda params, lr: STUDENT.apply({"params": params}, lr),
        lambda params, lr: TEACHER.apply({"params": params}, lr),
        lambda params, image: judge.apply({"params": params}, image),
    )


@functools.cache
def frozen():
    return {
        "teacher": devices.to_host(models.init(TEACHER, jax.random.key(1), PATCH // SCALE)),
        "vgg": {name: imagenet.vgg16()[name] for name in ("conv1_1", "conv1_2", "conv2_1")},
    }


@functools.cache
def fresh(optimisers=SGD, discriminator="origin"):
    """Returns the state before the first step, on the host: `parallel` donates what it is given."""
    student = models.init(STUDENT, jax.random.key(2), PATCH // SCALE)
    judge = models.init(discriminator_module(discriminator), jax.random.key(3), PATCH)
    key, (ours, theirs) = jax.random.key(4), optimisers
    return devices.to_host(state.create(key, student, ours, judge, theirs))


def gradients(settings, nets=None, discriminator="origin"):
    """Returns the raw gradients of both and the metrics, on one device by plain `jax.jit`."""
    compute = jax.jit(steps.make_gradients(nets or networks(discriminator), settings))
    return devices.to_host(compute(fresh(SGD, discriminator), frozen(), batch()))


def run(settings, optimisers=SGD, discriminator="origin", number=1, updates=1):
    """Returns (states after each step, metrics of each) of the step as a phase builds it."""
    step = devices.parallel(
        steps.make_step(networks(discriminator, devices.mean), optimisers, settings, devices.mean),
        number,
    )
    there = devices.replicate(frozen(), number)
    current = devices.replicate(fresh(optimisers, discriminator), number)
    states, rows = [], []
    for _ in range(updates):
        current, metrics = step(current, there, devices.shard(batch(), number))
        states.append(devices.to_host(current))
        rows.append(devices.to_host(metrics))
    return states, rows


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def all_differ(a, b):
    """Returns whether every array of the tree changed."""
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x != y).any()), a, b)))


# Equal up to the order in which float32 sums 8 images: all at once, or 4 means of 2. Statistics
# per device instead of over the batch, or a sum instead of a mean, are off by tens of percent.
ROUNDING = 1e-5


def assert_close(a, b, tolerance=ROUNDING):
    """Asserts that each array differs by at most `tolerance` of its largest number.

    Gradients that are 0 but for rounding (of a bias before BatchNorm, of the last bias in the
    relativistic game) have no scale of their own: a part of the tree's largest number is granted.
    """
    top = max(np.abs(leaf).max() for leaf in jax.tree.leaves(b))

    def check(x, y):
        granted = tolerance * np.abs(y).max() + 2e-6 * top
        np.testing.assert_allclose(x, y, rtol=0, atol=granted)

    jax.tree.map(check, a, b)


@every_discriminator
def test_4_devices_give_the_gradients_of_1(discriminator):
    settings = all_parts()
    compute = steps.make_gradients(networks(discriminator, devices.mean), settings, devices.mean)

    def step(state, frozen, batch):
        *both, metrics = compute(state, frozen, batch)
        return both, metrics

    there = devices.replicate((fresh(SGD, discriminator), frozen()), 4)
    (ours, theirs), metrics = devices.to_host(
        devices.parallel(step, 4)(*there, devices.shard(batch(), 4))
    )
    expected = gradients(settings, discriminator=discriminator)
    for found, wanted in zip((ours, theirs, metrics), expected, strict=True):
        assert_close(found, wanted)


@every_discriminator
def test_4_devices_make_the_update_of_1(discriminator):
    # SGD: Adam would hide a factor on the gradients.
    (one,), _ = run(all_parts(), SGD, discriminator, number=1)
    (four,), _ = run(all_parts(), SGD, discriminator, number=4)
    # Parameters are of order 1, their updates of 1e-3 and more.
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=1e-6), four, one)
    before = fresh(SGD, discriminator)
    for leaf in jax.tree.leaves(jax.tree.map(np.subtract, one.params, before.params)):
        assert np.abs(leaf).max() > 1e-3


def test_sgd_subtracts_the_raw_gradients():
    ours, theirs, _ = gradients(all_parts())
    (after,), _ = run(all_parts())
    before = fresh()
    for old, new, grads in (
        (before.params, after.params, ours),
        (before.discriminator["params"], after.discriminator["params"], theirs),
    ):
        expected = jax.tree.map(lambda p, g: p - 0.1 * g, old, grads)
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), new, expected)


def test_teacher_and_vgg_are_bit_identical_after_a_step():
    before = jax.tree.map(np.copy, frozen())
    there = devices.replicate(frozen(), 4)
    step = steps.make_step(networks("origin", devices.mean), ADAM, all_parts(), devices.mean)
    given = devices.shard(batch(), 4)
    devices.parallel(step, 4)(devices.replicate(fresh(ADAM), 4), there, given)
    assert_same(devices.to_host(there), before)


STILL = optax.set_to_zero()


def test_an_update_of_the_discriminator_leaves_the_generator_alone():
    optimisers = steps.Optimisers(STILL, optax.sgd(0.1))
    (after,), _ = run(all_parts(), optimisers)
    before = fresh(optimisers)
    assert_same(after.params, before.params)
    assert all_differ(after.discriminator["params"], before.discriminator["params"])


def test_an_update_of_the_generator_leaves_the_discriminator_alone():
    optimisers = steps.Optimisers(optax.sgd(0.1), STILL)
    (after,), _ = run(all_parts(), optimisers)
    before = fresh(optimisers)
    assert all_differ(after.params, before.params)
    assert_same(after.discriminator["params"], before.discriminator["params"])


def test_the_discriminators_gradient_is_that_of_its_own_loss_alone():
    nets, start, (lr, hr) = networks(), fresh(), steps.to_float(batch())
    sr, _ = nets.generator(start.params, lr)

    def own_loss(params):
        real, fake = nets.discriminator(params, hr), nets.discriminator(params, sr)
        return losses.ADVERSARIAL["relativistic"].discriminator(real, fake, identity).mean()

    _, theirs, _ = gradients(all_parts(adversarial_weight=1000.0))
    assert_close(theirs, jax.grad(own_loss)(start.discriminator["params"]), 1e-4)


def test_the_generators_gradient_is_that_of_the_weighted_sum_of_the_parts():
    nets, start, (lr, hr) = networks(), fresh(), steps.to_float(batch())

    def own_loss(params):
        sr, teacher_sr = nets.generator(params, lr)[0], nets.teacher(frozen()["teacher"], lr)[0]
        logits = [nets.discriminator(start.discriminator["params"], x) for x in (hr, sr)]
        game = losses.ADVERSARIAL["relativistic"].generator(*logits, identity)
        blend = losses.blend(sr, hr, teacher_sr, alpha=0.3)
        return (2 * losses.rmse(sr, hr) + 3 * losses.l2(sr, teacher_sr) + 4 * blend + game).mean()

    settings = only(
        *("pixel", "distill", "blend", "adversarial"), pixel="rmse", distill="l2", blend_alpha=0.3
    )
    settings.update(pixel_weight=2.0, distill_weight=3.0, blend_weight=4.0)
    ours, _, metrics = gradients(settings)
    loss, expected = jax.value_and_grad(own_loss)(start.params)
    np.testing.assert_allclose(metrics["total"], loss, rtol=1e-5)
    assert_close(ours, expected, 1e-4)


def test_the_loss_falls_on_one_fixed_batch_in_20_steps():
    optimisers = steps.Optimisers(optax.adam(3e-3), optax.adam(1e-3))
    _, rows = run(only("pixel", "distill"), optimisers, updates=20)
    assert rows[-1]["total"] < 0.9 * rows[0]["total"]


def test_the_discriminators_loss_falls_against_a_generator_that_stands_still():
    _, rows = run(all_parts(), steps.Optimisers(STILL, optax.adam(3e-3)), updates=20)
    assert rows[-1]["discriminator"] < 0.9 * rows[0]["discriminator"]


@pytest.mark.parametrize("part", PARTS)
def test_each_part_alone_gives_the_student_a_gradient(part):
    ours, _, _ = gradients(only(part))
    for leaf in jax.tree.leaves(ours):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 1e-7


def convolutions(settings, nets):
    compute = steps.make_gradients(nets, settings)
    program = jax.make_jaxpr(compute)(fresh(), frozen(), batch())
    return str(program).count("= conv_general_dilated")


def test_parts_of_weight_0_are_not_computed():
    bare = steps.Networks(networks().generator)
    forward_and_back = 3 + 3 + 2  # the input's gradient is not needed
    assert convolutions(only("pixel"), bare) == forward_and_back
    # Two images forward through three convolutions of VGG16, one of them back.
    assert convolutions(only("pixel", "perceptual"), bare) == forward_and_back + 6 + 3


def test_parts_of_weight_0_are_not_logged():
    _, _, metrics = gradients(only("pixel", "blend"), steps.Networks(*networks()[:2]))
    assert set(metrics) == {"pixel", "blend", "total"}


def test_parts_are_logged_unweighted_and_the_total_weighted():
    _, _, once = gradients(all_parts())
    doubled = all_parts(**{name: 2 * weight for name, weight in WEIGHTS.items()})
    _, _, twice = gradients(doubled)
    for part in PARTS:
        np.testing.assert_allclose(twice[part], once[part], rtol=1e-6)
    total = sum(WEIGHTS[f"{part}_weight"] * once[part] for part in PARTS)
    np.testing.assert_allclose([once["total"], twice["total"]], [total, 2 * total], rtol=1e-5)


def test_the_discriminators_warm_up_leaves_the_generator_as_it_was():
    states, _ = run(all_parts(discriminator_warmup_steps=2), ADAM, updates=3)
    before = fresh(ADAM)
    for after in states[:2]:
        assert_same(
            (after.params, after.ema, after.optimizer),
            (before.params, before.ema, before.optimizer),
        )
        assert all_differ(after.discriminator["params"], before.discriminator["params"])
    assert all_differ(states[2].params, before.params)
    assert [int(after.step) for after in states] == [1, 2, 3]


def test_without_a_discriminator_there_is_no_warm_up():
    settings = only("pixel", discriminator_warmup_steps=2)
    step = steps.make_step(
        steps.Networks(networks().generator), steps.Optimisers(SGD.generator), settings
    )
    before = fresh()
    after, _ = jax.jit(step)(before, frozen(), batch())
    assert all_differ(after.params, before.params)


def test_ema_decay_is_warmed_up_to_its_limit():
    found = [float(steps.ema_decay(0.99, jnp.asarray(k))) for k in (0, 1, 90, 10**6)]
    np.testing.assert_allclose(found, [1 / 10, 2 / 11, 91 / 100, 0.99], rtol=1e-6)


@pytest.mark.parametrize("warmup", [0, 1])
def test_the_ema_follows_the_parameters_by_the_warmed_decay(warmup):
    # The count starts with the generator's first own update.
    states, _ = run(all_parts(discriminator_warmup_steps=warmup), updates=warmup + 2)
    ema = fresh().params
    for after, decay in zip(states[warmup:], (1 / 10, 2 / 11), strict=True):
        ema = jax.tree.map(lambda e, p, d=decay: d * e + (1 - d) * p, ema, after.params)
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), after.ema, ema)


def test_two_runs_are_bit_identical():
    first, second = (run(all_parts(), ADAM, "vgg", number=4, updates=3) for _ in range(2))
    assert_same(first, second)
