import imagecodecs
import numpy as np
import pytest
from PIL import Image

import kdgan_jax
from kdgan_jax import upscale
from kdgan_jax.inference.ensemble import quantise, self_ensemble


@pytest.fixture(scope="module")
def small(photo):
    """A colour image of 24 x 32 pixels."""
    return photo[100:124, 100:132]


@pytest.fixture
def run(tmp_path):
    """Calls the command and returns its exit code; results go to tmp_path/out."""
    return lambda *arguments: upscale.main([*map(str, arguments), f"--out={tmp_path / 'out'}"])


def save(path, image, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).convert(mode).save(path)
    return path


def result(tmp_path):
    return np.asarray(Image.open(tmp_path / "out/a.png"))


def out_files(tmp_path):
    root = tmp_path / "out"
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_kind_is_kept_and_size_multiplied(run, tmp_path, small, mode):
    assert run(save(tmp_path / "a.png", small, mode)) == 0
    with Image.open(tmp_path / "out/a.png") as image:
        assert image.mode == mode
        assert image.size == (128, 96)


def test_transparency_is_enlarged_apart_from_colours(run, tmp_path, small):
    alpha = np.zeros((24, 32, 1), np.uint8)
    alpha[:, 16:] = 255
    run(save(tmp_path / "a.png", np.concatenate([small, alpha], -1), "RGBA"))
    sr = result(tmp_path)
    whole = kdgan_jax.load("photo_soft_x4").upscale(small)
    far = slice(4 * (16 + 10), None)  # columns that no hidden pixel reaches
    np.testing.assert_array_equal(sr[:, far, :3], whole[:, far])
    assert np.all(sr[:, :54, 3] == 0)
    assert np.all(sr[:, 74:, 3] == 255)


def test_the_model_can_be_named(run, tmp_path, small, smoke_run):
    run(save(tmp_path / "a.png", small), f"--model={smoke_run}:teacher")
    expected = kdgan_jax.load(smoke_run, "teacher").upscale(small)
    np.testing.assert_array_equal(result(tmp_path), expected)


def test_self_ensemble_is_the_mean_over_flips_and_rotations(run, tmp_path, small):
    run(save(tmp_path / "a.png", small), "--self_ensemble")
    model = kdgan_jax.load("photo_soft_x4")
    sr = result(tmp_path)
    np.testing.assert_array_equal(sr, quantise(self_ensemble(model.predict, small)))
    assert (sr != model.upscale(small)).any()


def test_what_a_picture_was_is_kept_and_who_enlarged_it_is_said(run, tmp_path, small):
    deep = small.astype(np.uint16) * 257
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(deep))
    save(tmp_path / "b.jpg", small)
    with Image.open(tmp_path / "b.jpg") as image:
        image.save(tmp_path / "b.jpg", dpi=(300, 300), comment=b"a cat")
    assert run(tmp_path / "a.png", tmp_path / "b.jpg") == 0
    sr = imagecodecs.png_decode((tmp_path / "out/a.png").read_bytes())
    assert sr.dtype == np.uint16
    np.testing.assert_array_equal(sr, kdgan_jax.load("photo_soft_x4").upscale(deep))
    with Image.open(tmp_path / "out/b.png") as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.02)
        assert (image.info["Comment"], image.info["Model"]) == ("a cat", "photo_soft_x4, x4")
        assert "kdgan_jax" in image.info["Software"]


@pytest.mark.parametrize("form", upscale.FORMATS)
def test_formats_and_strip(run, tmp_path, small, form):
    save(tmp_path / "a.png", small)
    quality = ["--quality=60"] if form in ("jpg", "avif") else []
    assert run(tmp_path / "a.png", f"--format={form}", "--strip", *quality) == 0
    assert out_files(tmp_path) == [f"a.{form}"]
    with Image.open(tmp_path / f"out/a.{form}") as image:
        assert not image.getexif().get(0x0131)
        assert not {"Software", "Model", "comment"} & set(image.info)
        off = np.asarray(image.convert("RGB")).astype(int)
    off = np.abs(off - kdgan_jax.load("photo_soft_x4").upscale(small))
    assert off.max() == 0 if not quality else 0 < off.mean() < 4


