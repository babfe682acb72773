"""Small pictures and how tests write and read them."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from kdgan_jax.pictures import codec
from kdgan_jax.runtime.errors import UserError

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (5, 7, 3), np.uint8)
GREY, ALPHA = COLOUR[..., :1], COLOUR[::-1, :, 1:2]
DEEP = RANDOM.integers(0, 65536, (5, 7, 4)).astype(np.uint16)
DEEP[0, :3, 0] = 128, 129, 65407  # just below and just above 0.5, and where v >> 8 gives 255
LOSSLESS = {"webp": {"lossless": True}}  # how a suffix is saved without loss


def saved(path, array, **options):
    """Writes an array as an image file with Pillow."""
    image = Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)
    image.save(path, **LOSSLESS.get(path.suffix[1:], {}), **options)
    return path


def reads(path, rgb, alpha=None, grey=False, within=0):
    """Checks what is read of a file: `rgb` (H, W, 3) or (H, W, 1) of 8 bits, to `within` levels."""
    picture, pixels = codec.read(path), codec.read_rgb(path)
    assert pixels.dtype == np.uint8
    assert pixels.shape == picture.pixels.shape == (*rgb.shape[:2], 3)
    assert np.abs(pixels - rgb.astype(float)).max() <= within
    assert picture.grey == grey
    if grey:
        assert (picture.pixels == picture.pixels[..., :1]).all()
        assert (pixels == pixels[..., :1]).all()
    found = picture.alpha
    if found is not None:
        assert found.dtype == picture.pixels.dtype
        found = rounded(found) if found.dtype == np.uint16 else found
    np.testing.assert_array_equal(found, alpha)
    assert codec.size(path) == pixels.shape[:2]


def reads_deep(path, values, alpha=None, grey=False, within=0):
    """Checks that a file is read as these uint16 (H, W, 3) or (H, W, 1), to `within` levels."""
    picture = codec.read(path)
    assert picture.pixels.dtype == np.uint16
    assert picture.pixels.shape == (*values.shape[:2], 3)
    assert np.abs(picture.pixels - values.astype(float)).max() <= within
    assert picture.grey == grey
    np.testing.assert_array_equal(picture.alpha, alpha)
    np.testing.assert_array_equal(codec.read_rgb(path), rounded(picture.pixels))
    assert codec.size(path) == picture.pixels.shape[:2]


def refused(path, *facts, by=(codec.read, codec.size)):
    """Checks that a path is refused with a message that names it and holds one of `facts`."""
    for function in by:
        with pytest.raises(UserError) as caught:
            function(path)
        assert str(path) in str(caught.value)
        assert any(fact in str(caught.value) for fact in facts)


def rounded(deep):
    return np.floor(deep / 257 + 0.5).astype(np.uint8)  # 257 is odd: no v lies half-way


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_16(path, values, before=b"", after=b""):
    """Writes uint16 (H, W, C) as PNG, with further chunks before and after the pixels."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    end = chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + before + pixels + after + end)
    return path
