"""Damaged and hostile image files are read, or refused by name, within limits of time and memory.

A few hundred by default, and thousands with `pytest -m long tests/faults`.
"""

import os
import random
import resource
import struct
import subprocess
import sys

import mutations
import numpy as np
import pictures
import pytest
from conftest import ROOT
from hypothesis import strategies as st
from mutations import Watch, mutants, with_checksums
from PIL import Image

from kdgan_jax.pictures import codec, folders
from kdgan_jax.runtime.errors import UserError

SOUND = pictures.sound()
HOSTILE = pictures.hostile()
FORMATS = "png", "jpg", "webp", "tif", "gif", "bmp", "avif", "ppm"


def read(path):
    """Does what `upscale` and training do with a file: reads its size, then its pixels."""
    size = codec.size(path)
    picture = codec.read(path)
    assert picture.pixels.dtype in (np.uint8, np.uint16)
    assert picture.pixels.shape == (*picture.pixels.shape[:2], 3)
    if picture.pixels.shape[:2] != size:  # said by `photos.load_pair`
        raise UserError(f"{path}: does not have the size in its header")


# Hostile in what is no pixel: skipped, and the pixels are read.
SKIPPED = "profile.png", "texts.png", "exif.png"


@pytest.mark.parametrize("name", [*SOUND, *HOSTILE])
def test_hostile_files_are_refused_by_name_and_others_read(tmp_path, name):
    (tmp_path / name).write_bytes((HOSTILE | SOUND)[name])
    outcome = "read" if name in SOUND or name in SKIPPED else "refused"
    assert Watch()(read, tmp_path / name) == outcome