@pytest.mark.parametrize("form", ["png", "webp"])
def test_all_frames_of_an_animation_on_request(run, tmp_path, small, capsys, form):
    frames = [Image.fromarray(np.roll(small, 3 * i, axis=1)) for i in range(3)]
    options = {"save_all": True, "append_images": frames[1:], "duration": [40, 80, 120]}
    frames[0].save(tmp_path / "a.webp", lossless=True, **options)
    assert run(tmp_path / "a.webp", "--all_frames", f"--format={form}") == 0
    assert "upscaling: 3 of 3" in capsys.readouterr().err
    model = kdgan_jax.load("photo_soft_x4")
    with Image.open(tmp_path / f"out/a.{form}") as image:
        assert image.n_frames == 3
        for i, frame in enumerate(frames):
            image.seek(i)
            sr = np.asarray(image.convert("RGB"))
            assert image.info["duration"] == [40, 80, 120][i]
            np.testing.assert_array_equal(sr, model.upscale(np.asarray(frame)))


def test_means_of_colours_are_kept_on_request(run, tmp_path):
    board = np.uint8(255 * (np.indices((32, 32)).sum(0)[..., None].repeat(3, axis=2) % 2))
    save(tmp_path / "a.png", board)
    run(tmp_path / "a.png", "--keep_colour")
    assert abs(result(tmp_path).mean() - 127.5) < 2


def test_folders_keep_their_structure_and_equal_names_their_suffix(run, tmp_path, small, capsys):
    for name in "in/one/a.png", "in/one/two/b.jpg", "in/one/two/b.png", "c.webp":
        save(tmp_path / name, small)
    assert run(tmp_path / "in", tmp_path / "c.webp", tmp_path / "c.webp") == 0
    assert out_files(tmp_path) == ["c.png", "one/a.png", "one/two/b.jpg.png", "one/two/b.png.png"]
    assert "upscaling: 4 of 4" in capsys.readouterr().err


def test_a_file_that_fails_is_named_and_does_not_stop_the_rest(run, tmp_path, small, capsys):
    for name in "abcde":
        save(tmp_path / f"in/{name}.png", small)
    (tmp_path / "in/b.png").write_bytes(b"not an image")
    (tmp_path / "in/c.png").write_bytes((tmp_path / "in/c.png").read_bytes()[:-400])
    (tmp_path / "out").mkdir()
    (tmp_path / "out/d.png").write_text("kept")
    assert run(tmp_path / "in") == 1
    assert out_files(tmp_path) == ["a.png", "d.png", "e.png"]
    assert (tmp_path / "out/d.png").read_text() == "kept"
    messages = capsys.readouterr().err
    for fact in ("in/b.png", "in/c.png", "in/d.png: HERE/out/d.png exists"):
        assert f"failed: {tmp_path}/{fact.replace('HERE', str(tmp_path))}" in messages
    assert "2 of 5 upscaled" in messages


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["HERE/a.png", "HERE/no.png"], ["HERE/no.png: no such file or folder"]),
        (["HERE/empty"], ["HERE/empty: "]),
        (["HERE/a.png", "HERE/b/a.png"], ["HERE/a.png and HERE/b/a.png ", "separate folders"]),
        (["HERE/a.png", "--model=HERE/no"], ["HERE/no: no such file or folder"]),
        (["HERE/a.png", "--quality=90"], ["PNG", "quality=90"]),
        (["HERE/a.png", "--format=jpg", "--quality=0"], ["quality=0", "1 to 100"]),
        (["HERE/a.png", "--format=jpg", "--all_frames"], ["--format=jpg", "png or webp"]),
    ],
)
def test_wrong_arguments_leave_with_2_before_anything_is_done(
    run, tmp_path, small, capsys, arguments, facts
):
    save(tmp_path / "a.png", small)
    save(tmp_path / "b/a.png", small)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as left:
        run(*(word.replace("HERE", str(tmp_path)) for word in arguments))
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(fact.replace("HERE", str(tmp_path)) in line for fact in facts)
    assert out_files(tmp_path) == []
