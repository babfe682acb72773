import numpy as np
import pytest
from PIL import Image

from kdgan_jax.errors import UserError
from kdgan_jax.io import images
from kdgan_jax.io.images import Picture


@pytest.fixture
def colour():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.fixture
def grey(colour):
    return colour[..., 0]


def saved(path, array, mode=None, **options):
    """Writes an array as an image file with Pillow, converted to `mode`."""
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def thrice(grey):
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm"])
def test_8_bit_colour_is_read_as_it_is(tmp_path, colour, suffix):
    rgb, alpha, is_grey = images.read(saved(tmp_path / f"a.{suffix}", colour))
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb, colour)
    assert (alpha, is_grey) == (None, False)


def test_grey_becomes_three_equal_channels_and_is_remembered(tmp_path, grey):
    rgb, alpha, is_grey = images.read(saved(tmp_path / "a.png", grey))
    np.testing.assert_array_equal(rgb, thrice(grey))
    assert (alpha, is_grey) == (None, True)


def test_16_bit_grey_is_scaled_to_8_bits_not_clipped(tmp_path):
    deep = np.array([[0, 128, 129, 256], [257, 32896, 65279, 65535]], np.uint16)
    rgb, _, is_grey = images.read(saved(tmp_path / "a.png", deep))
    np.testing.assert_array_equal(rgb, thrice(np.array([[0, 0, 1, 1], [1, 128, 254, 255]])))
    assert is_grey


def test_float_grey_is_rounded_and_clipped(tmp_path):
    values = np.array([[-3.0, 0.6, 128.4, 300.0]], np.float32)
    rgb = images.read(saved(tmp_path / "a.tif", values)).rgb
    np.testing.assert_array_equal(rgb, thrice(np.array([[0, 1, 128, 255]])))


def test_black_and_white_is_0_and_255(tmp_path):
    rgb, _, is_grey = images.read(saved(tmp_path / "a.png", np.eye(4, dtype=bool)))
    np.testing.assert_array_equal(rgb, thrice(255 * np.eye(4, dtype=int)))
    assert is_grey


def test_grey_with_alpha(tmp_path, colour, grey):
    rgb, alpha, is_grey = images.read(saved(tmp_path / "a.png", colour[..., :2]))
    np.testing.assert_array_equal(rgb, thrice(grey))
    np.testing.assert_array_equal(alpha, colour[..., 1:2])
    assert is_grey


def test_colour_with_alpha_keeps_the_colour_of_clear_pixels(tmp_path, colour):
    alpha = np.zeros((5, 7, 1), np.uint8)
    alpha[2:] = 200
    found = images.read(saved(tmp_path / "a.png", np.concatenate([colour, alpha], axis=-1)))
    np.testing.assert_array_equal(found.rgb, colour)
    np.testing.assert_array_equal(found.alpha, alpha)
    assert not found.grey


def test_a_palette_with_transparency(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    rgb, alpha, is_grey = images.read(tmp_path / "a.png")
    assert rgb[0].tolist() == [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    assert alpha[..., 0].tolist() == [[0, 128, 255], [255, 128, 0]]
    assert not is_grey


def test_a_colour_that_stands_for_transparency(tmp_path, colour):
    key = tuple(map(int, colour[1, 2]))
    rgb, alpha, _ = images.read(saved(tmp_path / "a.png", colour, transparency=key))
    np.testing.assert_array_equal(rgb, colour)
    np.testing.assert_array_equal(np.argwhere(alpha[..., 0] == 0), [[1, 2]])


def test_a_cmyk_jpeg_becomes_rgb(tmp_path):
    red = np.full((16, 16, 3), (255, 0, 0), np.uint8)
    rgb, alpha, is_grey = images.read(saved(tmp_path / "a.jpg", red, "CMYK", quality=95))
    assert np.abs(rgb.astype(int) - red).max() < 10
    assert (alpha, is_grey) == (None, False)


def test_only_the_first_frame_is_read(tmp_path):
    first, second = (Image.fromarray(np.full((4, 4), v, np.uint8)) for v in (50, 200))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert (images.read(tmp_path / "a.gif").rgb == 50).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif"])
def test_size_is_that_of_what_is_read(tmp_path, colour, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / f"a.{suffix}", colour, exif=exif)
    assert images.size(path) == images.read(path).rgb.shape[:2]
    assert images.size(path) == ((5, 7) if orientation < 5 else (7, 5))


def test_exif_orientation_6_is_turned_clockwise(tmp_path, colour):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "a.png", colour, exif=exif)
    np.testing.assert_array_equal(images.read(path).rgb, np.rot90(colour, -1))


def refused(path, message, *functions):
    for function in functions or (images.read, images.size):
        with pytest.raises(UserError, match=message) as caught:
            function(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "gif", "bmp", "avif"])
