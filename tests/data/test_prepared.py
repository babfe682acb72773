"""Files of prepared photos: what comes back, and that nothing but a sound file is taken."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from altering import altered, json_values
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from PIL import Image

from kdgan_jax.config.settings import DataConfig
from kdgan_jax.data import buffers, prepared
from kdgan_jax.data import photos as sources
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime import files
from kdgan_jax.runtime.errors import UserError

HINT = "python -m kdgan_jax.prepare"


def settings(source, path="", holdout=1):
    return DataConfig(str(source), holdout, str(path))


def fill(folder, photo, number=5):
    """Writes photos of 32x48, 32x52, ... to a folder."""
    folder.mkdir(parents=True)
    for i in range(number):
        image = photo[40 * i : 40 * i + 32, : 48 + 4 * i]
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


def prepare(path, source, scale=4, patch=32, **changes):
    """Writes the file of a source; returns the photos that went in."""
    data = settings(source, **changes)
    photos = sources.gather(data, scale, patch)
    prepared.save(path, photos, data, scale)
    return photos


def parts(path):
    """Returns the header's JSON, and the bytes before and behind it."""
    first, line, arrays = path.read_bytes().split(b"\n", 2)
    return json.loads(line), first + b"\n", arrays


def put(path, header, sign=False):
    """Writes a file with another header, and with the SHA-256 that belongs to it if wanted."""
    _, first, arrays = parts(path)
    if sign:
        header["sha256"] = prepared._digest(header, [np.frombuffer(arrays, np.uint8)])
    path.write_bytes(first + json.dumps(header).encode() + b"\n" + arrays)


def refused(path, message, scale=4):
    """Checks that a file is refused, with its name and what to do."""
    with pytest.raises(UserError, match=message) as caught:
        prepared.load(path, scale)
    assert str(caught.value).startswith(f"{path}: ")
    assert HINT in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def folder(tmp_path, photo):
    return fill(tmp_path / "photos", photo)


@pytest.fixture
def file(tmp_path, folder):
    """A prepared file of `folder`, which is still there."""
    prepare(tmp_path / "photos.bin", folder)
    return tmp_path / "photos.bin"


@pytest.fixture
def alone(file, folder):
    """A prepared file whose photos are gone."""
    shutil.rmtree(folder)
    return file


# What comes back.


def assert_comes_back(path, photos, scale):
    """Checks a file against the photos that it was made of, which are still there."""
    loaded, found = prepared.load(path, scale)
    built, _ = buffers.build(photos.train, scale, 0.0)
    assert [(p.name, p.size) for p in found.train] == [(p.name, p.size) for p in photos.train]
    assert [(p.name, p.size) for p in found.holdout] == [(p.name, p.size) for p in photos.holdout]
    assert loaded.rows.keys() == built.rows.keys()
    for name, rows in built.rows.items():
        np.testing.assert_array_equal(loaded.rows[name], rows)
        assert loaded.rows[name].dtype == np.uint8
    np.testing.assert_array_equal(loaded.sides, built.sides, strict=True)
    assert loaded.begins.keys() == built.begins.keys()
    for name, begins in built.begins.items():
        np.testing.assert_array_equal(loaded.begins[name], begins, strict=True)
    for ours, theirs in zip(found.holdout, photos.holdout, strict=True):
        for one, other in zip(sources.load(ours, scale), sources.load(theirs, scale), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_photos_come_back_to_the_pixel(tmp_path, folder, scale):
    photos = prepare(tmp_path / "photos.bin", folder, scale, holdout=2, patch=24)
    assert (len(photos.train), len(photos.holdout)) == (3, 2)
    assert_comes_back(tmp_path / "photos.bin", photos, scale)


def test_lr_images_of_the_source_come_back(tmp_path, photo):
    fill(tmp_path / "set/HR", photo)
    for path in (tmp_path / "set/HR").iterdir():
        lr = bicubic.downscale(sources.pixels(path), 4) ^ np.uint8(1)
        (tmp_path / "set/LRx4").mkdir(exist_ok=True)
        Image.fromarray(lr).save(tmp_path / "set/LRx4" / path.name)
    photos = prepare(tmp_path / "photos.bin", tmp_path / "set")
    assert all(p.lr is not None for p in photos.train)
    assert_comes_back(tmp_path / "photos.bin", photos, 4)


def test_embedded_photos_come_back(tmp_path):
    photos = prepare(tmp_path / "photos.bin", "embedded")
    assert_comes_back(tmp_path / "photos.bin", photos, 4)


def test_photos_of_one_name_in_two_folders_stay_apart(tmp_path, photo):
    fill(tmp_path / "one", photo)
    fill(tmp_path / "two", photo[::-1])
    photos = prepare(tmp_path / "photos.bin", f"{tmp_path / 'one'}, {tmp_path / 'two'}", holdout=3)
    assert {p.name for p in photos.train} & {p.name for p in photos.holdout}
    assert_comes_back(tmp_path / "photos.bin", photos, 4)


def test_names_need_not_be_ascii(tmp_path, photo):
    source = fill(tmp_path / "photos", photo)
    (source / "0.png").rename(source / "Büro\n\U0001f431.png")
    photos = prepare(tmp_path / "photos.bin", source)
    assert_comes_back(tmp_path / "photos.bin", photos, 4)


def test_arrays_are_mapped_not_read(file):
    loaded, _ = prepared.load(file, 4)
    for rows in loaded.rows.values():
        assert isinstance(rows, np.memmap)
        assert not rows.flags.writeable
    assert {Path(rows.filename) for rows in loaded.rows.values()} == {file}


def test_damaged_photos_are_left_out(tmp_path, folder, caplog):
    photos = sources.gather(settings(folder), 4, 32)
    broken = photos.train[1].hr
    broken.write_bytes(broken.read_bytes()[:300])
    with caplog.at_level(logging.WARNING):
        prepared.save(tmp_path / "photos.bin", photos, settings(folder), 4)
    assert f"skipped: {broken}: truncated" in caplog.text
    del photos.train[1]
    assert_comes_back(tmp_path / "photos.bin", photos, 4)


def test_the_file_is_told_where_its_photos_are_by_whole_paths(tmp_path, folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path / "photos.bin", "photos")
    monkeypatch.chdir("/")
    prepared.load(tmp_path / "photos.bin", 4)
    (folder / "0.png").unlink()
    refused(tmp_path / "photos.bin", "others now")


# Files that are none, or no longer.


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "none.bin", "No such file")


