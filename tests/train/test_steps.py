"""Training steps of tiny networks, on one device and on several virtual ones."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from described import quick_compilation  # noqa: F401

from kdgan_jax import losses, models
from kdgan_jax.config import spec
from kdgan_jax.data.batches import Batch
from kdgan_jax.formats import imagenet
from kdgan_jax.losses import pixel
from kdgan_jax.losses.distill import blend
from kdgan_jax.losses.gradient_penalty import R1
from kdgan_jax.losses.perceptual import feature_distance
from kdgan_jax.losses.schedules import Constant, Linear
from kdgan_jax.losses.term import Term
from kdgan_jax.models.blocks.normalization import identity
from kdgan_jax.models.extractors import vgg
from kdgan_jax.runtime import devices
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import state, steps
from kdgan_jax.train.phase_setup import apply_discriminator

SCALE, BATCH, PATCH = 2, 8, 16
LAYERS = "conv1_1", "conv1_2"
HINTS = (("conv1", "head"), ("conv2", "block1"))
# (label, kind, weight, target)
PIXEL = ("pixel", "rmse", 2.0, "hr")
ALL = (
    PIXEL,
    ("distill", "l2", 3.0, "teacher"),
    ("blend", "blend:alpha=0.3", 4.0, "teacher"),
    ("perceptual", f"perceptual:layers=({','.join(LAYERS)})", 0.3, "hr"),
    ("hints", "fitnet:pairs=((conv1,head),(conv2,block1))", 5.0, "teacher"),
    ("adversarial", "relativistic", 1.5, "hr"),
)
R1_TERM = (("r1", steps.Weighted(R1(), 10.0, Constant())),)
STUDENT = models.generator("compact", {"channels": 6, "depth": 1}, SCALE)
TEACHER = models.generator("edsr", {"channels": 4, "blocks": 1}, SCALE)
RATES = {state.GENERATOR: 0.1, state.ADAPTERS: 0.2, state.DISCRIMINATOR: 0.3}
SGD = {name: optax.sgd(rate) for name, rate in RATES.items()}


def losses_of(parts, schedule=None, regularizers=()):
    """Returns the losses of rows such as those of `ALL`."""
    terms = {}
    for label, kind, weight, target in parts:
        term = spec.build(losses.TERMS, *spec.parse(kind, label), label, target=target)
        terms[label] = steps.Weighted(term, weight, schedule or Constant())
    adversarial = [n for n, w in terms.items() if isinstance(w.function, losses.Adversarial)]
    return steps.Losses(terms, *adversarial, regularizers=dict(regularizers))


def only(term, target="hr"):
    """Returns losses with one term, labelled "it"."""
    return steps.Losses({"it": steps.Weighted(term(target=target), 1.0, Constant())})


@functools.cache
def batch():
    """Noisy waves whose brightness differs between images; LR is the mean of 2 x 2 HR pixels."""
    random = np.random.default_rng(0)
    wave = np.sin(np.arange(PATCH) * random.uniform(0.1, 1, (BATCH, 1)))
    hr = 128 + 50 * wave[:, :, None, None] * wave[:, None, :, None]
    hr = hr + np.linspace(-40, 40, BATCH).reshape(-1, 1, 1, 1)
    hr = hr + random.uniform(-20, 20, (BATCH, PATCH, PATCH, 3))
    lr = hr.reshape(BATCH, PATCH // 2, 2, PATCH // 2, 2, 3).mean((2, 4))
    index = np.arange(BATCH, dtype=np.uint32) + 40
    return Batch(lr.astype(np.uint8), {"hr": hr.astype(np.uint8)}, {}, index)


def discriminator_module(text, mean=identity):
    name, options = spec.parse(text, "discriminator")
    return models.discriminator(name, {"channels": (4, 8), "hidden": 8, **options}, mean=mean)


def networks(discriminator="origin", mean=identity, reads="lr"):
    return steps.Networks(
        functools.partial(models.apply, STUDENT),
        {"teacher": (functools.partial(models.apply, TEACHER), reads)},
        functools.partial(apply_discriminator, discriminator_module(discriminator, mean)),
        {"vgg": vgg.features},
    )


@functools.cache
def frozen():
    teacher = devices.to_host(models.init(TEACHER, jax.random.key(1), PATCH // SCALE))
    weights = {name: imagenet.vgg16()[name] for name in LAYERS}
    return {"teachers": {"teacher": teacher}, "extractors": {"vgg": weights}}


@functools.cache
def fresh(discriminator="origin"):
    """Returns the state before the first step, on the host."""
    random = np.random.default_rng(0)
    channels = {"head": 4, "block1": 4}
    hints = {
        f"{student}-{teacher}": {
            "kernel": random.normal(0, 0.3, (1, 1, 6, channels[teacher])).astype(np.float32),
            "bias": np.full(channels[teacher], 0.1, np.float32),
        }
        for student, teacher in HINTS
    }
    variables = {
        "generator": models.init(STUDENT, jax.random.key(2), PATCH // SCALE),
        "discriminator": models.init(discriminator_module(discriminator), jax.random.key(3), PATCH),
        "adapters": {"params": {"hints": hints}},
    }
    return devices.to_host(state.create(jax.random.key(4), variables, SGD))


def gradients(terms, given=None, start=None):
    """Returns the raw gradients by name and the metrics, on one device."""
    compute = jax.jit(steps.make_gradients(networks(), terms))
    return devices.to_host(compute(start or fresh(), frozen(), given or batch())[::2])


@functools.cache
def compiled(parts, discriminator, number, warmup, warming, schedule):
    terms = parts if isinstance(parts, steps.Losses) else losses_of(parts, schedule)
    step = steps.make_step(
        networks(discriminator, devices.mean),
        SGD,
        terms,
        warmup=warmup,
        warming=warming,
        mean=devices.mean,
    )
    return devices.parallel(step, number)


def run(parts, discriminator="origin", number=1, updates=1, given=None, warmup=0, schedule=None):
    """Returns (states after each step, metrics of each) of SGD on `number` devices."""
    current = devices.replicate(fresh(discriminator), number)
    weights = devices.replicate(frozen(), number)
    states, rows = [], []
    for update in range(updates):
        step = compiled(parts, discriminator, number, warmup, update < warmup, schedule)
        current, metrics = step(current, weights, devices.shard(given or batch(), number))
        states.append(devices.to_host(current))
        rows.append(devices.to_host(metrics))
    return states, rows


def params(current, name="generator"):
    return current.networks[name].params


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def all_differ(a, b):
    """Returns whether every array of the tree changed."""
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x != y).any()), a, b)))


def assert_close(a, b, tolerance=1e-5):
    """Asserts that each array differs by at most `tolerance` of its largest number.

    Arrays that are 0 except for rounding have no scale of their own, such as the gradient of a
    bias before BatchNorm; so 2e-6 of the tree's largest number is allowed, too.
    """
    top = max(np.abs(leaf).max() for leaf in jax.tree.leaves(b))

    def check(x, y):
        allowed = tolerance * np.abs(y).max() + 2e-6 * top
        np.testing.assert_allclose(x, y, rtol=0, atol=allowed)

    jax.tree.map(check, a, b)


@pytest.mark.parametrize("discriminator", ["vgg", "origin:spectral_norm=True"])
def test_4_devices_make_the_updates_of_1(discriminator):
    # With SGD, updates are proportional to gradients, which Adam would normalize. Statistics per
    # device, or a sum instead of a mean, change updates by tens of percent.
    start = fresh(discriminator)
    (one, _), (metrics, _) = run(ALL, discriminator, updates=2)
    (four, later), (metrics_of_4, _) = run(ALL, discriminator, number=4, updates=2)
    for name in RATES:
        close = functools.partial(np.testing.assert_allclose, rtol=0, atol=5e-6)
        jax.tree.map(close, params(four, name), params(one, name))
    moved = jax.tree.map(np.subtract, params(one), params(start))
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(moved))
    assert_close(metrics_of_4, metrics)
    # The vectors of a spectral norm advance with every step.
    others = [after.networks["discriminator"].others for after in (start, one, four, later)]
    assert bool(others[0]) == ("spectral_norm" in discriminator)
    if others[0]:
        before, by_1, by_4, last = (tree["batch_stats"]["SpectralNorm_0"] for tree in others)
        assert_close(by_4, by_1)
        assert all_differ(before, by_1)
        assert all_differ(by_4, last)


def test_sgd_subtracts_the_raw_gradients():
    grads, _ = gradients(losses_of(ALL))
    (after,), _ = run(ALL)
    for name, rate in RATES.items():
        expected = jax.tree.map(lambda p, g, r=rate: p - r * g, params(fresh(), name), grads[name])
        close = functools.partial(np.testing.assert_allclose, atol=1e-6)
        jax.tree.map(close, params(after, name), expected)


def test_gradients_are_those_of_the_losses_written_out():
    nets, start, given = networks(), fresh(), batch()
    lr, hr = steps.to_float(given.lr), steps.to_float(given.targets["hr"])
    teacher_sr, teacher = models.apply(TEACHER, frozen()["teachers"]["teacher"], lr)
    weights = frozen()["extractors"]["vgg"]
    relativistic = losses.TERMS["relativistic"]()

    def logits(params, images):
        return nets.discriminator({"params": params}, images, False)[0]

    def generator_loss(params, adapters):
        sr, student = nets.generator({"params": params}, lr)
        real, fake = (logits(start.networks["discriminator"].params, x) for x in (hr, sr))
        hints = 0
        for a, b in HINTS:
            kernel, bias = adapters[f"{a}-{b}"]["kernel"], adapters[f"{a}-{b}"]["bias"]
            hints = hints + (student[a] @ kernel[0, 0] + bias[None, None, None] - teacher[b]) ** 2
        parts = {
            "pixel": pixel.rmse(sr, hr),
            "distill": pixel.l2(sr, teacher_sr),
            "blend": blend(sr, hr, teacher_sr, alpha=0.3),
            "perceptual": feature_distance(*(vgg.features(weights, x, LAYERS) for x in (sr, hr))),
            "hints": hints.mean((1, 2, 3)) / 4,
            "adversarial": relativistic.generator_loss(real, fake, identity),
        }
        parts = {label: values.mean() for label, values in parts.items()}
        return sum(weight * parts[label] for label, _, weight, _ in ALL), parts

    def discriminator_loss(params):
        sr, _ = nets.generator({"params": start.networks["generator"].params}, lr)
        real, fake = (logits(params, images) for images in (hr, sr))
        slope = jax.grad(lambda images: logits(params, images).sum())(hr)
        r1 = 0.5 * (slope**2).sum((1, 2, 3)).mean()
        loss = relativistic.discriminator_loss(real, fake, identity).mean()
        return loss + 10 * r1, {"discriminator": loss, "r1": r1}

    grads, metrics = gradients(losses_of(ALL, regularizers=R1_TERM))
    arguments = params(start), params(start, "adapters")["hints"]
    written_out = jax.jit(jax.value_and_grad(generator_loss, argnums=(0, 1), has_aux=True))
    (total, parts), (of_generator, of_adapters) = written_out(*arguments)
    written_out = jax.jit(jax.value_and_grad(discriminator_loss, has_aux=True))
    (_, more), of_discriminator = written_out(params(start, "discriminator"))
    assert_close(grads["generator"], of_generator, 1e-4)
    assert_close(grads["adapters"]["hints"], of_adapters, 1e-4)
    assert_close(grads["discriminator"], of_discriminator, 1e-4)
    for label, value in {**parts, **more, "total": total}.items():
        np.testing.assert_allclose(metrics[label], value, rtol=1e-4)


def test_the_loss_falls_on_a_fixed_batch():
    _, rows = run(ALL[:2], updates=10)
    assert rows[-1]["total"] < 0.9 * rows[0]["total"]


def test_a_schedule_changes_the_weight_over_steps():
    states, rows = run((PIXEL,), updates=3, schedule=Linear(begin=0, end=4))
    factors = [row["total"] / row["pixel"] for row in rows]
    np.testing.assert_allclose(factors, [0, 0.5, 1], rtol=1e-5)
    assert_same(params(states[0]), params(fresh()))
    assert all_differ(params(states[1]), params(fresh()))


def test_the_averaged_generator_is_a_target_without_a_gradient():
    own = ("own", "l1", 1.0, "ema")
    moved = jax.tree.map(lambda x: x + 0.01, params(fresh()))
    start = fresh().replace(ema=moved)
    lr = steps.to_float(batch().lr)
    goal, _ = models.apply(STUDENT, {"params": moved}, lr)

    def written_out(params):
        return pixel.l1(models.apply(STUDENT, {"params": params}, lr)[0], goal).mean()

    grads, metrics = gradients(losses_of((own,)), start=start)
    value, expected = jax.value_and_grad(written_out)(params(start))
    np.testing.assert_allclose(metrics["own"], value, rtol=1e-4)
    assert_close(grads["generator"], expected, 1e-4)


def test_only_the_discriminator_trains_in_its_warm_up_and_the_ema_starts_after_it():
    states, rows = run((PIXEL, ALL[-1]), updates=4, warmup=2)
    before = fresh()
    for after in states[:2]:
        assert_same(after.networks["generator"], before.networks["generator"])
        assert_same(after.ema, before.ema)
        first, initial = (params(s, "discriminator")["Conv_0"] for s in (after, before))
        assert all_differ(first, initial)
    ema = before.ema
    for after, decay in zip(states[2:], (1 / 10, 2 / 11), strict=True):
        assert all_differ(params(after), params(before))
        ema = jax.tree.map(lambda e, p, d=decay: d * e + (1 - d) * p, ema, params(after))
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), after.ema, ema)
    assert [int(after.step) for after in states] == [1, 2, 3, 4]
    assert ["total" in row for row in rows] == [False, False, True, True]


def test_ema_decay_rises_to_its_limit():
    decays = [float(steps.ema_decay(0.99, jnp.asarray(k))) for k in (0, 1, 90, 10**6)]
    np.testing.assert_allclose(decays, [1 / 10, 2 / 11, 91 / 100, 0.99], rtol=1e-6)


# Numbers that are not finite.


def poisoned(tree, path):
    """Returns a tree with one number of the leaf at `path` replaced by NaN."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    names = [jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in leaves]
    (place,) = (i for i, name in enumerate(names) if name.endswith(path))
    values = [np.array(leaf) for _, leaf in leaves]
    values[place].flat[1] = np.nan
    return jax.tree.unflatten(structure, values)


