import dataclasses
import json

import numpy as np
import pytest
from forests import small_forest
from safetensors.numpy import load_file, save_file

from kdgan_jax.baselines import random_forest
from kdgan_jax.pictures import bicubic, colour
from kdgan_jax.runtime.errors import UserError


@pytest.fixture
def noise():
    return np.random.default_rng(1).integers(0, 256, (20, 13, 3), np.uint8)


# Descriptions of windows.


def test_gradients_are_differences_over_one_lr_pixel():
    scale, side = 2, 5
    y, x = np.mgrid[: side * scale, : side * scale].astype(np.float32)

    def middle(luma):
        padded = random_forest.pad(luma, 2 * scale)
        return random_forest.gradients(padded, scale).reshape(side, side, 4, 6, 6)[2, 2]

    plane = middle(3 * x + 5 * y)
    np.testing.assert_allclose(plane[0], 2 * scale * 3)
    np.testing.assert_allclose(plane[1], 2 * scale * 5)
    np.testing.assert_allclose(plane[2:], 0, atol=1e-4)
    parabola = middle(x**2)
    np.testing.assert_allclose(parabola[2], scale**2)  # (f(x-s) + f(x+s)) / 2 - f(x)
    np.testing.assert_allclose(parabola[3], 0)


def test_questions_include_shapes_without_contrast():
    x = np.array([[300.0, 400.0], [3000.0, 4000.0], [0, 0]], np.float32)
    values = random_forest.questions(x)
    np.testing.assert_array_equal(values[:, :2], x)
    np.testing.assert_allclose(values[:, 2:], [[0.6, 0.8], [0.6, 0.8], [0, 0]], atol=0.01)


# Upscaling.


def test_residual_is_the_mean_over_trees_and_windows():
    forest, scale = small_forest(), 2
    luma = np.random.default_rng(2).uniform(16, 235, (4 * scale, 3 * scale)).astype(np.float32)
    gradients = random_forest.gradients(random_forest.pad(luma, 2 * scale), scale)
    x = ((gradients - forest.mean) @ forest.components).astype(np.float32)
    total, count = np.zeros((6 * scale, 5 * scale)), np.zeros((6 * scale, 5 * scale))
    for n, description in enumerate(x):
        values, predictions = random_forest.questions(description[None])[0], []
        for root in forest.roots:
            node = 0
            while forest.left[root + node] >= 0:
                less = values[forest.feature[root + node]] <= forest.threshold[root + node]
                node = (forest.left if less else forest.right)[root + node]
            leaf = int(np.sum(forest.left[: root + node] < 0))
            predictions.append(np.append(description, 1) @ forest.matrices[leaf].astype(np.float64))
        i, j = np.array(divmod(n, 3)) * scale
        total[i : i + 6, j : j + 6] += (np.mean(predictions, axis=0) @ forest.basis).reshape(6, 6)
        count[i : i + 6, j : j + 6] += 1
    expected = (total / np.maximum(count, 1))[scale:-scale, scale:-scale]
    np.testing.assert_allclose(forest.residual(luma), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 4)])
def test_any_size_is_enlarged(scale, size):
    image = np.random.default_rng(3).integers(0, 256, (*size, 3), np.uint8)
    forest = small_forest(scale)
    sr, exact = forest.upscale(image), forest.predict(image)
    assert (sr.dtype, exact.dtype) == (np.uint8, np.float32)
    assert sr.shape == exact.shape == (size[0] * scale, size[1] * scale, 3)
    np.testing.assert_array_equal(sr, np.floor(np.clip(exact, 0, 1) * 255 + 0.5))


def test_strips_are_small_and_give_the_same_as_the_whole(noise, monkeypatch):
    forest, sizes, gradients = small_forest(), [], random_forest.gradients
    whole, rounded = forest.predict(noise), forest.upscale(noise)
    monkeypatch.setattr(random_forest, "BLOCK", 16 * 26)
    monkeypatch.setattr(
        random_forest, "gradients", lambda *a: sizes.append(len(g := gradients(*a))) or g
    )
    np.testing.assert_allclose(forest.predict(noise), whole, atol=1e-6)
    assert (max(sizes), sum(sizes)) == (26, 20 * 13)
    np.testing.assert_array_equal(forest.upscale(noise), rounded)


def test_without_residual_y_is_unrounded_bicubic_and_chroma_matlabs(noise):
    forest = small_forest()
    forest = dataclasses.replace(forest, matrices=np.zeros_like(forest.matrices))
    sr = colour.rgb_to_ycbcr(forest.predict(noise).astype(np.float64))
    matlab = colour.rgb_to_ycbcr(bicubic.upscale(noise, 2) / 255)
    np.testing.assert_allclose(sr[..., 1:], matlab[..., 1:], atol=1e-6)
    enlarged = random_forest.enlarge(colour.luma(noise), 2)
    np.testing.assert_allclose(sr[..., 0] * 255, enlarged, atol=1e-3)


