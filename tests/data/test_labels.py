"""Stored outputs of teachers as files: stopped, full disks, other origins, damage."""

import errno
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from decoded import three_photos, with_gaps

from kdgan_jax.data import buffers, labels
from kdgan_jax.data.labels import Labels
from kdgan_jax.runtime.errors import UserError

LENGTHS = 6, 4, 9
FACTS = {"teacher": "1" * 64, "photos": "2" * 64, "scale": 2, "engine": "jax 1 on cpu"}
dtypes = pytest.mark.parametrize("dtype", ["uint8", "float16"])


def kept(folder, dtype="uint8", **facts):
    return Labels(folder, "big-1", FACTS | facts, np.cumsum(LENGTHS), 12, dtype)


def rows(photo, dtype="uint8"):
    return np.random.default_rng(photo).integers(0, 256, (LENGTHS[photo], 12)).astype(dtype)


def write(of, photos=range(3)):
    for photo in photos:
        of.write(photo, rows(photo, of.dtype))


def made(folder, dtype="uint8"):
    """Returns complete labels."""
    of = kept(folder, dtype)
    with of.alone():
        of.begin()
        write(of)
        of.finish()
    return of


def contents(of):
    return {path.name: path.read_bytes() for path in of.folder.iterdir() if path.name != ".lock"}


def path(of, suffix):
    return of.folder / f"big-1.{suffix}"


