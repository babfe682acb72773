"""Every generator, small and with random weights, and what is special about some."""

import checks
import jax
import numpy as np
import pytest
from architectures import KNOWN
from conftest import TINY

from kdgan_jax import models
from kdgan_jax.models.blocks.mean_shift import DIV2K_MEAN
from kdgan_jax.models.generators.rrdb import RRDBNet
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError

every_network = pytest.mark.parametrize("name", models.GENERATORS)
LOCAL = [n for n, each in models.GENERATORS.items() if not getattr(each, "whole_image", False)]
# Networks that enlarge first: in LR pixels, their receptive radius depends on the scale.
AT_HR_SIZE = "srcnn", "kdgan_student", "vdsr"
KEPT_BORDER = {"kernels": (9, 3, 5), "keep_border": True, "rounded": True}


def test_every_network_has_a_small_form():
    assert TINY.keys() == models.GENERATORS.keys()


@every_network
def test_output_is_scale_times_an_odd_size_and_images_do_not_mix(name):
    _, variables, apply = checks.build(name)
    lr = checks.image()
    sr, features = apply(variables, lr)
    assert (sr.shape, sr.dtype) == ((2, 4 * lr.shape[1], 4 * lr.shape[2], 3), np.float32)
    assert set(features) - {"head", "body"}  # one from the middle
    for array in sr, *features.values():
        assert (array.ndim, len(array)) == (4, 2)
        assert np.isfinite(array).all()
    lr[0] += [0.5, 0, -0.2]
    other, _ = apply(variables, lr)
    np.testing.assert_array_equal(sr[1], other[1])
    assert np.abs(sr[0] - other[0]).max() > 1e-4


@every_network
def test_fresh_variables_are_only_parameters_and_give_finite_numbers(name):
    module, variables, apply = checks.build(name)
    fresh = checks.fresh(module)
    # What runs trained networks reads nothing else.
    assert jax.tree.map(np.shape, fresh) == jax.tree.map(np.shape, variables)
    for array in jax.tree.leaves((fresh, apply(fresh, checks.image()))):
        assert np.isfinite(array).all()


@every_network
def test_every_parameter_has_a_finite_gradient(name):
    module, variables, _ = checks.build(name, 2)

    def loss(params, lr):
        return (module.apply({"params": params}, lr)[0] ** 2).mean()

    gradient, lr = checks.compiled(jax.grad(loss), checks.HASTE), checks.image(15, 16)
    for images in np.zeros_like(lr), lr:  # black images have constant features, too
        leaves = checks.paths(gradient(variables["params"], images))
        assert [path for path, leaf in leaves.items() if not np.isfinite(leaf).all()] == []
    without = {path.rpartition("/")[0] for path, leaf in leaves.items() if not leaf.any()}
    assert without == KNOWN[name].constant


@pytest.mark.parametrize(
    ("name", "scale"), [(n, s) for n in LOCAL for s in ((2, 3, 4) if n in AT_HR_SIZE else (4,))]
)
def test_no_pixel_beyond_the_receptive_radius_matters(name, scale):
    checks.assert_radius(name, scale)


@pytest.mark.parametrize("scale", [2, 3])
@every_network
def test_output_has_the_right_size_at_other_scales(name, scale):
    module, variables, _ = checks.build(name, scale)
    sr, _ = jax.eval_shape(module.apply, variables, checks.image())
    assert sr.shape == (2, scale * checks.SIZE[0], scale * checks.SIZE[1], 3)


