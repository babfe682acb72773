"""Damaged and hostile files of models, checkpoints and settings: read, or refused by name.

A few hundred in the suite; `pytest -m long tests/faults` is the whole.
"""

import json
import os
import shutil

import mutations
import numpy as np
import pytest
import weights
from hypothesis import given
from hypothesis import strategies as st
from mutations import Watch, altered, mutants
from PIL import Image
from safetensors.numpy import save as to_bytes

from kdgan_jax import config as configuration
from kdgan_jax import models
from kdgan_jax.baselines import random_forest
from kdgan_jax.config.settings import DataConfig
from kdgan_jax.data import photos, prepared
from kdgan_jax.formats import foreign
from kdgan_jax.inference.load import load
from kdgan_jax.runtime import limits
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train.checks import check_workdir, checked
from kdgan_jax.workdir import checkpoint

LONG = pytest.mark.long


def counts(few, many):
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=LONG)])


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Sound files by kind."""
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


@st.composite
def headers(draw, sound):
    """Draws (kind, bytes) of a safetensors file whose header, which is JSON, is altered."""
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


@counts(10, 150)
@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_of_weights(tmp_path, sound, watch, kind, count):
    path = tmp_path / kind
    beside = kind.replace(".param", ".bin")

    @mutations.settings(count)
    @given(st.data())
    def attempt(data):
        names = {kind, beside}
        for name in names:
            (tmp_path / name).write_bytes(sound[name])
        name = data.draw(st.sampled_from(sorted(names)))
        (tmp_path / name).write_bytes(data.draw(mutants({name: sound[name]}))[1])
        watch(reader(kind), path, kind=kind)

    attempt()


@counts(30, 500)
def test_an_altered_header_of_a_safetensors_file(tmp_path, sound, watch, count):
    @mutations.settings(count)
    @given(headers(sound))
    def attempt(drawn):
        kind, made = drawn
        (tmp_path / kind).write_bytes(made)
        watch(reader(kind), tmp_path / kind, kind="header")

    attempt()


@counts(20, 300)
def test_a_damaged_pickle_in_a_sound_archive(tmp_path, watch, count):
    path, compact = tmp_path / "a.pth", weights.model()
    pickle, storages = weights.pickled(foreign.to_state(compact.module, compact.params))

    @mutations.settings(count)
    @given(mutants({"pickle": pickle}))
    def attempt(drawn):
        weights.pickles.write_zip(path, drawn[1], storages)
        watch(load, path, kind="pickle")

    attempt()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run's folder with one checkpoint, and the checkpoint's files, those alike in one order."""
    run = tmp_path_factory.mktemp("run")
    folder = weights.save_checkpoint(run / "checkpoints/distill")
    files = [p for p in folder.rglob("*") if p.is_file()]
    return folder, sorted(files, key=lambda p: (p.parent, p.stat().st_size, p.name))


@counts(12, 500)
@pytest.mark.parametrize("signed", [False, True])
def test_a_damaged_checkpoint(tmp_path, saved, watch, signed, count):
    folder, files = saved
    copy = tmp_path / "checkpoints/distill/1"

    @mutations.settings(count)
    @given(st.data())
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

    attempt()