@functools.cache
def step_with_stored_target():
    """Returns the compiled step of all losses, and of two whose target is stored as floats."""
    stored = [("stored", "l1", 1.0, "stored"), ("features", ALL[3][1], 1.0, "stored")]
    return jax.jit(steps.make_step(networks(), SGD, losses_of((*ALL, *stored))))


@pytest.mark.parametrize(
    ("where", "path", "spoiled"),
    [
        ("frozen", "teacher/params/Conv_0/conv/kernel", {"distill", "blend", "hints"}),
        ("batch", "targets/stored", {"stored", "features"}),
        ("state", "discriminator/params/Dense_0/kernel", {"adversarial", "discriminator"}),
        ("", "", set()),
    ],
)
def test_an_update_is_skipped_if_a_single_input_is_not_finite(where, path, spoiled):
    stored = steps.to_float(batch().targets["hr"])
    given = batch()._replace(targets={**batch().targets, "stored": stored})
    inputs = {"state": fresh(), "frozen": frozen(), "batch": given}
    if where:
        inputs[where] = poisoned(inputs[where], path)
    after, metrics = step_with_stored_target()(*inputs.values())
    labels = {"discriminator", "stored", "features", *(label for label, *_ in ALL)}
    assert {label for label in labels if not np.isfinite(metrics[label])} == spoiled
    assert metrics["skipped"] == bool(where)
    if where:
        assert_same(after.replace(step=inputs["state"].step), inputs["state"])
    assert after.step == 1


