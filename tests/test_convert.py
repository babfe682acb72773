import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import kdgan_jax
from kdgan_jax import convert
from kdgan_jax.formats import imported, native


def refused(capsys, *arguments):
    """Returns the one line with which the command leaves, exit code 2."""
    with pytest.raises(SystemExit) as left:
        convert.main([str(a) for a in arguments])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def assert_same(a, b, photo):
    np.testing.assert_array_equal(a.upscale(photo[:16, :20]), b.upscale(photo[:16, :20]))


def assert_same_weights(a, b):
    jax.tree.map(np.testing.assert_array_equal, a.params, b.params)


def test_a_run_becomes_one_file(tmp_path, smoke_run, photo):
    out = tmp_path / "student.safetensors"
    assert convert.main([str(smoke_run), str(out), "--licence=CC0", "--data=photos"]) == 0
    assert_same(kdgan_jax.load(out), kdgan_jax.load(smoke_run), photo)
    header = native.header(out)
    assert (header["licence"], header["data"]) == ("CC0", "photos")
    assert "phase adversarial, step 4, ema" in header["source"]
    assert len(header["sha256"]) == 64


def test_pytorchs_names_can_be_written_and_read(capsys, tmp_path, photo):
    out, again = tmp_path / "student.safetensors", tmp_path / "again.safetensors"
    convert.main(["clean_x4", str(out), "--pytorch"])
    assert load_file(out)["body.0.weight"].shape[1:] == (3, 3, 3)  # (out, in, h, w)
    assert imported.is_foreign(out)
    convert.main([str(out), str(again), "--arch=compact"])
    assert_same(kdgan_jax.load(again), kdgan_jax.load("clean_x4"), photo)
    capsys.readouterr()
    assert "imdn" in refused(capsys, out, tmp_path / "b.safetensors", "--arch=imdn")
    line = refused(capsys, out, tmp_path / "b.safetensors", "--arch=imd")
    assert "did you mean 'imdn'" in line


def test_interpolation_and_average_are_means_of_weights(tmp_path):
    names = "clean_x4", "clean_gan_x4"
    convert.main(["--interpolate", *names, "0.25", str(tmp_path / "quarter.safetensors")])
    convert.main(["--average", *names, str(tmp_path / "mean.safetensors")])
    convert.main(["--average", *names, names[0], str(tmp_path / "three.safetensors")])
    key = "Conv_0/conv/kernel"
    quarter, mean, three = (
        load_file(tmp_path / f"{name}.safetensors")[key] for name in ("quarter", "mean", "three")
    )
    a, b = (kdgan_jax.load(name).params["Conv_0"]["conv"]["kernel"] for name in names)
    np.testing.assert_allclose(quarter, 0.75 * a + 0.25 * b, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(mean, (a + b) / 2, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(three, (2 * a + b) / 3, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("share", "of"), [("0", "clean_x4"), ("1", "clean_gan_x4")])
def test_the_ends_of_an_interpolation_are_the_models(tmp_path, share, of):
    out = tmp_path / "end.safetensors"
    convert.main(["--interpolate", "clean_x4", "clean_gan_x4", share, str(out)])
    assert_same_weights(kdgan_jax.load(out), kdgan_jax.load(of))


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["clean_x4"], "SOURCE"),
        (["clean_x4", "clean_x4", "OUT.safetensors"], "SOURCE"),
        (["clean_x4", "OUT.pth"], "OUT.pth: "),
        (["clean_x4", "nowhere/OUT.safetensors"], "nowhere: no such folder"),
        (["clean_x4", "taken.safetensors"], "taken.safetensors exists"),
        (["nowhere", "OUT.safetensors"], "nowhere: no such file or folder"),
        *(
            (["--interpolate", "clean_x4", "clean_x4", t, "OUT.safetensors"], f"T={t!r}")
            for t in ("x", "nan", "inf", "-0.25", "1.5")
        ),
        (["--interpolate", "clean_x4", "clean_x4", "0", "RUN", "OUT.safetensors"], "OUT alone"),
        (["--average", "--interpolate", "RUN", "RUN", "0", "OUT.safetensors"], "OUT alone"),
        (["--average", "RUN", "OUT.safetensors"], "--average A B OUT"),
        (["--average", "RUN", "RUN", "OUT.safetensors", "--scale=4"], "--scale"),
        (["clean_x4", "OUT.safetensors", "--arch=edsr"], "--arch"),
        (["--average", "clean_x4", "RUN", "OUT.safetensors"], "models differ"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, tmp_path, smoke_run, monkeypatch, arguments, fact):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.safetensors").write_bytes(b"kept")
    line = refused(capsys, *(a.replace("RUN", str(smoke_run)) for a in arguments))
    assert fact in line
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [
        ("taken.safetensors", b"kept")
    ]
