"""Steps of tiny networks: `mean` over 4 virtual devices against the identity on one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import HASTE

from kdgan_jax import losses, models
from kdgan_jax.config import spec
from kdgan_jax.data.batches import Batch
from kdgan_jax.formats import imagenet
from kdgan_jax.losses import pixel
from kdgan_jax.losses.distill import blend
from kdgan_jax.losses.gradient_penalty import R1
from kdgan_jax.losses.schedules import Between, Constant, Linear
from kdgan_jax.losses.term import Term
from kdgan_jax.models.blocks.normalization import identity
from kdgan_jax.models.extractors import vgg
from kdgan_jax.runtime import devices
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import state, steps

SCALE, BATCH, PATCH = 2, 8, 16
# label: (kind, weight, target)
ALL = {
    "pixel": ("l1", 1.0, "hr"),
    "distill": ("l1", 0.5, "teacher"),
    "blend": ("blend", 0.7, "teacher"),
    "perceptual": ("perceptual:layers=(conv1_2,conv2_1)", 0.3, "hr"),
    "hints": ("fitnet:pairs=((conv1,head),(conv2,block1))", 0.4, "teacher"),
    "adversarial": ("relativistic", 0.2, "hr"),
}
STUDENT = models.generator("compact", {"channels": 8, "depth": 1}, SCALE)
TEACHER = models.generator("edsr", {"channels": 8, "blocks": 1}, SCALE)
PLAYERS = state.GENERATOR, state.ADAPTERS, state.DISCRIMINATOR
SGD = {name: optax.sgd(0.1) for name in PLAYERS}
ADAM = {name: optax.adam(1e-3) for name in PLAYERS}
STILL = optax.set_to_zero()
every_discriminator = pytest.mark.parametrize("discriminator", models.DISCRIMINATORS)


compiled = functools.partial(jax.jit, compiler_options=HASTE)


def made(parts, regularizers=None, schedule=None):
    """Returns losses of {label: (kind, weight, target)}."""
    schedule = schedule or Constant()
    terms = {}
    for label, (kind, weight, target) in parts.items():
        term = spec.build(losses.TERMS, *spec.parse(kind, label), label, target=target)
        terms[label] = steps.Weighted(term, weight, schedule)
    games = [label for label, one in terms.items() if isinstance(one.function, losses.Game)]
    regularizers = {
        label: steps.Weighted(function, weight, Constant())
        for label, (function, weight) in (regularizers or {}).items()
    }
    return steps.Losses(terms, *games, regularizers=regularizers)


def all_parts(**changes):
    """Returns losses that weigh every part, relativistic adversary included."""
    return made({**ALL, **changes})


def only(*parts):
    """Returns losses of nothing but `parts`, weighted by 1."""
    return made({part: (ALL[part][0], 1.0, ALL[part][2]) for part in parts})


@functools.cache
def batch():
    """Waves with noise, of another brightness in each image; LR is HR's means of 2 x 2."""
    generator = np.random.default_rng(0)
    wave = np.sin(np.arange(PATCH) * generator.uniform(0.1, 1, (BATCH, 1)))
    hr = 128 + 50 * wave[:, :, None, None] * wave[:, None, :, None]
    hr = hr + np.linspace(-40, 40, BATCH).reshape(-1, 1, 1, 1)
    hr = hr + generator.uniform(-20, 20, (BATCH, PATCH, PATCH, 3))
    lr = hr.reshape(BATCH, PATCH // 2, 2, PATCH // 2, 2, 3).mean((2, 4))
    index = np.arange(BATCH, dtype=np.uint32) + 40
    return Batch(lr.astype(np.uint8), {"hr": hr.astype(np.uint8)}, {}, index)


def discriminator_module(text, mean=identity):
    name, options = spec.parse(text, "discriminator")
    return models.discriminator(name, {"channels": (8, 16), "hidden": 16, **options}, mean=mean)


def networks(discriminator="origin", mean=identity, reads="lr"):
    module = discriminator_module(discriminator, mean)

    def judge(variables, images, update):
        others = {kind: tree for kind, tree in variables.items() if kind != "params"}
        if not others or not update:
            return module.apply(variables, images), others
        return module.apply(variables, images, update=True, mutable=list(others))

    return steps.Networks(
        functools.partial(models.apply, STUDENT),
        {"teacher": (functools.partial(models.apply, TEACHER), reads)},
        judge,
        {"vgg": vgg.features},
    )


@functools.cache
def frozen():
    return {
        "teachers": {
            "teacher": devices.to_host(models.init(TEACHER, jax.random.key(1), PATCH // SCALE))
        },
        "extractors": {
            "vgg": {name: imagenet.vgg16()[name] for name in ("conv1_1", "conv1_2", "conv2_1")}
        },
    }


def fresh(optimizers=SGD, discriminator="origin"):
    """Returns the state before the first step, on the host: `parallel` donates what it is given."""
    variables = {
        "generator": models.init(STUDENT, jax.random.key(2), PATCH // SCALE),
        "discriminator": models.init(discriminator_module(discriminator), jax.random.key(3), PATCH),
    }
    variables["adapters"] = {"params": {"hints": adapters()}}
    return devices.to_host(state.create(jax.random.key(4), variables, optimizers))


@functools.cache
def adapters():
    term = all_parts().terms["hints"].function
    student = models.init(STUDENT, jax.random.key(2), PATCH // SCALE)
    players = {"generator": optax.sgd(0.1), "discriminator": optax.sgd(0.1)}
    judge = models.init(discriminator_module("origin"), jax.random.key(3), PATCH)
    start = state.create(jax.random.key(4), {"generator": student, "discriminator": judge}, players)
    _, context = steps.make_context(networks(), start, frozen(), batch())
    return devices.to_host(term.init(jax.random.key(5), context(student["params"])))


def gradients(losses, nets=None, discriminator="origin", given=None, start=None):
    """Returns raw gradients by player and the metrics, on one device by plain `jax.jit`."""
    compute = compiled(steps.make_gradients(nets or networks(discriminator), losses))
    start = start or fresh(SGD, discriminator)
    grads, _, metrics, _ = devices.to_host(compute(start, frozen(), given or batch()))
    return grads, metrics


def run(losses, optimizers=SGD, discriminator="origin", number=1, updates=1, given=None, **how):
    """Returns (states after each step, metrics of each) of the step as a phase builds it."""
    one = functools.partial(
        *(steps.make_step, networks(discriminator, devices.mean), optimizers, losses),
        mean=devices.mean,
        **how,
    )
    there = devices.replicate(frozen(), number)
    current = devices.replicate(fresh(optimizers, discriminator), number)
    calls = [devices.parallel(one(warming=warming), number) for warming in (False, True)]
    states, rows = [], []
    for update in range(updates):
        step = calls[update < how.get("warmup", 0)]
        current, metrics = step(current, there, devices.shard(given or batch(), number))
        states.append(devices.to_host(current))
        rows.append(devices.to_host(metrics))
    return states, rows


def params(current):
    return {name: trained.params for name, trained in current.networks.items()}


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
    compute = steps.make_gradients(networks(discriminator, devices.mean), all_parts(), devices.mean)

    def step(state, frozen, batch):
        grads, others, metrics, _ = compute(state, frozen, batch)
        return (grads, others), metrics

    there = devices.replicate((fresh(SGD, discriminator), frozen()), 4)
    (found, others), metrics = devices.to_host(
        devices.parallel(step, 4)(*there, devices.shard(batch(), 4))
    )
    expected, wanted = gradients(all_parts(), discriminator=discriminator)
    assert others == {}
    for name in PLAYERS:
        assert_close(found[name], expected[name])
    assert_close(metrics, wanted)


@pytest.mark.parametrize("discriminator", ["vgg", "origin:spectral_norm=True"])
def test_4_devices_make_the_update_of_1(discriminator):
    # SGD: Adam would hide a factor on the gradients.
    (one,), _ = run(all_parts(), SGD, discriminator, number=1)
    (four,), _ = run(all_parts(), SGD, discriminator, number=4)
    # Parameters are of order 1, their updates of 1e-3 and more.
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=1e-6), four, one)
    before, after = fresh(SGD, discriminator).networks, one.networks
    moved = jax.tree.map(np.subtract, after["generator"].params, before["generator"].params)
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(moved))


def test_a_spectral_norm_is_kept_while_training_goes_on():
    states, _ = run(all_parts(), ADAM, "origin:spectral_norm=True", number=2, updates=3)
    trees = [after.networks["discriminator"].others for after in states]
    assert set(trees[0]) == {"batch_stats"}
    first, second, third = (tree["batch_stats"]["SpectralNorm_0"] for tree in trees)
    assert all_differ(first, second)
    assert all_differ(second, third)


def test_sgd_subtracts_the_raw_gradients():
    grads, _ = gradients(all_parts())
    (after,), _ = run(all_parts())
    for name, old in params(fresh()).items():
        expected = jax.tree.map(lambda p, g: p - 0.1 * g, old, grads[name])
        close = functools.partial(np.testing.assert_allclose, atol=1e-6)
        jax.tree.map(close, params(after)[name], expected)


def test_teacher_and_vgg_are_bit_identical_after_a_step():
    before = jax.tree.map(np.copy, frozen())
    there = devices.replicate(frozen(), 4)
    step = steps.make_step(networks("origin", devices.mean), ADAM, all_parts(), mean=devices.mean)
    given = devices.shard(batch(), 4)
    devices.parallel(step, 4)(devices.replicate(fresh(ADAM), 4), there, given)
    assert_same(devices.to_host(there), before)


@pytest.mark.parametrize("moving", PLAYERS)
def test_an_update_of_one_leaves_the_others_alone(moving):
    optimizers = {name: optax.sgd(0.1) if name == moving else STILL for name in PLAYERS}
    (after,), _ = run(all_parts(), optimizers)
    for name, before in params(fresh(optimizers)).items():
        if name == moving:
            assert all_differ(params(after)[name], before)
        else:
            assert_same(params(after)[name], before)


def test_the_discriminators_gradient_is_that_of_its_own_loss_alone():
    nets, start, given = networks(), fresh(), batch()
    lr, hr = steps.to_float(given.lr), steps.to_float(given.targets["hr"])
    sr, _ = nets.generator({"params": start.networks["generator"].params}, lr)
    game = losses.TERMS["relativistic"]()

    def own_loss(params):
        real, fake = (nets.judge({"params": params}, x, False)[0] for x in (hr, sr))
        return game.opponent(real, fake, identity).mean()

    label = {"adversarial": ("relativistic", 1000.0, "hr")}
    grads, _ = gradients(all_parts(**label))
    expected = jax.grad(own_loss)(start.networks["discriminator"].params)
    assert_close(grads["discriminator"], expected, 1e-4)


def test_a_regulariser_is_added_to_the_discriminators_loss_and_logged():
    nets, start, given = networks(), fresh(), batch()
    hr = steps.to_float(given.targets["hr"])

    def own_loss(params):
        def judge(images):
            return nets.judge({"params": params}, images, False)[0]

        slope = jax.grad(lambda images: judge(images).sum())(hr)
        return 0.5 * (slope**2).sum((1, 2, 3)).mean()

    plain, _ = gradients(only("pixel", "adversarial"))
    parts = {n: (ALL[n][0], 1.0, "hr") for n in ("pixel", "adversarial")}
    grads, metrics = gradients(made(parts, {"r1": (R1(), 10.0)}))
    value, slope = jax.value_and_grad(own_loss)(start.networks["discriminator"].params)
    np.testing.assert_allclose(metrics["r1"], value, rtol=1e-4)
    expected = jax.tree.map(lambda a, b: a + 10 * b, plain["discriminator"], slope)
    assert_close(grads["discriminator"], expected, 1e-4)
    assert_close(grads["generator"], plain["generator"], 1e-6)


def test_the_generators_gradient_is_that_of_the_weighted_sum_of_the_parts():
    nets, start, given = networks(), fresh(), batch()
    lr, hr = steps.to_float(given.lr), steps.to_float(given.targets["hr"])
    teacher_sr, theirs = models.apply(TEACHER, frozen()["teachers"]["teacher"], lr)
    judge = functools.partial(nets.judge, start.networks["discriminator"].variables, update=False)
    adapter = adapters()

    def own_loss(params, adapter):
        sr, ours = nets.generator({"params": params}, lr)
        game = losses.TERMS["relativistic"]().generator(judge(hr)[0], judge(sr)[0], identity)
        hints = 0
        for a, b in ("conv1", "head"), ("conv2", "block1"):
            kernel, bias = adapter[f"{a}-{b}"]["kernel"], adapter[f"{a}-{b}"]["bias"]
            hints = hints + (ours[a] @ kernel[0, 0] + bias[None, None, None] - theirs[b]) ** 2 / 4
        total = 2 * pixel.rmse(sr, hr) + 3 * pixel.l2(sr, teacher_sr)
        total = total + 4 * blend(sr, hr, teacher_sr, alpha=0.3) + game
        return (total + 5 * hints.mean((1, 2, 3))).mean()

    parts = {
        "pixel": ("rmse", 2.0, "hr"),
        "distill": ("l2", 3.0, "teacher"),
        "blend": ("blend:alpha=0.3", 4.0, "teacher"),
        "hints": (ALL["hints"][0], 5.0, "teacher"),
        "adversarial": ("relativistic", 1.0, "hr"),
    }
    grads, metrics = gradients(made(parts))
    value_and_grad = jax.value_and_grad(own_loss, argnums=(0, 1))
    loss, (ours, theirs_) = value_and_grad(start.networks["generator"].params, adapter)
    np.testing.assert_allclose(metrics["total"], loss, rtol=1e-5)
    assert_close(grads["generator"], ours, 1e-4)
    assert_close(grads["adapters"]["hints"], theirs_, 1e-4)


def test_the_loss_falls_on_one_fixed_batch_in_20_steps():
    optimizers = {**ADAM, "generator": optax.adam(3e-3)}
    _, rows = run(only("pixel", "distill"), optimizers, updates=20)
    assert rows[-1]["total"] < 0.9 * rows[0]["total"]


def test_the_discriminators_loss_falls_against_a_generator_that_stands_still():
    optimizers = {"generator": STILL, "adapters": STILL, "discriminator": optax.adam(3e-3)}
    _, rows = run(all_parts(), optimizers, updates=20)
    assert rows[-1]["discriminator"] < 0.9 * rows[0]["discriminator"]


@pytest.mark.parametrize("part", ALL)
def test_each_part_alone_gives_the_student_a_gradient(part):
    grads, _ = gradients(only(part))
    flat = {
        "/".join(key.key for key in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(grads["generator"])
    }
    # Hints are of features: what comes after those has no part in them.
    reached = {n for n in flat if part != "hints" or not n.startswith(("Conv_2", "PReLU_2"))}
    for name, leaf in flat.items():
        assert np.isfinite(leaf).all()
        assert (np.abs(leaf).max() > 1e-7) == (name in reached), name


def test_parts_are_logged_unweighted_and_the_total_weighted():
    _, once = gradients(all_parts())
    twice_as_much = {n: (kind, 2 * weight, target) for n, (kind, weight, target) in ALL.items()}
    _, twice = gradients(made(twice_as_much))
    for part in ALL:
        np.testing.assert_allclose(twice[part], once[part], rtol=1e-6)
    total = sum(ALL[part][1] * once[part] for part in ALL)
    np.testing.assert_allclose([once["total"], twice["total"]], [total, 2 * total], rtol=1e-5)


def test_a_schedule_changes_the_weight_over_steps():
    schedule = Linear(begin=0, end=4)
    _, rows = run(made({"pixel": ALL["pixel"]}, schedule=schedule), updates=4)
    shares = [row["total"] / row["pixel"] for row in rows]
    np.testing.assert_allclose(shares, [0, 0.25, 0.5, 0.75], rtol=1e-5)


def test_a_loss_whose_time_is_over_gives_no_gradient():
    parts = {"distill": ALL["distill"]}
    states, _ = run(made(parts, schedule=Between(end=1)), updates=2)
    assert all_differ(params(states[0])["generator"], params(fresh())["generator"])
    assert_same(params(states[1])["generator"], params(states[0])["generator"])


def test_the_discriminators_warm_up_leaves_the_generator_as_it_was():
    states, rows = run(all_parts(), ADAM, updates=3, warmup=2)
    before = fresh(ADAM)
    for after in states[:2]:
        for name in "generator", "adapters":
            assert_same(after.networks[name], before.networks[name])
        assert_same(after.ema, before.ema)
        assert all_differ(params(after)["discriminator"], params(before)["discriminator"])
    assert all_differ(params(states[2])["generator"], params(before)["generator"])
    assert [int(after.step) for after in states] == [1, 2, 3]
    assert ["total" in row for row in rows] == [False, False, True]


def test_a_step_of_the_warm_up_costs_no_gradient_of_the_generator():
    def flops(warming):
        step = steps.make_step(networks(), SGD, all_parts(), warming=warming)
        return jax.jit(step).lower(fresh(), frozen(), batch()).compile().cost_analysis()["flops"]

    assert flops(warming=True) < 0.6 * flops(warming=False)


def test_ema_decay_is_warmed_up_to_its_limit():
    found = [float(steps.ema_decay(0.99, jnp.asarray(k))) for k in (0, 1, 90, 10**6)]
    np.testing.assert_allclose(found, [1 / 10, 2 / 11, 91 / 100, 0.99], rtol=1e-6)


@pytest.mark.parametrize("warmup", [0, 1])
def test_the_ema_follows_the_parameters_by_the_warmed_decay(warmup):
    # The count starts with the generator's first own update.
    states, _ = run(all_parts(), updates=warmup + 2, warmup=warmup)
    ema = fresh().ema
    for after, decay in zip(states[warmup:], (1 / 10, 2 / 11), strict=True):
        own = after.networks["generator"].params
        ema = jax.tree.map(lambda e, p, d=decay: d * e + (1 - d) * p, ema, own)
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), after.ema, ema)


def test_two_runs_are_bit_identical():
    first, second = (run(all_parts(), ADAM, "vgg", number=4, updates=3) for _ in range(2))
    assert_same(first, second)


# What is not finite.


def poisoned(tree, path):
    """Returns frozen weights or a state with one number of the leaf at `path` not finite."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    names = [jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in leaves]
    (place,) = (i for i, name in enumerate(names) if name.endswith(path))
    values = [np.array(leaf) for _, leaf in leaves]
    values[place].flat[0] = np.nan
    return jax.tree.unflatten(structure, values)


OF_TEACHER = [("distill", kind) for kind in ("l1", "l2", "rmse", "charbonnier")]
OF_TEACHER += [(part, ALL[part][0]) for part in ("blend", "hints")]


@pytest.mark.parametrize(("part", "kind"), OF_TEACHER)
def test_a_teacher_that_is_not_finite_teaches_nothing(part, kind):
    terms = made({part: (kind, 1.0, "teacher"), "pixel": ("l1", 1.0, "hr")})
    step = compiled(steps.make_step(networks(), ADAM, terms))
    before = fresh(ADAM)
    after, metrics = step(before, poisoned(frozen(), "teacher/params/Conv_0/conv/kernel"), batch())
    assert metrics["skipped"] == 1
    assert not np.isfinite(metrics[part])
    assert_same(after.replace(step=before.step), before)


def test_one_pixel_of_a_stored_target_is_enough():
    labels = batch().targets["hr"].astype(np.float32) / 255
    labels[3, 5, 6, 1] = np.nan
    given = batch()._replace(targets={**batch().targets, "stored": labels})
    for kind in "l1", "l2", "charbonnier", "perceptual:layers=(conv1_2,)":
        step = compiled(steps.make_step(networks(), ADAM, made({"pixel": (kind, 1.0, "stored")})))
        _, metrics = step(fresh(ADAM), frozen(), given)
        assert metrics["skipped"] == 1


@pytest.mark.parametrize("game", ["bce", "least_squares", "hinge", "relativistic"])
def test_a_discriminator_that_is_not_finite_judges_nothing(game):
    terms = made({"pixel": ALL["pixel"], "adversarial": (game, 0.1, "hr")})
    before = poisoned(fresh(ADAM), "discriminator/params/Dense_0/kernel")
    step = compiled(steps.make_step(networks(), ADAM, terms))
    after, metrics = step(before, frozen(), batch())
    assert metrics["skipped"] == 1
    assert not np.isfinite(metrics["adversarial"])
    assert_same(after.replace(step=before.step), before)


# Samples: their numbers, their randomness, and those without a target.


@dataclasses.dataclass(frozen=True)
class Noisy(Term):
    """L1 to the target with noise of each sample's own."""

    def __call__(self, params, context):
        shape = context.sr.shape[1:]
        noise = jax.vmap(lambda key: jax.random.normal(key, shape))(context.keys)
        return pixel.l1(context.sr, context.images[self.target] + noise)


def test_randomness_of_samples_is_the_same_on_any_number_of_devices():
    noisy = steps.Losses({"noisy": steps.Weighted(Noisy(), 1.0, Constant())})
    rows = [run(noisy, number=number)[1][0]["noisy"] for number in (1, 2, 4)]
    np.testing.assert_allclose(rows, rows[0], rtol=1e-6)
    # It is of the sample's number, not of its place in the batch or of the step.
    turned = jax.tree.map(lambda x: x[::-1].copy(), batch())
    np.testing.assert_allclose(run(noisy, given=turned)[1][0]["noisy"], rows[0], rtol=1e-6)
    others = batch()._replace(index=batch().index + 8)
    assert abs(run(noisy, given=others)[1][0]["noisy"] - rows[0]) > 1e-5


@pytest.mark.parametrize("number", [1, 2, 4])
def test_samples_without_a_target_have_no_part_in_its_loss(number):
    # Two of the first four, and one of the last: devices have different numbers of them.
    valid = np.array([True, False, False, True, True, True, True, False])
    hr = np.where(valid.reshape(-1, 1, 1, 1), batch().targets["hr"], 0)
    given = batch()._replace(targets={"hr": hr}, valid={"hr": valid})
    (after,), rows = run(made({"pixel": ALL["pixel"]}), number=number, given=given)
    those = jax.tree.map(lambda x: x[valid], batch())
    (expected,), wanted = run(made({"pixel": ALL["pixel"]}), given=those)
    np.testing.assert_allclose(rows[0]["pixel"], wanted[0]["pixel"], rtol=1e-5)
    assert_close(params(after)["generator"], params(expected)["generator"])


def test_a_batch_without_the_target_gives_0():
    given = batch()._replace(valid={"hr": np.zeros(BATCH, bool)})
    grads, metrics = gradients(made({"pixel": ALL["pixel"]}), given=given)
    assert metrics["pixel"] == 0
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(grads["generator"]))


