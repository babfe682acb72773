"""Damaged and hostile models, checkpoints and configs are read, or refused by name.

A few hundred by default, and thousands with `pytest -m long tests/faults`.
"""

import contextlib
import gc
import json
import os
import shutil
import tracemalloc

import mutations
import numpy as np
import pytest
import weights
from hypothesis import strategies as st
from mutations import Watch, altered, mutants
from PIL import Image
from safetensors.numpy import save as to_bytes

from kdgan_jax import config as configuration
from kdgan_jax import models
from kdgan_jax.baselines import random_forest
from kdgan_jax.config.settings import DataConfig
from kdgan_jax.data import prepared, sources
from kdgan_jax.formats import foreign
from kdgan_jax.inference.load import load
from kdgan_jax.runtime import limits
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train.checks import checked
from kdgan_jax.train.earlier import check_workdir
from kdgan_jax.workdir import checkpoint

LONG = pytest.mark.long


def counts(few, many):
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=LONG)])


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Valid files by name."""
    return weights.sound(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def watch():
    watch = Watch()
    yield watch
    print(watch)


def reader(kind):
    return random_forest.load if kind.startswith("forest") else load


FILES = ["ours.safetensors", "theirs.safetensors", "zip.pth", "stream.pth", "keras.h5", "graph.pb"]
FILES += ["forest.safetensors", "compact.param", "rrdb.param"]
FILES += ["numpy.pkl", "packed.zip", "training.pth"]


@pytest.mark.parametrize("kind", FILES)
def test_a_sound_file_of_weights_is_read(tmp_path, sound, kind):
    for name in {kind, kind.replace(".param", ".bin")}:
        (tmp_path / name).write_bytes(sound[name])
    assert Watch()(reader(kind), tmp_path / kind) == "read"


@st.composite
def headers(draw, sound):
    """Draws (name, bytes) of a safetensors file with an altered header."""
    kind = draw(st.sampled_from([name for name in FILES if name.endswith(".safetensors")]))
    header, rest = weights.safetensors(sound[kind])
    facts = header["__metadata__"]
    inner = [name for name in ("kwargs", "scale", "recipe") if name in facts]
    if inner and draw(st.booleans()):  # JSON in JSON
        name = draw(st.sampled_from(inner))
        facts[name] = json.dumps(draw(altered(json.loads(facts[name]))))
    else:
        header = draw(altered(header))
    return kind, weights.with_header(header, rest)


@counts(5, 150)
@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_of_weights(tmp_path, sound, watch, kind, count):
    path = tmp_path / kind
    beside = kind.replace(".param", ".bin")

    def attempt(data):
        names = {kind, beside}
        for name in names:
            (tmp_path / name).write_bytes(sound[name])
        name = data.draw(st.sampled_from(sorted(names)))
        (tmp_path / name).write_bytes(data.draw(mutants({name: sound[name]}))[1])
        watch(reader(kind), path, kind=kind)

    mutations.fuzz(count, attempt, st.data())


@counts(20, 500)
def test_an_altered_header_of_a_safetensors_file(tmp_path, sound, watch, count):
    def attempt(drawn):
        kind, made = drawn
        (tmp_path / kind).write_bytes(made)
        watch(reader(kind), tmp_path / kind, kind="header")

    mutations.fuzz(count, attempt, headers(sound))


@counts(10, 300)
def test_a_damaged_pickle_in_a_sound_archive(tmp_path, watch, count):
    path, compact = tmp_path / "a.pth", weights.model()
    pickle, storages = weights.pickled(foreign.to_state(compact.module, compact.params))

    def attempt(drawn):
        weights.pickles.write_zip(path, drawn[1], storages)
        watch(load, path, kind="pickle")

    mutations.fuzz(count, attempt, mutants({"pickle": pickle}))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint in a run's folder, and its files in an order that does not depend on names."""
    run = tmp_path_factory.mktemp("run")
    folder = weights.save_checkpoint(run / "checkpoints/distill")
    files = [p for p in folder.rglob("*") if p.is_file()]
    return folder, sorted(files, key=lambda p: (p.parent, p.stat().st_size, p.name))