@pytest.mark.parametrize("count", [20, pytest.param(2_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_file_is_read_or_refused_by_name(tmp_path, kind, count):
    valid = {name: data for name, data in SOUND.items() if name.endswith((kind, "pgm"))}
    path, watch = tmp_path / f"a.{kind}", Watch()

    def attempt(mutant, honest):
        data = mutant[1]
        if honest and data.startswith(b"\x89PNG\r\n\x1a\n"):
            data = with_checksums(data)
        path.write_bytes(data)
        watch(read, path, kind=kind)

    mutations.fuzz(count, attempt, mutants(valid), st.booleans())
    print(watch)


def test_no_program_is_run(tmp_path, monkeypatch):
    # Pillow lets Ghostscript draw EPS files, whatever their name.
    for tool in ("gs", "gswin32c"):
        (tmp_path / tool).write_text(f"#!/bin/sh\ntouch {tmp_path / 'canary'}\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "a.png").write_bytes(HOSTILE["program.png"])
    assert Watch()(codec.read, tmp_path / "a.png") == "refused"
    assert not (tmp_path / "canary").exists()


def test_other_things_than_files_are_refused_at_once(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    os.mkfifo(tmp_path / "pipe.png")
    for path in sorted(tmp_path.iterdir()):
        for function in (codec.size, codec.read):
            assert Watch()(function, path) == "refused"
    with pytest.raises(UserError, match=f"{tmp_path}: "):
        folders.find(tmp_path)


# Memory: sizes in headers are not believed, and decoding stays below the stated limit.


PROGRAM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2**35, 2**35))
from kdgan_jax.pictures import codec, folders
from kdgan_jax.runtime.errors import UserError
codec.Image.init()
for path in sys.argv[1:]:
    try:
        codec.size(path), codec.read(path)
    except UserError as error:
        print(error, file=sys.stderr)
# Not ru_maxrss, which starts with the parent's.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) * 1024)
"""


def decoded(*paths):
    """Returns the peak memory in bytes of a process that reads these, and its seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", PROGRAM, *map(str, paths)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "Warning" not in result.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int(result.stdout), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_hostile_files_take_no_memory(tmp_path):
    for name, data in HOSTILE.items():
        (tmp_path / name).write_bytes(data)
    taken, _ = decoded(*sorted(tmp_path.iterdir()))
    assert taken < decoded()[0] + 2**28


@pytest.mark.long
@pytest.mark.parametrize("name", ["16 bits.png", "float.tif", "white.tif", "rgb.webp", "rgb.jpg"])
def test_the_largest_pictures_stay_below_the_stated_memory(tmp_path, name):
    (tmp_path / name).write_bytes(pictures.largest()[name])
    taken, seconds = decoded(tmp_path / name)
    alone, start = decoded()
    assert taken - alone < codec.BYTES_PER_PIXEL * Image.MAX_IMAGE_PIXELS
    assert seconds - start < 2 * mutations.SECONDS  # 89 million pixels, of 16 bits at worst


def test_sixteen_bits_take_little_more_memory_than_eight(tmp_path):
    side = 1500
    path = tmp_path / "a.png"
    rows = pictures.zeros((side * 8 + 1) * side)
    path.write_bytes(pictures.png(side, side, depth=16, kind=6, rows=rows))
    # Once it took 80 bytes per pixel; all samples at once would take 44.
    assert decoded(path)[0] - decoded()[0] < 28 * side**2


def test_a_picture_too_large_for_the_memory_is_named(tmp_path, monkeypatch):
    def exhaust(*arguments):
        raise MemoryError

    (tmp_path / "a.png").write_bytes(SOUND["rgb.png"])
    monkeypatch.setattr(codec.samples, "of_image", exhaust)
    with pytest.raises(UserError, match=r"a\.png: .*memory"):
        codec.read(tmp_path / "a.png")


def test_warnings_of_pillow_are_silenced(tmp_path, recwarn):
    (tmp_path / "a.tif").write_bytes(pictures.grey_tiff(2, 2, data=b"1234", t33432=2**31))
    codec.read(tmp_path / "a.tif")
    assert not recwarn.list


def test_floats_that_are_not_finite_are_clipped_without_a_warning(tmp_path):
    values = struct.pack("<4f", np.nan, np.inf, -np.inf, 1e38)
    (tmp_path / "a.tif").write_bytes(pictures.grey_tiff(4, 1, 32, 3, data=values))
    assert Watch()(read, tmp_path / "a.tif") == "read"
    assert codec.read_rgb(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 255, 0, 255]


# What searches for the picture behind damage must not begin again at every byte.
DAMAGE = {
    "segments.jpg": b"\xff\xd8" + b"\xff\xe0\xff\xff" * 2**16,
    "short segments.jpg": b"\xff\xd8" + b"\xff\xe0\0\6\xff\xe0\0\2" * 2**16,
    "chunks.png": pictures.png(9, 9)[:33]
    + (bytes(8) + mutations.chunk(b"fcTL", bytes(26))) * 50_000,
    "blocks.gif": b"GIF89a\x09\0\x09\0\0\0\0!\xfe\1" + b",,,,,,,," * 2**17,
    "chunks.webp": b"RIFF\0\0\0\0WEBP" + b"EXIF\0\0\0\0" * 2**17,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_searched_for_a_picture_in_little_time(tmp_path, name):
    (tmp_path / name).write_bytes(DAMAGE[name])
    assert Watch()(read, tmp_path / name) == "refused"


def test_scans_and_comments_as_programs_write_them_are_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(pictures.scans(300, 300, 400))
    (tmp_path / "a.ppm").write_bytes(b"P3\n# GIMP\n1 1 255\n1 2 3\n")
    for path in tmp_path.iterdir():
        codec.read(path)


def test_data_after_a_jpeg_is_not_counted_as_scans(tmp_path):
    # Phones append films, in which hundreds of pairs of bytes look like the start of a scan.
    film = random.Random(0).randbytes(2**24)
    assert film.count(b"\xff\xda") > 100
    (tmp_path / "a.jpg").write_bytes(pictures.scans(3000, 3000, 10) + film)
    assert codec.read_rgb(tmp_path / "a.jpg").shape == (3000, 3000, 3)
