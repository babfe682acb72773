import io
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from conftest import ENVIRONMENT, ROOT, wait_for
from PIL import Image

import kdgan_jax
from kdgan_jax import upscale
from kdgan_jax.inference.ensemble import quantise, self_ensemble
from kdgan_jax.inference.load import DEFAULT, SHIPPED
from kdgan_jax.upscaling import targets


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
    whole = kdgan_jax.load(DEFAULT).upscale(small)
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
    model = kdgan_jax.load(DEFAULT)
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
    np.testing.assert_array_equal(sr, kdgan_jax.load(DEFAULT).upscale(deep))
    with Image.open(tmp_path / "out/b.png") as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.02)
        assert (image.info["Comment"], image.info["Model"]) == ("a cat", f"{DEFAULT}, x4")
        assert "kdgan_jax" in image.info["Software"]


@pytest.mark.parametrize("form", targets.FORMATS)
def test_formats_and_strip(run, tmp_path, small, form):
    save(tmp_path / "a.png", small)
    quality = ["--quality=60"] if form in ("jpg", "avif") else []
    assert run(tmp_path / "a.png", f"--format={form}", "--strip", *quality) == 0
    assert out_files(tmp_path) == [f"a.{form}"]
    with Image.open(tmp_path / f"out/a.{form}") as image:
        assert not image.getexif().get(0x0131)
        assert not {"Software", "Model", "comment"} & set(image.info)
        off = np.asarray(image.convert("RGB")).astype(int)
    off = np.abs(off - kdgan_jax.load(DEFAULT).upscale(small))
    assert off.max() == 0 if not quality else 0 < off.mean() < 4


@pytest.mark.parametrize("form", ["png", "webp"])
def test_all_frames_of_an_animation_on_request(run, tmp_path, small, capsys, form):
    frames = [Image.fromarray(np.roll(small, 3 * i, axis=1)) for i in range(3)]
    options = {"save_all": True, "append_images": frames[1:], "duration": [40, 80, 120]}
    frames[0].save(tmp_path / "a.webp", lossless=True, **options)
    assert run(tmp_path / "a.webp", "--all_frames", f"--format={form}") == 0
    assert "upscaling: 1 of 1" in capsys.readouterr().err
    model = kdgan_jax.load(DEFAULT)
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


def test_folders_keep_their_structure(run, tmp_path, small, capsys):
    for name in "in/one/a.png", "in/one/two/b.jpg", "c.webp":
        save(tmp_path / name, small)
    assert run(tmp_path / "in", tmp_path / "c.webp", tmp_path / "c.webp") == 0
    assert out_files(tmp_path) == ["c.png", "one/a.png", "one/two/b.png"]
    assert "upscaling: 3 of 3" in capsys.readouterr().err


def test_a_file_that_fails_is_named_and_one_that_exists_is_counted(run, tmp_path, small, capsys):
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
    for fact in ("in/b.png", "in/c.png"):
        assert f"failed: {tmp_path}/{fact}" in messages
    for fact in ("2 of 5 upscaled", "1 skipped", "--overwrite", "2 failed"):
        assert fact in messages.splitlines()[-1]


@pytest.mark.parametrize("option", [None, "--skip_existing", "--overwrite"])
def test_what_exists_is_skipped_unless_it_is_to_be_made_again(run, tmp_path, small, option):
    save(tmp_path / "a.png", small)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_text("kept")
    assert run(tmp_path / "a.png", *[option] * bool(option)) == 0
    assert ((tmp_path / "out/a.png").read_bytes() == b"kept") == (option != "--overwrite")


