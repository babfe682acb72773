"""Files of prepared photos: their photos come back, and only sound files are accepted."""

import dataclasses
import json
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdgan_jax.config.settings import DataConfig
from kdgan_jax.data import buffers, holdout, photos, prepared, sources
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError


def fill(folder, photo):
    """Writes five photos of 32x48, 32x52, ... to a folder."""
    folder.mkdir(parents=True)
    for i in range(5):
        image = photo[40 * i : 40 * i + 32, : 48 + 4 * i]
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


def fill_lr(folder):
    """Adds LR images, which differ from bicubic, to a folder with HR/."""
    (folder / "LRx4").mkdir()
    for path in (folder / "HR").iterdir():
        lr = bicubic.downscale(photos.pixels(path), 4) ^ np.uint8(1)
        Image.fromarray(lr).save(folder / "LRx4" / path.name)


def prepare(path, source, scale=4, patch=32, holdout=1, on_photo=lambda name: None):
    """Writes the file of a source; returns its photos."""
    data = DataConfig(str(source), holdout)
    gathered = sources.gather(data, scale, patch)
    assert prepared.save(path, gathered, data, scale, on_photo) == path.stat().st_size
    return gathered


def refused(path, facts, scale=4):
    """Checks that a file is refused with its name, these facts, and what to do."""
    with pytest.raises(UserError, match=facts) as caught:
        prepared.load(path, scale)
    assert str(caught.value).startswith(f"{path}: ")
    assert "python -m kdgan_jax.prepare" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def folder(tmp_path, photo):
    return fill(tmp_path / "photos", photo)


@pytest.fixture
def file(tmp_path, folder):
    """A prepared file of `folder`, which still exists."""
    prepare(tmp_path / "photos.bin", folder)
    return tmp_path / "photos.bin"


@pytest.fixture(scope="module")
def content(tmp_path_factory, photo):
    """The bytes of a file whose photos are gone: first line, header, rows."""
    root = tmp_path_factory.mktemp("gone")
    prepare(root / "photos.bin", fill(root / "photos", photo))
    shutil.rmtree(root / "photos")
    return (root / "photos.bin").read_bytes().split(b"\n", 2)


@pytest.fixture
def alone(tmp_path, content):
    """A prepared file whose photos are gone."""
    (tmp_path / "photos.bin").write_bytes(b"\n".join(content))
    return tmp_path / "photos.bin"


# Round trips.


def assert_comes_back(path, gathered, scale=4):
    """Checks a file against its photos, which still exist."""
    loaded, listed = prepared.load(path, scale)
    built, _ = buffers.build(gathered.train, scale, 0.0)
    for side in ("train", "holdout"):
        of_file, of_source = getattr(listed, side), getattr(gathered, side)
        assert [(p.name, p.size) for p in of_file] == [(p.name, p.size) for p in of_source]
    np.testing.assert_array_equal(loaded.sides, built.sides, strict=True)
    assert loaded.rows.keys() == loaded.begins.keys() == built.rows.keys()
    for name, rows in built.rows.items():
        np.testing.assert_array_equal(np.asarray(loaded.rows[name]), rows, strict=True)
        np.testing.assert_array_equal(loaded.begins[name], built.begins[name], strict=True)
    for of_file, of_source in zip(listed.holdout, gathered.holdout, strict=True):
        for image, expected in zip(
            photos.load_pair(of_file, scale), photos.load_pair(of_source, scale), strict=True
        ):
            np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_photos_come_back_to_the_pixel(tmp_path, folder, scale):
    (folder / "0.png").rename(folder / "Büro\n\U0001f431.png")
    done = []
    gathered = prepare(tmp_path / "a.bin", folder, scale, 24, on_photo=done.append)
    assert [len(side) for side in gathered] == [4, 1]
    assert sorted(done) == sorted(p.name for p in gathered.train + gathered.holdout)
    assert_comes_back(tmp_path / "a.bin", gathered, scale)
    assert {p.name for p in tmp_path.iterdir()} == {"a.bin", "photos"}


def test_lr_images_of_the_source_come_back_and_their_changes_are_noticed(tmp_path, photo):
    fill(tmp_path / "set/HR", photo)
    fill_lr(tmp_path / "set")
    gathered = prepare(tmp_path / "photos.bin", tmp_path / "set")
    assert all(p.lr is not None for p in gathered.train)
    assert_comes_back(tmp_path / "photos.bin", gathered)
    _change(tmp_path / "set/LRx4")
    refused(tmp_path / "photos.bin", "changed.*'0'")


