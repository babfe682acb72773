import io
import zlib

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kdgan_jax.pictures import png_writing


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1), (37, 5), (64, 41)])
@pytest.mark.parametrize("stripe", [1, 999, 2**22])
def test_pixels_are_those_that_other_programs_read(monkeypatch, channels, dtype, size, stripe):
    monkeypatch.setattr(png_writing, "_STRIPE", stripe)
    random = np.random.default_rng(0)
    samples = random.integers(0, np.iinfo(dtype).max, (*size, channels), dtype, endpoint=True)
    data = b"".join(png_writing.encoded(samples))
    decoded = imagecodecs.png_decode(data)
    assert decoded.dtype == dtype
    np.testing.assert_array_equal(decoded.reshape(samples.shape), samples)
    with Image.open(io.BytesIO(data)) as image:
        image.load()  # checks what checksums there are
        assert image.size == size[::-1]


@given(st.binary(), st.binary())
def test_checksums_are_joined(first, second):
    parts = zlib.adler32(first), zlib.adler32(second)
    assert png_writing._joined(*parts, len(second)) == zlib.adler32(first + second)


def test_files_of_photos_are_about_as_small_as_pillow_s(photo):
    large = np.asarray(Image.fromarray(photo).resize((1200, 800), Image.Resampling.BICUBIC))
    file = io.BytesIO()
    Image.fromarray(large).save(file, "PNG")
    assert len(b"".join(png_writing.encoded(large))) < 1.15 * len(file.getvalue())