@pytest.fixture(scope="module")
def decoded(tmp_path_factory):
    """The bytes of a file of prepared photos, which are gone."""
    root = tmp_path_factory.mktemp("prepared")
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)
        (root / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(root / f"photos/{i}.png")
    data = DataConfig(str(root / "photos"), holdout=1, max_bad_fraction=0.5, memory_mb=9)
    prepared.save(root / "a.bin", photos.gather(data, 4, 16), data, 4)
    shutil.rmtree(root / "photos")
    return (root / "a.bin").read_bytes()


@counts(40, 400)
def test_a_damaged_file_of_prepared_photos(tmp_path, decoded, watch, count):
    first, line, arrays = decoded.split(b"\n", 2)
    path = tmp_path / "a.bin"

    @mutations.settings(count)
    @given(st.data())
    def attempt(data):
        path.unlink(missing_ok=True)  # not overwritten: an earlier one may be mapped
        if data.draw(st.booleans()):  # by one who makes its checksum right again
            header = data.draw(altered(json.loads(line)))
            if isinstance(header, dict):
                rows = [np.frombuffer(arrays, np.uint8)]
                header["sha256"] = prepared._digest(header, rows)
            path.write_bytes(b"\n".join([first, json.dumps(header).encode(), arrays]))
        else:
            path.write_bytes(data.draw(mutants({"": decoded}))[1])
        watch(prepared.load, path, 4, kind="prepared photos")

    attempt()


@pytest.mark.parametrize("size", [[-16, -16], [16.0, 16], [True, 256], [None, 16], 16, "ab"])
def test_prepared_photos_of_impossible_sizes_are_refused(tmp_path, decoded, size):
    first, line, arrays = decoded.split(b"\n", 2)
    header = json.loads(line)
    header["photos"][0]["size"] = size
    header["sha256"] = prepared._digest(header, [np.frombuffer(arrays, np.uint8)])
    (tmp_path / "a.bin").write_bytes(b"\n".join([first, json.dumps(header).encode(), arrays]))
    refused(tmp_path / "a.bin", "", lambda path: prepared.load(path, 4))


@counts(40, 400)
def test_a_damaged_config_of_a_workdir(tmp_path, watch, count):
    run, path = checked(configuration.default()), tmp_path / "config.json"
    valid = dict(run.saved)

    @mutations.settings(count)
    @given(
        altered(valid).map(lambda value: json.dumps(value).encode()) | st.just(b"") | st.binary()
    )
    def attempt(made):
        path.write_bytes(made)
        watch(lambda file: check_workdir(run, file), path, kind="config.json", name=tmp_path)

    attempt()


# What was found by these and by hand, or is sure to be tried.


def refused(path, reason, read=load):
    watch = Watch()
    said = []

    def caught(where):
        try:
            read(where)
        except UserError as error:
            said.append(str(error))
            raise

    assert watch(caught, path) == "refused"
    assert reason in said[0]


BUILDS = {
    "endless": ("compact", {"channels": 3, "depth": 10**9}, "no numbers up to 4096"),
    "deep": ("compact", {"channels": 3, "depth": 4000}, "more than 100 layers"),
    "deeper": ("edsr", {"channels": 8, "blocks": 4000}, "more than 100 layers"),
    "wide": ("edsr", {"channels": 10**30, "blocks": 1}, "no numbers up to 4096"),
    "windows": ("hit_srf", {"windows": [10**6]}, "no numbers up to 4096"),
    "infinite": ("compact", {"channels": float("inf")}, "no numbers up to 4096"),
    "text": ("compact", {"channels": "many"}, "channels=24, and cannot have 'many'"),
    "none": ("compact", {"channels": None}, "channels=24, and cannot have None"),
    "nothing": ("compact", {"channels": 0}, ""),
    "negative": ("compact", {"channels": -3}, "cannot be built with its arguments"),
    "list": ("compact", [], "does not say which network"),
    "table": (["compact"], {}, "does not say which network"),
    "inner": ("compact", {"channels": {"a": 1}}, "no numbers up to 4096"),
    "parent": ("compact", {"parent": "x"}, "has no option 'parent'"),
}


@pytest.mark.parametrize("name", BUILDS)
def test_networks_of_absurd_descriptions_are_not_built(tmp_path, sound, name, saved, monkeypatch):
    monkeypatch.setattr(foreign, "MOST_MODULES", 100)
    architecture, kwargs, reason = BUILDS[name]
    header, rest = weights.safetensors(sound["ours.safetensors"])
    if isinstance(architecture, str):
        facts = {"architecture": architecture, "kwargs": json.dumps(kwargs)}
        header["__metadata__"] |= facts
        (tmp_path / "a.safetensors").write_bytes(weights.with_header(header, rest))
        refused(tmp_path / "a.safetensors", reason)
        return
    shutil.copytree(saved[0], tmp_path / "1")
    meta = {"model": {"name": architecture, "kwargs": kwargs, "scale": 4}}
    (tmp_path / "1/meta.json").write_text(json.dumps(meta))
    weights.sign(tmp_path / "1")
    refused(tmp_path / "1", reason)


@LONG
@pytest.mark.parametrize("name", ["compact", "edsr", "rcan", "hit_srf", "bsrn"])
def test_the_largest_networks_that_are_built_take_seconds(name):
    words = "depth", "blocks", "groups"
    module = models.GENERATORS[name]
    many = {word: 4000 for word in words if hasattr(module, word)}
    with mutations.limited(name), pytest.raises(ValueError, match="more than 1500 layers"):
        foreign.described(name, many, 4)


def test_json_that_nests_too_deep_is_refused(tmp_path, sound, saved):
    header, rest = weights.safetensors(sound["ours.safetensors"])
    header["__metadata__"]["kwargs"] = "[" * 10**5
    (tmp_path / "a.safetensors").write_bytes(weights.with_header(header, rest))
    refused(tmp_path / "a.safetensors", "recursion")
    header, rest = weights.safetensors(sound["forest.safetensors"])
    header["__metadata__"]["recipe"] = "[" * 10**5
    (tmp_path / "f.safetensors").write_bytes(weights.with_header(header, rest))
    refused(tmp_path / "f.safetensors", "recursion", random_forest.load)
    for name, reason in {"meta.json": "missing or damaged", checkpoint.MANIFEST: "broken"}.items():
        shutil.rmtree(tmp_path / "1", ignore_errors=True)
        shutil.copytree(saved[0], tmp_path / "1")
        (tmp_path / "1" / name).write_text("[" * 10**5)
        if name == "meta.json":
            weights.sign(tmp_path / "1")
        refused(tmp_path / "1", reason)


@pytest.mark.parametrize("text", ["", "[]", "7", "null", "{}", '{"model": 3}', '{"model": {}}'])
def test_descriptions_of_another_form_are_refused(tmp_path, saved, text):
    shutil.copytree(saved[0], tmp_path / "1")
    (tmp_path / "1/meta.json").write_text(text)
    weights.sign(tmp_path / "1")
    refused(tmp_path / "1", "meta.json")
    shutil.rmtree(tmp_path / "1")
    shutil.copytree(saved[0], tmp_path / "1")
    (tmp_path / "1" / checkpoint.MANIFEST).write_text(text)
    refused(tmp_path / "1", "")


def test_a_manifest_names_files_in_one_line(tmp_path, saved):
    shutil.copytree(saved[0], tmp_path / "1")
    manifest = json.loads((tmp_path / "1" / checkpoint.MANIFEST).read_text())
    names = {"\x1b[2J\n": "", "../../secret": "", "/etc/passwd": ""}
    (tmp_path / "1" / checkpoint.MANIFEST).write_text(json.dumps(manifest | names))
    refused(tmp_path / "1", r"'\x1b[2J\n': missing since")


def test_entries_that_lack_axes_or_have_none_of_a_length_are_refused(tmp_path):
    compact = weights.model()
    state = foreign.to_state(compact.module, compact.params)
    for shape in ((), (0,), (0, 0, 0, 0), (2**20, 0, 3, 3)):
        for key in state:
            made = state | {key: np.zeros(shape, np.float32)}
            (tmp_path / "a.safetensors").write_bytes(to_bytes(made, {"format": "pt"}))
            refused(tmp_path / "a.safetensors", "")


def test_numbers_that_are_no_float32_are_refused(tmp_path):
    for kind, size in (("BF16", 2), ("F8_E4M3", 1), ("F4", 1), ("U64", 8), ("X", 4), ("C64", 8)):
        facts = {"__metadata__": {"format": "pt"}}
        facts["body.0.weight"] = {"dtype": kind, "shape": [2], "data_offsets": [0, 2 * size]}
        made = weights.with_header(facts, bytes(2 * size))
        (tmp_path / "a.safetensors").write_bytes(made)
        refused(tmp_path / "a.safetensors", "")
        refused(tmp_path / "a.safetensors", "", random_forest.load)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, sound, saved):
    for suffix in ("safetensors", "pth", "h5", "pb", "param", "bin"):
        pipe = tmp_path / f"pipe.{suffix}"
        os.mkfifo(pipe)
        (tmp_path / f"folder.{suffix}").mkdir()
        (tmp_path / f"round.{suffix}").symlink_to(tmp_path / f"round.{suffix}")
        for kind in ("pipe", "folder", "round"):
            refused(tmp_path / f"{kind}.{suffix}", "")
    refused(tmp_path / "pipe.safetensors", "", random_forest.load)
    refused(tmp_path / "pipe.bin", "is no file", lambda path: prepared.load(path, 4))
    (tmp_path / "a.param").write_bytes(sound["compact.param"])
    os.mkfifo(tmp_path / "a.bin")
    with pytest.raises(UserError, match=r"a\.bin: no such file"):
        load(tmp_path / "a.param")
    for name in (checkpoint.MANIFEST, "meta.json", "items/_CHECKPOINT_METADATA"):
        shutil.rmtree(tmp_path / "1", ignore_errors=True)
        shutil.copytree(saved[0], tmp_path / "1")
        (tmp_path / "1" / name).unlink()
        os.mkfifo(tmp_path / "1" / name)
        refused(tmp_path / "1", "")