@pytest.mark.parametrize(
    "words",
    [
        "-i a.png b.jpg -o out -n clean_x4 -s 2",
        "--input=a.png -i b.jpg --output=out --model_name=clean_x4 --outscale=2",
        "a.png b.jpg --out=out --model=clean_x4 --scale=2",
        "a.png -i b.jpg -o out -n clean_x4 --size=64x48",
        "b.jpg a.png -s 2x -n clean_x4 -o out -t 64 --format=png --device=cpu",
    ],
)
def test_letters_and_names_of_options(tmp_path, monkeypatch, small, words):
    monkeypatch.chdir(tmp_path)
    save(Path("a.png"), small), save(Path("b.jpg"), small)
    assert upscale.main(words.split()) == 0
    assert out_files(tmp_path) == ["a.png", "b.png"]
    whole = Image.fromarray(kdgan_jax.load("clean_x4").upscale(small))
    expected = whole.resize((64, 48), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(result(tmp_path), np.asarray(expected))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a.jpg a.png --ext=auto -o out", ["out/a.jpg", "out/a.png"]),
        ("a.jpg --suffix=x4 -o out", ["out/a_x4.png"]),
        ("a.jpg a.png --suffix=x4 --ext=auto -o .", ["a_x4.jpg", "a_x4.png"]),
        ("a.jpg -o big.webp", ["big.webp"]),
        ("a.jpg -o deep/er/b.PNG", ["deep/er/b.PNG"]),
        ("a.jpg -o folder.png", ["folder.png/a.png"]),  # there is a folder of that name
        ("a.jpg -o v1.0", ["v1.0/a.png"]),
    ],
)
def test_names_of_results(tmp_path, monkeypatch, small, words, expected):
    monkeypatch.chdir(tmp_path)
    save(Path("a.jpg"), small), save(Path("a.png"), small), Path("folder.png").mkdir()
    for _ in range(2):  # the second time, results are there
        assert upscale.main(words.split()) == 0
        files = {str(path) for path in Path().rglob("*") if path.is_file()}
        assert sorted(files - {"a.jpg", "a.png"}) == expected
    for name in expected:
        with Image.open(name) as image:
            suffix = Path(name).suffix.lower()
            assert image.format == {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}[suffix]
            assert image.size == (128, 96)


def test_several_models_have_a_folder_each_and_sheets(run, tmp_path, small, capsys):
    save(tmp_path / "in/sub/a.jpg", small)
    models = ["-n", "clean_x4,photo_soft_x4", "--model=clean_gan_x4"]
    assert run(tmp_path / "in", *models, "--sheet") == 0
    names = ["photo_soft_x4", "clean_gan_x4", "clean_x4"]
    assert out_files(tmp_path) == sorted(f"{name}/sub/a.png" for name in [*names, "sheets"])
    for name in names:
        sr = np.asarray(Image.open(tmp_path / f"out/{name}/sub/a.png"))
        lr = np.asarray(Image.open(tmp_path / "in/sub/a.jpg"))
        np.testing.assert_array_equal(sr, kdgan_jax.load(name).upscale(lr))
    with Image.open(tmp_path / "out/sheets/sub/a.png") as sheet:
        assert sheet.width > 1000
    assert "1 of 1 upscaled" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["-", "/dev/stdin"])
@pytest.mark.parametrize("out", [None, "-", "file.jpg", "out"])
def test_streams(tmp_path, monkeypatch, small, capsysbinary, source, out):
    monkeypatch.chdir(tmp_path)
    file = io.BytesIO()
    Image.fromarray(small).save(file, "PNG")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.getvalue())))
    assert upscale.main([source, *(["-o", out] if out else [])]) == 0
    written = capsysbinary.readouterr().out
    if out in (None, "-"):
        with Image.open(io.BytesIO(written)) as image:
            sr = np.asarray(image)
        np.testing.assert_array_equal(sr, kdgan_jax.load(DEFAULT).upscale(small))
        assert list(tmp_path.iterdir()) == []
        return
    assert written == b""
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert path == tmp_path / ("file.jpg" if out == "file.jpg" else "out/stdin.png")


def test_a_stream_that_holds_no_picture_is_named(monkeypatch, capsysbinary):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"no picture")))
    assert upscale.main(["-"]) == 1
    out, err = capsysbinary.readouterr()
    assert out == b""
    assert b"stdin: cannot be read" in err


