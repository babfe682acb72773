"""A file is told by its content, whatever its name says."""

import json
import shutil
import zipfile

import ncnn_files
import networks
import numpy as np
import pickles
import pytest
from networks import WRITERS

import kdgan_jax
from kdgan_jax.formats import container, foreign, imported, native
from kdgan_jax.inference.load import SHIPPED
from kdgan_jax.runtime.errors import UserError

STATE = networks.state()


def refused(path, *facts):
    with pytest.raises(UserError) as caught:
        kdgan_jax.load(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert all(fact in line for fact in facts), line


def assert_ours(path):
    model = kdgan_jax.load(path)
    for name, array in foreign.to_state(model.module, model.params).items():
        np.testing.assert_array_equal(array, STATE[name])


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    "name",
    ["a.pth", "a.ckpt", "a.bin", "a.pkl", "a.pth.tar", "a.safetensors", "a.h5", "a", "a.zip"],
)
def test_no_suffix_misleads(tmp_path, write, name):
    WRITERS[write](tmp_path / name, STATE)
    assert_ours(tmp_path / name)
    assert imported.is_model(tmp_path / name)


def test_other_formats_go_by_their_content_too(tmp_path, shared):
    for file in "espcn_x4.pb", "srcnn_keras.h5":
        shutil.copy(shared / "weights" / file, tmp_path / "a.pth")
        expected = kdgan_jax.load(shared / "weights" / file)
        assert kdgan_jax.load(tmp_path / "a.pth").digest == expected.digest
        (tmp_path / "a.pth").unlink()
    path, _ = ncnn_files.write(tmp_path / "a.param")
    assert kdgan_jax.load(path.rename(tmp_path / "a.txt")).name == "compact"
    own = shutil.copy(SHIPPED["clean_x4"], tmp_path / "a.pth")
    assert kdgan_jax.load(own).digest == kdgan_jax.load("clean_x4").digest


def pack(path, files, **more):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **more) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def files(tmp_path):
    """Bytes of files of weights: PyTorch's, ncnn's and the package's own."""
    WRITERS["zip"](tmp_path / "a.pth", STATE)
    ncnn_files.write(tmp_path / "a.param")
    native.save(tmp_path / "own", kdgan_jax.load(tmp_path / "a.pth"))
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for path in tmp_path.iterdir():
        path.unlink()
    return made


def test_a_zip_archive_with_one_model_is_read(tmp_path, files):
    model, path = files["a.pth"], tmp_path / "download.zip"
    assert_ours(pack(path, {"4x/a.pth": model, "4x/README.txt": "text", "__MACOSX/a.pth": b"\0"}))
    assert_ours(pack(path, {"own.safetensors": files["own"], "../x.png": b"\x89PNG"}))
    assert kdgan_jax.load(pack(path, {f"m/{k}": files[k] for k in ("a.param", "a.bin")})).scale == 4
    assert list(tmp_path.iterdir()) == [path]
    refused(pack(path, {"a.pth": model, "b/b.pth": model}), "2 models", "a.pth, b/b.pth")
    refused(pack(path, {"a.txt": b"text"}), "no model", "a.txt")
    refused(pack(path, {}), "")
    refused(pack(path, {"inner.zip": pack(tmp_path / "b", {"a.pth": model}).read_bytes()}), "")
    damaged = {"a.pth": model[: len(model) // 2]}
    refused(pack(path, damaged), f"{path}: a.pth: ", "cut short")


def test_a_zip_bomb_is_not_unpacked(tmp_path, files, monkeypatch):
    monkeypatch.setattr(container, "most_bytes", lambda path: 10**6)
    bomb = files["a.pth"] + bytes(2 * 10**6)
    refused(pack(tmp_path / "a.zip", {"a.pth": bomb}), "a.pth", "1,000,000 bytes")


INDEX = {"weight_map": {"a": "m-00001-of-00002.safetensors", "b": "m-00002-of-00002.safetensors"}}
OTHERS = {
    "empty": (b"", "empty"),
    "page": (b"\n<!DOCTYPE html><html><body>Not found</body></html>", "web page"),
    "error of a server": (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "XML"),
    "text": (b"404: Not Found", "'404: Not Found'"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
    "index": (json.dumps(INDEX).encode(), "index of 2 shards", "m-00001-of-00002.safetensors"),
    "other JSON": (b'{"model_type": "EDSR"}', '\'{"model_type"'),
    "ONNX": (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:\xff\x01", "ONNX"),
    "Core ML": (b"\x08\x04\x12\x20\x0a\x05\x0a\x01x", "Core ML"),
    "SavedModel": (b"\x08\x01\x12\xff\x01\x0a", "SavedModel"),
    "Lite": (b"\x1c\0\0\0TFL3\0\0", "TensorFlow Lite"),
    "array": (b"\x93NUMPY\x01\0v\0", "NumPy"),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0", "picture"),
    "packed": (b"\x1f\x8b\x08\0\0", "packed"),
    "tar": (bytes(257) + b"ustar\x0000", "tar"),
    "ncnn": (ncnn_files.HALVES + bytes(9), "ncnn", ".param"),
    "noise": (bytes([7, 200, 0, 255]) * 9, "PyTorch, Keras, TensorFlow, ncnn"),
    "ended": (b"PK\x03\x04" + bytes(99), "cut short"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_holds_no_weights_is_named(tmp_path, name):
    data, *facts = OTHERS[name]
    for suffix in ".pth", ".safetensors":
        (tmp_path / f"a{suffix}").write_bytes(data)
        refused(tmp_path / f"a{suffix}", *facts)
        assert imported.is_model(tmp_path / f"a{suffix}") == (name == "ended")


def test_a_program_and_one_of_several_shards_are_named(tmp_path):
    path = tmp_path / "script.pt"
    pickles.write_tree(path, STATE)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", b"")
    refused(path, "TorchScript", "state_dict")
    shard = tmp_path / "model-00001-of-00002.safetensors"
    WRITERS["safetensors"](shard, STATE)
    refused(shard, "shard 1 of 2")
    assert_ours(shard.rename(tmp_path / "model-00001-of-00001.safetensors"))