@counts(8, 500)
@pytest.mark.parametrize("signed", [False, True])
def test_a_damaged_checkpoint(tmp_path, saved, watch, signed, count):
    folder, files = saved
    copy = tmp_path / "checkpoints/distill/1"

    def attempt(data):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        file = data.draw(st.sampled_from(files))
        path, valid = copy / file.relative_to(folder), file.read_bytes()
        if valid.startswith(b"{") and data.draw(st.booleans()):
            path.write_text(json.dumps(data.draw(altered(json.loads(valid)))))
        else:
            path.write_bytes(data.draw(mutants({"": valid}))[1])
        if signed:
            weights.sign(copy)
        where = data.draw(st.sampled_from([copy, tmp_path]))
        watch(load, where, kind="signed checkpoint" if signed else "checkpoint", name=tmp_path)

    mutations.fuzz(count, attempt, st.data())


@pytest.fixture(scope="module")
def decoded(tmp_path_factory):
    """The bytes of a file of prepared photos; the photos themselves are gone."""
    root = tmp_path_factory.mktemp("prepared")
    for i in range(5):
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)
        (root / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(root / f"photos/{i}.png")
    data = DataConfig(str(root / "photos"), holdout=1, max_bad_fraction=0.5, memory_mb=9)
    prepared.save(root / "a.bin", sources.gather(data, 4, 16), data, 4)
    shutil.rmtree(root / "photos")
    return (root / "a.bin").read_bytes()


@counts(20, 400)
def test_a_damaged_file_of_prepared_photos(tmp_path, decoded, watch, count):
    first, line, arrays = decoded.split(b"\n", 2)
    path = tmp_path / "a.bin"

    def attempt(data):
        path.unlink(missing_ok=True)  # not overwritten: the earlier one may be mapped into memory
        if data.draw(st.booleans()):  # by a forger, who corrects the checksum
            header = data.draw(altered(json.loads(line)))
            if isinstance(header, dict):
                rows = [np.frombuffer(arrays, np.uint8)]
                header["sha256"] = prepared._digest(header, rows)
            path.write_bytes(b"\n".join([first, json.dumps(header).encode(), arrays]))
        else:
            path.write_bytes(data.draw(mutants({"": decoded}))[1])
        watch(prepared.load, path, 4, kind="prepared photos")

    mutations.fuzz(count, attempt, st.data())


@pytest.mark.parametrize("size", [[-16, -16], [16.0, 16], [True, 256], [None, 16], 16, "ab"])
def test_prepared_photos_of_impossible_sizes_are_refused(tmp_path, decoded, size):
    first, line, arrays = decoded.split(b"\n", 2)
    header = json.loads(line)
    header["photos"][0]["size"] = size
    header["sha256"] = prepared._digest(header, [np.frombuffer(arrays, np.uint8)])
    (tmp_path / "a.bin").write_bytes(b"\n".join([first, json.dumps(header).encode(), arrays]))
    refused(tmp_path / "a.bin", "", lambda path: prepared.load(path, 4))


@counts(20, 400)
def test_a_damaged_config_of_a_workdir(tmp_path, watch, count):
    run, path = checked(configuration.default()), tmp_path / "config.json"
    configs = altered(dict(run.saved)).map(lambda value: json.dumps(value).encode())

    def attempt(made):
        path.write_bytes(made)
        watch(lambda file: check_workdir(run, file), path, kind="config.json", name=tmp_path)

    mutations.fuzz(count, attempt, configs | st.just(b"") | st.binary())


# Cases found by the tests above or by hand, and obvious attacks.


def refused(path, reason, read=load):
    """Checks that a file is refused by name, in time, with this reason in the message."""
    messages = []

    def recorded(path):
        try:
            read(path)
        except UserError as error:
            messages.append(str(error))
            raise

    assert Watch()(recorded, path) == "refused"
    assert reason in messages[0]


@pytest.fixture
def forge(tmp_path, saved):
    """Returns a function that makes a copy of the checkpoint, with `meta.json` changed."""

    def copy(change=lambda meta: meta):
        shutil.rmtree(tmp_path / "1", ignore_errors=True)
        folder = shutil.copytree(saved[0], tmp_path / "1")
        meta = change(json.loads((folder / "meta.json").read_text()))
        (folder / "meta.json").write_text(meta if isinstance(meta, str) else json.dumps(meta))
        weights.sign(folder)
        return folder

    return copy


BUILDS = {
    "endless": ("compact", {"channels": 3, "depth": 10**9}, "4096"),
    "deep": ("compact", {"channels": 3, "depth": 4000}, "100 layers"),
    "deeper": ("edsr", {"channels": 8, "blocks": 4000}, "100 layers"),
    "wide": ("edsr", {"channels": 10**30, "blocks": 1}, "4096"),
    "windows": ("hit_srf", {"windows": [10**6]}, "4096"),
    "infinite": ("compact", {"channels": float("inf")}, "4096"),
    "text": ("compact", {"channels": "many"}, "'many'"),
    "none": ("compact", {"channels": None}, "None"),
    "nothing": ("compact", {"channels": 0}, ""),
    "negative": ("compact", {"channels": -3}, "'compact'"),
    "list": ("compact", [], ""),
    "table": (["compact"], {}, ""),
    "inner": ("compact", {"channels": {"a": 1}}, "4096"),
    "parent": ("compact", {"parent": "x"}, "'parent'"),
}


@pytest.mark.parametrize("name", BUILDS)
def test_networks_with_absurd_descriptions_are_not_built(tmp_path, sound, name, forge, monkeypatch):
    monkeypatch.setattr(foreign, "MOST_MODULES", 100)
    architecture, kwargs, reason = BUILDS[name]
    header, rest = weights.safetensors(sound["ours.safetensors"])
    if isinstance(architecture, str):
        header["__metadata__"] |= {"architecture": architecture, "kwargs": json.dumps(kwargs)}
        (tmp_path / "a.safetensors").write_bytes(weights.with_header(header, rest))
        refused(tmp_path / "a.safetensors", reason)
    model = {"name": architecture, "kwargs": kwargs, "scale": 4}
    refused(forge(lambda meta: {"model": model}), reason)


def test_a_checkpoint_with_the_arrays_of_a_deep_network_is_loaded(saved, monkeypatch):
    monkeypatch.setattr(foreign, "MOST_MODULES", 1)  # fewer than any network has
    assert load(saved[0]).name == "compact"


@LONG
@pytest.mark.parametrize("name", ["compact", "edsr", "rcan", "hit_srf", "bsrn"])
def test_the_largest_networks_are_refused_within_seconds(name):
    words = "depth", "blocks", "groups"
    module = models.GENERATORS[name]
    many = {word: 4000 for word in words if hasattr(module, word)}
    with mutations.limited(name), pytest.raises(ValueError, match="1500 layers"):
        foreign.described(name, many, 4)


def test_json_that_nests_too_deep_is_refused(tmp_path, sound, forge):
    header, rest = weights.safetensors(sound["ours.safetensors"])
    header["__metadata__"]["kwargs"] = "[" * 10**5
    (tmp_path / "a.safetensors").write_bytes(weights.with_header(header, rest))
    refused(tmp_path / "a.safetensors", "recursion")
    header, rest = weights.safetensors(sound["forest.safetensors"])
    header["__metadata__"]["recipe"] = "[" * 10**5
    (tmp_path / "f.safetensors").write_bytes(weights.with_header(header, rest))
    refused(tmp_path / "f.safetensors", "recursion", random_forest.load)
    refused(forge(lambda meta: "[" * 10**5), "meta.json")
    folder = forge()
    (folder / checkpoint.MANIFEST).write_text("[" * 10**5)
    refused(folder, checkpoint.MANIFEST)


@pytest.mark.parametrize("text", ["", "[]", "7", "null", "{}", '{"model": 3}', '{"model": {}}'])
def test_descriptions_of_another_form_are_refused(forge, text):
    refused(forge(lambda meta: text), "meta.json")
    folder = forge()
    (folder / checkpoint.MANIFEST).write_text(text)
    refused(folder, "")


def test_names_in_a_manifest_are_escaped(forge):
    manifest = forge() / checkpoint.MANIFEST
    names = {"\x1b[2J\n": "", "../../secret": "", "/etc/passwd": ""}
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | names))
    refused(manifest.parent, r"'\x1b[2J\n'")


