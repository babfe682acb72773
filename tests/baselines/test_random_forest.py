import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from kdgan_jax.baselines import random_forest as zoo
from kdgan_jax.baselines.random_forest import Forest
from kdgan_jax.pictures import bicubic, colour
from kdgan_jax.runtime.errors import UserError


def made(scale=2, trees=3, kept=5, patterns=4, seed=0):
    """Returns a forest of random numbers: every tree a root, one inner node and three leaves."""
    random = np.random.default_rng(seed)
    size = 4 * (3 * scale) ** 2

    def normal(*shape):
        return random.normal(size=shape).astype(np.float32)

    def nodes(*values):
        return np.tile(np.array(values, np.int32), trees)

    return Forest(
        scale=scale,
        mean=normal(size),
        components=normal(size, kept) / 10,
        roots=np.arange(trees, dtype=np.int32) * 5,
        feature=random.integers(0, 2 * kept, 5 * trees).astype(np.int32),
        threshold=normal(5 * trees) / 10,
        left=nodes(1, 3, -1, -1, -1),
        right=nodes(2, 4, -1, -1, -1),
        matrices=(normal(3 * trees, kept + 1, patterns) / 10).astype(np.float16),
        basis=normal(patterns, (3 * scale) ** 2),
        recipe={"seed": seed},
    )


@pytest.fixture
def noise():
    return np.random.default_rng(1).integers(0, 256, (20, 13, 3), np.uint8)


# What windows are described by.


def test_features_are_differences_over_one_lr_pixel():
    scale, height, width = 2, 5, 5
    y, x = np.mgrid[: height * scale, : width * scale].astype(np.float32)
    luma = 3 * x + 5 * y
    found = zoo.features(zoo.pad(luma, 2 * scale), scale).reshape(height, width, 4, 6, 6)
    middle = found[2, 2]
    np.testing.assert_allclose(middle[0], 2 * scale * 3)
    np.testing.assert_allclose(middle[1], 2 * scale * 5)
    np.testing.assert_allclose(middle[2:], 0, atol=1e-4)
    parabola = zoo.features(zoo.pad(x**2, 2 * scale), scale).reshape(height, width, 4, 6, 6)
    np.testing.assert_allclose(parabola[2, 2, 2], scale**2)  # (f(x-s) + f(x+s)) / 2 - f(x)
    np.testing.assert_allclose(parabola[2, 2, 3], 0)


def test_windows_surround_lr_pixels():
    image = np.arange(6 * 8, dtype=np.float32).reshape(6, 8)
    found = zoo.windows(zoo.pad(image, 2), 2)
    assert found.shape == (3, 4, 6, 6)
    np.testing.assert_array_equal(found[1, 2], image[0:6, 2:8])


def test_questions_add_shapes_without_contrast():
    x = np.array([[300.0, 400.0], [3000.0, 4000.0], [0, 0]], np.float32)
    found = zoo.questions(x)
    np.testing.assert_array_equal(found[:, :2], x)
    np.testing.assert_allclose(found[:2, 2:], [[0.6, 0.8]] * 2, atol=0.01)
    np.testing.assert_array_equal(found[2, 2:], 0)


# Prediction.


def test_residual_is_the_mean_over_trees_and_windows():
    forest, scale = made(), 2
    luma = np.random.default_rng(2).uniform(16, 235, (4 * scale, 3 * scale)).astype(np.float32)
    described = zoo.features(zoo.pad(luma, 2 * scale), scale)
    x = ((described - forest.mean) @ forest.components).astype(np.float32)
    total, count = np.zeros((6 * scale, 5 * scale)), np.zeros((6 * scale, 5 * scale))
    for n, one in enumerate(x):
        asked, values = zoo.questions(one[None])[0], []
        for root in forest.roots:
            node = 0
            while forest.left[root + node] >= 0:
                less = asked[forest.feature[root + node]] <= forest.threshold[root + node]
                node = (forest.left if less else forest.right)[root + node]
            leaf = int(np.sum(forest.left[: root + node] < 0))
            values.append(np.append(one, 1) @ forest.matrices[leaf].astype(np.float64))
        i, j = np.array(divmod(n, 3)) * scale
        total[i : i + 6, j : j + 6] += (np.mean(values, axis=0) @ forest.basis).reshape(6, 6)
        count[i : i + 6, j : j + 6] += 1
    wanted = (total / np.maximum(count, 1))[scale:-scale, scale:-scale]
    np.testing.assert_allclose(forest.residual(luma), wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (1, 7), (2, 1), (9, 4)])
def test_any_size_is_enlarged(scale, size):
    image = np.random.default_rng(3).integers(0, 256, (*size, 3), np.uint8)
    forest = made(scale)
    sr, exact = forest.upscale(image), forest.predict(image)
    assert sr.dtype == np.uint8
    assert exact.dtype == np.float32
    assert sr.shape == exact.shape == (size[0] * scale, size[1] * scale, 3)
    assert np.isfinite(exact).all()
    np.testing.assert_array_equal(sr, np.floor(np.clip(exact, 0, 1) * 255 + 0.5))


def test_strips_give_the_same_as_the_whole(noise, monkeypatch):
    forest = made()
    whole, rounded = forest.predict(noise), forest.upscale(noise)
    monkeypatch.setattr(zoo, "BLOCK", 30)
    np.testing.assert_allclose(forest.predict(noise), whole, atol=1e-6)
    np.testing.assert_array_equal(forest.upscale(noise), rounded)


def test_strips_are_small(noise, monkeypatch):
    sizes, features = [], zoo.features
    monkeypatch.setattr(zoo, "BLOCK", 16 * 26)
    monkeypatch.setattr(zoo, "features", lambda *a: sizes.append(len(f := features(*a))) or f)
    made().predict(noise)
    assert sum(sizes) == 20 * 13
    assert max(sizes) == 26


