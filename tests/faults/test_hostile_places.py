"""Commands write nothing outside their output folder, whatever names and links they find."""

import os
import time

import mutations
import pictures
import pytest
import weights
from PIL import Image
from safetensors import safe_open

from kdgan_jax import config as configuration
from kdgan_jax import convert, evaluate, prepare, upscale
from kdgan_jax.formats import native
from kdgan_jax.inference import load


@pytest.fixture
def secret(tmp_path):
    """A file that no command may touch."""
    path = tmp_path / "secret"
    path.write_text("mine")
    yield path
    assert path.read_text() == "mine"


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setattr(upscale, "load", lambda path, **options: load.load("clean_x4"))


def save(path, side=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (90, 150, 60)).save(path)
    return path


def test_inputs_with_dots_absolute_paths_and_links_stay_in_the_output_folder(
    tmp_path, monkeypatch, network
):
    (tmp_path / "work/in/below").mkdir(parents=True)
    save(tmp_path / "up.png"), save(tmp_path / "else/real.png"), save(tmp_path / "work/in/a.png")
    (tmp_path / "work/in/link.png").symlink_to(tmp_path / "else/real.png")
    (tmp_path / "work/in/folder").symlink_to(tmp_path / "else")
    (tmp_path / "work/in/below/..png").symlink_to(tmp_path / "up.png")
    monkeypatch.chdir(tmp_path / "work")
    before = mutations.tree(tmp_path)
    inputs = ["../up.png", str(tmp_path / "else/real.png"), "in", "in/../in/below/../a.png"]
    upscale.main([*inputs[:3], "--out=out"])
    upscale.main([inputs[3], "--out=again/../other"])
    new = mutations.changed(before, mutations.tree(tmp_path))
    assert new
    assert all(name.startswith(("work/out", "work/other", "work/again")) for name in new), new


def test_links_in_the_output_folder_are_not_written_through(tmp_path, secret, network, capfd):
    source = save(tmp_path / "in/a.png")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").symlink_to(tmp_path / "nowhere.png")  # gets replaced
    (out / "d.png").symlink_to(secret)  # exists, so it is not written
    (out / "sub").symlink_to(tmp_path / "in")  # a folder for results
    others = save(tmp_path / "b.png"), save(tmp_path / "d.png")
    save(tmp_path / "more/sub/c.png")
    before = mutations.tree(tmp_path)
    assert upscale.main([*map(str, (source, *others)), f"--out={out}"]) == 0
    assert "1 skipped" in capfd.readouterr().err
    assert upscale.main([str(tmp_path / "more"), f"--out={out}"]) == 1
    output = capfd.readouterr().err
    assert any(str(out / "sub") in line for line in output.splitlines())
    assert mutations.changed(before, mutations.tree(tmp_path)) == ["out/a.png", "out/b.png"]
    assert not (out / "a.png").is_symlink()


def test_hostile_files_in_a_folder_do_not_keep_others_from_being_upscaled(tmp_path, network):
    for name, data in pictures.hostile().items():
        path = tmp_path / "in" / name.rpartition(".")[2] / name  # names of results differ
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    save(tmp_path / "in/good.png")
    os.mkfifo(tmp_path / "in/pipe.png")
    began = time.process_time()
    assert upscale.main([str(tmp_path / "in"), f"--out={tmp_path / 'out'}"]) == 1
    assert time.process_time() - began < 30
    # Of three, only what stands beside the pixels is hostile.
    sound = ["exif.png", "good.png", "profile.png", "texts.png"]
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.*")) == sound


def test_evaluate_replaces_links_and_refuses_names_that_lead_out(tmp_path, secret, capfd):
    for i in range(2):
        pixels = Image.effect_noise((64, 64), 50).convert("RGB")
        (tmp_path / "set").mkdir(exist_ok=True)
        pixels.save(tmp_path / f"set/{i}.png")
    names = "results.md", "results.csv", "results.json", "per_image.csv", "set_sheet.png"
    (tmp_path / "out").mkdir()
    for name in names:
        (tmp_path / "out" / name).symlink_to(secret)
    before = mutations.tree(tmp_path)
    common = ["--metrics=psnr_y", f"--out={tmp_path / 'out'}"]
    models = "--models=../../evil=bicubic,/etc/evil=nearest"
    for label in ("../evil", "/evil", "a/b", "..\0"):
        with pytest.raises(SystemExit):
            evaluate.main([models, f"--data={label}={tmp_path / 'set'}", *common])
        assert "--data" in capfd.readouterr().err
    assert mutations.tree(tmp_path) == before
    assert evaluate.main([models, f"--data={tmp_path / 'set'}", *common]) == 0
    new = mutations.changed(before, mutations.tree(tmp_path))
    assert {f"out/{name}" for name in names} <= set(new)
    assert all(name.startswith("out/") for name in new)
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    (tmp_path / "out/rows").symlink_to(tmp_path / "set")
    with pytest.raises(SystemExit):
        evaluate.main([models, f"--data={tmp_path / 'set'}", "--resume", *common])
    error = capfd.readouterr().err
    assert "rows" in error
    assert "link" in error


def test_convert_replaces_links_and_ignores_names_in_a_file(tmp_path, secret):
    evil = {"source": "../../evil", "licence": "/etc/evil", "name": "../evil.safetensors"}
    native.save(tmp_path / "in.safetensors", weights.model().with_about(**evil))
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.safetensors").symlink_to(tmp_path / "nowhere")
    before = mutations.tree(tmp_path)
    assert convert.main([str(tmp_path / "in.safetensors"), str(out / "a.safetensors")]) == 0
    new = mutations.changed(before, mutations.tree(tmp_path))
    assert new == ["out/a.safetensors"]
    with safe_open(out / "a.safetensors", framework="numpy") as opened:
        assert opened.metadata()["source"] == "../../evil"
    (out / "b.safetensors").symlink_to(secret)
    with pytest.raises(SystemExit):
        convert.main([str(tmp_path / "in.safetensors"), str(out / "b.safetensors")])


def test_prepare_replaces_links(tmp_path, secret):
    for i in range(5):
        save(tmp_path / f"photos/{i}.png", side=32)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.bin").symlink_to(tmp_path / "nowhere")
    config = configuration.default()
    config.data.source, config.data.holdout = str(tmp_path / "photos"), 1
    for phase in config.phases:
        config.train[phase].hr_patch = 16
    before = mutations.tree(tmp_path)
    prepare.run(config, str(tmp_path / "out/a.bin"))
    new = mutations.changed(before, mutations.tree(tmp_path))
    assert new == ["out/a.bin"]
    assert not (tmp_path / "out/a.bin").is_symlink()
