"""Damaged and hostile image files: read, or refused by name; in time, in memory, and in place.

A few hundred in the suite; `pytest -m long tests/faults` is the whole.
"""

import os
import random
import struct

import mutations
import numpy as np
import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import Watch, mutants, with_checksums
from PIL import Image

from kdgan_jax.pictures import codec
from kdgan_jax.runtime.errors import UserError

SOUND = pictures.sound()
HOSTILE = pictures.hostile()
FORMATS = "png", "jpg", "webp", "tif", "gif", "bmp", "avif", "ppm"


def read(path):
    """What `upscale` and training do with a file: its size, then its pixels."""
    size = codec.size(path)
    picture = codec.read(path)
    assert picture.rgb.dtype == np.uint8
    assert picture.rgb.shape == (*picture.rgb.shape[:2], 3)
    if picture.rgb.shape[:2] != size:  # said by `photos.load`
        raise UserError(f"{path}: decodes to another size than its header says")


@pytest.mark.parametrize("name", SOUND)
def test_what_mutations_are_made_of_is_sound(tmp_path, name):
    (tmp_path / name).write_bytes(SOUND[name])
    assert Watch()(read, tmp_path / name) == "read"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(HOSTILE[name])
    assert Watch()(codec.read, tmp_path / name) == "refused"
    Watch()(codec.size, tmp_path / name)


@pytest.mark.parametrize("count", [40, pytest.param(2_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_file_is_read_or_refused_by_name(tmp_path, kind, count):
    valid = {name: data for name, data in SOUND.items() if name.endswith((kind, "pgm"))}
    path, watch = tmp_path / f"a.{kind}", Watch()

    @mutations.settings(count)
    @given(mutants(valid), st.booleans())
    def attempt(mutant, honest):
        data = mutant[1]
        if honest and data.startswith(b"\x89PNG\r\n\x1a\n"):
            data = with_checksums(data)
        path.write_bytes(data)
        watch(read, path, kind=kind)

    attempt()
    print(watch)
    assert sum(watch.counts.values()) >= count


def test_a_file_is_what_it_holds_and_no_program_is_run(tmp_path, monkeypatch):
    # Pillow has Ghostscript draw EPS files, whatever their name.
    for tool in ("gs", "gswin32c"):
        (tmp_path / tool).write_text(f"#!/bin/sh\ntouch {tmp_path / 'canary'}\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "a.png").write_bytes(HOSTILE["program.png"])
    with pytest.raises(UserError, match="is no image"):
        codec.read(tmp_path / "a.png")
    assert not (tmp_path / "canary").exists()


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    os.mkfifo(tmp_path / "pipe.png")
    for path in sorted(tmp_path.iterdir()):
        for function in (codec.size, codec.read):
            assert Watch()(function, path) == "refused"
    with pytest.raises(UserError, match="holds no image"):
        codec.find(tmp_path)


# Memory: what is announced is not believed, and what may be decoded takes what is stated.


def decoded(*paths, limit=2**35):
    """Returns the most bytes that a process held that read these, and its seconds."""
    imports = "from kdgan_jax.pictures import codec; codec.Image.init()"
    call = "images.size(path), images.read(path)"
    return mutations.peak(imports, call, *paths, limit=limit)[:2]


def test_hostile_files_take_no_memory(tmp_path):
    for name, data in HOSTILE.items():
        (tmp_path / name).write_bytes(data)
    taken, _ = decoded(*sorted(tmp_path.iterdir()), limit=2**32)
    assert taken < decoded()[0] + 2**28


@pytest.mark.long
@pytest.mark.parametrize("name", ["16 bits.png", "float.tif", "white.tif", "rgb.webp", "rgb.jpg"])
def test_the_largest_pictures_take_what_is_stated(tmp_path, name):
    (tmp_path / name).write_bytes(pictures.largest()[name])
    taken, seconds = decoded(tmp_path / name)
    alone, start = decoded()
    assert taken - alone < codec.BYTES_PER_PIXEL * Image.MAX_IMAGE_PIXELS
    assert seconds - start < 2 * mutations.SECONDS  # 89 million pixels, of 16 bits at worst


def test_sixteen_bits_take_little_more_memory_than_eight(tmp_path):
    side = 3000
    path = tmp_path / "a.png"
    rows = pictures.zeros((side * 8 + 1) * side)
    path.write_bytes(pictures.png(side, side, depth=16, kind=6, rows=rows))
    # It took 80 bytes for each pixel; all samples at once would take 44.
    assert decoded(path)[0] - decoded()[0] < 28 * side**2


def test_a_picture_that_memory_is_short_of_is_named(tmp_path, monkeypatch):
    def short(*arguments):
        raise MemoryError

    (tmp_path / "a.png").write_bytes(SOUND["rgb.png"])
    monkeypatch.setattr(codec.samples, "to_8_bits", short)
    with pytest.raises(UserError, match=r"a\.png: takes more memory than there is"):
        codec.read(tmp_path / "a.png")


def test_what_pillow_warns_of_is_not_said(tmp_path, recwarn):
    (tmp_path / "a.tif").write_bytes(pictures.grey_tiff(2, 2, data=b"1234", t33432=2**31))
    codec.read(tmp_path / "a.tif")
    assert not recwarn.list


def test_floats_that_are_no_numbers_are_black_and_warn_of_nothing(tmp_path):
    values = struct.pack("<4f", np.nan, np.inf, -np.inf, 1e38)
    (tmp_path / "a.tif").write_bytes(pictures.grey_tiff(4, 1, 32, 3, data=values))
    assert Watch()(read, tmp_path / "a.tif") == "read"
    assert codec.read(tmp_path / "a.tif").rgb[0, :, 0].tolist() == [0, 255, 0, 255]


def test_scans_and_comments_as_programs_write_them_are_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(pictures.scans(300, 300, 400))
    (tmp_path / "a.ppm").write_bytes(b"P3\n# GIMP\n1 1 255\n1 2 3\n")
    for path in tmp_path.iterdir():
        codec.read(path)


def test_what_phones_append_to_a_jpeg_is_no_scan(tmp_path):
    sound = pictures.scans(3000, 3000, 10)
    noise = random.Random(0).randbytes(2**24)  # a film: hundreds of its pairs of bytes look like it
    (tmp_path / "a.jpg").write_bytes(sound + noise)
    assert noise.count(b"\xff\xda") > 100
    assert codec._scans(sound + noise) == codec._scans(sound) == sound.count(b"\xff\xda")
    assert codec.read(tmp_path / "a.jpg").rgb.shape == (3000, 3000, 3)