def test_models_and_version_are_listed_without_work(capsys):
    assert upscale.main(["--list_models"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith(DEFAULT)
    assert all(f"\n{name}" in f"\n{listed}" for name in SHIPPED)
    assert "kdgan zoo" in listed
    with pytest.raises(SystemExit) as left:
        upscale.main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("kdgan_jax 0.")


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["HERE/a.png", "HERE/no.png"], ["HERE/no.png: no such file or folder"]),
        (["HERE/empty"], ["HERE/empty: "]),
        (["HERE/a.png", "HERE/b/a.png"], ["HERE/a.png and HERE/b/a.png ", "two folders"]),
        (["HERE/a.png", "--model=HERE/no"], ["HERE/no: no such file or folder", DEFAULT]),
        (["HERE/a.png", "-n", "clean_x5"], ["clean_x5", "'clean_x4'"]),
        (["HERE/a.png", "-n", "clean_x4,"], ["--model=clean_x4,", "--list_models"]),
        (["HERE/a.png", "-n", ""], ["--model=", "--list_models"]),
        (["HERE/a.png", "--quality=90"], ["PNG", "quality=90"]),
        (["HERE/a.png", "--ext=jpg", "--quality=0"], ["quality=0", "1 to 100"]),
        (["HERE/a.png", "--ext=jpg", "--all_frames"], ["--ext=jpg", "png or webp"]),
        (["HERE/a.png", "-s", "0"], ["-s 0"]),
        (["HERE/a.png", "-s", "2", "--size=9x9"], ["-s 2", "--size=9x9"]),
        (["HERE/a.png", "--size=9"], ["--size=9", "1920x1080"]),
        (["HERE/a.png", "--tile=9"], ["--tile=9", DEFAULT]),
        (["HERE/a.png", "--tile=-1"], ["--tile=-1"]),
        (["HERE/a.png", "--device=gpu"], ["--device=gpu", "cpu"]),
        (["HERE/a.png", "--suffix=a/b"], ["--suffix=a/b"]),
        (["HERE/a.png", "-s", "2.5", "--sheet"], ["--sheet", "-s 4"]),
        (["HERE/a.png", ""], ["empty"]),
        ([], ["no picture"]),
        (["HERE/a.png", "--out=-", "-n", "clean_x4,photo_x4"], ["-o -", "2 models"]),
        (["HERE/a.png", "--out=-", "--sheet"], ["-o -", "--sheet"]),
        (["-", "HERE/a.png"], ["-: ", "stdin"]),
        (["HERE/a.png", "--out="], ["--out is empty"]),
        (["HERE/a.png", "--out=HERE/a.png"], ["HERE/a.png: is a picture to upscale", "itself"]),
        (["HERE/a.png", "--out=HERE"], ["HERE/a.png: is a picture to upscale", "itself"]),
        (["HERE/a.png", "--out=HERE/a.png/b"], ["HERE/a.png is a file"]),
        (["HERE/a.png", "--out=HERE/text"], ["HERE/text is a file"]),
        (["HERE/b", "--out=HERE/b"], ["HERE/b: is in the folder for results"]),
        (["HERE/b", "--out=HERE/c.png"], ["HERE/c.png", "folder"]),
        (["HERE/b", "--out=-"], ["-o -", "one picture"]),
        (["HERE/a.png", "HERE/b/a.png", "--out=HERE/c.png"], ["HERE/c.png", "folder"]),
        (["HERE/a.png", "--out=HERE/c.png", "--ext=jpg"], ["HERE/c.png", "--ext=jpg"]),
        (["HERE/a.png", "--out=HERE/c.gif"], ["HERE/c.gif", ".gif", ".png"]),
        (["HERE/a.png", "--out=HERE/c.png", "-n", "clean_x4,photo_soft_x4"], ["2 models"]),
    ],
)
def test_wrong_arguments_leave_with_2_before_anything_is_done(
    run, tmp_path, small, capsys, arguments, facts
):
    save(tmp_path / "a.png", small)
    save(tmp_path / "b/a.png", small)
    (tmp_path / "text").write_text("mine")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    words = [word.replace("HERE", str(tmp_path)) for word in arguments]
    with pytest.raises(SystemExit) as left:
        upscale.main([f"--out={tmp_path / 'out'}", *words])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(fact.replace("HERE", str(tmp_path)) in line for fact in facts)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("words", [["a.png", "--overwritten"], ["a.png", "--over", "-o", "out"]])
