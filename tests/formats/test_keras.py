import builtins
import functools

import numpy as np
import pytest
import refusals

from kdgan_jax.formats import keras
from kdgan_jax.runtime.errors import UserError

h5py = pytest.importorskip("h5py")
refused = functools.partial(refusals.refused, keras.read)


def write(path, **arrays):
    """Writes arrays by path, with "__" for "/" and a ":0" after each."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[f"{name.replace('__', '/')}:0"] = array
    return path


def numbers(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


@pytest.mark.parametrize(
    ("weight", "bias"),
    [
        ("c_1__c_1_W", "c_1__c_1_b"),  # Keras 1
        ("model_weights__c_1__c_1__kernel", "model_weights__c_1__c_1__bias"),  # Keras 2
    ],
)
def test_kernels_come_in_pytorchs_layout(tmp_path, weight, bias):
    kernel = numbers(5, 3, 2, 4)
    weights = keras.read(write(tmp_path / "a.h5", **{weight: kernel, bias: numbers(4)}))
    assert weights.keys() == {"c_1.weight", "c_1.bias"}
    assert weights["c_1.weight"].shape == (4, 2, 5, 3)
    for o, i, y, x in np.ndindex(4, 2, 5, 3):
        assert weights["c_1.weight"][o, i, y, x] == kernel[y, x, i, o]
    np.testing.assert_array_equal(weights["c_1.bias"], numbers(4))


def test_all_kinds_of_layers(tmp_path):
    deep = numbers(3, 3, 2, 4)  # channel i times multiplier j is output channel 4 i + j
    path = write(
        tmp_path / "a.h5",
        dense__dense__kernel=numbers(6, 2),
        deep__deep__depthwise_kernel=deep,
        norm__norm__gamma=numbers(3),
        norm__norm__moving_mean=numbers(3),
        prelu__prelu__alpha=numbers(1, 1, 3),
        optimizer_weights__adam__kernel=numbers(2),
    )
    weights = keras.read(path)
    assert weights["dense.weight"].shape == (2, 6)
    assert weights["deep.weight"].shape == (8, 1, 3, 3)
    np.testing.assert_array_equal(weights["deep.weight"][5, 0], deep[..., 1, 1])
    names = {"dense.weight", "deep.weight", "norm.weight", "norm.running_mean", "prelu.weight"}
    assert weights.keys() == names


def test_damaged_and_other_files_are_refused(tmp_path):
    path = write(tmp_path / "a.h5", c__c__kernel=numbers(5, 3, 2, 4), c__c__bias=numbers(4))
    data = path.read_bytes()
    for other in (data[: len(data) // 2], b"no HDF5"):
        path.write_bytes(other)
        refused(path, "Keras")
    refused(tmp_path / "missing.h5")
    refused(write(tmp_path / "b.h5", layers__conv__vars__0=numbers(3)), "no weights")
    refused(write(tmp_path / "c.h5", a__c__bias=numbers(3), b__c__bias=numbers(3)), "'c'")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["c/c_W"] = numbers(5, 3, 2, 4)
    refused(tmp_path / "d.h5", "c/c_W", "Theano")


def test_other_files_are_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(12))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        external = [(str(secret), 0, 12)]
        file.create_dataset("c/bias:0", (3,), np.float32, external=external)
    refused(tmp_path / "a.h5", "c/bias:0", "another file")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["c"] = h5py.ExternalLink(str(tmp_path / "a.h5"), "/c")
    refused(tmp_path / "b.h5", "no weights")


def test_a_file_that_lies_about_its_size_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("c/bias:0", (2**31,), np.float32, chunks=(2**20,))
    refused(tmp_path / "a.h5", "more than 67,")


def test_a_missing_h5py_is_named_with_what_installs_it(tmp_path, monkeypatch):
    real = builtins.__import__

    def without_h5py(name, *more):
        if name == "h5py":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without_h5py)
    with pytest.raises(UserError, match=r"h5py.*kdgan_jax\[train\]"):
        keras.read(tmp_path / "a.h5")
