import builtins

import numpy as np
import pytest

from kdgan_jax.formats import keras
from kdgan_jax.runtime.errors import UserError

h5py = pytest.importorskip("h5py")


def write(path, **arrays):
    """Writes arrays by path, with "__" for "/" and a ":0" after each."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[f"{name.replace('__', '/')}:0"] = array
    return path


def numbers(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


@pytest.fixture
def kernel():
    return numbers(5, 3, 2, 4)  # (height, width, in, out)


@pytest.mark.parametrize("prefix", ["", "model_weights__"])
@pytest.mark.parametrize(
    ("weight", "bias"),
    [("c_1__c_1_W", "c_1__c_1_b"), ("c_1__c_1__kernel", "c_1__c_1__bias")],
    ids=["keras1", "keras2"],
)
def test_kernels_come_in_pytorchs_layout(tmp_path, kernel, weight, bias, prefix):
    path = write(tmp_path / "a.h5", **{prefix + weight: kernel, prefix + bias: numbers(4)})
    found = keras.read(path)
    assert found.keys() == {"c_1.weight", "c_1.bias"}
    assert found["c_1.weight"].shape == (4, 2, 5, 3)
    for o, i, y, x in np.ndindex(4, 2, 5, 3):
        assert found["c_1.weight"][o, i, y, x] == kernel[y, x, i, o]
    np.testing.assert_array_equal(found["c_1.bias"], numbers(4))


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
    found = keras.read(path)
    assert found["dense.weight"].shape == (2, 6)
    assert found["deep.weight"].shape == (8, 1, 3, 3)
    np.testing.assert_array_equal(found["deep.weight"][5, 0], deep[..., 1, 1])
    names = {"dense.weight", "deep.weight", "norm.weight", "norm.running_mean", "prelu.weight"}
    assert found.keys() == names


def test_the_published_srcnn(shared):
    found = keras.read(shared / "weights" / "srcnn_keras.h5")
    shapes = {key: array.shape for key, array in found.items()}
    assert shapes == {
        "convolution2d_1.weight": (128, 1, 9, 9),
        "convolution2d_1.bias": (128,),
        "convolution2d_2.weight": (64, 128, 3, 3),
        "convolution2d_2.bias": (64,),
        "convolution2d_3.weight": (1, 64, 5, 5),
        "convolution2d_3.bias": (1,),
    }
    assert {array.dtype for array in found.values()} == {np.dtype("float32")}


def refused(path, message):
    with pytest.raises(UserError, match=message) as error:
        keras.read(path)
    assert "\n" not in str(error.value)


def test_a_damaged_file_is_refused_in_one_sentence(tmp_path, kernel):
    path = write(tmp_path / "a.h5", c__c__kernel=kernel, c__c__bias=numbers(4))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(path, r"a\.h5: is no Keras file")
    path.write_bytes(b"no HDF5")
    refused(path, r"a\.h5: is no Keras file")
    refused(tmp_path / "b.h5", r"b\.h5: no such file")


def test_what_holds_no_weights_is_refused(tmp_path):
    refused(
        write(tmp_path / "a.h5", layers__conv__vars__0=numbers(3)), "no weights of Keras 1 or 2"
    )


def test_theanos_kernels_are_refused(tmp_path, kernel):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["c/c_W"] = kernel
    refused(tmp_path / "a.h5", "Theano's, which flips")


def test_two_layers_of_a_name_are_refused(tmp_path):
    refused(write(tmp_path / "a.h5", a__c__bias=numbers(3), b__c__bias=numbers(3)), "two layers")


def test_other_files_are_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(12))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("c")
        external = [(str(secret), 0, 12)]
        group.create_dataset("bias:0", (3,), np.float32, external=external)
    refused(tmp_path / "a.h5", "lies in another file")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["c"] = h5py.ExternalLink(str(tmp_path / "a.h5"), "/c")
    refused(tmp_path / "b.h5", "no weights")


def test_a_file_that_lies_about_its_size_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("c/bias:0", (2**31,), np.float32, chunks=(2**20,))
    refused(tmp_path / "a.h5", r"arrays of more than 67,\d{3},\d{3} bytes")


def test_without_h5py_the_hint_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *more):
        if name == "h5py":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", missing)
    refused(tmp_path / "a.h5", "h5py")