def test_a_truncated_file_is_named(tmp_path, photo, suffix):
    path = saved(tmp_path / f"a.{suffix}", photo[:64, :64])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path, r"truncated or damaged|cannot be read|no image", images.read)


@pytest.mark.parametrize(("box", "byte"), [(b"pitm", 9), (b"mdat", 4)])  # on opening, on decoding
def test_a_damaged_avif_is_named(tmp_path, photo, box, byte):
    # Pillow raises RuntimeError here, which is neither OSError nor ValueError.
    path = saved(tmp_path / "a.avif", photo[:64, :64])
    data = bytearray(path.read_bytes())
    data[data.index(box) + byte] ^= 255
    path.write_bytes(data)
    refused(path, r"truncated or damaged|cannot be read", images.read)


def test_text_named_png_is_no_image(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("not a picture")
    refused(path, "is no image")


def test_an_empty_file_is_no_image(tmp_path):
    path = tmp_path / "a.jpg"
    path.touch()
    refused(path, "is no image")


def test_a_missing_file_is_named(tmp_path):
    refused(tmp_path / "a.png", "no such file")


@pytest.mark.parametrize("limit", [34, 20, 10])  # Pillow warns above it, refuses above twice it
def test_a_decompression_bomb_is_refused_before_decoding(tmp_path, colour, monkeypatch, limit):
    path = saved(tmp_path / "a.png", colour)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    refused(path, f"more than {limit} pixels")


def test_an_image_of_just_the_limit_is_read(tmp_path, colour, monkeypatch):
    path = saved(tmp_path / "a.png", colour)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 35)
    assert images.read(path).rgb.shape == (5, 7, 3)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "PNG"])
def test_colour_comes_back_as_it_was_written(tmp_path, colour, suffix):
    images.write(tmp_path / f"a.{suffix}", Picture(colour, None, False))
    back = images.read(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(back.rgb, colour)
    assert (back.alpha, back.grey) == (None, False)


@pytest.mark.parametrize("is_grey", [True, False])
@pytest.mark.parametrize("has_alpha", [True, False])
def test_kind_and_pixels_come_back(tmp_path, colour, grey, is_grey, has_alpha):
    rgb = thrice(grey) if is_grey else colour
    alpha = colour[::-1, :, 1:2] if has_alpha else None
    images.write(tmp_path / "a.png", Picture(rgb, alpha, is_grey))
    back = images.read(tmp_path / "a.png")
    np.testing.assert_array_equal(back.rgb, rgb)
    np.testing.assert_array_equal(back.alpha, alpha)
    assert back.grey == is_grey


def test_grey_is_written_with_one_channel_the_mean_of_three(tmp_path):
    images.write(tmp_path / "a.png", Picture(np.array([[[10, 11, 12]]], np.uint8), None, True))
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "L"
        assert image.getpixel((0, 0)) == 11


def test_the_format_is_that_of_the_suffix(tmp_path, colour):
    images.write(tmp_path / "a.jpg", Picture(colour, None, False))
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "JPEG"


def test_writing_leaves_the_file_and_nothing_else(tmp_path, colour):
    images.write(tmp_path / "a.png", Picture(colour, None, False))
    images.write(tmp_path / "a.png", Picture(colour[::-1], None, False))
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    np.testing.assert_array_equal(images.read(tmp_path / "a.png").rgb, colour[::-1])


def test_a_write_that_fails_leaves_the_old_file(tmp_path, colour, monkeypatch):
    images.write(tmp_path / "a.png", Picture(colour, None, False))
    before = (tmp_path / "a.png").read_bytes()

    def full(self, path, **options):
        path.write_bytes(b"half a picture")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        images.write(tmp_path / "a.png", Picture(colour[::-1], None, False))
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before


def test_images_are_found_at_any_depth_in_order_and_other_files_are_not(tmp_path):
    for name in ("b.png", "a/c.JPG", "a/d/e.webp", "notes.txt", "a/.f.png.part"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = [str(p.relative_to(tmp_path)) for p in images.find(tmp_path)]
    assert found == ["a/c.JPG", "a/d/e.webp", "b.png"]


def test_a_folder_that_is_missing_or_without_image_is_named(tmp_path):
    refused(tmp_path / "none", "no such folder", images.find)
    refused(tmp_path, "holds no image", images.find)