# Memory: what files announce is not believed.


def _constants(number, side):
    """A frozen graph of constants of one number, which TensorFlow repeats."""
    graph = weights.GraphDef()
    for i in range(number):
        tensor = graph.node.add(name=f"f{i}", op="Const").attr["value"].tensor
        tensor.dtype = 1
        tensor.tensor_shape.dim.add(size=side)
        tensor.float_val.append(0.5)
    return graph.SerializeToString()


def _shared(folder, number, side):
    """A PyTorch file whose tensors are all the same storage."""
    array = np.zeros(side, np.float32)
    state = {f"a{i}": weights.pickles.tensor("0", array) for i in range(number)}
    opcodes = weights.pickles.dictionary(state)
    weights.pickles.write_zip(folder / "a.pth", opcodes, {"0": array.tobytes()})


def _constant(folder):
    import h5py

    with h5py.File(folder / "a.h5", "w") as file:  # nothing of it is stored
        file.create_dataset("c/kernel:0", (3, 3, 2**12, 2**12), np.float32, chunks=(3, 3, 64, 64))


def loaded(*paths):
    """Returns the most bytes that a process held that loaded these, and what it said."""
    taken, _, said = mutations.peak(
        "from kdgan_jax.inference.load import load", "load(path)", *paths
    )
    return taken, said