def test_without_residual_y_is_unrounded_bicubic_and_chroma_matlabs(noise):
    forest = made()
    forest = dataclasses.replace(forest, matrices=np.zeros_like(forest.matrices))
    sr = colour.rgb_to_ycbcr(forest.predict(noise).astype(np.float64))
    matlab = colour.rgb_to_ycbcr(bicubic.upscale(noise, 2) / 255)
    np.testing.assert_allclose(sr[..., 1:], matlab[..., 1:], atol=1e-6)
    np.testing.assert_allclose(sr[..., 0] * 255, zoo.enlarge(colour.luma(noise), 2), atol=1e-3)


def test_grey_stays_grey(noise):
    grey = np.repeat(noise[..., :1], 3, axis=2)
    sr = made().upscale(grey)
    assert (sr == sr[..., :1]).all()
    assert (sr != bicubic.upscale(grey, 2)).any()


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_only_rgb_is_taken(shape):
    with pytest.raises(ValueError, match="uint8 RGB"):
        made().upscale(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="float32"):
        made().upscale(np.zeros((4, 4, 3), np.float32))


def test_parameters_are_counted():
    # 144 means, 144 x 5 components, 4 x 36 patterns, 9 leaves of 6 x 4, 6 inner nodes of 2.
    assert made().parameters == 144 + 144 * 5 + 4 * 36 + 9 * 24 + 6 * 2


# Its file.


@pytest.fixture
def file(tmp_path):
    made().save(tmp_path / zoo.FILE)
    return tmp_path / zoo.FILE


def test_file_gives_back_every_bit(file):
    forest = made()
    for path in (file, file.parent, str(file)):
        loaded = zoo.load(path)
        assert (loaded.scale, loaded.recipe) == (forest.scale, forest.recipe)
        for name in zoo.ARRAYS:
            np.testing.assert_array_equal(getattr(loaded, name), getattr(forest, name))
            assert getattr(loaded, name).dtype == getattr(forest, name).dtype


def test_missing_file_tells_how_to_train_it(tmp_path):
    command = f"python -m kdgan_jax.forest --config=configs/forest.py --workdir={tmp_path}"
    with pytest.raises(UserError, match=f"{tmp_path}/forest.safetensors: .*{command}$"):
        zoo.load(tmp_path)


@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_cut_file_is_refused(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(UserError, match=str(file)):
        zoo.load(file)


def test_other_file_is_refused(file):
    file.write_bytes(b"\x89PNG\r\n" * 99)
    with pytest.raises(UserError, match=str(file)):
        zoo.load(file)
    save_file({"weights": np.zeros(3, np.float32)}, file)
    with pytest.raises(UserError, match=f"{file}.*its format is None"):
        zoo.load(file)


def changed(name, place, value):
    def change(arrays):
        arrays[name][place] = value

    return change


DAMAGE = {
    "child beyond its tree": (changed("left", 1, 5), "a child is out of order"),
    "child beyond all nodes": (changed("right", 0, 999), "a child is out of order"),
    "child that is its parent": (changed("left", 1, 1), "a child is out of order"),
    "child before its parent": (changed("right", 1, 0), "a child is out of order"),
    "one child": (changed("left", 1, -1), "one child"),
    "question": (changed("feature", 0, 10), "a question is out of range"),
    "negative question": (changed("feature", 0, -1), "a question is out of range"),
    "not finite leaf": (changed("matrices", (0, 0, 0), np.nan), "matrices is"),
    "not finite threshold": (changed("threshold", 0, np.inf), "threshold is"),
    "roots": (changed("roots", 1, 0), "roots"),
    "first root": (changed("roots", 0, 1), "roots"),
    "root beyond": (changed("roots", 2, 15), "roots"),
    "leaves": (lambda a: a.update(matrices=a["matrices"][1:].copy()), "leaves: "),
    "leaf's rows": (lambda a: a.update(matrices=a["matrices"][:, 1:].copy()), "leaves: "),
    "nodes": (lambda a: a.update(feature=a["feature"][1:].copy()), "arrays of nodes"),
    "mean": (lambda a: a.update(mean=a["mean"][1:].copy()), "components are"),
    "basis": (lambda a: a.update(basis=a["basis"][:, 1:].copy()), "basis is"),
    "type": (lambda a: a.update(left=a["left"].astype(np.int64)), "left is int64"),
    "axes": (lambda a: a.update(mean=a["mean"][None].copy()), "mean is float32"),
    "absent": (lambda a: a.pop("basis"), "it holds"),
    "more": (lambda a: a.update(more=np.zeros(1)), "it holds"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_contradictions_are_refused(file, damage):
    arrays = load_file(file)
    change, message = DAMAGE[damage]
    change(arrays)
    save_file(arrays, file, {"format": zoo.FORMAT, "scale": "2", "recipe": "{}"})
    with pytest.raises(UserError, match=f"{file}: .*{message}"):
        zoo.load(file)


@pytest.mark.parametrize(
    "metadata",
    [
        {"format": "kdgan_jax.forest 2"},
        {"scale": "3"},
        {"scale": "5"},
        {"scale": "2.0"},
        {"scale": '"2"'},
        {"scale": "[2]"},
        {"scale": "{"},
        {"recipe": "no JSON"},
    ],
)
def test_other_metadata_is_refused(file, metadata):
    right = {"format": zoo.FORMAT, "scale": "2", "recipe": json.dumps({})}
    arrays = load_file(file)
    save_file(arrays, file, right)
    zoo.load(file)
    save_file(arrays, file, right | metadata)
    with pytest.raises(UserError, match=str(file)):
        zoo.load(file)