def test_grey_stays_grey(noise):
    grey = np.repeat(noise[..., :1], 3, axis=2)
    sr = small_forest().upscale(grey)
    assert (sr == sr[..., :1]).all()
    assert (sr != bicubic.upscale(grey, 2)).any()


def test_parameters_are_counted_and_only_rgb_is_upscaled():
    # 144 means, 144 x 5 components, 4 x 36 of the basis, 9 leaves of 6 x 4, 6 inner nodes of 2.
    assert small_forest().parameters == 144 + 144 * 5 + 4 * 36 + 9 * 24 + 6 * 2
    with pytest.raises(ValueError, match="float32"):
        small_forest().upscale(np.zeros((4, 4, 3), np.float32))


# The file.


@pytest.fixture
def file(tmp_path):
    small_forest().save(tmp_path / random_forest.FILE)
    return tmp_path / random_forest.FILE


def refused(file, fact=""):
    with pytest.raises(UserError, match=f"{file}: .*{fact}"):
        random_forest.load(file)


def test_file_restores_every_bit(file):
    forest = small_forest()
    for path in (file, file.parent, str(file)):
        loaded = random_forest.load(path)
        assert (loaded.scale, loaded.recipe) == (forest.scale, forest.recipe)
        assert loaded.digest == forest.digest
        for name in random_forest.ARRAYS:
            assert getattr(loaded, name).dtype == getattr(forest, name).dtype


def test_missing_file_tells_how_to_train_it(tmp_path):
    command = f"python -m kdgan_jax.forest --config=configs/forest.py --workdir={tmp_path}"
    with pytest.raises(UserError, match=f"{tmp_path}/forest.safetensors: .*{command}$"):
        random_forest.load(tmp_path)


def test_truncated_and_other_files_are_refused(file):
    whole = file.read_bytes()
    for size in (0, 200, len(whole) - 1):
        file.write_bytes(whole[:size])
        refused(file)
    save_file({"weights": np.zeros(3, np.float32)}, file)
    refused(file, "format is None")


# Array, place and value of the damage, or a function of the array; and the array that is named.
DAMAGE = {
    "child beyond its tree": ("left", 1, 5, "left"),
    "child beyond all nodes": ("right", 0, 999, "right"),
    "child that is its parent": ("left", 1, 1, "left"),
    "child before its parent": ("right", 1, 0, "right"),
    "one child": ("left", 1, -1, "one child"),
    "question too large": ("feature", 0, 10, "feature"),
    "negative question": ("feature", 0, -1, "feature"),
    "leaf not finite": ("matrices", (0, 0, 0), np.nan, "matrices"),
    "threshold not finite": ("threshold", 0, np.inf, "threshold"),
    "roots twice": ("roots", 1, 0, "roots"),
    "first root": ("roots", 0, 1, "roots"),
    "root beyond": ("roots", 2, 15, "roots"),
    "leaf missing": ("matrices", lambda a: a[1:], None, "matrices"),
    "row of a leaf missing": ("matrices", lambda a: a[:, 1:], None, "matrices"),
    "node missing": ("feature", lambda a: a[1:], None, "nodes"),
    "mean too short": ("mean", lambda a: a[1:], None, "components"),
    "basis too narrow": ("basis", lambda a: a[:, 1:], None, "basis"),
    "type": ("left", lambda a: a.astype(np.int64), None, "left is int64"),
    "axes": ("mean", lambda a: a[None], None, "mean is float32"),
}


def resave(file, arrays, **metadata):
    right = {"format": random_forest.FORMAT, "scale": "2", "recipe": "{}"}
    save_file(arrays, file, right | metadata)


@pytest.mark.parametrize("damage", DAMAGE)
def test_contradictions_are_refused(file, damage):
    name, place, value, fact = DAMAGE[damage]
    arrays = load_file(file)
    if callable(place):
        arrays[name] = place(arrays[name]).copy()
    else:
        arrays[name][place] = value
    resave(file, arrays)
    refused(file, fact)


def test_missing_and_extra_arrays_are_refused(file):
    arrays = load_file(file)
    for wrong, fact in (
        (arrays | {"extra": np.zeros(1)}, "extra"),
        ({"mean": arrays["mean"]}, "basis"),
    ):
        resave(file, wrong)
        refused(file, fact)


@pytest.mark.parametrize(
    "metadata",
    [{"format": "kdgan_jax.forest 2"}, {"recipe": "no JSON"}]
    + [{"scale": text} for text in ("3", "5", "2.0", json.dumps("2"), "[2]", "{")],
)
def test_other_metadata_is_refused(file, metadata):
    arrays = load_file(file)
    resave(file, arrays)
    random_forest.load(file)
    resave(file, arrays, **metadata)
    refused(file)