def test_entries_that_lack_axes_or_have_empty_ones_are_refused(tmp_path):
    compact = weights.model()
    state = foreign.to_state(compact.module, compact.params)
    for shape in ((), (0,), (0, 0, 0, 0), (2**20, 0, 3, 3)):
        for key in state:
            altered_state = state | {key: np.zeros(shape, np.float32)}
            (tmp_path / "a.safetensors").write_bytes(to_bytes(altered_state, {"format": "pt"}))
            refused(tmp_path / "a.safetensors", "")


def test_a_file_of_a_thousand_networks_or_prefixes_is_refused_in_time(tmp_path):
    compact = weights.model()
    state = foreign.to_state(compact.module, compact.params)
    many = {f"n{i}.{k}": v + np.float32(i) for i in range(1000) for k, v in state.items()}
    (tmp_path / "a.safetensors").write_bytes(to_bytes(many))
    refused(tmp_path / "a.safetensors", "'n0' (compact x4) and 'n1'")
    long = {f"{'x.' * 500}{i}.{'y.' * 500}a": np.zeros(1, np.float32) for i in range(2000)}
    (tmp_path / "a.safetensors").write_bytes(to_bytes(long))
    refused(tmp_path / "a.safetensors", "2000 entries")


def test_a_network_that_may_be_read_in_two_ways_is_not_built_too_large(tmp_path):
    wide = np.broadcast_to(np.float32(0), (4097, 3, 3, 3))
    state = {"body.0.weight": wide, "body.2.weight": np.zeros((12, 4097, 3, 3), np.float32)}
    (tmp_path / "a.safetensors").write_bytes(to_bytes({k: v.copy() for k, v in state.items()}))
    refused(tmp_path / "a.safetensors", "4096")


