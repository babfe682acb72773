import shutil

import jax
import numpy as np
import optax
import pytest

from kdgan_jax.runtime.errors import UserError
from kdgan_jax.workdir import checkpoint


def tree(seed, shape=(3, 4)):
    rng = np.random.default_rng(seed)
    return {"conv": {"kernel": rng.random(shape, np.float32), "bias": rng.random(4, np.float32)}}


@pytest.fixture(scope="module")
def items():
    params, tx = tree(0), optax.adam(1e-3)
    _, optimizer = tx.update(tree(1), tx.init(params), params)
    return {
        "params": params,
        "optimizer": jax.device_get(optimizer),
        "discriminator": {},
        "loop": {"step": np.array(7), "key": np.array([1, 2**32 - 1], np.uint32)},
    }


@pytest.fixture(scope="module")
def original(tmp_path_factory, items):
    """A checkpoint that no test changes."""
    folder = tmp_path_factory.mktemp("teacher")
    return checkpoint.save(folder, 7, items, {"model": {"name": "edsr"}})


@pytest.fixture
def saved(tmp_path, original):
    """A copy of it that a test may damage."""
    return shutil.copytree(original, tmp_path / "7")


def blank(items):
    return jax.tree.map(np.zeros_like, items)


def assert_identical(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert isinstance(x, np.ndarray)
        np.testing.assert_array_equal(x, y, strict=True)


def test_everything_comes_back_to_the_bit(original, items):
    # Equal structure means that Adam's state is optax's named tuples again.
    assert_identical(checkpoint.load(original, blank(items)), items)
    alone = {"params": blank(items["params"])}
    assert_identical(checkpoint.load(original, alone), {"params": items["params"]})
    assert checkpoint.meta(original) == {
        "model": {"name": "edsr"},
        "step": 7,
        "items": ["loop", "optimizer", "params"],
    }


def save(folder, *steps, keep=2):
    for step in steps:
        checkpoint.save(folder, step, {"params": tree(step)}, {}, keep=keep)


def test_the_newest_two_are_kept(tmp_path):
    assert checkpoint.steps(tmp_path / "none") == []
    save(tmp_path, 5, 20, 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["100", "20"]
    assert checkpoint.steps(tmp_path) == [20, 100]
    save(tmp_path, 10, 15)  # 20 and 100 were damaged, so the run resumed before them
    assert checkpoint.steps(tmp_path) == [10, 15, 20, 100]


def test_a_step_that_is_saved_again_replaces_the_old_and_unfinished_ones(tmp_path):
    (tmp_path / ".3.part" / "items").mkdir(parents=True)  # of a process that was killed
    (tmp_path / ".3.part" / "left over").touch()
    assert checkpoint.steps(tmp_path) == []
    for seed in 0, 1:
        path = checkpoint.save(tmp_path, 3, {"params": tree(seed)}, {})
        assert_identical(checkpoint.load(path, {"params": tree(2)}), {"params": tree(seed)})
    assert [path.name for path in tmp_path.iterdir()] == ["3"]
    assert not (path / "left over").exists()


def data_files(path):
    return sorted(p for p in (path / "items").rglob("*") if p.is_file() and p.stat().st_size)


def test_a_flipped_bit_in_any_file_is_found_and_the_file_named(saved, items):
    files = [*data_files(saved), saved / "meta.json"]
    assert len(files) > 3
    for file in files:
        whole = file.read_bytes()
        middle = len(whole) // 2
        file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        with pytest.raises(UserError, match=f"{file}.*altered"):
            checkpoint.load(saved, blank(items))
        file.write_bytes(whole)
    checkpoint.verify(saved)
    files[0].unlink()
    with pytest.raises(UserError, match=f"{files[0]}.*missing"):
        checkpoint.load(saved, blank(items))


@pytest.mark.parametrize("content", [None, "{"])
def test_a_folder_without_an_intact_manifest_is_not_a_checkpoint(saved, content):
    manifest = saved / checkpoint.MANIFEST
    manifest.unlink() if content is None else manifest.write_text(content)
    with pytest.raises(UserError, match=rf"{saved}.*sha256\.json"):
        checkpoint.load(saved, {})


@pytest.mark.parametrize(
    ("item", "target", "facts"),
    [
        ("params", tree(0, (4, 3)), ["'params'", "float32(3, 4)", "conv/kernel", "float32(4, 3)"]),
        ("params", tree(0, (3, 5)), ["'params'", "float32(3, 4)", "conv/kernel", "float32(3, 5)"]),
        ("params", jax.tree.map(np.float16, tree(0)), ["float32(4,)", "conv/bias", "float16"]),
        ("params", {"conv": {"kernel": tree(0)["conv"]["kernel"]}}, []),
        ("params", {"conv": tree(0)["conv"], "more": np.zeros(2, np.float32)}, ["more"]),
        ("optimizer", optax.sgd(1e-3, 0.9).init(tree(0)), []),
        ("teacher", tree(0), ["teacher"]),
    ],
    ids=["turned", "wider", "dtype", "fewer", "more", "optimizer", "missing"],
)
def test_another_networks_arrays_are_refused(original, item, target, facts):
    with pytest.raises(UserError) as caught:
        checkpoint.load(original, {item: target})
    for fact in [str(original), *facts]:
        assert fact in str(caught.value)


def test_the_newest_intact_checkpoint_is_found_and_damaged_ones_are_named(tmp_path):
    assert checkpoint.newest(tmp_path) is None
    save(tmp_path, 1, 2, 3, keep=3)
    assert checkpoint.newest(tmp_path) == 3
    (tmp_path / "3/meta.json").write_text("{}")
    removed = data_files(tmp_path / "2")[0]
    removed.unlink()
    warnings = []
    assert checkpoint.newest(tmp_path, warnings.append) == 1
    assert f"{tmp_path}/3/meta.json" in warnings[0]
    assert str(removed) in warnings[1]
    (tmp_path / "1" / checkpoint.MANIFEST).unlink()
    with pytest.raises(UserError, match=rf"{tmp_path}.*1, 2, 3"):
        checkpoint.newest(tmp_path)
