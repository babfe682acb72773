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


@pytest.fixture
def saved(tmp_path, items):
    return checkpoint.save(tmp_path / "teacher", 7, items, {"model": {"name": "edsr"}})


def blank(items):
    return jax.tree.map(np.zeros_like, items)


def assert_identical(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert isinstance(a, np.ndarray)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_everything_comes_back_to_the_bit(saved, items):
    # Equal structure means that Adam's state is again optax's named tuples.
    assert_identical(checkpoint.load(saved, blank(items)), items)


def test_one_item_can_be_loaded_alone(saved, items):
    wanted = {"params": blank(items["params"])}
    assert_identical(checkpoint.load(saved, wanted), {"params": items["params"]})


def test_meta_comes_back_with_the_step_and_the_filled_items(saved):
    assert checkpoint.meta(saved) == {
        "model": {"name": "edsr"},
        "step": 7,
        "items": ["loop", "optimizer", "params"],
    }


def test_the_newest_two_are_kept(tmp_path):
    (tmp_path / ".7.part").mkdir()  # of a process that was killed
    for step in (5, 20, 100):
        checkpoint.save(tmp_path, step, {"params": tree(step)}, {}, keep=2)
    assert checkpoint.steps(tmp_path) == [20, 100]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["100", "20"]


def test_a_later_checkpoint_that_is_damaged_does_not_push_out_whole_ones(tmp_path):
    for step in (10, 20, 15):  # 20 was damaged, so the run went on from 10
        checkpoint.save(tmp_path, step, {"params": tree(step)}, {}, keep=2)
    assert checkpoint.steps(tmp_path) == [10, 15, 20]


def test_saving_a_step_again_replaces_it(tmp_path):
    checkpoint.save(tmp_path, 1, {"params": tree(0)}, {})
    path = checkpoint.save(tmp_path, 1, {"params": tree(1)}, {})
    assert_identical(checkpoint.load(path, {"params": tree(2)}), {"params": tree(1)})


def test_a_save_that_was_killed_is_no_checkpoint_and_is_cleared(tmp_path):
    (tmp_path / ".3.part" / "items").mkdir(parents=True)
    (tmp_path / ".3.part" / "left over").touch()
    assert checkpoint.steps(tmp_path) == []
    checkpoint.save(tmp_path, 3, {"params": tree(0)}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["3"]
    assert not (tmp_path / "3" / "left over").exists()


def test_a_folder_that_is_missing_has_no_steps(tmp_path):
    assert checkpoint.steps(tmp_path / "none") == []


def data_files(path):
    return sorted(p for p in (path / "items").rglob("*") if p.is_file() and p.stat().st_size)


def test_a_flipped_bit_in_any_file_is_found_and_the_file_named(saved, items):
    files = [*data_files(saved), saved / "meta.json"]
    assert len(files) > 3
    for file in files:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        with pytest.raises(UserError, match="altered since the checkpoint was written") as caught:
            checkpoint.load(saved, blank(items))
        assert str(file) in str(caught.value)
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    checkpoint.verify(saved)


def test_a_missing_file_is_named(saved, items):
    file = data_files(saved)[-1]
    file.unlink()
    with pytest.raises(UserError, match="missing since the checkpoint was written") as caught:
        checkpoint.load(saved, blank(items))
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", [None, "{"])
def test_a_folder_without_a_whole_manifest_is_no_checkpoint(saved, content):
    manifest = saved / checkpoint.MANIFEST
    manifest.unlink() if content is None else manifest.write_text(content)
    with pytest.raises(UserError, match=r"no checkpoint, sha256.json is missing or broken"):
        checkpoint.load(saved, {})


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (tree(0, (4, 3)), r"'params' holds float32\(3, 4\) in conv/kernel where float32\(4, 3\)"),
        (tree(0, (3, 5)), r"'params' holds float32\(3, 4\) in conv/kernel where float32\(3, 5\)"),
        (jax.tree.map(np.float16, tree(0)), r"holds float32\(4,\) in conv/bias where float16"),
        ({"conv": {"kernel": tree(0)["conv"]["kernel"]}}, "another network"),
        ({"conv": tree(0)["conv"], "more": np.zeros(2, np.float32)}, "another network"),
    ],
    ids=["turned", "wider", "dtype", "fewer", "more"],
)
def test_another_networks_arrays_are_refused(saved, target, message):
    with pytest.raises(UserError, match=message) as caught:
        checkpoint.load(saved, {"params": target})
    assert str(saved) in str(caught.value)


def test_another_optimizers_state_is_refused(saved, items):
    with pytest.raises(UserError, match=r"another network|the config differs"):
        checkpoint.load(saved, {"optimizer": optax.sgd(1e-3, 0.9).init(items["params"])})


def test_an_item_that_was_not_saved_is_refused(saved):
    with pytest.raises(UserError, match="another network") as caught:
        checkpoint.load(saved, {"teacher": tree(0)})
    assert str(saved) in str(caught.value)


def test_the_newest_whole_checkpoint_is_found_and_damaged_ones_are_named(tmp_path, items):
    assert checkpoint.newest(tmp_path) is None
    for step in 1, 2, 3:
        checkpoint.save(tmp_path, step, items, {}, keep=3)
    assert checkpoint.newest(tmp_path) == 3
    (tmp_path / "3/meta.json").write_text("{}")
    data_files(tmp_path / "2")[0].unlink()
    said = []
    assert checkpoint.newest(tmp_path, said.append) == 1
    assert said[0].startswith(f"{tmp_path}/3/meta.json: altered")
    assert "missing since the checkpoint was written: the one before is taken" in said[1]
    (tmp_path / "1" / checkpoint.MANIFEST).unlink()
    with pytest.raises(UserError, match=r"all its checkpoints are damaged \(steps 1, 2, 3\)"):
        checkpoint.newest(tmp_path)
