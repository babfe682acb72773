import numpy as np
import pytest
from safetensors.numpy import load_file

import kdgan_jax
from kdgan_jax import convert
from kdgan_jax.formats import imported, native


def leaves(capsys, *arguments):
    """Returns the one line with which the command leaves, exit code 2."""
    with pytest.raises(SystemExit) as left:
        convert.main([str(a) for a in arguments])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def same(a, b, photo):
    np.testing.assert_array_equal(a.upscale(photo[:16, :20]), b.upscale(photo[:16, :20]))


def test_a_run_becomes_one_file(tmp_path, smoke_run, photo):
    out = tmp_path / "student.safetensors"
    assert convert.main([str(smoke_run), str(out), "--licence=CC0", "--data=photos"]) == 0
    same(kdgan_jax.load(out), kdgan_jax.load(smoke_run), photo)
    header = native.header(out)
    assert (header["licence"], header["data"]) == ("CC0", "photos")
    assert header["source"] == "a run of kdgan_jax, phase adversarial, step 4, ema"
    assert len(header["sha256"]) == 64


def test_a_student_goes_out_in_pytorchs_names_and_comes_back(tmp_path, smoke_run, photo):
    out = tmp_path / "student.safetensors"
    convert.main([f"{smoke_run}:teacher", str(out), "--pytorch"])
    state = load_file(out)
    assert state["body.0.weight"].shape[1:] == (3, 3, 3)  # (out, in, h, w)
    assert imported.is_foreign(out)
    same(kdgan_jax.load(out), kdgan_jax.load(smoke_run, "teacher"), photo)


def test_interpolation_and_average_of_two_are_mixes(tmp_path, smoke_run):
    before, after = f"{smoke_run}:distill", f"{smoke_run}:adversarial"
    convert.main(["--interpolate", before, after, "0.5", str(tmp_path / "half.safetensors")])
    convert.main([str(tmp_path / "mean.safetensors"), "--average", before, after])
    half, mean = (load_file(tmp_path / f"{name}.safetensors") for name in ("half", "mean"))
    key = "Conv_0/conv/kernel"
    np.testing.assert_array_equal(half[key], mean[key])
    kernels = [kdgan_jax.load(p).params["Conv_0"]["conv"]["kernel"] for p in (before, after)]
    np.testing.assert_allclose(half[key], (kernels[0] + kernels[1]) / 2, rtol=1e-6, atol=1e-8)


def test_an_architecture_that_is_not_the_files_is_refused(capsys, tmp_path, smoke_run):
    plain = tmp_path / "a.safetensors"
    convert.main([str(smoke_run), str(plain), "--pytorch"])
    capsys.readouterr()
    line = leaves(capsys, plain, tmp_path / "b.safetensors", "--arch=imdn")
    assert "holds no imdn; it has" in line
    line = leaves(capsys, plain, tmp_path / "b.safetensors", "--arch=imd")
    assert "did you mean 'imdn'" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN"], "give one of SOURCE"),
        (["RUN", "RUN", "OUT.safetensors"], "give one of SOURCE"),
        (["RUN", "OUT.pth"], "give OUT the suffix .safetensors"),
        (["RUN", "nowhere/OUT.safetensors"], "no such folder; make it first"),
        (["nowhere", "OUT.safetensors"], "nowhere: no such file or folder"),
        (["--interpolate", "RUN", "RUN", "x", "OUT.safetensors"], "'x' is no number"),
        (["RUN", "OUT.safetensors", "--arch=edsr"], "says itself what it is"),
        (["--interpolate", "RUN", "RUN:teacher", "0.5", "OUT.safetensors"], "models differ"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, tmp_path, smoke_run, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    line = leaves(capsys, *(a.replace("RUN", str(smoke_run)) for a in arguments))
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_overwritten(capsys, tmp_path, smoke_run):
    out = tmp_path / "a.safetensors"
    out.write_bytes(b"mine")
    assert "exists; remove it" in leaves(capsys, smoke_run, out)
    assert out.read_bytes() == b"mine"
