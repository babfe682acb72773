import contextlib
import json

import chex
import jax
import numpy as np
import pytest
from conftest import TINY
from safetensors.numpy import load_file, save_file

import kdgan_jax
from kdgan_jax import models
from kdgan_jax.formats import foreign, native
from kdgan_jax.inference.load import SHIPPED
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime.errors import UserError


def random_model(name, scale=4, **about):
    module = models.generator(name, TINY[name], scale)
    random = np.random.default_rng(3)  # `models.init` would be compiled, for seconds each
    params = jax.tree.map(
        lambda leaf: random.normal(size=leaf.shape).astype(leaf.dtype), foreign.shapes(module)
    )
    return Model(name, TINY[name], scale, params, about)


@pytest.mark.parametrize("name", models.GENERATORS)
def test_every_architecture_survives_the_round_trip(tmp_path, name):
    model = random_model(name, licence="MIT", source="somewhere")
    native.save(tmp_path / "m.safetensors", model)
    found = kdgan_jax.load(tmp_path / "m.safetensors")
    assert (found.name, found.scale) == (name, 4)
    assert found.module == model.module
    chex.assert_trees_all_equal(found.params, model.params, strict=True)
    assert found.about == {"licence": "MIT", "source": "somewhere"}


def test_the_header_says_what_it_is(tmp_path):
    native.save(tmp_path / "m.safetensors", random_model("compact"))
    header = native.header(tmp_path / "m.safetensors")
    assert header["architecture"] == "compact"
    assert json.loads(header["kwargs"]) == TINY["compact"]
    assert header["parameters"] == str(random_model("compact").parameters)


@pytest.fixture
def file(tmp_path):
    native.save(tmp_path / "m.safetensors", random_model("compact"))
    return tmp_path / "m.safetensors"


def rewrite(file, change_entries=lambda e: e, **header):
    entries = change_entries(load_file(file))
    save_file(entries, file, native.header(file) | header)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"format": "other"}, "format is not"),
        ({"architecture": "compac"}, "did you mean 'compact'"),
        ({"scale": "7"}, "scale=7 is not supported"),
        ({"scale": "x"}, "invalid literal"),
        ({"kwargs": "{"}, "Expecting"),
        ({"kwargs": '{"featurs": 3}'}, "has no option 'featurs'"),
        ({"kwargs": '{"channels": 9, "depth": 2}'}, "missing, too much, or of another shape"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(file, header, reason):
    rewrite(file, **header)
    with pytest.raises(UserError, match=reason) as caught:
        native.load(file)
    assert str(file) in str(caught.value)


def test_entries_that_do_not_fit_are_refused(file):
    key = "Conv_0/conv/kernel"
    for change in (
        lambda e: {k: v for k, v in e.items() if k != key},
        lambda e: e | {"more": np.zeros(3, np.float32)},
        lambda e: e | {key: e[key].astype(np.float64)},
        lambda e: e | {key: e[key][:1]},
    ):
        before = file.read_bytes()
        rewrite(file, change)
        with pytest.raises(UserError, match="missing, too much, or of another shape or type"):
            native.load(file)
        file.write_bytes(before)
    native.load(file)


def test_damage_is_one_sentence_that_names_the_file(file):
    whole, random = file.read_bytes(), np.random.default_rng(0)
    for data in (b"", whole[:20], whole[:-3], b"\xff" * 64):
        file.write_bytes(data)
        with pytest.raises(UserError, match=r"m\.safetensors"):
            kdgan_jax.load(file)
    for _ in range(200):
        data = bytearray(whole)
        data[random.integers(0, 400)] = random.integers(0, 256)
        file.write_bytes(data)
        with contextlib.suppress(UserError):  # any other error fails
            kdgan_jax.load(file)


def test_a_role_of_a_file_is_refused(file):
    with pytest.raises(UserError, match="is a single model; leave out ':teacher'"):
        kdgan_jax.load(f"{file}:teacher")


DEEP = {"channels": 1, "depth": 40}  # of three modules a layer, more than the 100 allowed here


def test_a_network_of_ones_own_that_is_deeper_than_any_published_loads_again(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign, "MOST_MODULES", 100)
    module = models.generator("compact", DEEP, 2)
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), foreign.shapes(module))
    native.save(tmp_path / "m.safetensors", Model("compact", DEEP, 2, params))
    with pytest.raises(ValueError, match="more than 100 layers"):
        foreign.described("compact", DEEP, 2)
    found = native.load(tmp_path / "m.safetensors")
    chex.assert_trees_all_equal(found.params, params)


def test_a_file_has_to_hold_what_it_claims(file, monkeypatch):
    monkeypatch.setattr(foreign, "MOST_MODULES", 100)
    entries = len(load_file(file))
    rewrite(file, kwargs=json.dumps(DEEP | {"depth": 4000}))
    with pytest.raises(UserError, match="more than 100 layers"):
        native.load(file)
    many = {f"more{i}": np.zeros(0, np.float32) for i in range(50 - entries)}
    rewrite(file, lambda e: e | many)
    with pytest.raises(UserError, match="more than 200 layers"):
        native.load(file)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_comes_with_the_package_loads_and_runs(name):
    model = kdgan_jax.load(name)
    sr = model.upscale(np.full((5, 6, 3), 128, np.uint8))
    assert sr.shape == (20, 24, 3)
    assert np.abs(sr.astype(int) - 128).max() < 20  # grey stays grey, about
