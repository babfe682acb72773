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
def run(smoke_run, tmp_path):
    """Calls the command with inputs and returns its exit code; results go to tmp_path/out."""
    return lambda *inputs: upscale.main(
        [*map(str, inputs), f"--out={tmp_path / 'out'}", f"--model={smoke_run}"]
    )


def save(path, image, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).convert(mode).save(path)
    return path


def out_files(tmp_path):
    root = tmp_path / "out"
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_kind_is_kept_and_size_multiplied(run, tmp_path, small, mode):
    assert run(save(tmp_path / "a.png", small, mode)) == 0
    with Image.open(tmp_path / "out/a.png") as image:
        assert image.mode == mode
        assert image.size == (128, 96)


def test_colours_are_those_of_the_model(run, tmp_path, small, smoke_run):
    run(save(tmp_path / "a.png", small))
    wanted = kdgan_jax.load(smoke_run).upscale(small)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/a.png")), wanted)


def test_transparency_is_enlarged_apart_from_colours(run, tmp_path, small, smoke_run):
    alpha = np.zeros((24, 32, 1), np.uint8)
    alpha[:, 16:] = 255
    run(save(tmp_path / "a.png", np.concatenate([small, alpha], -1), "RGBA"))
    result = np.asarray(Image.open(tmp_path / "out/a.png"))
    np.testing.assert_array_equal(result[..., :3], kdgan_jax.load(smoke_run).upscale(small))
    assert np.all(result[:, :54, 3] == 0)
    assert np.all(result[:, 74:, 3] == 255)


def test_role_of_the_model_can_be_named(tmp_path, small, smoke_run):
    source = save(tmp_path / "a.png", small)
    upscale.main([str(source), f"--out={tmp_path / 'out'}", f"--model={smoke_run}:teacher"])
    wanted = kdgan_jax.load(smoke_run, "teacher").upscale(small)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/a.png")), wanted)


def test_without_a_model_the_student_of_the_package_is_taken(tmp_path, small):
    assert upscale.main([str(save(tmp_path / "a.png", small)), f"--out={tmp_path / 'out'}"]) == 0
    wanted = kdgan_jax.load("student_x4").upscale(small)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/a.png")), wanted)


def test_self_ensemble_is_the_mean_over_flips_and_rotations(run, tmp_path, small, smoke_run):
    run(save(tmp_path / "a.png", small), "--self_ensemble")
    model = kdgan_jax.load(smoke_run)
    wanted = quantise(self_ensemble(model.predict, small))
    result = np.asarray(Image.open(tmp_path / "out/a.png"))
    np.testing.assert_array_equal(result, wanted)
    assert (result != model.upscale(small)).any()


def test_folders_keep_their_structure(run, tmp_path, small):
    save(tmp_path / "in/one/a.png", small)
    save(tmp_path / "in/one/two/b.jpg", small)
    save(tmp_path / "c.webp", small)
    assert run(tmp_path / "in", tmp_path / "c.webp") == 0
    assert out_files(tmp_path) == ["c.png", "one/a.png", "one/two/b.png"]


def test_files_that_differ_in_suffix_get_results_each(run, tmp_path, small):
    save(tmp_path / "in/a.png", small)
    save(tmp_path / "in/a.jpg", small)
    assert run(tmp_path / "in") == 0
    assert out_files(tmp_path) == ["a.jpg.png", "a.png.png"]


def test_broken_file_is_named_and_does_not_stop_the_rest(run, tmp_path, small, capsys):
    save(tmp_path / "in/a.png", small)
    (tmp_path / "in/b.png").write_bytes(b"no image")
    content = save(tmp_path / "in/c.png", small).read_bytes()
    (tmp_path / "in/c.png").write_bytes(content[: len(content) // 2])
    save(tmp_path / "in/d.png", small)
    assert run(tmp_path / "in") == 1
    assert out_files(tmp_path) == ["a.png", "d.png"]
    messages = capsys.readouterr().err
    assert f"failed: {tmp_path}/in/b.png" in messages
    assert f"failed: {tmp_path}/in/c.png" in messages
    assert "2 of 4 upscaled" in messages


def test_existing_result_is_refused_and_left_alone(run, tmp_path, small, capsys):
    save(tmp_path / "a.png", small)
    save(tmp_path / "b.png", small)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_text("mine")
    assert run(tmp_path / "a.png", tmp_path / "b.png") == 1
    assert (tmp_path / "out/a.png").read_text() == "mine"
    assert out_files(tmp_path) == ["a.png", "b.png"]
    assert f"{tmp_path}/out/a.png exists" in capsys.readouterr().err


def test_progress_is_told_and_complete(run, tmp_path, small, capsys):
    run(save(tmp_path / "a.png", small), save(tmp_path / "b.png", small))
    assert "upscaling: 2 of 2" in capsys.readouterr().err


# What leaves with 2: nothing is done.


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["a.png", "missing.png"], "missing.png: no such file or folder"),
        (["empty"], "empty: holds no image"),
        (["a.png", "other/a.png"], "out/a.png.png: two inputs would be written there"),
    ],
)
def test_wrong_inputs_leave_with_2(run, tmp_path, small, capsys, inputs, message):
    save(tmp_path / "a.png", small)
    save(tmp_path / "other/a.png", small)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as left:
        run(*(tmp_path / name for name in inputs))
    assert left.value.code == 2
    errors = capsys.readouterr().err
    assert f"{tmp_path}/{message}" in errors
    assert errors.count("\n") == 1
    assert out_files(tmp_path) == []


def test_missing_model_leaves_with_2(tmp_path, small, capsys):
    source = save(tmp_path / "a.png", small)
    with pytest.raises(SystemExit) as left:
        upscale.main([str(source), f"--out={tmp_path / 'out'}", f"--model={tmp_path / 'no'}"])
    assert left.value.code == 2
    assert f"{tmp_path}/no: no such file or folder" in capsys.readouterr().err
