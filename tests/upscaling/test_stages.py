import json

import numpy as np
import pytest
from evaluation import tiny
from PIL import Image

from kdgan_jax.inference import tiles
from kdgan_jax.inference.load import load
from kdgan_jax.pictures import codec, lanczos, writing
from kdgan_jax.pictures.picture import Picture
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.upscaling import stages
from kdgan_jax.upscaling.stages import Network, Size, Work


@pytest.fixture(scope="module")
def network():
    return Network("tiny", tiny.model())


def work(network, **options):
    return Work([network], writing.Options(made_by={"Software": "kdgan_jax"}), **options)


@pytest.mark.parametrize(
    ("factor", "pixels", "expected"),
    [
        (None, None, None),
        ("2", None, (20, 30)),
        ("2.5x", None, (25, 38)),
        ("X0.05", None, (1, 1)),
        (None, "40x50", (50, 40)),
        (None, "60X", (40, 60)),
        (None, "x5", (5, 8)),
    ],
)
def test_sizes(factor, pixels, expected):
    size = stages.size(factor, pixels)
    assert (size and size.of((10, 15))) == expected


@pytest.mark.parametrize(
    ("factor", "pixels"),
    [
        *[(value, None) for value in ("0", "-2", "nan", "inf", "two", "", "1e9")],
        *[(None, value) for value in ("x", "", "0x5", "-3x4", "40", "4x5x6")],
        ("2", "40x50"),
    ],
)
def test_what_is_no_size_is_named(factor, pixels):
    with pytest.raises(UserError, match=f"{factor or ''}.*{pixels or ''}"):
        stages.size(factor, pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("size", [None, Size(2.5), Size(6.0), Size(4.0), Size(None, 50, 21)])
def test_results_have_the_size_and_the_kind_of_the_picture(network, dtype, alpha, grey, size):
    random = np.random.default_rng(0)
    pixels = random.integers(0, np.iinfo(dtype).max, (12, 14, 3)).astype(dtype)
    if grey:
        pixels[:] = pixels[..., :1]
    mask = random.integers(0, np.iinfo(dtype).max, (12, 14, 1)).astype(dtype) if alpha else None
    picture = Picture(pixels, mask, grey, b"profile")
    ((result, _),) = work(network, size=size).enlarge(0, [(picture, 0.0)], lambda share: None)
    expected = size.of((12, 14)) if size else (48, 56)
    assert result.pixels.shape == (*expected, 3)
    assert result.pixels.dtype == dtype
    assert (result.grey, result.icc) == (grey, b"profile")
    if grey:
        assert (result.pixels == result.pixels[..., :1]).all()
    assert (result.alpha is None) == (not alpha)
    if alpha:
        assert result.alpha.shape == (*expected, 1)
        assert result.alpha.dtype == dtype


def test_lanczos_is_pillow_s_and_16_bits_follow_it():
    # Between two passes Pillow clips 8 bits, which these do not need.
    pixels = np.random.default_rng(0).integers(100, 150, (20, 30, 3), np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((47, 11), Image.Resampling.LANCZOS))
    result = lanczos.resized(Picture(pixels, pixels[..., :1]), (11, 47))
    np.testing.assert_array_equal(result.pixels, expected)
    np.testing.assert_array_equal(result.alpha, expected[..., :1])
    deep = lanczos.resized(Picture(pixels.astype(np.uint16) * 257), (11, 47)).pixels
    assert np.abs(deep / 257 - expected).max() < 2  # Pillow rounds 8 bits twice
    white = np.full((20, 30, 3), 65535, np.uint16)
    white[:, 15:] = 0
    assert lanczos.resized(Picture(white), (40, 60)).pixels.max() == 65535
    picture = Picture(pixels)
    assert lanczos.resized(picture, (20, 30)) is picture


@pytest.mark.parametrize("side", [32, 37, 200])
def test_tiles_of_a_side_give_the_same_picture_and_move_the_bar(photo, side):
    model = load("clean_x4")
    picture = Picture(photo[:90, :120])
    own = work(Network("a", model)).enlarge(0, [(picture, 0.0)], lambda share: None)
    cut = stages.tiled(model, side, "a")
    shares = []
    result = work(Network("a", cut)).enlarge(0, [(picture, 0.0)] * 2, shares.append)
    np.testing.assert_array_equal(result[1][0].pixels, own[0][0].pixels)
    number = 2 * len(list(tiles.positions((90, 120), cut.tiling((90, 120)))))
    assert len(shares) == number
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert (number > 2) == (side < 100)
    assert cut.tiling((9, 9)).tile == side
    assert type(cut) is type(model)


def test_tiles_that_are_smaller_than_what_a_network_sees_are_refused():
    model = load("clean_x4")
    least = 2 * model.module.receptive_radius + 1
    assert stages.tiled(model, least, "a").tiling((9, 9)).tile == least
    with pytest.raises(UserError, match=f"--tile={least - 1} .*runs/a.*{least}"):
        stages.tiled(model, least - 1, "runs/a")


@pytest.mark.parametrize(
    ("size", "said"),
    [(None, "tiny, x4"), (Size(4.0), "tiny, x4"), (Size(2.0), "tiny, x4, resized")],
)
def test_results_say_who_made_them_and_quality_is_for_formats_that_have_it(
    network, tmp_path, size, said
):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    of = work(network, size=size)
    low = Work(of.networks, of.options._replace(quality=30), size)
    low.write(0, tmp_path / "a.png", [(Picture(pixels), 0.0)])(tmp_path / "a.png")
    sizes = []
    for one in (low, of):
        one.write(0, tmp_path / "a.jpg", [(Picture(pixels), 0.0)])(tmp_path / "a.jpg")
        sizes.append((tmp_path / "a.jpg").stat().st_size)
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["Model"] == said
        np.testing.assert_array_equal(np.asarray(image), pixels)
    assert sizes[0] < sizes[1] / 2


def test_frames_go_only_where_they_fit_and_errors_name_the_result(network, tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    frames = [(Picture(pixels), 40.0), (Picture(pixels + 90), 80.0)]
    work(network).write(0, tmp_path / "a.webp", frames)(tmp_path / ".other.webp")
    assert codec.frame_count(tmp_path / ".other.webp") == 2
    with pytest.raises(UserError, match=r"a\.tif: .*PNG or WebP"):
        work(network).write(0, tmp_path / "a.tif", frames)
    wide = np.zeros((1, 16384, 3), np.uint8)
    with pytest.raises(UserError, match=rf"{tmp_path}/a\.webp: "):
        work(network).write(0, tmp_path / "a.webp", [(Picture(wide), 0.0)])


def test_pictures_that_cannot_be_read_have_no_pixels(network, tmp_path):
    (tmp_path / "a.png").write_text(json.dumps({}))
    Image.new("RGB", (5, 4)).save(tmp_path / "b.png")
    sizes = [work(network).pixels(tmp_path / name) for name in ("a.png", "b.png", "none.png")]
    assert sizes == [0, 20, 0]