def test_a_folder_is_refused(tmp_path):
    refused(tmp_path, "Is a directory")


@pytest.mark.parametrize(
    "first",
    [b"", b"\n", b"\x89PNG\r\n", prepared.FORMAT.replace(" 1,", " 2,").encode() + b"\n"],
    ids=["empty", "blank", "png", "later"],
)
def test_a_file_with_another_first_line_is_refused(alone, first):
    alone.write_bytes(first and first + b"\n".join(alone.read_bytes().split(b"\n", 2)[1:]))
    refused(alone, "does not begin with .kdgan_jax.photos 1")


def test_a_file_that_is_cut_short_anywhere_is_refused(alone):
    whole = alone.read_bytes()
    start = len(whole) - len(parts(alone)[2])
    cuts = {
        len(prepared.FORMAT): "does not begin",
        len(prepared.FORMAT) + 1: "cut short",
        start // 2: "cut short",
        start - 1: "cut short",
        start: "bytes instead of",
        start + 1: "bytes instead of",
        len(whole) // 2: "bytes instead of",
        len(whole) - 1: "bytes instead of",
    }
    for end, message in cuts.items():
        alone.write_bytes(whole[:end])
        refused(alone, message)
    alone.write_bytes(whole + b"\0")
    refused(alone, "bytes instead of")
    alone.write_bytes(whole)
    prepared.load(alone, 4)


def test_one_altered_byte_anywhere_in_the_arrays_is_found(alone):
    whole = bytearray(alone.read_bytes())
    start = len(whole) - len(parts(alone)[2])
    places = {start, len(whole) - 1, *np.linspace(start, len(whole) - 1, 20, dtype=int).tolist()}
    for place in places:
        whole[place] ^= 1 << place % 8
        alone.write_bytes(whole)
        refused(alone, "altered: another SHA-256")
        whole[place] ^= 1 << place % 8


@pytest.mark.parametrize("line", [b"{", b"", b"[]", b"7", b"\xff\xfe", b"[" * 10**5, b'{"a":1e9}'])
def test_a_header_that_is_no_json_of_ours_is_refused(alone, line):
    first, _, arrays = alone.read_bytes().split(b"\n", 2)
    alone.write_bytes(b"\n".join([first, line, arrays]))
    refused(alone, "no file of prepared photos that can be used")


def test_a_huge_header_is_not_read(alone, monkeypatch):
    monkeypatch.setattr(prepared, "LONGEST_HEADER", 100)
    refused(alone, "cut short")


def test_another_scale_is_refused(alone):
    refused(alone, "it is for scale 4, config.scale is 2", scale=2)


def _swap(header):  # the rows would be as many
    header["photos"][0]["size"].reverse()


def _exchange(header):
    one, other = header["photos"][:2]
    one["size"], other["size"] = other["size"], one["size"]


