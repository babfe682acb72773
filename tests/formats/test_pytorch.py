"""PyTorch files written by hand, opcode by opcode: hostile ones, too, and without PyTorch."""

import contextlib
import pickle
import struct
import zipfile

import numpy as np
import pytest

from kdgan_jax.formats import pytorch
from kdgan_jax.runtime.errors import UserError


def plain(value):
    """The opcodes of a number, text, list, tuple or dictionary of them."""
    return pickle.dumps(value, 2)[2:-1]


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def call(function, *arguments):
    return function + b"(" + b"".join(arguments) + b"tR"


def dictionary(entries):
    return b"}(" + b"".join(plain(k) + v for k, v in entries.items()) + b"u"


def reference(key, size, kind="FloatStorage"):
    parts = plain("storage") + named("torch", kind) + plain(key) + plain("cpu") + plain(size)
    return b"(" + parts + b"tQ"


def tensor(key, array, *, shape=None, strides=None, offset=0, size=None, kind="FloatStorage"):
    shape = array.shape if shape is None else shape
    strides = tuple(s // array.itemsize for s in array.strides) if strides is None else strides
    return call(
        named("torch._utils", "_rebuild_tensor_v2"),
        reference(key, array.size if size is None else size, kind),
        *map(plain, (offset, tuple(shape), tuple(strides), False)),
        call(named("collections", "OrderedDict")),
    )


def write_zip(path, pickled, storages, **more):
    with zipfile.ZipFile(path, "w", **more) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickled + b".")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def write_stream(path, pickled, storages, sizes=None):
    with path.open("wb") as file:
        for value in (pytorch.MAGIC, 1001, {"little_endian": True}):
            file.write(pickle.dumps(value, 2))
        file.write(b"\x80\x02" + pickled + b".")
        file.write(pickle.dumps(list(storages), 2))
        for key, data in storages.items():
            file.write(struct.pack("<q", (sizes or {}).get(key, len(data) // 4)) + data)
    return path


A = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
B = np.array([1.5, -2], np.float32)
STATE = {"conv.weight": tensor("0", A), "conv.bias": tensor("1", B)}
STORAGES = {"0": A.tobytes(), "1": B.tobytes()}
WRITERS = [write_zip, write_stream]


def check(found):
    assert list(found) == ["conv.weight", "conv.bias"]
    for array, wanted in zip(found.values(), (A, B), strict=True):
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("write", WRITERS)
def test_a_state_is_read_from_either_format(tmp_path, write):
    check(pytorch.read(write(tmp_path / "a.pth", dictionary(STATE), STORAGES)))


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: dictionary({"params": state}),
        lambda state: dictionary({"epoch": plain(3), "state_dict": state, "lr": plain(0.1)}),
        lambda state: dictionary({"params": dictionary({}), "params_ema": state}),
        lambda state: dictionary({"model": dictionary({"state_dict": state})}),
    ],
)
def test_what_checkpoints_put_around_the_weights_is_left_out(tmp_path, write, wrap):
    check(pytorch.read(write(tmp_path / "a.pth", wrap(dictionary(STATE)), STORAGES)))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_left_out(tmp_path, prefix):
    state = {prefix + name: value for name, value in STATE.items()}
    check(pytorch.read(write_zip(tmp_path / "a.pth", dictionary(state), STORAGES)))


def module(parameters, parts=()):
    """The opcodes of a pickled module: an object of an unknown class with its state."""
    state = {"training": plain(True), "_parameters": dictionary(parameters)}
    state["_modules"] = dictionary(dict(parts))
    return call(named("some.package", "Net")) + dictionary(state) + b"b"


def test_a_whole_module_is_read_without_its_class(tmp_path):
    parameter = named("torch.nn.parameter", "Parameter")
    weights = {"weight": call(parameter, tensor("0", A)), "bias": tensor("1", B)}
    whole = dictionary({"epoch": plain(50), "model": module({}, {"conv": module(weights)})})
    check(pytorch.read(write_stream(tmp_path / "a.pth", whole, STORAGES)))


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
    found = pytorch.read(write_zip(tmp_path / "a.pth", state, {"0": values.tobytes()}))["x"]
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


def test_bfloat16_is_widened(tmp_path):
    values = np.array([1.5, -2, 0.1], np.float32)
    halves = (values.view(np.uint32) >> 16).astype("<u2")
    state = dictionary({"x": tensor("0", halves, kind="BFloat16Storage")})
    found = pytorch.read(write_zip(tmp_path / "a.pth", state, {"0": halves.tobytes()}))["x"]
    np.testing.assert_allclose(found, values, rtol=2**-7)
    assert found[0] == 1.5


def test_views_with_strides_and_offsets_are_honoured(tmp_path):
    base = np.arange(12, dtype=np.float32)
    state = {
        "turned": tensor("0", base, shape=(3, 4), strides=(1, 3)),
        "part": tensor("0", base, shape=(2,), strides=(1,), offset=10),
        "number": tensor("0", base, shape=(), strides=(), offset=5),
        "none": tensor("0", base, shape=(0, 4), strides=(4, 1)),
    }
    found = pytorch.read(write_zip(tmp_path / "a.pth", dictionary(state), {"0": base.tobytes()}))
    np.testing.assert_array_equal(found["turned"], base.reshape(4, 3).T)
    np.testing.assert_array_equal(found["part"], [10, 11])
    assert found["number"] == 5
    assert found["none"].shape == (0, 4)


# Hostile files: the canary stays, and the answer is one sentence that names the file.


def refused(path, reason=""):
    with pytest.raises(UserError, match="is no PyTorch file that can be used") as caught:
        pytorch.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("write", WRITERS)
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
def test_nothing_that_is_named_is_run(tmp_path, write, evil):
    canary = tmp_path / "canary"
    alone = write(tmp_path / "alone.pth", evil(canary), {})
    refused(alone, "it holds no tensor")
    beside = dictionary({"evil": evil(canary), **STATE})
    check(pytorch.read(write(tmp_path / "beside.pth", beside, STORAGES)))
    assert not canary.exists()


def test_no_module_is_imported(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    state = dictionary({"x": call(named("trap", "Net")), **STATE})
    check(pytorch.read(write_zip(tmp_path / "a.pth", state, STORAGES)))
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ({"shape": (2, 3, 2, 3)}, "outside its storage"),
        ({"shape": (10**9, 10**9), "strides": (0, 0)}, "outside its storage"),
        ({"offset": 1}, "outside its storage"),
        ({"offset": 10**12}, "outside its storage"),
        ({"offset": -1}, "a tensor of shape"),
        ({"shape": (2, -3, 2, 2)}, "a tensor of shape"),
        ({"strides": (1, 1)}, "a tensor of shape"),
        ({"shape": (2.0, 3, 2, 2)}, "a tensor of shape"),
        ({"size": 10**12}, ""),
        ({"size": -5}, "a storage of size"),
        ({"size": 25}, ""),
        ({"kind": "DoubleStorage"}, ""),
    ],
)
def test_lies_about_sizes_are_refused(tmp_path, write, lie, reason):
    path = write(tmp_path / "a.pth", dictionary({"x": tensor("0", A, **lie)}), {"0": A.tobytes()})
    refused(path, reason)


