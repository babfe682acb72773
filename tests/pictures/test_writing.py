import numpy as np
import pytest
from pictured import ALPHA, COLOUR, GREY, reads
from PIL import Image

from kdgan_jax.pictures import writing
from kdgan_jax.pictures.picture import Picture


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "PNG", "ppm"])
def test_colour_comes_back_as_it_was_written(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    writing.write(path, Picture(COLOUR, None, False))
    with Image.open(path) as image:
        assert image.format == {"TIF": "TIFF"}.get(suffix.upper(), suffix.upper())
        np.testing.assert_array_equal(np.asarray(image), COLOUR)
    reads(path, COLOUR)


def test_transparency_and_grey_come_back(tmp_path):
    path, thrice = tmp_path / "a.png", GREY.repeat(3, axis=2)
    for rgb, alpha in ((COLOUR, ALPHA), (thrice, ALPHA), (thrice, None)):
        writing.write(path, Picture(rgb, alpha, rgb is thrice))
        reads(path, rgb, alpha, rgb is thrice)
    writing.write(path, Picture(np.array([[[10, 11, 12]]], np.uint8), None, True))
    with Image.open(path) as image:  # one channel, the mean of three
        assert (image.mode, image.getpixel((0, 0))) == ("L", 11)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    writing.write(tmp_path / "a.png", Picture(COLOUR, None, False))
    writing.write(tmp_path / "a.png", Picture(COLOUR[::-1], None, False))

    def full(self, path, **options):
        path.write_bytes(b"half a picture")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        writing.write(tmp_path / "a.png", Picture(COLOUR, None, False))
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    reads(tmp_path / "a.png", COLOUR[::-1])
