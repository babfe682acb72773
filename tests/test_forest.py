import json
import runpy

import numpy as np
import pytest
from conftest import ROOT, run_module

from kdgan_jax import forest
from kdgan_jax.baselines import random_forest as zoo
from kdgan_jax.data import embedded, photos
from kdgan_jax.runtime.errors import UserError

get_config = runpy.run_path(str(ROOT / "configs/forest.py"))["get_config"]


def tiny(**changes):
    """Returns the config of a forest of a second, on embedded photos."""
    config = get_config("smoke")
    config.update({"samples": 3000, "windows": 8000, "leaves": 12, "components": 12, **changes})
    return config


@pytest.fixture(scope="module")
def data():
    """Windows that a linear map per half explains, but for noise: (x, y)."""
    random = np.random.default_rng(0)
    x = random.normal(size=(3000, 4)).astype(np.float32) * 30
    maps = random.normal(size=(2, 4, 36))
    y = np.where(x[:, :1] > 0, x @ maps[0] + 5, x @ maps[1] - 5) + random.normal(size=(3000, 36))
    return x, y.astype(np.float32)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """The workdir of the finished smoke forest, as the command leaves it; not to be changed."""
    path = tmp_path_factory.mktemp("forest") / "run"
    result = run_module(
        "kdgan_jax.forest", "--config=configs/forest.py:smoke", f"--workdir={path}", check=False
    )
    assert result.returncode == 0, result.stderr
    assert "held out (3): bicubic" in result.stderr
    return path


# Parts of training.


def test_nodes_lead_where_those_of_scikit_learn_lead(data):
    x, y = data
    grown = forest.grow(x, y, tiny(trees=3, leaf_samples=5, leaves=60))
    nodes = forest.flatten(grown)
    arrays = {name: np.zeros(0) for name in ("mean", "components", "matrices", "basis")}
    flat = zoo.Forest(scale=2, recipe={}, **arrays, **nodes)
    fresh = np.random.default_rng(1).normal(size=(5000, 4)).astype(np.float32) * 30
    wanted = grown.apply(zoo.questions(fresh))
    np.testing.assert_array_equal(flat.apply(fresh), wanted)
    assert len(np.unique(wanted[:, 0])) > 20
    numbers = flat.leaf_numbers(x)
    assert [len(np.unique(column)) for column in numbers.T] == [
        tree.get_n_leaves() for tree in grown.estimators_
    ]
    assert len(np.unique(numbers)) == numbers.max() + 1


def test_threshold_between_floats_decides_as_scikit_learn(data):
    # An answer just above the exact threshold, but equal to it in float32.
    class Tree:
        node_count = 3
        threshold = np.array([0.1, -2, -2])
        feature = np.array([0, -2, -2])
        children_left, children_right = np.array([1, -1, -1]), np.array([2, -1, -1])

    class Grown:
        estimators_ = (type("One", (), {"tree_": Tree}),)

    rounded = forest.flatten(Grown)["threshold"][0]
    assert rounded.dtype == np.float32
    assert not np.float32(0.1) <= rounded  # as np.float32(0.1) > 0.1


def test_leaves_are_ridge_regressions(data):
    x, y = data
    numbers = (x[:, 0] > 0).astype(int)
    found = forest.fit_leaves(numbers, x, y, 1e-6)
    for leaf in (0, 1):
        inputs = np.hstack([x, np.ones((len(x), 1))])[numbers == leaf]
        wanted = np.linalg.lstsq(inputs, y[numbers == leaf].astype(np.float64))[0]
        np.testing.assert_allclose(found[leaf], wanted, rtol=1e-3, atol=1e-3)


