"""PyTorch files written by hand, hostile ones among them, and read without PyTorch."""

import functools
import pickle
import struct
import zipfile

import numpy as np
import pytest
import refusals
from pickles import call, dictionary, named, plain, tensor, write_stream, write_zip

from kdgan_jax.formats import pytorch

KERNEL = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
BIAS = np.array([1.5, -2], np.float32)
STATE = {"conv.weight": tensor("0", KERNEL), "conv.bias": tensor("1", BIAS)}
STORAGES = {"0": KERNEL.tobytes(), "1": BIAS.tobytes()}
both_formats = pytest.mark.parametrize("write", [write_zip, write_stream])
refused = functools.partial(refusals.refused, pytorch.read)


def check(weights, prefix=""):
    assert list(weights) == [f"{prefix}conv.weight", f"{prefix}conv.bias"]
    for array, expected in zip(weights.values(), (KERNEL, BIAS), strict=True):
        np.testing.assert_array_equal(array, expected, strict=True)


def module(parameters, parts=()):
    """Returns the opcodes of a saved module: an object of an unknown class with its state."""
    state = {"training": plain(True), "_parameters": dictionary(parameters)}
    state["_modules"] = dictionary(dict(parts))
    return call(named("some.package", "Net")) + dictionary(state) + b"b"


PARAMETER = named("torch.nn.parameter", "Parameter")
LAYER = {"weight": call(PARAMETER, tensor("0", KERNEL)), "bias": tensor("1", BIAS)}
OBJECT = call(named("some.package", "Average")) + dictionary({"shadow": dictionary(STATE)}) + b"b"
# By the prefix of names, what surrounds the weights.
STATES = {
    "": dictionary(STATE),
    "params.": dictionary({"params": dictionary(STATE)}),
    "state_dict.": dictionary({"epoch": plain(3), "state_dict": dictionary(STATE)}),
    "a.module.": dictionary({"a": dictionary({f"module.{k}": v for k, v in STATE.items()})}),
    "model.": dictionary({"epoch": plain(50), "model": module({}, {"conv": module(LAYER)})}),
    "1.": b"(" + plain(3) + dictionary(STATE) + b"t",
    "list.0.": dictionary({"list": b"](" + dictionary(STATE) + plain([7] * 9) + b"e"}),
    "ema.shadow.": dictionary({"ema": OBJECT}),
    "other.": dictionary(
        {"other": call(named("some.package", "Dict")) + dictionary(STATE)[1:]},
    ),
}


@both_formats
@pytest.mark.parametrize("prefix", STATES)
def test_weights_are_read_from_whatever_surrounds_them(tmp_path, write, prefix):
    check(pytorch.read(write(tmp_path / "a.pth", STATES[prefix], STORAGES)), prefix)


def test_numbers_that_tell_how_to_read_weights_are_kept(tmp_path):
    more = {"scale": plain(3), "act_type": plain("relu"), "epoch": plain(7), "act": plain([1])}
    path = write_zip(tmp_path / "a.pth", dictionary(STATE | more), STORAGES)
    facts = {name: array for name, array in pytorch.read(path).items() if array.ndim == 0}
    assert facts == {"scale": 3, "act_type": "relu"}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_of_numpys_arrays_is_read(tmp_path, protocol):
    state = {"conv.weight": np.asfortranarray(KERNEL), "conv.bias": BIAS.astype(">f4")}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"params": state, "a": [None]}, protocol))
    check(pytorch.read(tmp_path / "a.pkl"), "params.")
    objects = {"a": np.array([print, KERNEL], object)}
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(objects, protocol))
    refused(tmp_path / "b.pkl", "'O")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("DoubleStorage", np.array([0.1, -3], np.float64)),
        ("HalfStorage", np.array([0.1, -3], np.float16)),
        ("LongStorage", np.array([7, -3], np.int64)),
        ("BoolStorage", np.array([True, False])),
    ],
)
def test_types_of_numbers_are_kept(tmp_path, kind, values):
    state = dictionary({"x": tensor("0", values, kind=kind)})
    weights = pytorch.read(write_zip(tmp_path / "a.pth", state, {"0": values.tobytes()}))
    np.testing.assert_array_equal(weights["x"], values, strict=True)


def test_bfloat16_is_widened(tmp_path):
    values = np.array([1.5, -2, 0.1], np.float32)
    halves = (values.view(np.uint32) >> 16).astype("<u2")
    state = dictionary({"x": tensor("0", halves, kind="BFloat16Storage")})
    weights = pytorch.read(write_zip(tmp_path / "a.pth", state, {"0": halves.tobytes()}))
    np.testing.assert_allclose(weights["x"], values, rtol=2**-7)
    assert weights["x"][0] == 1.5


def test_views_with_strides_and_offsets_are_honoured(tmp_path):
    base = np.arange(12, dtype=np.float32)
    state = {
        "turned": tensor("0", base, shape=(3, 4), strides=(1, 3)),
        "part": tensor("0", base, shape=(2,), strides=(1,), offset=10),
        "number": tensor("0", base, shape=(), strides=(), offset=5),
        "none": tensor("0", base, shape=(0, 4), strides=(4, 1)),
    }
    weights = pytorch.read(write_zip(tmp_path / "a.pth", dictionary(state), {"0": base.tobytes()}))
    np.testing.assert_array_equal(weights["turned"], base.reshape(4, 3).T)
    np.testing.assert_array_equal(weights["part"], [10, 11])
    assert weights["number"] == 5
    assert weights["none"].shape == (0, 4)


# Hostile files.