GAMES = [label for label, kind in losses.TERMS.items() if issubclass(kind, losses.Adversarial)]


def parts_with(game):
    """Returns rows of one game on a stored target; those with "bce" have every other loss, too."""
    parts = [(game, game, 1.0, "stored")]
    if game == "bce":  # compiled once
        pairs = "pairs=((conv1,head),(conv2,block1))"
        of_pairs = "fitnet", "attention_transfer", "affinity"
        arguments = {kind: f"{kind}:{pairs}" for kind in of_pairs}
        arguments["perceptual"] = ALL[3][1]
        arguments["contrastive"] = f"contrastive:layers=({','.join(LAYERS)}),weights=(1.0,0.5)"
        arguments["several"] = "several:others=(stored,),choose=best"
        for kind in losses.TERMS.keys() - GAMES:
            label = "hints" if kind == "fitnet" else kind  # the adapters are labelled so
            parts.append((label, arguments.get(kind, kind), 1.0, "teacher"))
    return parts


@functools.cache
def step_with(game):
    """Returns the compiled step of `parts_with(game)`, and the labels."""
    parts = parts_with(game)
    terms = losses_of(parts, regularizers=R1_TERM if game == "bce" else ())
    return jax.jit(steps.make_step(networks(), SGD, terms)), {label for label, *_ in parts}


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("where", ["teacher", "pixel", "discriminator"])
def test_no_loss_and_no_game_hides_a_number_that_is_not_finite(game, where):
    step, labels = step_with(game)
    stored = steps.to_float(batch().targets["hr"])
    given = batch()._replace(targets={**batch().targets, "stored": stored})
    state, weights = fresh(), frozen()
    if where == "teacher":
        weights = poisoned(weights, "teacher/params/Conv_0/conv/kernel")
        spoiled = labels - {game}
    elif where == "pixel":
        given = poisoned(given, "targets/stored")
        spoiled = {"discriminator"}
    else:
        state = poisoned(state, "discriminator/params/Dense_0/kernel")
        spoiled = {game, "discriminator"}
    after, metrics = step(state, weights, given)
    not_finite = {label for label, value in metrics.items() if not np.isfinite(value)}
    assert spoiled <= not_finite
    assert metrics["skipped"] == bool(spoiled)
    if spoiled:
        assert_same(after.replace(step=state.step), state)


