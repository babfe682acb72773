import re
import sys

import numpy as np
import pytest
from conftest import run_module

import kdgan_jax
from kdgan_jax import export
from kdgan_jax.inference import engines
from kdgan_jax.onnx import program, trial


def refused(capsys, code, *arguments):
    """Returns the one line with which the command leaves."""
    with pytest.raises(SystemExit) as left:
        export.main([str(a) for a in arguments])
    assert left.value.code == code
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_file_is_written_and_compared(tmp_path, photo):
    out = tmp_path / "student.onnx"
    result = run_module("kdgan_jax.export", "clean_x4", out)
    assert "onnxruntime" in result.stderr
    assert "/255 on a photo" in result.stderr
    model, part = kdgan_jax.load("clean_x4", engine="jax"), photo[:20, :33]
    made = trial.results(out, part)["onnxruntime"]
    np.testing.assert_allclose(made, model.predict(part), rtol=0, atol=1e-5)
    assert b"clean_x4" in out.read_bytes()


def test_half_of_a_tile(tmp_path, capsys):
    out = tmp_path / "half.onnx"
    assert export.main(["clean_x4", str(out), "--dtype=float16", "--tile=32"]) == 0
    told = capsys.readouterr().err
    assert "float16, for images of 32x32" in told
    assert export.SIMULATION in told
    assert out.stat().st_size < 2.1 * kdgan_jax.load("clean_x4").parameters  # of 2 bytes each


def test_files_are_compared_with_jax(tmp_path, capsys, monkeypatch):
    def session(*_):
        raise AssertionError("the engine would run such a file, too")

    monkeypatch.setattr(engines, "session", session)
    assert export.main(["clean_x4", str(tmp_path / "a.onnx")]) == 0
    differences = [float(d) for d in re.findall(r"at most (\S+)/255", capsys.readouterr().err)]
    assert differences
    assert min(differences) > 0  # two programs never agree to the last bit


def test_a_file_that_differs_is_not_left_behind(tmp_path, capsys, monkeypatch):
    other, write = kdgan_jax.load("clean_gan_x4"), program.to_bytes
    monkeypatch.setattr(program, "to_bytes", lambda model, *form: write(other, *form))
    line = refused(capsys, 1, "clean_x4", tmp_path / "a.onnx")
    assert "onnxruntime" in line
    assert "/255" in line
    assert list(tmp_path.iterdir()) == []


def test_half_files_are_compared_where_float16_overflows(tmp_path, capsys, monkeypatch):
    # Runtimes for CPUs compute in float32, and find nothing.
    load = export.load

    def large(*arguments, **options):
        model = load(*arguments, **options)
        # Of kernels and biases in turn; features between the second and the third are large.
        factors = (4e3, 4e3), (20, 8e4), (1 / 283, 8e4 / 283), (283 / 8e4, 1)
        convs = {f"Conv_{i}": model.params[f"Conv_{i}"]["conv"] for i in range(len(factors))}
        scaled = {
            name: {"conv": {"kernel": conv["kernel"] * k, "bias": conv["bias"] * b}}
            for (name, conv), (k, b) in zip(convs.items(), np.float32(factors), strict=True)
        }
        return model.with_params({**model.params, **scaled})

    monkeypatch.setattr(export, "load", large)
    assert export.main(["clean_x4", str(tmp_path / "whole.onnx")]) == 0
    capsys.readouterr()
    line = refused(capsys, 1, "clean_x4", tmp_path / "half.onnx", "--dtype=float16")
    assert export.SIMULATION in line
    assert not (tmp_path / "half.onnx").exists()


@pytest.mark.parametrize("checked", [True, False])
def test_a_damaged_file_is_not_left_behind(tmp_path, capsys, monkeypatch, checked):
    monkeypatch.setattr(program, "to_bytes", lambda *form: b"damaged")
    if not checked:
        monkeypatch.setitem(sys.modules, "onnx", None)
    line = refused(capsys, 1, "clean_x4", tmp_path / "a.onnx")
    assert "nothing was written" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["clean_x4", "OUT.pth"], "OUT.pth: "),
        (["clean_x4", "nowhere/OUT.onnx"], "nowhere: no such folder"),
        (["clean_x4", "taken.onnx"], "taken.onnx exists"),
        (["nowhere", "OUT.onnx"], "nowhere: no such file or folder"),
        (["clean_x4", "OUT.onnx", "--tile=0"], "--tile=0"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, tmp_path, monkeypatch, arguments, fact):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.onnx").write_bytes(b"kept")
    assert fact in refused(capsys, 2, *arguments)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("taken.onnx", b"kept")]


def test_without_photos_a_drawing_is_compared(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export, "PHOTO", "nowhere/photo.png")
    monkeypatch.setitem(export.sources.DISTRIBUTIONS, "nowhere", "nowhere")
    assert export.main(["clean_x4", str(tmp_path / "a.onnx")]) == 0
    assert "a drawing" in capsys.readouterr().err