@both_formats
@pytest.mark.parametrize(
    "evil",
    [
        lambda canary: call(named("os", "system"), plain(f"touch {canary}")),
        lambda canary: call(named("posix", "system"), plain(f"touch {canary}")),
        lambda canary: call(named("builtins", "eval"), plain(f"open({str(canary)!r}, 'w')")),
        lambda canary: call(named("builtins", "exec"), plain(f"open({str(canary)!r}, 'w')")),
        lambda canary: call(
            call(named("builtins", "getattr"), named("os", "path"), plain("join")),
            plain(str(canary)),
        ),
        lambda canary: call(named("subprocess", "check_call"), plain(["touch", str(canary)])),
        lambda canary: call(named("torch.hub", "load"), plain(str(canary))),
        lambda canary: b"c__builtin__\nopen\n" + b"(" + plain(str(canary)) + plain("w") + b"tR",
        lambda canary: b"(" + plain(f"touch {canary}") + b"ios\nsystem\n",
        lambda canary: named("os", "system") + b"(" + plain(f"touch {canary}") + b"t\x81",
    ],
)
def test_nothing_that_a_pickle_calls_is_run(tmp_path, write, evil):
    canary = tmp_path / "canary"
    refused(write(tmp_path / "alone.pth", evil(canary), {}), "no tensor")
    beside = dictionary({"evil": evil(canary), **STATE})
    check(pytorch.read(write(tmp_path / "beside.pth", beside, STORAGES)))
    assert not canary.exists()


def test_no_module_is_imported(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    state = dictionary({"x": call(named("trap", "Net")), **STATE})
    check(pytorch.read(write_zip(tmp_path / "a.pth", state, STORAGES)))
    assert not (tmp_path / "canary").exists()


@both_formats
@pytest.mark.parametrize(
    ("lie", "facts"),
    [
        ({"shape": (2, 3, 2, 3)}, ["(2, 3, 2, 3)", "24"]),
        ({"shape": (10**9, 10**9), "strides": (0, 0)}, ["(1000000000, 1000000000)", "24"]),
        ({"offset": 1}, ["(2, 3, 2, 2)", "24"]),
        ({"offset": 10**12}, ["(2, 3, 2, 2)", "24"]),
        ({"offset": -1}, ["(2, 3, 2, 2)"]),
        ({"shape": (2, -3, 2, 2)}, ["(2, -3, 2, 2)"]),
        ({"strides": (1, 1)}, ["(1, 1)"]),
        ({"shape": (2.0, 3, 2, 2)}, ["(2.0, 3, 2, 2)"]),
        ({"size": 10**12}, []),
        ({"size": -5}, ["-5"]),
        ({"size": 25}, []),
        ({"kind": "DoubleStorage"}, []),
    ],
)
def test_lies_about_sizes_are_refused(tmp_path, write, lie, facts):
    state = dictionary({"x": tensor("0", KERNEL, **lie)})
    refused(write(tmp_path / "a.pth", state, {"0": KERNEL.tobytes()}), *facts)


def test_a_storage_that_is_missing_or_cut_short_is_refused(tmp_path):
    state = dictionary(STATE)
    refused(write_zip(tmp_path / "a.pth", state, {"0": KERNEL.tobytes()}))
    refused(write_zip(tmp_path / "b.pth", state, STORAGES | {"1": b"1234"}), "1 of 2")
    whole = write_stream(tmp_path / "c.pth", state, STORAGES).read_bytes()
    for length in (10, 100, len(whole) - 4, len(whole) - 20):
        (tmp_path / "c.pth").write_bytes(whole[:length])
        refused(tmp_path / "c.pth")


def test_zip_bombs_and_records_that_overlap_are_refused(tmp_path):
    zeros = {"0": bytes(KERNEL.nbytes)}
    packed = tmp_path / "a.pth"
    write_zip(packed, dictionary(STATE), zeros, compression=zipfile.ZIP_DEFLATED)
    refused(packed, "compressed")
    path = write_zip(tmp_path / "b.pth", dictionary(STATE), STORAGES)
    data = bytearray(path.read_bytes())
    entry = data.rfind(b"PK\x01\x02")  # of the last storage in the directory
    data[entry + 42 : entry + 46] = struct.pack("<I", 0)  # it starts where the pickle does
    path.write_bytes(data)
    refused(path)


def test_a_few_bytes_that_describe_endless_parts_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pytorch, "MAX_ITEMS", 1000)
    # Each dictionary holds the one before it twice: 2^40 paths through 40 of them.
    opcodes = dictionary(STATE) + b"q\x01"
    for level in range(40):
        get = b"h" + bytes([level + 1])
        opcodes += b"0}(" + plain("a") + get + plain("b") + get + b"uq" + bytes([level + 2])
    refused(write_zip(tmp_path / "a.pth", opcodes, STORAGES), "1000 items")


@pytest.mark.parametrize("data", [b"", b"hello", pickle.dumps({"a": 1}), b"PK\x05\x06" + bytes(18)])
def test_other_files_are_refused(tmp_path, data):
    (tmp_path / "a.pth").write_bytes(data)
    refused(tmp_path / "a.pth")
    refused(tmp_path / "missing.pth")


def test_published_files_are_read(shared):
    weights = pytorch.read(shared / "weights" / "vdsr.pth")  # a stream with a saved module
    assert weights["model.residual_layer.17.conv.weight"].shape == (64, 64, 3, 3)
    assert len(weights) == 20
    weights = pytorch.read(shared / "weights" / "imdn_x4.pth")  # with a prefix
    assert sum(array.size for array in weights.values()) == 715_176
    assert "module.fea_conv.weight" in weights
    assert all(np.isfinite(array).all() for array in weights.values())