# Samples: their randomness, and missing targets.


@dataclasses.dataclass(frozen=True)
class Noisy(Term):
    """L1 to the target with separate noise for every sample."""

    def __call__(self, params, context):
        shape = context.sr.shape[1:]
        noise = jax.vmap(lambda key: jax.random.normal(key, shape))(context.keys)
        return pixel.l1(context.sr, context.images[self.target] + noise)


def test_the_randomness_of_a_sample_depends_on_its_number_alone():
    def value(given, number=1):
        step = steps.make_step(networks("origin", devices.mean), SGD, noisy, mean=devices.mean)
        call = steps_by_number.setdefault(number, devices.parallel(step, number))
        weights, current = devices.replicate((frozen(), fresh()), number)
        return float(call(current, weights, devices.shard(given, number))[1]["it"])

    noisy, steps_by_number = only(Noisy), {}
    reversed_batch = jax.tree.map(lambda x: x[::-1].copy(), batch())
    values = [value(batch()), value(batch(), number=4), value(reversed_batch)]
    np.testing.assert_allclose(values, values[0], rtol=1e-6)
    assert abs(value(batch()._replace(index=batch().index + 8)) - values[0]) > 1e-5


@pytest.mark.parametrize("number", [1, 4])
def test_samples_without_a_target_do_not_count_in_its_loss(number):
    # Of 4 devices with 2 samples each, two have both targets, one has one, and one has none.
    valid = np.array([True, False, False, False, True, True, True, True])
    hr = np.where(valid.reshape(-1, 1, 1, 1), batch().targets["hr"], 0)
    given = batch()._replace(targets={"hr": hr}, valid={"hr": valid})
    (after,), (row,) = run((PIXEL,), number=number, given=given)
    grads, metrics = gradients(losses_of((PIXEL,)), jax.tree.map(lambda x: x[valid], batch()))
    np.testing.assert_allclose(row["pixel"], metrics["pixel"], rtol=1e-5)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, params(fresh()), grads["generator"])
    assert_close(params(after), expected)
    none = given._replace(valid={"hr": np.zeros(BATCH, bool)})
    (after,), (row,) = run((PIXEL,), number=number, given=none)
    assert row["pixel"] == 0
    assert_same(params(after), params(fresh()))