def test_unknown_options_and_a_missing_output_are_refused(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    save(Path("a.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SystemExit) as left:
        upscale.main(words)
    assert left.value.code == 2
    assert words[1] in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(SystemExit):
        upscale.main(["a.png"])
    assert "-o is missing" in capsys.readouterr().err


def test_a_sheet_without_matplotlib_is_refused_in_one_sentence(
    run, tmp_path, small, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit) as left:
        run(save(tmp_path / "a.png", small), "--sheet")
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--sheet" in line
    assert "matplotlib" in line


# In processes of their own: signals, streams that are closed, and the environment.


def command(*arguments):
    return [sys.executable, "-m", "kdgan_jax.upscale", *map(str, arguments)]


HEAVY = {"tensorflow", "orbax", "optax", "matplotlib", "scipy", "sklearn", "skimage", "imagecodecs"}
SUBPACKAGES = "losses", "audit", "baselines", "train"  # of training and measuring
PROGRAMS = {
    "command": "from kdgan_jax import upscale; upscale.main(['a.png', '-o', 'out'])",
    "python": "import kdgan_jax; kdgan_jax.load('clean_x4').upscale('a.png').save('b.png')",
}


def in_python(program, folder):
    """Runs a program in a folder, and returns what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_picture_needs_nothing_of_training(tmp_path, small, program):
    save(tmp_path / "a.png", small)
    loaded = in_python(program + "; import sys; print(*sys.modules)", tmp_path).split()
    modules = {name.split(".")[0] for name in loaded}
    found = {name.split(".")[1] for name in loaded if name.startswith("kdgan_jax.")}
    assert "onnxruntime" in modules
    assert modules & HEAVY == set()
    assert found & set(SUBPACKAGES) == set()


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_result_of_8k_takes_less_than_1500_mb(tmp_path, photo):
    large = Image.fromarray(photo).resize((1920, 1080), Image.Resampling.BICUBIC)
    large.save(tmp_path / "a.png")
    program = "from kdgan_jax import upscale; upscale.main(['a.png', '-o', 'out'])"
    program += "; print(open('/proc/self/status').read())"
    result = in_python(program, tmp_path)
    with Image.open(tmp_path / "out/a.png") as image:
        assert image.size == (7680, 4320)
    (kilobytes,) = re.findall(r"VmHWM:\s*(\d+) kB", result)
    assert int(kilobytes) < 1500 * 1000


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_the_batch_in_one_line(tmp_path, photo, name, code):
    for i in range(400):
        save(tmp_path / f"in/{i}.png", photo[i % 200 :][:60, :90])
    arguments = command(tmp_path / "in", "-o", tmp_path / "out", "-n", "clean_x4")
    process = subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: list(tmp_path.glob("out/[!.]*")), process)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert out == ""
    made = os.listdir(tmp_path / "out")
    assert err.splitlines() == [f"stopped: {len(made)} of 400"]
    assert 0 < len(made) < 400
    assert all(Image.open(tmp_path / "out" / file).load() for file in made)
    assert not [file for file in made if file.startswith(".")]


def test_a_signal_while_jax_is_imported_ends_in_one_line(tmp_path):
    program = """
import os, runpy, signal, sys

class Stop:
    def find_spec(self, name, *more):
        if name == "jax":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Stop())
runpy.run_module("kdgan_jax.upscale", run_name="__main__", alter_sys=True)
"""
    stopped = subprocess.run(
        [sys.executable, "-c", program, "none.png", "-o", tmp_path / "out"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (stopped.returncode, stopped.stderr) == (130, "stopped\n")


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_and_a_plain_locale_change_no_result(tmp_path, small, closed):
    name = "写 [bold] \udcff.png"
    save(tmp_path / name, small)
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *command("in.png", "-o", "out")]
    (tmp_path / name).rename(tmp_path / "in.png")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONPATH": str(ROOT)}
    assert subprocess.run(shell, cwd=tmp_path, env=environment, timeout=120).returncode == 0
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "out/in.png")), kdgan_jax.load(DEFAULT).upscale(small)
    )


def test_names_are_shown_as_they_are_on_a_terminal(tmp_path, small):
    names = ["[bold]a", ":smile: b", "写", "c\x1b[31m\nd", "\udcff"]
    for name in names:
        save(tmp_path / "in" / f"{name}.png", small)
    (tmp_path / "in/[red]bad.png").write_text("no picture")
    ours, theirs = pty.openpty()
    environment = {**os.environ, **ENVIRONMENT, "COLUMNS": "200", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        command(tmp_path / "in", "-o", tmp_path / "out"), cwd=ROOT, env=environment, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        while True:
            try:
                shown += terminal.read(1000)
            except OSError:  # the other end is closed
                break
    assert process.wait(60) == 1
    text = shown.decode()
    assert sorted(os.listdir(tmp_path / "out")) == sorted(f"{name}.png" for name in names)
    assert "6/6" in text
    assert f"failed: {tmp_path}/in/[red]bad.png" in text.replace("\r\n", "")
    assert "[31m" not in text.replace("\\x1b[31m", "")


def test_without_a_home_or_with_one_that_cannot_be_written_nothing_is_lost(tmp_path, small):
    save(tmp_path / "in/a.png", small)
    (tmp_path / "file").touch()
    left_out = "HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"
    rest = {name: value for name, value in os.environ.items() if name not in left_out}
    # The first has no home but the system's, which fails for a user without a name.
    program = "import pwd, runpy; pwd.getpwuid = {}.__getitem__\n"
    program += "runpy.run_module('kdgan_jax.upscale', run_name='__main__', alter_sys=True)"
    for name, extra in (("none", {}), ("closed", {"HOME": str(tmp_path / "file")})):
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path / "in", "-o", tmp_path / name, "--device=cpu"],
            cwd=ROOT,
            env=rest | extra,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr  # of programs that cannot be kept
        assert os.listdir(tmp_path / name) == ["a.png"]
