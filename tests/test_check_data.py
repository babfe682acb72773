import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdgan_jax import check_data
from kdgan_jax.pictures import bicubic

ROOT = Path(__file__).resolve().parent.parent


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
    code, lines = run(capsys, sound)
    assert code == 0
    assert lines == [
        f"{sound}: 2 images",
        "  sizes  smallest 451x150 (a.png), median 451x150, largest 451x150 (b.png)",
        "  modes  RGB 2",
        "",
        "no problems, no notes",
    ]


def test_sizes_and_modes_of_several_kinds(sound, photo, capsys):
    save(sound / "c.png", photo[::2, ::2, 0])
    save(sound / "d.png", photo[10:210, 10:140])
    _, lines = run(capsys, sound, "--patch=64")
    assert lines[1].endswith("smallest 130x200 (d.png), median 451x150, largest 451x150 (b.png)")
    assert lines[2] == "  modes  RGB 3, L 1"


def test_notes_alone_are_0(tmp_path, photo, capsys):
    save(tmp_path / "a.jpg", photo)
    code, lines = run(capsys, tmp_path)
    assert code == 0
    assert "JPEG-compressed HR (a note: networks learn the blocks as well): 1" in lines
    assert lines[-1] == "no problems, 1 note"


def test_a_problem_is_1_and_is_under_its_title(sound, capsys):
    (sound / "c.png").write_text("no image")
    code, lines = run(capsys, sound)
    assert code == 1
    place = lines.index("Files that cannot be read: 1")
    assert lines[place + 1].startswith(f"  {sound}/c.png: is no image")
    assert lines[-1] == "1 problem, no notes"


def test_groups_stand_in_order_problems_first(sound, photo, capsys):
    save(sound / "c.jpg", photo[:100, :100])
    (sound / "d.png").write_text("no image")
    _, lines = run(capsys, sound)
    titles = [line.split(":")[0] for line in lines if line and line[0].isupper()]
    assert [title.split(" (")[0] for title in titles] == [
        "Files that cannot be read",
        "Too small for a patch",
        "JPEG-compressed HR",
    ]


def test_long_lists_are_cut_unless_all_is_asked_for(tmp_path, capsys):
    for i in range(23):
        (tmp_path / f"{i:02}.png").write_text("no image")
    code, lines = run(capsys, tmp_path)
    assert code == 1
    assert sum("is no image" in line for line in lines) == 20
    assert "  ... and 3 more; --all shows all" in lines
    _, lines = run(capsys, tmp_path, "--all")
    assert sum("is no image" in line for line in lines) == 23
    assert not any("more" in line for line in lines)


def test_pairs_and_their_folder(tmp_path, photo, capsys):
    save(tmp_path / "HR/a.png", photo)
    save(tmp_path / "LRx2/ax2.png", bicubic.downscale(photo, 2))
    code, lines = run(capsys, tmp_path, "--scale=2")
    assert (code, lines[0]) == (0, f"{tmp_path}: 1 image, 1 LR in {tmp_path}/LRx2")
    code, lines = run(capsys, tmp_path / "HR", f"--lr={tmp_path}/LRx2")
    assert code == 1
    assert any("has no LR image ax4.png" in line for line in lines)
    save(tmp_path / "LR/a.png", np.ascontiguousarray(bicubic.downscale(photo, 2)))
    code, lines = run(capsys, tmp_path / "HR", f"--lr={tmp_path}/LR")
    assert code == 1
    assert any("is reduced x2, not x4" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["."], "holds no image"),
        (["sound", "sound/..", "--lr=sound"], "--lr=sound belongs to one folder"),
        (["sound", "--lr=nowhere"], "nowhere: no such folder"),
        (["sound", "--scale=0"], "'0' must be a whole number of at least 1"),
        (["sound", "--patch=big"], "'big' must be a whole number of at least 1"),
        ([], "required: DIR"),
    ],
)
def test_usage_errors_are_2(sound, tmp_path, monkeypatch, capsys, arguments, message):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty" if arguments == ["."] else tmp_path)
    with pytest.raises(SystemExit) as caught:
        check_data.main(arguments)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_help_says_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as caught:
        check_data.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for words in ("0 nothing found, or notes only", "1 problems found", "2 nothing was checked"):
        assert words in text


def test_the_progress_is_said_on_stderr(sound, capsys):
    check_data.main([str(sound)])
    assert "checking: 2 of 2" in capsys.readouterr().err


def test_neither_jax_nor_tensorflow_is_imported_by_the_command():
    # The package's own __init__ is passed over: what the command itself needs is looked at.
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
