import functools
import json

import chex
import jax
import numpy as np
import pytest
import refusals
from conftest import TINY
from safetensors.numpy import load_file, save_file

import kdgan_jax
from kdgan_jax import convert, models
from kdgan_jax.formats import foreign, imported, native
from kdgan_jax.formats.weights import Weights
from kdgan_jax.inference.load import SHIPPED
from kdgan_jax.runtime.errors import UserError

refused = functools.partial(refusals.refused, native.load)


def random_weights(name, kwargs=None, scale=4, **about):
    kwargs = TINY[name] if kwargs is None else kwargs
    random = np.random.default_rng(3)
    shapes = foreign.shapes(models.generator(name, kwargs, scale))
    params = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(leaf.dtype), shapes)
    return Weights(name, kwargs, scale, params, about)


@pytest.mark.parametrize("name", models.GENERATORS)
def test_every_architecture_survives_the_round_trip(tmp_path, name):
    model = random_weights(name, licence="MIT", source="somewhere")
    native.save(tmp_path / "m.safetensors", model)
    loaded = native.load(tmp_path / "m.safetensors")
    assert (loaded.name, loaded.scale) == (name, 4)
    assert loaded.module == model.module
    chex.assert_trees_all_equal(loaded.params, model.params, strict=True)
    assert loaded.about == {"licence": "MIT", "source": "somewhere"}
    assert native.header(tmp_path / "m.safetensors")["parameters"] == str(model.parameters)


def rounded(params):
    return jax.tree.map(lambda leaf: leaf.astype(np.float16).astype(np.float32), params)


def test_halves_load_as_float32(tmp_path):
    model, out = random_weights("compact"), tmp_path / "m.safetensors"
    native.save(out, model, np.float16)
    assert {array.dtype for array in load_file(out).values()} == {np.dtype(np.float16)}
    chex.assert_trees_all_equal(native.load(out).params, rounded(model.params), strict=True)


def test_what_halves_cannot_hold_is_refused_and_not_written(tmp_path):
    model, out = random_weights("compact"), tmp_path / "m.safetensors"
    model.params["Conv_0"]["conv"]["kernel"][0, 0, 0, 0] = 7e4
    for dtype, error, facts in [
        (np.float16, UserError, rf"{out}: entry '{KEY}'.*65,504.*float16"),
        (np.float64, ValueError, "float64"),
    ]:
        with pytest.raises(error, match=facts):
            native.save(out, model, dtype)
    assert not list(tmp_path.iterdir())


def test_convert_writes_halves(tmp_path, capsys):
    out, half = tmp_path / "m.safetensors", "--dtype=float16"
    convert.main(["clean_x4", str(out), half, "--author=A", "--made_by=B", "--figures=C"])
    loaded = native.load(out)
    chex.assert_trees_all_equal(loaded.params, rounded(kdgan_jax.load("clean_x4").params))
    assert [loaded.about[fact] for fact in ("author", "made_by", "figures")] == ["A", "B", "C"]
    with pytest.raises(SystemExit):
        convert.main(["clean_x4", str(tmp_path / "b.safetensors"), half, "--pytorch"])
    assert half in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [out]


@pytest.fixture
def file(tmp_path):
    native.save(tmp_path / "m.safetensors", random_weights("compact"))
    return tmp_path / "m.safetensors"


def rewrite(file, change_entries=lambda entries: entries, **header):
    save_file(change_entries(load_file(file)), file, native.header(file) | header)


@pytest.mark.parametrize(
    ("header", "facts"),
    [
        ({"format": "other"}, [native.FORMAT]),
        ({"architecture": "compac"}, ["'compac'", "'compact'"]),
        ({"scale": "7"}, ["scale=7"]),
        ({"scale": "x"}, ["'x'"]),
        ({"kwargs": "{"}, []),
        ({"kwargs": '{"featurs": 3}'}, ["'featurs'"]),
        ({"kwargs": '{"channels": 9, "depth": 2}'}, ["'Conv_0/conv/bias'", "(8,)", "(9,)"]),
    ],
)
def test_a_header_that_does_not_fit_is_refused(file, header, facts):
    rewrite(file, **header)
    refused(file, *facts)


KEY = "Conv_0/conv/kernel"


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        (lambda e: {k: v for k, v in e.items() if k != KEY}, [KEY, "missing"]),
        (lambda e: e | {"more": np.zeros(3, np.float32)}, ["more"]),
        (lambda e: e | {KEY: e[KEY].astype(np.float64)}, [KEY, "float64"]),
        (lambda e: e | {KEY: e[KEY].astype(np.float16)}, [KEY, "float16", "needed float32"]),
        (
            lambda e: {k: v.astype("f4" if k == KEY else "f2") for k, v in e.items()},
            [KEY, "float32", "needed float16"],
        ),
        (
            lambda e: {k: v.astype(np.int16) for k, v in e.items()},
            ["'Conv_0/conv/bias'", "int16", "needed float32"],
        ),
        (lambda e: e | {KEY: e[KEY][:1]}, [KEY, "(1, 3, 3, 8)", "(3, 3, 3, 8)"]),
        (lambda e: e | {KEY: e[KEY] * np.float32(np.inf)}, [KEY, "216 of 216", "inf"]),
        (
            lambda e: {k: (v * (np.nan if k == KEY else 1)).astype("f2") for k, v in e.items()},
            [KEY, "216 of 216", "nan"],
        ),
    ],
)
def test_entries_that_do_not_fit_are_refused(file, change, facts):
    rewrite(file, change)
    refused(file, *facts)


def test_damage_is_refused_by_name(file):  # more in tests/faults
    whole = file.read_bytes()
    for data in (b"", whole[:20], whole[:-3], b"\xff" * 64):
        file.write_bytes(data)
        refused(file)


DEEP = {"channels": 1, "depth": 20}  # calls three modules per layer, more than the 50 allowed here


def test_a_deeper_network_than_any_published_one_loads_again(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign, "MOST_MODULES", 50)
    model = random_weights("compact", DEEP, 2)  # building it is not limited
    with pytest.raises(ValueError, match="50 layers"):
        foreign.described("compact", DEEP, 2)
    for save, load in (native.save, native.load), (foreign.save, imported.load):
        save(tmp_path / "m.safetensors", model)
        chex.assert_trees_all_equal(load(tmp_path / "m.safetensors").params, model.params)


def test_a_file_has_to_hold_what_it_describes(file, monkeypatch):
    monkeypatch.setattr(foreign, "MOST_MODULES", 50)
    rewrite(file, kwargs=json.dumps(DEEP | {"depth": 4000}))
    refused(file, "50 layers")
    many = {f"more{i}": np.zeros(0, np.float32) for i in range(25 - len(load_file(file)))}
    rewrite(file, lambda entries: entries | many)
    refused(file, "100 layers")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_models_run(name):
    model = kdgan_jax.load(name)
    sr = model.upscale(np.full((5, 6, 3), 128, np.uint8))
    assert sr.shape == (5 * model.scale, 6 * model.scale, 3)
    assert np.abs(sr.astype(int) - 128).max() < 20  # grey stays about grey