def test_two_folders_of_pairs_are_found_again_from_anywhere(tmp_path, photo, monkeypatch):
    fill(tmp_path / "set/HR", photo)
    fill_lr(tmp_path / "set")
    (tmp_path / "set/LRx4").rename(tmp_path / "small")
    monkeypatch.chdir(tmp_path)
    assert_comes_back(
        tmp_path / "photos.bin", prepare(tmp_path / "photos.bin", "pairs:set/HR:small")
    )
    monkeypatch.chdir("/")
    _change(tmp_path / "small")
    refused(tmp_path / "photos.bin", "changed.*'0'")


def test_photos_of_one_name_in_two_folders_stay_apart(tmp_path, photo):
    fill(tmp_path / "one", photo)
    fill(tmp_path / "two", photo[::-1])
    source = f"{tmp_path / 'one'}, {tmp_path / 'two'}"
    gathered = prepare(tmp_path / "photos.bin", source)
    assert {p.name for p in gathered.train} & {p.name for p in gathered.holdout}
    assert_comes_back(tmp_path / "photos.bin", gathered)


# What a file says of its source and copies.


def save_as(path, data):
    """Writes the file of `data`; returns its photos, and `data` with the file as its photos."""
    gathered = sources.gather(data, 4, 32)
    prepared.save(path, gathered, data, 4)
    return gathered, dataclasses.replace(data, prepared=str(path))


@pytest.mark.parametrize("plain", ["hr", "lr"])
def test_copies_come_back_and_other_copies_are_refused(tmp_path, folder, plain):
    path = tmp_path / "photos.bin"
    changes = {"copies": 2, "degradation": "light,none", "crop": 8, "recolour": False}
    changes["plain"] = plain
    gathered, data = save_as(path, DataConfig(str(folder), 1, **changes))
    decoded, kept = prepared.open_for(data, 4, 32)
    assert [p.name for p in kept.train][:3] == ["0#0", "0#1", "1#0"]
    for i, photo in enumerate(gathered.train):
        for name, image in photos.load(photo, 4).items():
            np.testing.assert_array_equal(decoded.image(name, i), image)
    for change in {"copies": 3}, {"crop": 0}, {"recolour": True}, {"degradation": "none"}:
        ((field, value),) = change.items()
        with pytest.raises(UserError, match=rf"data\.{field}={changes[field]!r}.*{value!r}"):
            prepared.open_for(dataclasses.replace(data, **change), 4, 32)
    _change(folder)
    refused(path, "changed.*'0'")


def test_a_file_for_samples_that_are_degraded_holds_clean_photos(tmp_path, folder):
    path = tmp_path / "photos.bin"
    gathered, data = save_as(path, DataConfig(str(folder), 1, copies=0, degradation="light"))
    decoded, kept = prepared.open_for(data, 4, 32)
    for i, photo in enumerate(gathered.train):
        np.testing.assert_array_equal(
            decoded.image("lr", i), bicubic.downscale(photos.pixels(photo.hr), 4)
        )
    for photo, of_source in zip(kept.holdout, gathered.holdout, strict=True):
        np.testing.assert_array_equal(photo.lr, photos.load(of_source, 4)["lr"])
    with pytest.raises(UserError, match=r"data\.copies=0.*1"):
        prepared.open_for(dataclasses.replace(data, copies=1), 4, 32)


def test_entries_and_weights(tmp_path, folder):
    path = tmp_path / "photos.bin"
    gathered, data = save_as(path, DataConfig(f"embedded,{folder}", 1, weights=(1.0, 3.0)))
    _, kept = prepared.open_for(data, 4, 32)
    for side, others in zip(kept, gathered, strict=True):
        assert [p.entry for p in side] == [p.entry for p in others] != [0] * len(side)
    with pytest.raises(UserError, match=rf"{path}: .* 2 entries.*weights=\(1, 2, 3\)"):
        prepared.open_for(dataclasses.replace(data, weights=(1, 2, 3)), 4, 32)
    with pytest.raises(UserError, match=rf"weights=\(1\.0, 3\.0\): entry 2 of {path}"):
        prepared.open_for(dataclasses.replace(data, max_bad_fraction=1.0), 4, 36)
    _change(folder)
    refused(path, "changed.*'0'")


def test_photos_without_files_are_trusted_beside_those_of_folders(tmp_path, folder, monkeypatch):
    tfds = pytest.importorskip("kdgan_jax.data.tfds")
    noise = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    monkeypatch.setattr(tfds, "pairs", lambda *arguments: [("set/0", noise, None)])
    path = tmp_path / "photos.bin"
    gathered, _ = save_as(path, DataConfig(f"tfds:set,{folder}", 1))
    monkeypatch.delattr(tfds, "pairs")  # the set is not read again
    assert_comes_back(path, gathered)
    _change(folder)
    refused(path, "changed.*'0'")