@pytest.mark.parametrize(("scale", "grid"), [(1, 1), (1, 4), (2, 2), (4, 1), (8, 1)])
def test_rrdb_has_more_scales_and_features_below_lr_size(scale, grid):
    module = RRDBNet(scale, **TINY["rrdb"] | {"unshuffle": grid})
    lr = jax.ShapeDtypeStruct((2, 17, 23, 3), np.float32)
    (sr, features), _ = jax.eval_shape(module.init_with_output, jax.random.key(0), lr)
    assert sr.shape == (2, 17 * scale, 23 * scale, 3)
    assert {f.shape for f in features.values()} == {(2, -(-17 // grid), -(-23 // grid), 8)}


@pytest.mark.parametrize(
    ("name", "scale", "kwargs"),
    [
        ("rrdb", 4, {"unshuffle": 2}),
        ("rrdb", 2, {"unshuffle": 2}),
        ("srcnn", 2, KEPT_BORDER),
        ("srcnn", 4, KEPT_BORDER),
        ("compact", 2, {"branches": True}),
        ("plainusr", 2, {"channels": (8, 4), "attention": 0}),
    ],
)
def test_tiles_give_the_whole(name, scale, kwargs):
    # Of other networks, the receptive radius is enough.
    checks.assert_tiles(name, scale, **kwargs)


def test_rrdb_on_a_grid_has_its_receptive_radius():
    checks.assert_radius("rrdb", 2, unshuffle=2)


def test_plainusr_without_coarse_maps_has_its_receptive_radius():
    assert checks.assert_radius("plainusr", 2, channels=(8, 4), attention=0) == 9


@pytest.mark.parametrize(
    ("name", "kwargs", "size"),
    [
        ("rrdb", {"unshuffle": 4}, (1, 1)),
        ("plainusr", {}, (7, 7)),
        ("smfanet", {}, (2, 2)),
        ("hit_srf", {"windows": (64,)}, (1, 1)),
        ("hit_srf", {"windows": (64,)}, (2, 5)),
    ],
)
def test_small_images_are_possible(name, kwargs, size):
    module, variables, apply = checks.build(name, **kwargs)
    assert min(size) >= getattr(module, "smallest", 1)
    sr, _ = apply(variables, checks.image(*size))
    assert sr.shape == (2, 4 * size[0], 4 * size[1], 3)
    assert np.isfinite(sr).all()


def test_a_fresh_compact_starts_near_nearest_neighbour():
    module = models.generator("compact", {}, 4)
    lr = checks.image(12, 12)
    sr, _ = checks.compiled(module.apply, checks.HASTE)(checks.fresh(module), lr)
    assert np.abs(sr - lr.repeat(4, 1).repeat(4, 2)).mean() < 0.1


def test_srcnn_keeps_the_enlarged_border():
    module, variables, apply = checks.build("srcnn", 2, **KEPT_BORDER)
    assert module.smallest == 7
    lr = checks.image(7, 11)
    sr, _ = apply(variables, lr)
    enlarged = bicubic.upscale(np.round(255 * lr[0]).astype(np.uint8), 2)
    kept = np.abs(sr[0] * 255 - enlarged).max(axis=-1) < 1e-3
    expected = np.ones_like(kept)
    expected[6:-6, 6:-6] = False
    np.testing.assert_array_equal(kept, expected)


def test_a_vdsr_of_zeros_is_bicubic_of_8_bits():
    _, variables, apply = checks.build("vdsr")
    lr = checks.image()
    sr, _ = apply(jax.tree.map(np.zeros_like, variables), lr)
    enlarged = bicubic.upscale(np.round(255 * lr[0]).astype(np.uint8), 4)
    np.testing.assert_allclose(sr[0] * 255, enlarged, atol=1e-3)


@pytest.mark.parametrize("name", ["carn_m", "rcan"])
def test_the_mean_is_subtracted_and_added(name):
    module, _, apply = checks.build(name)
    variables = checks.fresh(module)
    # Of an image with this mean in all pixels, only biases are left, which are 0 at first.
    sr, features = apply(variables, np.full_like(checks.image(), DIV2K_MEAN))
    np.testing.assert_allclose(sr, np.broadcast_to(DIV2K_MEAN, sr.shape), atol=1e-6)
    np.testing.assert_allclose(features["head"], 0, atol=1e-4)


def test_mean_shifts_of_rcan_are_spandrels():
    state, _, _ = checks.recorded("rcan_x4")
    for name, sign in ("sub_mean", -1), ("add_mean", 1):
        expected = sign * 255 * np.array(DIV2K_MEAN)
        np.testing.assert_allclose(state[f"{name}.bias"], expected, atol=0.05)  # half precision


def test_outputs_of_fast_srgan_lie_between_0_and_1():
    _, variables, apply = checks.build("fast_srgan")
    sr, _ = apply(variables, 30 * checks.image())
    assert 0 <= sr.min() < sr.max() <= 1


def test_a_far_pixel_matters_to_smfanet():
    _, variables, apply = checks.build("smfanet")
    before, after = checks.image(64, 64), checks.image(64, 64)
    after[0, 0, 0] += 1
    assert (apply(variables, before)[0] != apply(variables, after)[0])[0, -8:, -8:].any()


@pytest.mark.parametrize(
    ("name", "kwargs", "scale", "facts"),
    [
        ("edrs", {}, 4, ["config.student", "'edrs'", "'edsr'"]),
        ("edsr", {"chanels": 8}, 4, ["config.student", "'edsr'", "'chanels'", "'channels'"]),
        ("edsr", {"scale": 4}, 4, ["config.student", "'edsr'", "'scale'"]),
        ("edsr", {"dtype": "bfloat16"}, 4, ["config.student", "'edsr'", "'dtype'"]),
        ("edsr", {}, 5, ["scale=5", "(2, 3, 4)"]),
    ],
)
def test_a_mistake_is_named_with_what_was_meant(name, kwargs, scale, facts):
    with pytest.raises(UserError) as error:
        models.generator(name, kwargs, scale, "config.student")
    assert [fact for fact in facts if fact not in str(error.value)] == []


def test_older_names_and_lists_from_json_give_the_same_network():
    older = {"kernels": [9, 3, 5], "features": [8, 4]}
    present = {"kernels": (9, 3, 5), "channels": (8, 4)}
    assert models.generator("srcnn", older, 4) == models.generator("srcnn", present, 4)


@pytest.mark.parametrize(
    ("name", "convolutions", "others"),
    [
        ("srcnn", 3, set()),
        ("compact", 4, {f"PReLU_{i}/slope" for i in range(3)}),
        (
            "edsr",
            5,
            {f"ShuffleUpsampler_0/Conv_{i}/conv/{k}" for i in (0, 1) for k in ("bias", "kernel")},
        ),
    ],
)
def test_parameters_of_earlier_checkpoints_have_the_same_names(name, convolutions, others):
    own = {f"Conv_{i}/conv/{kind}" for i in range(convolutions) for kind in ("bias", "kernel")}
    assert checks.paths(checks.build(name).variables["params"]).keys() == own | others
