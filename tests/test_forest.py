import json
import runpy

import numpy as np
import pytest
from conftest import ROOT, run_module

from kdgan_jax import forest
from kdgan_jax.audit import apart
from kdgan_jax.baselines import forest_settings, random_forest
from kdgan_jax.runtime.errors import UserError

SMOKE = "--config=configs/forest.py:smoke"
get_config = runpy.run_path(str(ROOT / "configs/forest.py"))["get_config"]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """The workdir of the finished smoke forest, as the command leaves it; not to be changed."""
    path = tmp_path_factory.mktemp("forest") / "run"
    result = run_module("kdgan_jax.forest", SMOKE, f"--workdir={path}", check=False)
    assert result.returncode == 0, result.stderr
    return path


def test_forest_beats_bicubic_on_held_out_photos(workdir):
    results = json.loads((workdir / "results.json").read_text())
    assert [row["photo"] for row in results["per_photo"]] == ["camera", "coffee", "china"]
    for row in results["per_photo"]:
        assert row["forest"] > row["bicubic"] + 0.15
    means = {k: np.mean([row[k] for row in results["per_photo"]]) for k in ("bicubic", "forest")}
    assert results["psnr_y"] == pytest.approx(means)
    loaded = random_forest.load(workdir)
    assert results["parameters"] == loaded.parameters
    assert loaded.recipe == json.loads((workdir / "config.json").read_text())
    flat = loaded.upscale(np.full((9, 9, 3), 90, np.uint8)).astype(int)
    assert abs(flat - 90).max() <= 1


def test_second_start_changes_nothing(workdir):
    before = {path: path.stat().st_mtime_ns for path in workdir.iterdir()}
    forest.run(get_config("smoke"), workdir)
    assert {path: path.stat().st_mtime_ns for path in workdir.iterdir()} == before


@pytest.mark.parametrize(
    ("field", "value", "fact"),
    [
        ("trees", 3, r"config\.trees: 2 .*3"),
        ("data.source", "elsewhere", r"config\.data\.source='embedded', not 'elsewhere'"),
    ],
)
def test_other_config_is_refused(workdir, field, value, fact):
    config = get_config("smoke")
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=f"{workdir} .*{fact}"):
        forest.run(config, workdir)


def test_no_photo_to_train_on_shows_what_a_held_out_one_does(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(forest, "gather", lambda *arguments: given.extend(arguments) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        forest.run(get_config("smoke"), tmp_path / "run")
    assert given[-1] is apart.apart


def test_variants_pass_the_checks_and_others_are_refused():
    for variant in ("", "smoke"):
        forest_settings.checked(get_config(variant))
    with pytest.raises(UserError, match=r"'smok'.*'smoke'"):
        get_config("smok")


def test_wrong_values_are_one_line_before_anything_is_done(tmp_path):
    flags = SMOKE, "--config.trees=0", f"--workdir={tmp_path}/run"
    result = run_module("kdgan_jax.forest", *flags, check=False)
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert "config.trees=0" in line
    assert not (tmp_path / "run").exists()
