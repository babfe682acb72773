import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from kdgan_jax import check_data
from kdgan_jax.pictures import bicubic


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


@pytest.fixture
def sound(tmp_path, photo):
    """A folder of two photos without findings."""
    save(tmp_path / "sound/a.png", photo[:150])
    save(tmp_path / "sound/b.png", photo[150:])
    return tmp_path / "sound"


def run(capsys, *arguments):
    """Returns (exit code, lines of stdout) of the command."""
    code = check_data.main([str(argument) for argument in arguments])
    return code, capsys.readouterr().out.splitlines()


def test_nothing_found_is_0_and_the_folder_is_described(sound, capsys):
    code = check_data.main([str(sound)])
    captured = capsys.readouterr()
    assert code == 0
    assert captured.out.splitlines() == [
        f"{sound}: 2 images",
        "  sizes  smallest 451x150 (a.png), median 451x150, largest 451x150 (b.png)",
        "  modes  RGB 2",
        "with HR: 2 of 2 images",
        "",
        "no problems, no notes",
    ]
    assert "checking: 2 of 2" in captured.err


def test_sizes_and_modes_are_listed_and_notes_alone_are_0(sound, photo, capsys):
    save(sound / "c.png", photo[::2, ::2, 0])
    save(sound / "d.jpg", photo[10:210, 10:140])
    code, lines = run(capsys, sound, "--patch=64")
    assert code == 0
    assert lines[1].endswith("smallest 130x200 (d.jpg), median 451x150, largest 451x150 (b.png)")
    assert lines[2] == "  modes  RGB 3, L 1"
    assert any(line.startswith("JPEG-compressed photos") and line.endswith(": 1") for line in lines)
    assert lines[-1] == "no problems, 1 note"


def test_problems_are_1_and_stand_under_their_titles_in_order(sound, photo, capsys):
    save(sound / "c.jpg", photo[:100, :100])
    (sound / "d.png").write_text("not a picture")
    code, lines = run(capsys, sound)
    assert code == 1
    place = lines.index("Files that cannot be read: 1")
    assert lines[place + 1].startswith(f"  {sound}/d.png: ")
    titles = [line.split(":")[0] for line in lines if line and line[0].isupper()]
    assert [title.split(" (")[0] for title in titles] == [
        "Files that cannot be read",
        "Too small for a patch",
        "JPEG-compressed photos",
    ]
    assert lines[-1] == "2 problems, 1 note"


def test_long_lists_are_cut_without_all(tmp_path, capsys):
    for i in range(23):
        (tmp_path / f"{i:02}.png").write_text("not a picture")
    for arguments, shown in ([], 20), (["--all"], 23):
        code, lines = run(capsys, tmp_path, *arguments)
        assert code == 1
        assert sum(line.startswith(f"  {tmp_path}/") for line in lines) == shown
        assert any("3 more" in line and "--all" in line for line in lines) == (shown == 20)


def test_sources_say_what_they_hold_and_the_report_how_many_have_hr(sound, tmp_path, photo, capsys):
    lr = np.ascontiguousarray(photo[:120:2, :160:2])
    save(tmp_path / "small/a.png", lr)
    save(tmp_path / "set/HR/b.png", photo[60:290, 200:])
    save(tmp_path / "set/LRx4/b.png", bicubic.downscale(photo[60:290, 200:], 4))
    code, lines = run(capsys, f"lr:{tmp_path}/small,pairs:{tmp_path}/set", f"hr:{sound}")
    assert lines[0] == f"lr:{tmp_path}/small: 1 image"
    assert "with HR: 3 of 4 images" in lines
    assert "80x60 (a.png)" in lines[1]  # 320x240 when enlarged, enough for a patch of 128
    assert code == 0