def test_types_that_numpy_lacks_are_refused(tmp_path):
    for kind, size in (("BF16", 2), ("F8_E4M3", 1), ("F4", 1), ("U64", 8), ("X", 4), ("C64", 8)):
        facts = {"__metadata__": {"format": "pt"}}
        facts["body.0.weight"] = {"dtype": kind, "shape": [2], "data_offsets": [0, 2 * size]}
        (tmp_path / "a.safetensors").write_bytes(weights.with_header(facts, bytes(2 * size)))
        refused(tmp_path / "a.safetensors", "")
        refused(tmp_path / "a.safetensors", "", random_forest.load)


def test_other_things_than_files_are_refused_at_once(tmp_path, sound, forge):
    for suffix in ("safetensors", "pth", "h5", "pb", "param", "bin"):
        pipe = tmp_path / f"pipe.{suffix}"
        os.mkfifo(pipe)
        (tmp_path / f"folder.{suffix}").mkdir()
        (tmp_path / f"round.{suffix}").symlink_to(tmp_path / f"round.{suffix}")
        for kind in ("pipe", "folder", "round"):
            refused(tmp_path / f"{kind}.{suffix}", "")
    refused(tmp_path / "pipe.safetensors", "", random_forest.load)
    refused(tmp_path / "pipe.bin", "", lambda path: prepared.load(path, 4))
    (tmp_path / "a.param").write_bytes(sound["compact.param"])
    os.mkfifo(tmp_path / "a.bin")
    with pytest.raises(UserError, match=r"a\.bin"):
        load(tmp_path / "a.param")
    for name in (checkpoint.MANIFEST, "meta.json", "items/_CHECKPOINT_METADATA"):
        folder = forge()
        (folder / name).unlink()
        os.mkfifo(folder / name)
        refused(folder, "")