def test_ridge_penalises_all_but_the_bias(data):
    x, y = data
    ridge = 1e5
    found = forest.fit_leaves(np.zeros(len(x), int), x, y, ridge)[0]
    inputs = np.vstack([np.hstack([x, np.ones((len(x), 1))]), np.sqrt(ridge) * np.eye(4, 5)])
    outputs = np.vstack([y, np.zeros((4, y.shape[1]))])
    wanted = np.linalg.lstsq(inputs, outputs)[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


def test_patterns_hold_predictions(data):
    x, y = data
    basis = forest.patterns((x[:, 0] > 0).astype(int), x, y, tiny(basis=10))
    np.testing.assert_allclose(basis @ basis.T, np.eye(10), atol=1e-5)
    lost = y - y @ basis.T @ basis  # two maps of 4 and a bias make at most 10 patterns
    assert lost.std() < 1.1 < 20 < y.std()


def test_axes_are_principal(data):
    (cat,) = photos.installed(["skimage/data/chelsea.png"], 4)
    mean, axes = forest.principal([cat], 4, 6, np.random.default_rng(0))
    assert mean.shape == (576,)
    assert axes.shape == (576, 6)
    np.testing.assert_allclose(axes.T @ axes, np.eye(6), atol=1e-5)
    spread = zoo.project(forest.planes(cat, 4)[0], 4, mean, axes).std(axis=0)
    assert (spread[:-1] > 0.8 * spread[1:]).all()
    assert spread[0] > 2 * spread[-1]


def test_windows_pair_components_with_what_is_missing():
    (cat,) = photos.installed(["skimage/data/chelsea.png"], 4)
    mean, axes = np.zeros(576, np.float32), np.eye(576, 3, dtype=np.float32)
    x, y = forest.describe([cat], tiny(windows=9000), (mean, axes), np.random.default_rng(0))
    assert x.shape == (75 * 112, 3)
    assert y.shape == (75 * 112, 144)
    enlarged, missing = forest.planes(cat, 4)
    np.testing.assert_array_equal(x, zoo.project(enlarged, 4, mean, axes))
    place = 10 * 112 + 20
    window = missing[9 * 4 : 12 * 4, 19 * 4 : 22 * 4]
    np.testing.assert_array_equal(y[place].reshape(12, 12), window.astype(np.float16))


def test_number_of_windows_is_kept():
    found = photos.installed(embedded.HOLDOUT, 4)
    axes = np.zeros(576, np.float32), np.eye(576, 3, dtype=np.float32)
    x, y = forest.describe(found, tiny(windows=4000), axes, np.random.default_rng(0))
    assert len(x) == len(y)
    assert 3600 < len(x) < 4400


def test_training_is_deterministic():
    (cat,) = photos.installed(["skimage/data/chelsea.png"], 4)
    crop = photos.pixels(cat.hr)[:160, :240]
    found = [photos.Photo("crop", crop, None, crop.shape[:2])]
    first, second = (forest.train(found, tiny()) for _ in range(2))
    for name in zoo.ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    other = forest.train(found, tiny(seed=1))
    assert not np.array_equal(other.threshold, first.threshold)


# The command.


def test_forest_beats_bicubic_on_held_out_photos(workdir):
    results = json.loads((workdir / "results.json").read_text())
    assert [row["photo"] for row in results["per_photo"]] == ["camera", "coffee", "china"]
    for row in results["per_photo"]:
        assert row["forest"] > row["bicubic"] + 0.15
    means = {k: np.mean([row[k] for row in results["per_photo"]]) for k in ("bicubic", "forest")}
    assert results["psnr_y"] == pytest.approx(means)
    loaded = zoo.load(workdir)
    assert results["parameters"] == loaded.parameters
    assert loaded.recipe == json.loads((workdir / "config.json").read_text())


def test_forest_leaves_a_flat_image_alone(workdir):
    sr = zoo.load(workdir).upscale(np.full((9, 9, 3), 90, np.uint8)).astype(int)
    assert abs(sr - 90).max() <= 1


def test_second_start_says_complete_and_changes_nothing(workdir, caplog):
    before = {path: path.stat().st_mtime_ns for path in workdir.iterdir()}
    with caplog.at_level("INFO", "kdgan_jax"):
        forest.run(get_config("smoke"), workdir)
    assert "the forest is complete" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in workdir.iterdir()} == before


def test_other_config_is_refused(workdir):
    config = get_config("smoke")
    config.trees = 3
    with pytest.raises(UserError, match=r"config\.trees: 2 there, 3 now"):
        forest.run(config, workdir)
    config = get_config("smoke")
    config.data.source = "elsewhere"
    with pytest.raises(UserError, match=r"config\.data\.source='embedded', not 'elsewhere'"):
        forest.run(config, workdir)


@pytest.mark.parametrize("variant", ["", "smoke"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_variants_pass_the_checks(variant, scale):
    config = get_config(variant)
    config.scale = scale
    forest.check(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scale", 5),
        ("trees", 0),
        ("leaves", 1),
        ("depth", -1),
        ("leaf_samples", 0),
        ("leaf_samples", 6_001),
        ("samples", 40_000),
        ("components", 577),
        ("basis", 145),
        ("ridge", 0.0),
        ("ridge", float("nan")),
        ("question_share", 1.1),
        ("seed", -1),
    ],
)
def test_values_are_checked_before_work(field, value, tmp_path):
    config = get_config("smoke")
    config[field] = value
    with pytest.raises(UserError, match=rf"config\.{field}={value} "):
        forest.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_empty_source_is_refused(tmp_path):
    config = tiny()
    config.data.source = ""
    with pytest.raises(UserError, match=r"config\.data\.source is empty"):
        forest.run(config, tmp_path)


SMOKE = "--config=configs/forest.py:smoke"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/forest.py:smok"], "did you mean 'smoke'"),
        (["--config=configs/none.py"], "configs/none.py"),
        (["--config=configs/kd.py"], "is for another command, it has no field"),
        ([SMOKE, "--config.tres=3"], "tres"),
        ([SMOKE, "--config.trees=0"], "config.trees=0 must be from 1"),
        ([SMOKE, "--wrkdir=x"], "wrkdir"),
    ],
)
def test_wrong_flags_are_one_line(arguments, message, tmp_path):
    result = run_module("kdgan_jax.forest", *arguments, f"--workdir={tmp_path}/run", check=False)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