def test_pairs_and_their_folder(tmp_path, photo, capsys):
    save(tmp_path / "HR/a.png", photo)
    save(tmp_path / "LRx2/ax2.png", bicubic.downscale(photo, 2))
    code, lines = run(capsys, tmp_path, "--scale=2")
    assert (code, lines[0]) == (0, f"{tmp_path}: 1 image, 1 LR in {tmp_path}/LRx2")
    with pytest.raises(SystemExit):
        check_data.main([f"{tmp_path}/HR", f"--lr={tmp_path}/LRx2"])
    assert f"{tmp_path}/LRx2/ax2.png" in capsys.readouterr().err
    save(tmp_path / "LR/a.png", np.ascontiguousarray(bicubic.downscale(photo, 2)))
    code, lines = run(capsys, tmp_path / "HR", f"--lr={tmp_path}/LR")
    assert code == 1
    assert any("is reduced x2, not x4" in line for line in lines)


def test_what_is_in_a_folder_is_checked_and_what_is_not_is_said(tmp_path, photo, capsys):
    for part, top in ("train", 0), ("valid", 150):
        for i in range(2):
            hr = photo[top : top + 150, 200 * i :][:, :200]
            save(tmp_path / f"a, b/{part}_HR/{i}.png", hr)
            for scale in (2, 4):
                lr = np.ascontiguousarray(bicubic.downscale(hr, scale))
                save(tmp_path / f"a, b/{part}_LR_bicubic/X{scale}/{i}x{scale}.png", lr)
    os.rename(tmp_path / "a, b/train_HR/0.png", os.fsencode(tmp_path) + b"/a, b/train_HR/0\xe9.png")
    code, lines = run(capsys, tmp_path / "a, b")
    assert code == 1
    root = f"{tmp_path}/a, b"
    assert f"{root}/train_HR: 2 images, 2 LR in {root}/train_LR_bicubic/X4" in lines
    assert f"{root}/valid_HR: 2 images, 2 LR in {root}/valid_LR_bicubic/X4" in lines
    assert sum("4 other images not used" in line for line in lines) == 1
    (line,) = [line for line in lines if "has no LR" in line]
    assert rf"{root}/train_HR/0\xe9.png" in line
    assert "0x4.png" in line


def test_each_lr_image_of_an_hr_image_is_checked_and_the_hr_image_once(tmp_path, photo, capsys):
    save(tmp_path / "HR/a.png", photo)
    lr = bicubic.downscale(photo, 4)
    save(tmp_path / "LR_wild/ax4w1.png", lr)
    save(tmp_path / "LR_wild/ax4w2.png", np.minimum(lr, 250) + np.uint8(5))
    code, lines = run(capsys, tmp_path)
    assert code == 0
    assert lines[0] == f"{tmp_path}: 1 image, 2 LR in {tmp_path}/LR_wild"
    assert [line.split(":")[0] for line in lines if " dB" in line] == [
        f"  {tmp_path}/LR_wild/ax4w2.png"
    ]


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["nowhere"], "nowhere"),
        (["empty"], "empty"),
        (["sound", "sound/..", "--lr=sound"], "--lr=sound"),
        (["sound", "--lr=nowhere"], "nowhere"),
        (["sound", "--scale=0"], "'0'"),
        (["sound", "--patch=big"], "'big'"),
        (["tfds:div2k"], "tfds:div2k"),
        (["lr:sound", "--lr=sound"], "lr:sound"),
        (["pairs:sound"], "HR/"),
        ([], "SOURCE"),
    ],
)
def test_usage_errors_are_2(sound, tmp_path, monkeypatch, capsys, arguments, fact):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        check_data.main(arguments)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert fact in captured.err.splitlines()[-1]
    assert captured.out == ""


def test_neither_jax_nor_tensorflow_is_imported_by_the_command():
    # The package's own __init__ is skipped, to see what the command itself imports.
    program = (
        "import sys, types; package = types.ModuleType('kdgan_jax');"
        " package.__path__ = ['kdgan_jax']; sys.modules['kdgan_jax'] = package;"
        " import kdgan_jax.check_data;"
        " print([m for m in ('jax', 'flax', 'tensorflow', 'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[]\n"