def test_files_of_older_versions_have_no_copies_and_one_entry(alone, content):
    header = json.loads(content[1])
    for field in prepared.OLD:
        del header[field]
    for entry in header["photos"]:
        del entry["entry"]
    header["sha256"] = prepared._digest(header, [np.frombuffer(content[2], np.uint8)])
    alone.write_bytes(b"\n".join([content[0], json.dumps(header).encode(), content[2]]))
    data = DataConfig(prepared=str(alone), weights=(2.0,))
    assert {p.entry for p in prepared.open_for(data, 4, 32)[1].train} == {0}
    for field, made, asked in ("copies", 1, 2), ("crop", 0, 9), ("degradation", "none", "light"):
        with pytest.raises(UserError, match=f"{alone}: .*data.{field}={made!r}.*{asked!r}"):
            prepared.open_for(dataclasses.replace(data, **{field: asked}), 4, 32)


def test_rows_are_mapped_and_not_read(file):
    loaded, _ = prepared.load(file, 4)
    for rows in loaded.rows.values():
        assert isinstance(rows, np.memmap)
        assert not rows.flags.writeable
        assert Path(rows.filename) == file


# Files that are not prepared photos, or are damaged.


def test_what_is_not_a_file_is_refused(tmp_path):
    refused(tmp_path / "none.bin", "No such file")
    refused(tmp_path, "Is a directory")


@pytest.mark.parametrize(
    "first",
    [b"", b"\n", b"\x89PNG\r\n", prepared.FORMAT.replace(" 1,", " 2,").encode() + b"\n"],
    ids=["empty", "blank", "png", "later"],
)
def test_a_file_with_another_first_line_is_refused(alone, content, first):
    alone.write_bytes(first and first + b"\n".join(content[1:]))
    refused(alone, "kdgan_jax.photos 1")


def test_a_file_that_is_truncated_anywhere_is_refused(alone, content, monkeypatch):
    whole, start = b"\n".join(content), sum(map(len, content[:2])) + 2
    first = len(content[0])
    for end in (first, first + 1, start - 1, start, start + 1, len(whole) // 2, len(whole) - 1):
        alone.write_bytes(whole[:end])
        refused(alone, "cannot be used")
    alone.write_bytes(whole + b"\0")
    refused(alone, f"{len(whole) + 1:,} bytes.* {len(whole):,}")
    monkeypatch.setattr(prepared, "MAX_HEADER", 100)  # a huge header is not read
    refused(alone, "header")


def test_an_altered_byte_anywhere_in_the_rows_is_found(alone, content):
    whole = bytearray(alone.read_bytes())
    start = len(whole) - len(content[2])
    for place in np.linspace(start, len(whole) - 1, 5, dtype=int).tolist():
        whole[place] ^= 1 << place % 8
        alone.write_bytes(whole)
        refused(alone, "SHA-256")
        whole[place] ^= 1 << place % 8


@pytest.mark.parametrize("line", [b"{", b"", b"[]", b"7", b"\xff\xfe", b"[" * 10**5, b'{"a":1e9}'])
def test_a_header_that_is_not_json_of_this_form_is_refused(alone, content, line):
    alone.write_bytes(b"\n".join([content[0], line, content[2]]))
    refused(alone, "cannot be used")


def test_another_scale_is_refused(alone):
    refused(alone, "scale 4, config.scale is 2", scale=2)


def _exchange(header):
    one, other = header["photos"][:2]
    one["size"], other["size"] = other["size"], one["size"]


def _add(header, size):
    header["photos"].append({**header["photos"][-1], "size": size})


def _set(header, *path_and_value):
    *path, last, value = path_and_value
    for key in path:
        header = header[key]
    header[last] = value


KEYS = "scale", "source", "found", "photos", "images", "sha256"
# Changes that a header with a matching SHA-256 must not have, either.
UNFIT = {
    "larger": lambda h: _set(h, "photos", 0, "size", 0, 36),
    "negative": lambda h: _set(h, "photos", 0, "size", [-32, -48]),
    "endless": lambda h: _add(h, [2**80, 0]),
    "infinite": lambda h: _add(h, [0, float("inf")]),
    "out of order": lambda h: h["photos"].reverse(),
    "other scale": lambda h: _set(h, "scale", 2),
    "other shape": lambda h: _set(h, "images", "hr", [1, 48]),
    "no lr": lambda h: h["images"].pop("lr"),
    "no entry": lambda h: _set(h, "photos", 0, "entry", -1),
    "one more": lambda h: _set(h, "images", "more", [0, 3]),
    "lists": lambda h: _set(h, "images", list(h["images"].items())),
}
ALTERED = {
    "turned": lambda h: h["photos"][0]["size"].reverse(),  # has as many rows
    "exchanged": _exchange,
    "unknown role": lambda h: _set(h, "photos", -1, "role", "test"),
    "two held out": lambda h: _set(h, "photos", -2, "role", "holdout"),
    "renamed": lambda h: _set(h, "photos", 0, "name", "other"),
} | {f"no {key}": lambda h, key=key: h.pop(key) for key in KEYS}


@pytest.mark.parametrize("change", UNFIT | ALTERED)
def test_an_altered_header_is_refused(alone, content, change):
    for signed in (False, True)[: 1 + (change in UNFIT)]:
        header = json.loads(content[1])
        (UNFIT | ALTERED)[change](header)
        if signed:
            header["sha256"] = prepared._digest(header, [np.frombuffer(content[2], np.uint8)])
        alone.write_bytes(b"\n".join([content[0], json.dumps(header).encode(), content[2]]))
        refused(alone, "cannot be used")


# Photos that have changed.


def _change(folder, name="0.png"):
    path = folder / name
    Image.fromarray(photos.pixels(path) ^ np.uint8(1)).save(path)


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (_change, "'0'"),
        (lambda folder: _change(folder, "4.png"), "'4'"),
        (lambda folder: (folder / "1.png").unlink(), "'1'"),
        (lambda folder: shutil.copy(folder / "1.png", folder / "new.png"), "6 .*5"),
        (lambda folder: (folder / "1.png").rename(folder / "new.png"), "'1'"),
    ],
    ids=["changed", "held-out changed", "gone", "added", "renamed"],
)
def test_photos_that_have_changed_are_noticed(tmp_path, folder, monkeypatch, change, fact):
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path / "photos.bin", "photos", holdout=1)  # which is 4
    monkeypatch.chdir("/")
    prepared.load(tmp_path / "photos.bin", 4)
    change(folder)
    refused(tmp_path / "photos.bin", f"changed.*{fact}")