def test_real_images_that_some_photos_lack_are_refused():
    given = batch()._replace(valid={"hr": np.ones(BATCH, bool)})
    with pytest.raises(UserError, match="'adversarial' takes 'hr' for real images"):
        gradients(only("adversarial"), given=given)


# What terms see.


@dataclasses.dataclass(frozen=True)
class Looking(Term):
    """Checks what a term sees; a teacher's tail judges the student's features (dual cross KD)."""

    def __call__(self, params, context):
        teacher, student = context.teachers["teacher"], context.generator
        assert teacher.image.shape == student.image.shape == context.lr.shape
        # Each network's own function gives what the step has made of it.
        again, features = teacher.run(context.lr)
        same = (
            jnp.abs(again - teacher.sr).max()
            + jnp.abs(features["head"] - teacher.features["head"]).max()
        )
        same = same + jnp.abs(context.ema(context.lr)[0] - jax.lax.stop_gradient(context.sr)).max()
        crossed, _ = teacher.run(context.lr, {"block1": student.features["conv2"]})
        return pixel.l1(crossed, context.images["hr"]) + 1e3 * same


def test_terms_see_networks_as_functions():
    looking = {"looking": steps.Weighted(Looking(target="teacher"), 1.0, Constant())}
    grads, metrics = gradients(steps.Losses(looking))
    # At the start the average is the network itself; all differences are 0.
    assert metrics["looking"] < 3
    first = grads["generator"]["Conv_0"]["conv"]["kernel"]
    last = grads["generator"]["Conv_2"]["conv"]["kernel"]
    assert np.abs(first).max() > 1e-7  # through the teacher's tail
    assert (last == 0).all()  # the student's own tail is not in it


def test_a_privileged_teacher_reads_hr_and_its_image_is_no_target():
    nets = networks(reads="hr")

    @dataclasses.dataclass(frozen=True)
    class Privileged(Term):
        def __call__(self, params, context):
            teacher = context.teachers["teacher"]
            assert "teacher" not in context.images
            assert teacher.image.shape == context.images["hr"].shape
            assert teacher.sr.shape[1] == SCALE * PATCH
            return pixel.l1(context.sr, context.images["hr"]) + teacher.features["head"].mean()

    gradients(
        steps.Losses({"it": steps.Weighted(Privileged(target="teacher"), 1.0, Constant())}), nets
    )
