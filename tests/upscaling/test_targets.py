import os
from pathlib import Path

import pytest
from PIL import Image

from kdgan_jax.runtime.errors import UserError
from kdgan_jax.upscaling import targets
from kdgan_jax.upscaling.targets import Source


@pytest.mark.parametrize(
    ("name", "suffix", "expected"),
    [
        ("a.jpg", "", "a.png"),
        ("a.JPEG", "", "a.png"),
        ("a.heic", "", "a.png"),  # whether or not it is read here
        ("a.tar.webp", "", "a.tar.png"),
        ("scan 3.5", "", "scan 3.5.png"),  # no suffix of pictures
        ("v1.0", "x4", "v1.0_x4.png"),
        (".png", "", ".png.png"),
        ("..png", "", "..png"),
        ("a", "", "a.png"),
        ("a.jpg", "out", "a_out.png"),
        ("a.jpg", "-big", "a-big.png"),
        ("[bold]a.png", "", "[bold]a.png"),
    ],
)
def test_only_a_known_suffix_is_replaced(name, suffix, expected):
    assert targets.named(name, suffix, ".png") == expected
    assert targets.is_result(expected, suffix) == bool(suffix)


@pytest.mark.parametrize("letter", ["x", "写", "\udcff"])  # the last is a byte that is no text
@pytest.mark.parametrize("end", ["", ".jpg", ".png"])
@pytest.mark.parametrize("extension", [".png", ".webp"])
def test_names_of_255_bytes_give_names_of_255_bytes(letter, end, extension):
    size = len(os.fsencode(letter))
    stem = letter * ((255 - len(end)) // size)
    name = targets.named(stem + end, "_x4", extension)
    assert 245 < len(os.fsencode(name)) <= 255
    assert name.endswith(f"_x4{extension}")
    other = targets.named(f"{stem[:-1]}{'y' * size}{end}", "_x4", extension)
    assert other != name
    assert len(os.fsencode(other)) <= 255


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("a.JPG", "JPEG", "a.JPG"),
        ("a.tiff", "TIFF", "a.tiff"),
        ("a.gif", "GIF", "a.png"),
        ("a.bmp", "BMP", "a.png"),
        ("a.mpo", "JPEG", "a.jpg"),
        ("a.apng", "PNG", "a.png"),
        ("scan 3.5", "WEBP", "scan 3.5.webp"),
        ("gone.heic", "", "gone.png"),
    ],
)
def test_auto_keeps_the_format_where_it_can_be_written(tmp_path, name, form, expected):
    if form:
        Image.new("RGB", (4, 4)).save(tmp_path / name, form)
    source = Source(tmp_path / name, Path("sub", name))
    assert targets.target(source, Path("out"), "", "auto") == Path("out/sub", expected)
    webp = targets.target(source, Path("out"), "", "webp")
    assert webp == Path("out/sub", f"{expected.rpartition('.')[0]}.webp")


def touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


def test_two_sources_of_one_target_are_refused_and_one_named_twice_counts_once(tmp_path):
    a, b, c = touched(tmp_path, "a/c.png", "b/c.jpg", "b/c.gif")
    twice = tmp_path / "b/../a/c.png"
    target = tmp_path / "out/c.png"
    pairs = [(Source(path, Path(path.name)), target) for path in (a, twice)]
    assert targets.check(pairs) == pairs[:1]
    with pytest.raises(UserError) as refused:
        targets.check([*pairs, (Source(b, Path("c.jpg")), target)])
    for fact in (str(a), str(b), str(target), "--ext=auto"):
        assert fact in str(refused.value)
    with pytest.raises(UserError) as refused:
        targets.check([*pairs, (Source(c, Path("c.gif")), target)])
    assert str(c) in str(refused.value)
    assert "--ext=auto" not in str(refused.value)  # which would make a PNG of both


@pytest.mark.parametrize("how", ["same", "link", "other source"])
def test_a_source_is_never_written_over(tmp_path, how):
    a, b = touched(tmp_path, "a.png", "b.jpg")
    pairs = [(Source(a, Path("a.png")), tmp_path / "out.png")]
    if how == "link":
        (tmp_path / "out.png").symlink_to(a)
    elif how == "same":
        pairs = [(pairs[0][0], a)]
    else:
        pairs += [(Source(b, Path("b.jpg")), a)]
    with pytest.raises(UserError) as refused:
        targets.check(pairs)
    assert f"{pairs[-1][1]}: " in str(refused.value)
    assert "--suffix" in str(refused.value)