# Memory: sizes in files are not believed.


def _constants(number, side):
    """Returns a frozen graph of constants of one number, which TensorFlow repeats."""
    graph = weights.GraphDef()
    for i in range(number):
        tensor = graph.node.add(name=f"f{i}", op="Const").attr["value"].tensor
        tensor.dtype = 1
        tensor.tensor_shape.dim.add(size=side)
        tensor.float_val.append(0.5)
    return graph.SerializeToString()


def _write_views(path):
    """Writes a PyTorch file whose 400 tensors are all the same storage."""
    array = np.zeros(2**20, np.float32)
    state = {f"a{i}": weights.pickles.tensor("0", array) for i in range(400)}
    weights.pickles.write_zip(path, weights.pickles.dictionary(state), {"0": array.tobytes()})


def _write_unstored(path):
    """Writes a Keras file with an array of which nothing is stored."""
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("c/kernel:0", (3, 3, 2**12, 2**12), np.float32, chunks=(3, 3, 64, 64))


def refused_in_little_memory(path):
    tracemalloc.start()  # counts what this file takes alone: NumPy reports its arrays
    try:
        refused(path, "")
        assert tracemalloc.get_traced_memory()[1] < 2 * limits.most_bytes(path)
    finally:
        tracemalloc.stop()


def test_small_files_take_little_memory(tmp_path, forge):
    (tmp_path / "a.pb").write_bytes(_constants(8, 2**27))  # once took 4 GiB
    (tmp_path / "b.pb").write_bytes(_constants(30, 2**23))
    _write_views(tmp_path / "a.pth")  # once took 1.6 GiB, for a file of 4 MiB
    _write_unstored(tmp_path / "a.h5")  # once took 0.6 GiB
    large = {"name": "compact", "kwargs": {"channels": 4096, "depth": 16}, "scale": 4}
    forge(lambda meta: meta | {"model": large})
    for path in sorted(tmp_path.iterdir()):
        refused_in_little_memory(path)


def test_chunks_that_are_larger_than_their_array_are_not_read(forge):
    import tensorstore

    folder = forge()
    base = f"file://{folder}/items/ema/"
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    array = json.loads(store["PReLU_0.slope/zarr.json"])
    for part in (array["chunk_grid"], array["codecs"][0]):
        part["configuration"]["chunk_shape"] = [2**30]
    store["PReLU_0.slope/zarr.json"] = json.dumps(array).encode()
    weights.sign(folder)
    refused(folder, "larger than its files can hold")


@pytest.mark.filterwarnings("error")  # of exceptions in threads, and of those in finalisers
def test_damaged_items_are_reported_by_the_error_alone(tmp_path, saved, capfd, caplog):
    folder, files = saved
    inner = [file for file in files if "ema" in file.parts and file.parent.name == "d"]
    for i, file in enumerate(inner * 3):
        copy = shutil.copytree(folder, tmp_path / str(i))
        data = bytearray(file.read_bytes())
        data[len(data) // 2 + i] ^= 255
        (copy / file.relative_to(folder)).write_bytes(data)
        weights.sign(copy)
        with contextlib.suppress(UserError):
            load(copy)
    gc.collect()
    assert (capfd.readouterr().err, caplog.text) == ("", "")