def test_samples_that_lack_one_of_two_targets_do_not_count():
    valid = np.arange(BATCH) < 6
    given = batch()._replace(valid={"hr": valid})
    mixture = losses_of((ALL[2],))  # the blend of HR and the teacher
    value = gradients(mixture, given)[1]["blend"]
    expected = gradients(mixture, jax.tree.map(lambda x: x[valid], batch()))[1]["blend"]
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_real_images_that_some_photos_lack_are_refused():
    given = batch()._replace(valid={"hr": np.ones(BATCH, bool)})
    with pytest.raises(UserError, match=r"'adversarial'.*'hr'"):
        gradients(losses_of((ALL[-1],)), given)


# What terms see.


@dataclasses.dataclass(frozen=True)
class Crossed(Term):
    """Checks the functions in a context; the teacher's tail receives the student's feature."""

    def __call__(self, params, context):
        teacher, student = context.teachers["teacher"], context.generator
        assert teacher.image.shape == student.image.shape == context.lr.shape
        sr, features = teacher.apply(context.lr)
        difference = (
            jnp.abs(sr - teacher.sr).max()
            + jnp.abs(features["head"] - teacher.features["head"]).max()
            + jnp.abs(context.ema(context.lr)[0] - jax.lax.stop_gradient(context.sr)).max()
        )
        student_feature = student.features["conv2"] @ jnp.ones((6, 4))
        crossed, _ = teacher.apply(context.lr, {"block1": student_feature})
        return pixel.l1(crossed, context.images["hr"]) + 1e3 * difference


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_terms_see_networks_as_functions(mixup):
    terms = only(Crossed, target="teacher")._replace(mixup=mixup)  # the teacher sees mixtures, too
    grads, metrics = gradients(terms)
    assert metrics["it"] < 30  # 1e3 times any difference would exceed it
    first, last = (grads["generator"][f"Conv_{i}"]["conv"]["kernel"] for i in (0, 2))
    assert np.abs(first).max() > 1e-7  # through the teacher's tail
    assert (last == 0).all()  # the student's own tail is not used


def test_no_loss_has_a_gradient_to_its_teacher():
    compute = steps.make_gradients(networks(), losses_of(parts_with("bce")))
    stored = steps.to_float(batch().targets["hr"])
    given = batch()._replace(targets={**batch().targets, "stored": stored})

    def total(teachers):
        return compute(fresh(), {**frozen(), "teachers": teachers}, given)[2]["total"]

    for leaf in jax.tree.leaves(jax.jit(jax.grad(total))(frozen()["teachers"])):
        assert (leaf == 0).all()


@dataclasses.dataclass(frozen=True)
class Privileged(Term):
    def __call__(self, params, context):
        teacher = context.teachers["teacher"]
        assert "teacher" not in context.images
        assert teacher.image.shape == context.images["hr"].shape
        assert teacher.sr.shape[1] == SCALE * PATCH
        return pixel.l1(context.sr, context.images["hr"]) + teacher.features["head"].mean()


def test_a_privileged_teacher_reads_hr_and_its_image_is_not_a_target():
    compute = steps.make_gradients(networks(reads="hr"), only(Privileged, target="teacher"))
    jax.eval_shape(compute, fresh(), frozen(), batch())
