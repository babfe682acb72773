"""Weight norm and spectral norm; PyTorch gives the same outputs to 3e-7 for a small network."""

import networks
import numpy as np
import pytest
from networks import WRITERS

import kdgan_jax
from kdgan_jax.formats import folding, foreign

STATE = networks.state(0)
RANDOM = np.random.default_rng(3)


def weight_norm(weight):
    """Returns (g, v): v is any multiple of each output's kernel, and g its length."""
    length = np.sqrt((weight**2).sum(axis=(1, 2, 3), keepdims=True))
    return length, weight * RANDOM.uniform(0.5, 2, length.shape).astype(np.float32)


def spectral_norm(weight):
    """Returns (weight, u, v): the weight times its largest singular value, and its vectors."""
    u, s, v = np.linalg.svd(weight.reshape(len(weight), -1))
    return weight / s[0], weight, u[:, 0], v[0]


def split(form):
    """Returns (state with factors, the weights that they stand for)."""
    stored, meant = {}, dict(STATE)
    for name, array in STATE.items():
        stem = name.removesuffix("weight")
        new = f"{stem}parametrizations.weight."
        if array.ndim != 4:
            stored[name] = array
        elif form.startswith("weight"):
            g, v = weight_norm(array)
            keys = (
                (f"{new}original0", f"{new}original1")
                if "new" in form
                else (f"{name}_g", f"{name}_v")
            )
            stored |= dict(zip(keys, (g, v), strict=True))
        else:
            meant[name], weight, u, v = spectral_norm(array)
            if "new" in form:
                stored |= {f"{new}original": weight, f"{new}0._u": u, f"{new}0._v": v}
            else:
                stored |= {f"{name}_orig": weight, f"{name}_u": u}
                stored |= {} if "without v" in form else {f"{name}_v": v}
    return stored, meant


FORMS = "weight", "weight new", "spectral", "spectral without v", "spectral new"


@pytest.mark.parametrize("form", FORMS)
def test_factors_become_the_weight(tmp_path, form):
    stored, meant = split(form)
    WRITERS["zip"](tmp_path / "a.pth", {"net": stored})
    model = kdgan_jax.load(tmp_path / "a.pth")
    found = foreign.to_state(model.module, model.params)
    assert found.keys() == meant.keys()
    for name, array in meant.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-7)


def test_one_norm_may_serve_a_whole_weight_and_other_axes_the_outputs():
    v = RANDOM.normal(size=(3, 4, 2, 2)).astype(np.float32)
    whole = folding.folded({"a_g": np.asarray(2, np.float32), "a_v": v})["a"]
    assert np.linalg.norm(whole) == pytest.approx(2)
    matrix = np.moveaxis(v, 1, 0).reshape(4, -1)
    u, s, right = np.linalg.svd(matrix)
    turned = folding.folded({"a_orig": v, "a_u": u[:, 0], "a_v": right[0]})["a"]
    np.testing.assert_allclose(turned, v / s[0], rtol=1e-5)


def test_other_names_stay(tmp_path):
    entries = {"a_g": np.ones(3), "b_v": np.ones(3), "c_u": np.ones(3), "weight": np.ones(3)}
    assert folding.folded(entries) == entries
