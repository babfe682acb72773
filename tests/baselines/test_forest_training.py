import types
from dataclasses import replace

import numpy as np
import pytest

from kdgan_jax.baselines import forest_training, random_forest
from kdgan_jax.baselines.forest_settings import ForestConfig
from kdgan_jax.data import photos, sources
from kdgan_jax.runtime.errors import UserError

TINY = ForestConfig(scale=2, leaves=12, components=12, basis=12, samples=3000, windows=8000)


@pytest.fixture(scope="module")
def data():
    """Windows that a linear map per half explains, except for noise: (x, y)."""
    random = np.random.default_rng(0)
    x = random.normal(size=(3000, 4)).astype(np.float32) * 30
    maps = random.normal(size=(2, 4, 36))
    y = np.where(x[:, :1] > 0, x @ maps[0] + 5, x @ maps[1] - 5) + random.normal(size=(3000, 36))
    return x, y.astype(np.float32)


@pytest.fixture(scope="module")
def cat():
    """A crop of an embedded photo, 80 x 120."""
    (whole,) = sources.installed(["skimage/data/chelsea.png"], 2)
    return photos.Photo("cat", photos.pixels(whole.hr)[:80, :120], None, (80, 120))


def test_nodes_lead_where_those_of_scikit_learn_lead(data):
    x, y = data
    settings = replace(TINY, trees=3, leaf_samples=5, leaves=60)
    grown = forest_training.grow(x, y, settings)
    arrays = {name: np.zeros(0) for name in ("mean", "components", "matrices", "basis")}
    nodes = forest_training.nodes_of(grown)
    forest = random_forest.Forest(scale=2, recipe={}, **arrays, **nodes)
    fresh = np.random.default_rng(1).normal(size=(2000, 4)).astype(np.float32) * 30
    expected = grown.apply(random_forest.questions(fresh))
    np.testing.assert_array_equal(forest.apply(fresh), expected)
    assert len(np.unique(expected[:, 0])) > 20
    numbers = forest.leaf_numbers(x)
    leaves = [tree.get_n_leaves() for tree in grown.estimators_]
    assert [len(np.unique(column)) for column in numbers.T] == leaves
    assert numbers.max() + 1 == sum(leaves)


def test_threshold_between_floats_decides_as_in_scikit_learn():
    leaf = np.array([-1])
    tree = types.SimpleNamespace(node_count=1, threshold=np.array([0.1]), feature=leaf)
    tree.children_left = tree.children_right = leaf
    grown = types.SimpleNamespace(estimators_=[types.SimpleNamespace(tree_=tree)])
    threshold = forest_training.nodes_of(grown)["threshold"][0]
    assert threshold.dtype == np.float32
    assert not np.float32(0.1) <= threshold  # because np.float32(0.1) > 0.1


def test_leaves_are_ridge_regressions_that_spare_the_bias(data):
    x, y = data
    numbers, ridge = (x[:, 0] > 0).astype(int), 1e5
    maps = forest_training.fit_leaves(numbers, x, y, ridge)
    for leaf in (0, 1):
        inputs = np.hstack([x, np.ones((len(x), 1))])[numbers == leaf]
        inputs = np.vstack([inputs, np.sqrt(ridge) * np.eye(4, 5)])
        outputs = np.vstack([y[numbers == leaf], np.zeros((4, 36))])
        expected = np.linalg.lstsq(inputs, outputs)[0]
        np.testing.assert_allclose(maps[leaf], expected, rtol=1e-3, atol=1e-3)


def test_basis_spans_predictions(data):
    x, y = data
    halves = (x[:, 0] > 0).astype(int)
    basis = forest_training.prediction_basis(halves, x, y, replace(TINY, basis=10))
    np.testing.assert_allclose(basis @ basis.T, np.eye(10), atol=1e-5)
    rest = y - y @ basis.T @ basis  # two maps of 4 inputs and a bias span at most 10 windows
    assert rest.std() < 1.1 < 20 < y.std()


def test_axes_are_principal(cat):
    mean, axes = forest_training.principal([cat], 2, 6, np.random.default_rng(0))
    assert mean.shape == (144,)
    np.testing.assert_allclose(axes.T @ axes, np.eye(6), atol=1e-5)
    luma, _ = forest_training.planes(cat, 2)
    spread = random_forest.project(luma, 2, mean, axes).std(axis=0)
    assert (spread[:-1] > 0.8 * spread[1:]).all()
    assert spread[0] > 1.5 * spread[-1]


def test_windows_pair_descriptions_with_residuals(cat):
    axes, rows, columns = (np.zeros(144, np.float32), np.eye(144, 3, dtype=np.float32)), 40, 60
    x, y = forest_training.sample([cat], TINY, axes, np.random.default_rng(0))  # all of them
    assert (x.shape, y.shape) == ((rows * columns, 3), (rows * columns, 36))
    enlarged, residual = forest_training.planes(cat, 2)
    np.testing.assert_array_equal(x, random_forest.project(enlarged, 2, *axes))
    window = residual[9 * 2 : 12 * 2, 19 * 2 : 22 * 2]
    row = y[10 * columns + 20].reshape(6, 6)
    np.testing.assert_array_equal(row, window.astype(np.float16))
    few, _ = forest_training.sample(
        [cat, cat], replace(TINY, windows=2000), axes, np.random.default_rng(0)
    )
    assert 1850 < len(few) < 2150


def test_training_is_deterministic(cat):
    first, second = (forest_training.train([cat], TINY) for _ in range(2))
    assert first.digest == second.digest
    assert forest_training.train([cat], replace(TINY, seed=1)).digest != first.digest


def test_photos_that_cannot_be_decoded_are_skipped_or_refused(cat, tmp_path):
    broken = cat._replace(hr=tmp_path / "broken.png")
    broken.hr.write_bytes(b"")
    assert forest_training.readable([cat] * 4 + [broken], TINY) == [cat] * 4
    with pytest.raises(UserError, match=rf"{broken.hr}.*config\.data\.max_bad_fraction=0\.2"):
        forest_training.readable([cat, broken], TINY)