def flip(file, place):
    """Changes one bit of a file."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


@dtypes
def test_labels_are_read_as_they_were_written(tmp_path, dtype):
    of = made(tmp_path / "new/folder", dtype)
    assert (of.complete, of.missing()) == (True, [])
    assert contents(of).keys() == {"big-1.json", "big-1.rows"}
    loaded = of.load()
    assert isinstance(loaded, np.memmap)
    assert loaded.dtype == dtype
    assert of.bytes == loaded.nbytes == len(contents(of)["big-1.rows"])
    np.testing.assert_array_equal(loaded, np.concatenate([rows(i, dtype) for i in range(3)]))


def test_complete_labels_are_not_written_again(tmp_path):
    of = made(tmp_path)
    before = contents(of)
    of.begin()
    of.finish()
    assert contents(of) == before


@dtypes
@pytest.mark.parametrize("order", [(), (0,), (2,), (1, 0), (0, 1, 2)])  # written before the stop
def test_labels_stopped_anywhere_end_as_unbroken_ones(tmp_path, dtype, order):
    whole = made(tmp_path / "whole", dtype)
    first = kept(tmp_path / "stopped", dtype)
    first.folder.mkdir()
    first.begin()
    write(first, order)
    second = kept(first.folder, dtype)
    second.begin()
    assert not second.complete
    assert second.missing() == sorted({0, 1, 2} - set(order))
    with pytest.raises(UserError, match=r"big-1\.rows"):
        second.load()
    write(second, second.missing())
    second.finish()
    assert contents(second) == contents(whole)


def test_labels_stopped_after_the_seal_are_complete(tmp_path, monkeypatch):
    monkeypatch.setattr(labels.Path, "unlink", lambda *_, **__: None)  # NAME.done stays
    of = made(tmp_path)
    assert path(of, "done").exists()
    assert (of.complete, of.missing()) == (True, [])
    of.load()


def test_what_did_not_reach_the_disk_is_made_again(tmp_path):
    of = kept(tmp_path)
    of.begin()
    write(of)
    flip(path(of, "rows"), 12 * LENGTHS[0] + 5)
    assert of.missing() == [1]
    with pytest.raises(UserError, match=r"1 of 3 photos"):
        of.finish()
    write(of, [1])
    of.finish()
    np.testing.assert_array_equal(of.load(), made(tmp_path / "whole").load())


def test_only_one_command_writes_to_a_folder(tmp_path):
    with kept(tmp_path).alone(), pytest.raises(UserError, match=f"{tmp_path}: .*{os.getpid()}"):
        made(tmp_path)


# A digest is shown by its beginning.
@pytest.mark.parametrize(
    ("name", "there", "now"),
    [
        ("teacher", "111111111111", "a" * 64),
        ("photos", "222222222222", "b" * 64),
        ("scale", "2 ", 4),
        ("engine", "jax 1 on cpu ", "jax 2 on cpu"),
    ],
)
@pytest.mark.parametrize("complete", [False, True])
def test_labels_of_another_origin_are_refused(tmp_path, complete, name, there, now):
    of = kept(tmp_path)
    if complete:
        made(tmp_path)
    else:
        of.begin()
    before, other = contents(of), kept(tmp_path, **{name: now})
    for use in other.begin, other.missing, lambda: other.complete:
        with pytest.raises(UserError) as caught:
            use()
        for fact in (str(path(of, "json")), repr(name), there, str(now)[:12]):
            assert fact in str(caught.value)
        assert "1" * 13 not in str(caught.value)
        assert "a" * 13 not in str(caught.value)
    assert contents(of) == before


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_changed_bit_is_refused(tmp_path, place):
    of = made(tmp_path)
    flip(path(of, "rows"), place)
    with pytest.raises(UserError, match=r"big-1\.rows: .*SHA-256"):
        of.load()


@pytest.mark.parametrize(("complete", "suffix"), [(True, "rows"), (False, "rows"), (False, "done")])
@pytest.mark.parametrize("left", [None, 0, 8])
def test_truncated_files_are_refused(tmp_path, complete, suffix, left):
    of = kept(tmp_path)
    if complete:
        made(tmp_path)
    else:
        of.begin()
    whole = path(of, suffix).stat().st_size
    if left is None:
        path(of, suffix).unlink()
    else:
        os.truncate(path(of, suffix), left)
    with pytest.raises(UserError, match=rf"big-1\.{suffix}: .* {left or 0} bytes .* {whole};?"):
        of.load() if complete else of.missing()


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_damaged_description_is_refused_and_nothing_is_lost(tmp_path, text):
    of = made(tmp_path)
    path(of, "json").write_text(text)
    before = contents(of)
    with pytest.raises(UserError, match=r"big-1\.json: .*damaged"):
        of.begin()
    assert contents(of) == before


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("module", "name", "now"),
    [(os, "posix_fallocate", full), (shutil, "disk_usage", lambda _: SimpleNamespace(free=1))],
)
def test_a_disk_without_room_is_found_first(tmp_path, monkeypatch, module, name, now):
    of = kept(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(module, name, now)
        with pytest.raises(UserError, match=rf"{tmp_path}: .*big-1 .* 0 MB"):
            of.begin()
    assert not contents(of).keys() & {"big-1.rows", "big-1.json"}
    made(tmp_path).load()


def test_a_disk_that_fills_up_costs_nothing_that_was_done(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    of = kept(tmp_path)
    of.begin()
    write(of, [0])
    for suffix in "rows", "done":
        file = path(of, suffix)
        file.rename(tmp_path / "aside")
        file.symlink_to("/dev/full")
        with pytest.raises(UserError, match=rf"{tmp_path}: .*big-1.*No space left"):
            of.write(1, rows(1))
        (tmp_path / "aside").replace(file)
        assert of.missing() == [1, 2]
    write(of, of.missing())
    of.finish()
    assert contents(of) == contents(made(tmp_path / "whole"))


def test_files_of_an_earlier_start_are_replaced_and_links_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"mine")
    of = kept(tmp_path / "labels")
    of.folder.mkdir()
    for suffix in "rows", "done":  # as if it was stopped before it wrote the description
        path(of, suffix).symlink_to(secret)
    made(of.folder).load()
    assert secret.read_bytes() == b"mine"


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"{tmp_path}/file/labels: "):
        made(tmp_path / "file/labels")


def test_photos_are_told_by_their_lr_images_alone(photo):
    decoded, _ = buffers.build(three_photos(photo), 4, 0.0)
    digest = labels.photos_digest(decoded)
    assert labels.photos_digest(with_gaps(decoded, {"hr": [1]})) == digest
    assert labels.photos_digest(decoded.select([0, 2])) != digest
    changed = decoded.rows["lr"].copy()
    changed[-1, -1] ^= 1
    assert labels.photos_digest(decoded._replace(rows={"lr": changed})) != digest
    turned = decoded._replace(sides=decoded.sides[:, ::-1])  # the same bytes
    assert labels.photos_digest(turned) != digest


def test_joined_labels_are_further_images(photo):
    decoded, _ = buffers.build(three_photos(photo), 4, 0.0)
    gaps = with_gaps(decoded, {"hr": [0, 2]})
    images = [255 - decoded.image("hr", i) for i in range(3)]
    both = labels.joined(gaps, {"big": np.concatenate([buffers.to_rows(i, 4) for i in images])})
    for i, image in enumerate(images):
        np.testing.assert_array_equal(both.image("big", i), image)
    np.testing.assert_array_equal(both.image("hr", 2), decoded.image("hr", 2))
    assert not both.has("hr")[1]