def test_a_file_is_trusted_when_its_photos_are_gone_or_inaccessible(alone, file, monkeypatch):
    loaded, listed = prepared.load(alone, 4)
    assert [len(side) for side in listed] == [4, 1]
    assert len(loaded.sides) == 4

    def deny(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(prepared, "of_source", deny)
    assert len(prepared.load(file, 4)[1].train) == 4


# For a run.


def test_a_run_gets_the_photos_that_are_large_enough_for_its_patch(tmp_path, folder, caplog):
    path = tmp_path / "photos.bin"
    Image.fromarray(photos.pixels(folder / "1.png")[:28]).save(folder / "1.png")
    gathered = prepare(path, folder, patch=28)
    data = DataConfig(str(folder), 1, prepared=str(path))
    decoded, kept = prepared.open_for(data, 4, 32)
    assert "52x28 is smaller than the HR patch 32" in caplog.text
    assert f"1 of 5 files of {path}" in caplog.text
    large = [p for p in gathered.train if p.name != "1"]
    assert [p.name for p in kept.train] == [p.name for p in large]
    assert len(decoded.sides) == len(large) == len(gathered.train) - 1
    for i, photo in enumerate(large):
        np.testing.assert_array_equal(decoded.image("hr", i), photos.load_pair(photo, 4)[0])
    with pytest.raises(UserError, match=r"HR patch 36; .*all 4 photos"):
        prepared.open_for(data, 4, 36)


# Failures while saving.


def test_damaged_photos_are_left_out_unless_they_are_too_many(tmp_path, folder, caplog):
    data, path = DataConfig(str(folder), 1), tmp_path / "photos.bin"
    gathered = sources.gather(data, 4, 32)
    damaged = gathered.train[1:3]
    for photo in damaged:
        content = photo.hr.read_bytes()
        photo.hr.write_bytes(content[:300])
    with pytest.raises(UserError, match="2 of 5 files"):
        prepared.save(path, gathered, data, 4)
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]
    damaged[1].hr.write_bytes(content)
    prepared.save(path, gathered, data, 4)
    assert f"skipped: {damaged[0].hr}: " in caplog.text
    assert_comes_back(
        path, holdout.Photos([p for p in gathered.train if p != damaged[0]], gathered.holdout)
    )


def test_a_save_that_fails_leaves_nothing(tmp_path, folder, monkeypatch):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))  # of about 30,000 bytes
    try:
        with pytest.raises(OSError, match="File too large"):
            prepare(tmp_path / "photos.bin", folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]

    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        prepare(tmp_path / "photos.bin", folder)
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]
