"""Networks are found under any wrapper, in any format, beside anything."""

import logging

import networks
import numpy as np
import pytest
from networks import WRITERS, under

import kdgan_jax
from kdgan_jax.formats import foreign, imported, search
from kdgan_jax.runtime.errors import UserError

OURS, OTHERS = networks.state(0), networks.state(1)
CRITIC = {"conv0.weight": np.zeros((4, 3, 3, 3), np.float32), "conv0.bias": np.zeros(4, np.float32)}
MOMENTS = {"state": {0: {"step": 3, "exp_avg": np.zeros(3, np.float32)}}, "groups": [{"lr": 0.1}]}


def assert_ours(path, expected=OURS, **arguments):
    model = kdgan_jax.load(path, **arguments)
    assert (model.name, model.kwargs, model.scale) == ("compact", networks.TINY, 4)
    found = foreign.to_state(model.module, model.params)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    return model


WRAPPERS = {
    "plain": OURS,
    "params": {"params": OURS},
    "parallel": under("module.", OURS),
    "compiled, parallel": under("_orig_mod.module.", OURS),
    "parallel, compiled": under("module._orig_mod.", OURS),
    "nested": {"epoch": 1, "model": {"state_dict": under("module._orig_mod.net_g.", OURS)}},
    "names never heard of": {"Best-So-Far": {"student net": under("a.b.c.", OURS)}},
    "beside others": {"net_g": OURS, "net_d": CRITIC, "optim_g": MOMENTS, "iter": 7},
    "beside others, flat": under("net_d.", CRITIC) | under("net_g.", OURS),
    "with a loss in it": under("net.", OURS | under("vgg.0.", CRITIC) | under("netD.", CRITIC)),
    "in a list": {"models": [CRITIC, OURS], "optimizers": [MOMENTS, MOMENTS]},
    "twice": {"model": OURS, "state_dict": under("module.", OURS)},
    "with moments of the same names": {"model": OURS, "optim": {"exp_avg": OTHERS}},
    "with a counter": under("module.", OURS) | {"n_averaged": np.asarray(7, np.int32)},
    "an average alone": {"params_ema": OURS},
    "an average within": OTHERS | under("ema.module.", OURS),
}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_network_is_found_in_any_wrapper(tmp_path, wrapper, write):
    WRITERS[write](tmp_path / "file", WRAPPERS[wrapper])
    assert_ours(tmp_path / "file")


AVERAGES = {
    "g_ema": "g",
    "params_ema": "params",
    "ema_model": "online_model",
    "netG_EMA": "netG",
    "emaGenerator": "generator",
    "ema_0.999.module": "model",
    "ema.shadow": "non_ema",
    "swa_model": "model",
    "state_dict.averaged": "state_dict.raw",
}


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("first", [True, False])
def test_averaged_weights_win_and_the_model_says_so(tmp_path, caplog, average, first):
    caplog.set_level(logging.INFO)
    raw, file = AVERAGES[average], tmp_path / "a.safetensors"
    both = [under(f"{average}.", OURS), under(f"{raw}.", OTHERS)][:: 1 if first else -1]
    WRITERS["safetensors"](file, both[0] | both[1] | under("d.", CRITIC))
    said = f"averaged, at '{average}'"
    assert assert_ours(file).about["weights"] == said
    assert f"'{average}', averaged" in caplog.text
    assert assert_ours(file, OTHERS, ema=False).about["weights"] == f"not averaged, at '{raw}'"
    assert_ours(f"{file}:raw", OTHERS)
    assert_ours(f"{file}:{raw}", OTHERS)


@pytest.mark.parametrize(
    "average",
    [
        {"decay": np.asarray(0.9, np.float32), "shadow_params": [*OURS.values()]},
        {name.replace(".", ""): array for name, array in OURS.items()},
    ],
    ids=["a list", "names without dots"],
)
def test_averages_without_names_have_those_of_the_raw_weights(tmp_path, average):
    WRITERS["zip"](tmp_path / "a.ckpt", {"model": OTHERS, "model_ema": average})
    assert "averaged" in assert_ours(tmp_path / "a.ckpt").about["weights"]


def test_two_that_fit_are_refused_with_both_names_and_can_be_told_apart(tmp_path):
    file = tmp_path / "a.pt"
    WRITERS["zip"](file, {"gen": {"A": OURS, "B": OTHERS}})
    for path, facts in {
        file: ["'gen.A'", "'gen.B'", f"{file}:gen.A"],
        f"{file}:C": ["'C'"],
    }.items():
        with pytest.raises(UserError) as caught:
            kdgan_jax.load(path)
        assert all(fact in str(caught.value) for fact in (str(file), "'gen.A'", *facts))
    assert_ours(f"{file}:gen.A")
    assert_ours(f"{file}:B", OTHERS)


def test_long_and_many_names_are_not_all_searched(tmp_path, monkeypatch):
    nested = under("a." * (search.MOST_LEVELS + 1), OURS)
    WRITERS["safetensors"](tmp_path / "a", nested)
    with pytest.raises(UserError, match="no known architecture"):
        imported.load(tmp_path / "a")
    names = {f"{i}.{'x.' * 50}{k}.weight": (1,) for i in range(2000) for k in range(2)}
    assert list(search.claims(names)) == []
    monkeypatch.setattr(imported, "MOST_ENTRIES", len(nested) - 1)
    with pytest.raises(UserError, match=f"{len(nested)} entries"):
        imported.load(tmp_path / "a")


@pytest.mark.parametrize("name", ["semantic", "remap", "no_ema", "model.module", "schedule", "d"])
def test_other_words_mean_no_average(name):
    assert not search.averaged(f"{name}.")