# What was loaded before is no part of it: its modules are there, and its garbage is collected.
MEASURED = """
import gc
from kdgan_jax.zoo.load import load

def held(name):
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status[name].split()[0]) * 1024

def measured(path):
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
    before = held("VmRSS")
    try:
        load(path)
    finally:
        print(held("VmHWM") - before, "bytes", file=sys.stderr)
"""


def test_small_files_take_no_memory(tmp_path, sound, saved):
    (tmp_path / "a.pb").write_bytes(_constants(8, 2**27))  # was 4 GiB
    (tmp_path / "b.pb").write_bytes(_constants(30, 2**23))
    _shared(tmp_path, 400, 2**20)  # was 1.6 GiB, of a file of 4 MiB
    _constant(tmp_path)  # was 0.6 GiB
    shutil.copytree(saved[0], tmp_path / "1")
    spec = {"name": "compact", "kwargs": {"channels": 4096, "depth": 16}, "scale": 4}
    meta = json.loads((tmp_path / "1/meta.json").read_text())
    (tmp_path / "1/meta.json").write_text(json.dumps(meta | {"model": spec}))
    weights.sign(tmp_path / "1")
    small = [tmp_path / name for name in ("a.pb", "b.pb", "a.pth", "a.h5", "1")]
    kinds = [tmp_path / name for name in ("graph.pb", "zip.pth", "keras.h5")]
    for path in kinds:
        path.write_bytes(sound[path.name])
    first = [*kinds, saved[0]]
    _, _, said = mutations.peak(MEASURED, "measured(path)", *first, *small)
    lines = said.splitlines()
    assert sum(line.startswith("read ") for line in lines) == len(first)
    taken = [int(line.split()[0]) for line in lines if line.endswith(" bytes")]
    assert len(taken) == len(first) + len(small)
    for path, most in zip(small, taken[len(first) :], strict=True):
        assert most < 2 * limits.most_bytes(path), path.name


def test_chunks_that_are_larger_than_their_array_are_not_read(tmp_path, saved):
    import tensorstore

    shutil.copytree(saved[0], tmp_path / "1")
    base = f"file://{tmp_path}/1/items/ema/"
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    array = json.loads(store["PReLU_0.slope/zarr.json"])
    for part in (array["chunk_grid"], array["codecs"][0]):
        part["configuration"]["chunk_shape"] = [2**30]
    store["PReLU_0.slope/zarr.json"] = json.dumps(array).encode()
    weights.sign(tmp_path / "1")
    refused(tmp_path / "1", "larger than files of its size can hold")


def test_nothing_is_said_of_damaged_items_but_one_sentence(tmp_path, saved):
    folder, files = saved
    copies = []
    inner = [f for f in files if "ema" in f.parts and f.parent.name == "d"]
    for i, file in enumerate(inner * 3):
        copies.append(tmp_path / str(i))
        shutil.copytree(folder, copies[-1])
        data = bytearray(file.read_bytes())
        data[len(data) // 2 + i] ^= 255
        (copies[-1] / file.relative_to(folder)).write_bytes(data)
        weights.sign(copies[-1])
    _, said = loaded(*copies)
    assert len(said.splitlines()) == len(copies), said
    assert "holds another network" in said
