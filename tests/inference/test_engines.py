"""What runs a network: the choice, its check, and the files that are kept."""

import json
import os
import time
from dataclasses import replace

import jax
import numpy as np
import pytest
from conftest import TINY

from kdgan_jax import load, models
from kdgan_jax.inference import engines
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import devices
from kdgan_jax.runtime.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder in which engines keep their files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "kdgan_jax" / "onnx"


def model(name="compact", engine="auto"):
    module = models.generator(name, TINY[name], 4)
    params = models.init(module, jax.random.key(0), 48)["params"]
    return Model(name, TINY[name], 4, params, {}, engine)


def never(lr):
    raise AssertionError("JAX runs again")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_results_are_those_of_jax(folder, photo, dtype):
    lr = photo[:50, :70].astype(dtype) * (257 if dtype == "uint16" else 1)
    one, other = model(), model(engine="jax")
    assert (one.runs_on, other.runs_on) == ("onnxruntime", "jax")
    np.testing.assert_allclose(one.predict(lr), other.predict(lr), atol=engines.CLOSE)
    difference = np.abs(one.upscale(lr).astype(int) - other.upscale(lr))
    assert difference.max() <= (1 if dtype == "uint8" else 7)  # of 65,535: CLOSE


def test_an_image_of_one_row_is_enlarged(folder, photo):
    assert model("vdsr").upscale(photo[:1, :9]).shape == (4, 36, 3)


def test_tiles_give_the_whole(folder, photo, monkeypatch):
    monkeypatch.setattr("kdgan_jax.inference.model.LARGE_TILE", 16)
    tiled = model().upscale(photo[:40, :50])
    monkeypatch.undo()
    np.testing.assert_array_equal(tiled, model().upscale(photo[:40, :50]))


def icons(photo):
    """Returns 40 small pictures of 40 sizes."""
    return [photo[i : 20 + 2 * i, i : 60 - i // 2] for i in range(40)]


def test_pictures_of_many_sizes_take_one_session_and_no_compilation(folder, photo, monkeypatch):
    network = model()
    assert network.runs_on == "onnxruntime"  # which JAX has checked
    made, session = [], engines.session
    monkeypatch.setattr(engines, "session", lambda *given: made.append(given) or session(*given))
    monkeypatch.setattr("kdgan_jax.inference.model._compiled", never)
    pictures = icons(photo)
    assert len({picture.shape for picture in pictures}) == 40
    together = [network.upscale(picture) for picture in pictures]
    assert len(made) == 1
    for picture, sr in zip(pictures, together, strict=True):
        np.testing.assert_array_equal(replace(network).upscale(picture), sr)


@pytest.mark.long  # a clock, which wants a quiet machine
def test_pictures_of_many_sizes_take_as_long_as_those_of_one(folder, photo):
    def seconds(pictures):
        network = model()
        network.upscale(photo[:16, :16])
        began = time.perf_counter()
        for picture in pictures:
            network.upscale(picture)
        return time.perf_counter() - began

    several = icons(photo)
    middle = sorted(several, key=lambda picture: picture.size)[20]
    ratios = [seconds(several) / seconds([middle] * 40) for _ in range(5)]
    assert np.median(ratios) < 2


def test_the_check_is_made_once_for_each_network(folder):
    first = model()
    assert engines.chosen("auto", first, first.predict) == "onnxruntime"
    assert engines.chosen("auto", first, never) == "onnxruntime"
    (record,) = folder.glob("*.json")
    assert json.loads(record.read_text())["difference"] < 1e-5
    other = replace(first, params=jax.tree.map(lambda leaf: leaf * 1.5, first.params))
    with pytest.raises(AssertionError, match="again"):
        engines.chosen("auto", other, never)


@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_an_engine_with_other_outputs_is_not_taken(folder, caplog, wrong):
    network = model()
    differs = lambda lr: replace(network, engine="jax").predict(lr) + wrong  # noqa: E731
    assert engines.chosen("auto", network, differs) == "jax"
    assert "JAX runs it" in caplog.text
    with pytest.raises(UserError, match="engine=jax"):
        engines.chosen("onnxruntime", network, never)


def test_networks_without_a_file_for_any_size_stay_with_jax(folder):
    assert model("hit_srf").runs_on == "jax"
    with pytest.raises(UserError, match=r"onnxruntime.*windows.*engine=jax"):
        _ = model("hit_srf", "onnxruntime").runs_on


def test_accelerators_run_jax(folder, monkeypatch):
    monkeypatch.setattr(devices, "on_cpu", lambda: False)
    assert engines.chosen("auto", model(), never) == "jax"


def test_a_folder_that_cannot_be_written_to_is_no_obstacle(tmp_path, monkeypatch, photo):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert model().upscale(photo[:16, :16]).shape == (64, 64, 3)
    assert model().runs_on == "onnxruntime"


def test_a_damaged_file_is_made_again(folder, photo):
    expected = model().upscale(photo[:16, :16])
    for path in folder.iterdir():
        path.write_bytes(b"{")
    np.testing.assert_array_equal(model().upscale(photo[:16, :16]), expected)


def test_the_files_used_last_are_kept(folder, monkeypatch, photo):
    model().upscale(photo[:16, :16])
    paths = sorted(folder.glob("*.onnx"))
    for age, path in enumerate(paths):
        os.utime(path, (1000 - age, 1000 - age))
    sizes = [path.stat().st_size for path in folder.iterdir()]
    monkeypatch.setattr(engines, "MOST_BYTES", sum(sizes) + 10)
    engines.session(model(), engines.Form(given="uint16"))
    assert len(list(folder.glob("*uint16*"))) == 1
    assert not paths[-1].exists()


def test_unknown_engines_are_refused():
    with pytest.raises(UserError, match=r"onnxruntim.*onnxruntime"):
        load("clean_x4", engine="onnxruntim")
    assert load("clean_x4", engine="jax").runs_on == "jax"