def _grow(header):
    header["photos"][0]["size"][0] += 4


def _negative(header):
    header["photos"][0]["size"] = [-side for side in header["photos"][0]["size"]]


def _endless(header):
    header["photos"].append({**header["photos"][-1], "size": [2**80, 0]})


def _infinite(header):
    header["photos"].append({**header["photos"][-1], "size": [0, float("inf")]})


def _out_of_order(header):
    header["photos"].reverse()


def _unknown_role(header):
    header["photos"][-1]["role"] = "test"


def _two_held_out(header):
    header["photos"][-2]["role"] = "holdout"


def _renamed(header):
    header["photos"][0]["name"] = "other"


def _other_scale(header):
    header["scale"] = 2


def _other_shape(header):
    rows, numbers = header["images"]["hr"]
    header["images"]["hr"] = [rows // 2, numbers * 2]


def _no_lr(header):
    del header["images"]["lr"]


def _one_more(header):
    header["images"]["more"] = [0, 3]


def _lists(header):
    header["images"] = list(header["images"].items())


@pytest.mark.parametrize(
    "change",
    [
        _swap,
        _exchange,
        _grow,
        _negative,
        _endless,
        _infinite,
        _out_of_order,
        _unknown_role,
        _two_held_out,
        _renamed,
        _other_scale,
        _other_shape,
        _no_lr,
        _one_more,
        _lists,
    ],
    ids=lambda change: change.__name__,
)
def test_an_altered_header_is_refused(alone, change):
    header, _, _ = parts(alone)
    change(header)
    put(alone, header)
    refused(alone, "no file of prepared photos that can be used")


@pytest.mark.parametrize(
    "change", [_grow, _out_of_order, _other_scale, _other_shape, _no_lr, _one_more]
)
def test_a_header_that_does_not_fit_is_refused_even_with_its_own_sha256(alone, change):
    header, _, _ = parts(alone)
    change(header)
    put(alone, header, sign=True)
    refused(alone, "no file of prepared photos that can be used")


@pytest.mark.parametrize("missing", ["scale", "source", "found", "photos", "images", "sha256"])
def test_a_header_without_one_of_its_parts_is_refused(alone, missing):
    header, _, _ = parts(alone)
    del header[missing]
    put(alone, header)
    refused(alone, "no file of prepared photos that can be used")


@pytest.fixture(scope="module")
def small(tmp_path_factory, photo):
    """A prepared file whose photos are gone, its header, and a place for altered ones."""
    root = tmp_path_factory.mktemp("small")
    prepare(root / "photos.bin", fill(root / "photos", photo, number=3))
    shutil.rmtree(root / "photos")
    return root / "photos.bin", root / "altered.bin"


WORDS = "train", "holdout", "lr", "hr", "embedded", "tfds:x"
JSON = json_values(st.integers(-50, 50), st.sampled_from(WORDS))


@hypothesis(max_examples=200)
@given(data=st.data())
def test_of_an_altered_header_only_a_users_error_comes(small, data):
    path, other = small
    header, first, arrays = parts(path)
    if data.draw(st.booleans(), "as JSON"):
        line = json.dumps(data.draw(altered(header, JSON))).encode()
    else:
        line = bytearray(json.dumps(header).encode())
        for _ in range(data.draw(st.integers(1, 3), "bytes")):
            place = data.draw(st.integers(0, len(line) - 1), "place")
            length = data.draw(st.sampled_from([0, 1, 1, 30]), "length")
            line[place : place + length] = data.draw(st.binary(max_size=3), "put there")
    other.unlink(missing_ok=True)  # not overwritten: an earlier example may have it mapped
    other.write_bytes(first + line + b"\n" + arrays)
    said = None
    try:
        prepared.load(other, 4)
    except UserError as error:
        said = str(error)
    if said is None:  # the same JSON, written otherwise
        assert json.dumps(json.loads(bytes(line))) == json.dumps(header)
    else:
        assert said.startswith(f"{other}: ")
        assert HINT in said


# Photos that are others now.


def _change(folder):
    path = folder / "0.png"
    Image.fromarray(sources.pixels(path) ^ np.uint8(1)).save(path)


def _gone(folder):
    (folder / "1.png").unlink()


def _added(folder):
    shutil.copy(folder / "1.png", folder / "new.png")


def _moved(folder):
    (folder / "1.png").rename(folder / "new.png")


@pytest.mark.parametrize(
    ("change", "said"),
    [(_change, "'0'"), (_gone, "'1'"), (_added, "6 instead of 5"), (_moved, "'1'")],
    ids=["changed", "gone", "added", "renamed"],
)
@pytest.mark.parametrize("holdout", [1, 4])
def test_photos_that_have_changed_are_noticed(tmp_path, folder, change, said, holdout):
    prepare(tmp_path / "photos.bin", folder, holdout=holdout)
    prepared.load(tmp_path / "photos.bin", 4)
    change(folder)
    refused(tmp_path / "photos.bin", rf"made of photos that are others now \({said}\)")


def test_a_changed_lr_image_is_noticed(tmp_path, photo):
    fill(tmp_path / "set/HR", photo)
    (tmp_path / "set/LRx4").mkdir()
    for path in (tmp_path / "set/HR").iterdir():
        lr = bicubic.downscale(sources.pixels(path), 4)
        Image.fromarray(lr).save(tmp_path / "set/LRx4" / path.name)
    prepare(tmp_path / "photos.bin", tmp_path / "set")
    _change(tmp_path / "set/LRx4")
    refused(tmp_path / "photos.bin", r"others now \('0'\)")


def test_a_file_is_trusted_when_its_photos_are_gone(alone):
    loaded, photos = prepared.load(alone, 4)
    assert (len(photos.train), len(photos.holdout)) == (4, 1)
    assert len(loaded.sides) == 4


def test_a_file_is_trusted_when_its_photos_are_out_of_reach(file, monkeypatch):
    def deny(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(sources.images, "find", deny)
    assert len(prepared.load(file, 4)[1].train) == 4


# For a run.


def test_a_run_gets_what_is_large_enough_for_its_patch(tmp_path, folder, caplog):
    path = tmp_path / "photos.bin"
    Image.fromarray(sources.pixels(folder / "1.png")[:28]).save(folder / "1.png")
    photos = prepare(path, folder, patch=28)
    with caplog.at_level(logging.WARNING):
        decoded, kept = prepared.open_for(settings(folder, path), 4, 32)
    assert f"skipped: 1: {52}x28 is smaller than the HR patch 32" in caplog.text
    assert f"skipped 1 of 5 files of {path}" in caplog.text
    wanted = [p for p in photos.train if p.name != "1"]
    assert [p.name for p in kept.train] == [p.name for p in wanted]
    assert len(decoded.sides) == len(wanted) == len(photos.train) - 1
    for i, photo in enumerate(wanted):
        np.testing.assert_array_equal(decoded.image("hr", i), sources.load(photo, 4)[0])


def test_a_run_whose_patch_is_too_large_for_most_is_refused(file, folder):
    prepared.open_for(settings(folder, file), 4, 32)
    with pytest.raises(UserError, match="smaller than the HR patch 36; lower hr_patch") as caught:
        prepared.open_for(settings(folder, file), 4, 36)
    assert "4 of 4 files cannot be used" in str(caught.value)


# Saving.


def left(folder):
    return sorted(p.name for p in folder.iterdir() if p.is_file())


def test_saving_says_how_many_bytes_and_reports_photos(tmp_path, folder):
    data, done = settings(folder), []
    photos = sources.gather(data, 4, 32)
    size = prepared.save(tmp_path / "photos.bin", photos, data, 4, done.append)
    assert size == (tmp_path / "photos.bin").stat().st_size
    assert sorted(done) == ["0", "1", "2", "3", "4"]
    assert left(tmp_path) == ["photos.bin"]


@pytest.mark.parametrize("when", ["while writing", "while renaming", "while decoding"])
def test_a_save_that_fails_leaves_nothing(tmp_path, folder, monkeypatch, when):
    written = []
    real = Path.open

    def fail(*arguments):
        if when == "while writing":
            assert left(tmp_path) == [".photos.bin.part"]
        written.append(when)
        raise OSError(28, "No space left on device")

    def full(path, mode="r", *more):
        file = real(path, mode, *more)
        if "w" not in mode:
            return file
        first = file.write

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *error):
                file.close()

            def write(self, data):
                return fail() if file.tell() else first(data)

        return Full()

    if when == "while writing":
        monkeypatch.setattr(Path, "open", full)
    elif when == "while renaming":
        monkeypatch.setattr(files.os, "replace", fail)
    else:
        monkeypatch.setattr(prepared.flat, "to_rows", fail)
    with pytest.raises(OSError, match="No space left"):
        prepare(tmp_path / "photos.bin", folder)
    assert written == [when]
    assert left(tmp_path) == []


def test_too_many_damaged_photos_leave_nothing(tmp_path, folder):
    photos = sources.gather(settings(folder), 4, 32)
    for photo in photos.train[:2]:
        photo.hr.write_bytes(photo.hr.read_bytes()[:300])
    with pytest.raises(UserError, match="2 of 5 files cannot be used"):
        prepared.save(tmp_path / "photos.bin", photos, settings(folder), 4)
    assert left(tmp_path) == []
