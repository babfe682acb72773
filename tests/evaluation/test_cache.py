import json

import numpy as np
import pytest
from PIL import Image

from kdgan_jax.baselines.interpolation import BASELINES
from kdgan_jax.data import photos
from kdgan_jax.evaluate import main
from kdgan_jax.evaluation import cache, measure


@pytest.fixture
def folder(tmp_path, photo):
    (tmp_path / "set").mkdir()
    for i in range(2):
        Image.fromarray(photo[100 * i : 100 * i + 64, 100:196]).save(tmp_path / f"set/{i}.png")
    return tmp_path / "set"


@pytest.fixture
def calls(monkeypatch):
    """Counts how often nearest is called."""
    made, nearest = [], BASELINES["nearest"]
    monkeypatch.setitem(
        BASELINES, "nearest", lambda lr, scale: made.append(1) or nearest(lr, scale)
    )
    return made


def evaluate(folder, tmp_path, *more):
    arguments = [f"--data={folder}", f"--out={tmp_path}/out", "--metrics=psnr_y", "--resume"]
    assert main([*arguments, *more]) == 0
    return json.loads((tmp_path / "out/results.json").read_text())["rows"]


def test_what_was_measured_is_taken_and_the_rest_is_measured(folder, tmp_path, calls):
    first = evaluate(folder, tmp_path, "--models=nearest")
    once = len(calls)
    both = evaluate(folder, tmp_path, "--models=bicubic,again=nearest")
    assert len(calls) == once + 2  # for the sheet alone
    assert [row["model"] for row in both] == ["bicubic", "again"]
    assert both[1] == first[0] | {"model": "again"}
    assert len(list((tmp_path / "out/rows").iterdir())) == 2


def test_other_photos_metrics_or_scales_are_measured_anew(folder, tmp_path, calls):
    evaluate(folder, tmp_path, "--models=nearest")
    for more in (["--metrics=psnr_y,ssim_y"], ["--scale=2"]):
        before = len(calls)
        evaluate(folder, tmp_path, "--models=nearest", *more)
        assert len(calls) > before + 2
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes())
    before = len(calls)
    rows = evaluate(folder, tmp_path, "--models=nearest")
    assert len(calls) > before + 2
    assert rows[0]["images"] == 2


def test_weights_tell_models_apart(folder, smoke_run):
    from kdgan_jax.inference.load import load

    student, teacher = (load(smoke_run, role) for role in ("student", "teacher"))
    upscalers = [
        measure.from_model("a", student),
        measure.from_model("b", load(smoke_run)),
        measure.from_ensemble("c", student),
        measure.from_model("d", teacher),
        measure.from_model("e", load(smoke_run, ema=False)),
        measure.from_baseline("bicubic", 4),
    ]
    places = [cache.place(folder, u, "x", 4, ["psnr_y"]) for u in upscalers]
    assert places[0] == places[1]
    assert len(set(places)) == 5


def test_infinity_survives(tmp_path):
    rows = [{"model": "m", "dataset": "d", "psnr_y": float("inf")}]
    cache.store(tmp_path / "a/b.json", rows, rows)
    assert (
        cache.load(tmp_path / "a/b.json", "n", "e")
        == ([{"model": "n", "dataset": "e", "psnr_y": float("inf")}],) * 2
    )
    assert cache.load(tmp_path / "none.json", "n", "e") is None


def test_arrays_have_a_digest_of_their_numbers(photo):
    one = photos.Photo("a", photo, None, photo.shape[:2])
    other = one._replace(hr=np.flip(photo, 0).copy())
    assert cache.set_digest([one]) == cache.set_digest([one])
    assert len({cache.set_digest(p) for p in ([one], [other], [one, one])}) == 3