def test_a_storage_that_is_missing_or_cut_short_is_refused(tmp_path):
    refused(write_zip(tmp_path / "a.pth", dictionary(STATE), {"0": A.tobytes()}))
    refused(write_zip(tmp_path / "b.pth", dictionary(STATE), STORAGES | {"1": b"1234"}), "1 of 2")
    whole = write_stream(tmp_path / "c.pth", dictionary(STATE), STORAGES).read_bytes()
    for length in (10, 100, len(whole) - 4, len(whole) - 20):
        (tmp_path / "c.pth").write_bytes(whole[:length])
        refused(tmp_path / "c.pth")


def test_zip_bombs_and_records_that_overlap_are_refused(tmp_path):
    zeros = {"0": bytes(A.nbytes)}
    packed = write_zip(
        tmp_path / "a.pth", dictionary(STATE), zeros, compression=zipfile.ZIP_DEFLATED
    )
    refused(packed, "is compressed")
    path = write_zip(tmp_path / "b.pth", dictionary(STATE), STORAGES)
    data = bytearray(path.read_bytes())
    entry = data.rfind(b"PK\x01\x02")  # of the last storage in the directory
    data[entry + 42 : entry + 46] = struct.pack("<I", 0)  # it starts where the pickle does
    path.write_bytes(data)
    refused(path)


def test_few_bytes_that_name_endless_parts_are_refused(tmp_path):
    # Each dictionary holds the one before it twice: 2^40 paths through 40 of them.
    nested = dictionary(STATE)
    opcodes = nested + b"q\x01"
    for level in range(40):
        get = b"h" + bytes([level + 1])
        opcodes += b"0}(" + plain("a") + get + plain("b") + get + b"uq" + bytes([level + 2])
    refused(write_zip(tmp_path / "a.pth", opcodes, STORAGES), "more than")


def test_other_files_are_refused(tmp_path):
    for name, data in {
        "empty": b"",
        "text": b"hello",
        "pickle": pickle.dumps({"a": 1}),
        "zip": b"PK\x05\x06" + bytes(18),
    }.items():
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name)
    with pytest.raises(UserError, match="no such file"):
        pytorch.read(tmp_path / "missing.pth")


def test_damage_anywhere_is_one_sentence(tmp_path):
    random = np.random.default_rng(0)
    for write in WRITERS:
        whole = write(tmp_path / "a.pth", dictionary(STATE), STORAGES).read_bytes()
        for _ in range(300):
            data = bytearray(whole)
            for place in random.integers(0, len(data), random.integers(1, 4)):
                data[place] = random.integers(0, 256)
            (tmp_path / "b.pth").write_bytes(data)
            with contextlib.suppress(UserError):  # any other error fails
                pytorch.read(tmp_path / "b.pth")


def test_published_files_are_read(shared):
    found = {
        path.name: pytorch.read(path)
        for path in (shared / "weights").iterdir()
        if path.suffix in (".pth", ".pt")
    }
    assert len(found) == 18
    for name, state in found.items():
        assert all(np.isfinite(array).all() for array in state.values()), name
    assert found["vdsr.pth"]["residual_layer.17.conv.weight"].shape == (64, 64, 3, 3)
    assert len(found["vdsr.pth"]) == 20
    assert sum(a.size for a in found["imdn_x4.pth"].values()) == 715_176
    assert "fea_conv.weight" in found["imdn_x4.pth"]
