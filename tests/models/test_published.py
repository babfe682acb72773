"""Published networks: their files are recognised, lose nothing, and give the published output."""

import functools

import checks
import jax
import numpy as np
import pytest
from architectures import KNOWN
from conftest import HASTE
from safetensors.numpy import save_file

from kdgan_jax import models
from kdgan_jax.formats import container, foreign, imported, search
from kdgan_jax.models.generators import rrdb
from kdgan_jax.runtime.errors import UserError

COUNTS = [
    (name, n, kwargs) for name, known in KNOWN.items() for n, kwargs in known.parameters.items()
]
STATES = [(name, kwargs) for name, known in KNOWN.items() for kwargs in known.states]
FILES = {
    stem: (name, kwargs) for name, known in KNOWN.items() for stem, kwargs in known.files.items()
}
RECORDED = {
    stem: (name, kwargs) for name, known in KNOWN.items() for stem, kwargs in known.recorded.items()
}


@functools.cache
def restored(shared, stem):
    """Returns (state, name, module, parameters) of the published file with these golden outputs."""
    files = {path.stem: path for path in (shared / "weights").iterdir()}
    path = files.get(stem) or files[stem.rpartition("_x")[0]]  # serves several scales
    entries = imported.READERS[container.kind(path)](path)
    prefixes = [claim.prefix for claim in search.claims(foreign.shapes_of(entries))]
    state = search.part(entries, max(prefixes, key=search.averaged))
    return state, *checks.restore(state, FILES[stem][1].get("scale"))


def test_every_architecture_is_known():
    assert KNOWN.keys() == models.GENERATORS.keys()


@pytest.mark.parametrize(("name", "count", "kwargs"), COUNTS)
def test_parameter_count_is_the_published_one(name, count, kwargs):
    assert models.parameters(foreign.shapes(checks.generator(name, **kwargs))) == count


@pytest.mark.parametrize(("name", "kwargs"), STATES)
def test_a_state_is_recognised_and_comes_back(name, kwargs):
    module, variables, _ = checks.build(name, **kwargs)
    state = foreign.to_state(module, variables["params"])
    ((detected, arguments),) = checks.claims(state)
    assert detected == name
    assert checks.generator(name, **arguments) == module
    stored = {field for field in module.__dataclass_fields__ if field not in KNOWN[name].unsaid}
    assert arguments.keys() == stored - {"parent", "name", "dtype"}
    params = foreign.to_params(module, state)
    same = functools.partial(np.testing.assert_array_equal, strict=True)
    jax.tree.map(same, params, variables["params"])


@pytest.mark.parametrize("stem", FILES)
def test_only_its_own_architecture_claims_a_file(shared, stem):
    state, detected, module, _ = restored(shared, stem)
    name, kwargs = FILES[stem]
    ((claimed, arguments),) = checks.claims(state)
    assert claimed == name == detected
    assert module == checks.generator(name, **kwargs)
    if name == "carn_m":
        assert arguments["scale"] == 4  # the largest that the file serves


@pytest.mark.parametrize(
    ("crop", "options"), [("a", HASTE), pytest.param("b", None, marks=pytest.mark.long)]
)
@pytest.mark.parametrize("stem", FILES)
def test_published_weights_give_the_published_output(shared, stem, crop, options):
    _, name, module, params = restored(shared, stem)
    with np.load(shared / "golden" / f"{stem}.npz") as golden:
        lr, expected = golden[f"x_{crop}"], golden[f"y_{crop}"]
    known = KNOWN[name]
    low, high = known.image_range
    method = module.core if lr.shape[-1] == 1 else None  # of luma alone
    apply = checks.compiled(functools.partial(module.apply, method=method), options)
    sr, _ = apply({"params": params}, (lr - low) / (high - low))
    inside = slice(known.border, -known.border or None)
    sr = low + (high - low) * sr[:, inside, inside]
    assert sr.shape == expected.shape
    np.testing.assert_allclose(sr, expected, rtol=0, atol=known.error)


@pytest.mark.parametrize("stem", RECORDED)
def test_random_weights_give_what_pytorch_gives(stem):
    state, lr, expected = checks.recorded(stem)
    name, module, params = checks.restore(rrdb.modern_keys(state))
    assert (name, module) == (RECORDED[stem][0], checks.generator(name, **RECORDED[stem][1]))
    sr, _ = checks.compiled(module.apply, HASTE)({"params": params}, lr)
    assert sr.shape == expected.shape
    assert expected.std() > 0.01  # the output depends on the input
    np.testing.assert_allclose(sr, expected, rtol=0, atol=1e-5 * max(np.abs(expected).max(), 1))


@pytest.mark.parametrize("stem", ["rrdb_x4", "rrdb_x2_plain"])
def test_older_names_of_rrdb_become_modern(stem):
    old, _, _ = checks.recorded(stem)
    new = rrdb.modern_keys(old)
    assert len(new) == len(old)
    assert checks.restore(new)[0] == "rrdb"
    assert rrdb.modern_keys(new) == new
    # A reader may have removed "model." as the prefix of a wrapper.
    unwrapped = {key.removeprefix("model."): array for key, array in old.items()}
    assert rrdb.modern_keys(unwrapped).keys() == new.keys()


def test_other_states_keep_their_names():
    state = {"model.0.weight": 1, "HRconv.weight": 2, "body.0.conv1.weight": 3}
    assert rrdb.modern_keys(state) == state


def test_rrdb_of_scale_1_is_recognised():
    arguments = {"scale": 1, **RECORDED["rrdb_x4"][1], "unshuffle": 4}
    module = rrdb.RRDBNet(**arguments)
    state = foreign.to_state(module, checks.drawn(module))
    assert checks.claims(state) == [("rrdb", arguments)]


def test_esrgan_plus_is_not_taken_for_rrdb(tmp_path):
    state, _, _ = checks.recorded("rrdb_x4")
    extra = {"model.1.sub.0.RDB1.conv1x1.weight": np.zeros((4, 8, 1, 1), np.float32)}
    save_file(state | extra, tmp_path / "plus.safetensors")
    with pytest.raises(UserError, match=r"rrdb, but 1 of its .*RDB1\.conv1x1"):
        imported.load(tmp_path / "plus.safetensors")


def test_a_file_of_pan_for_x3_is_like_one_for_x2():
    two, three = (foreign.shapes(checks.build("pan", scale).module) for scale in (2, 3))
    assert two == three
