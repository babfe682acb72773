import shutil

import numpy as np
import pytest
from evaluation import tiny

from kdgan_jax.baselines.interpolation import BASELINES
from kdgan_jax.data.photos import Box, Copy, Photo
from kdgan_jax.evaluation import cache, measure, plan
from kdgan_jax.evaluation.run import run
from kdgan_jax.formats import native
from kdgan_jax.runtime.files import read_json


@pytest.fixture
def evaluate(tmp_path, monkeypatch, photo):
    """Resumes an evaluation; returns its rows and how often nearest was called."""
    calls, nearest = [], BASELINES["nearest"]
    monkeypatch.setitem(BASELINES, "nearest", lambda *args: calls.append(1) or nearest(*args))
    tiny.photos(tmp_path / "tiny", photo)
    common = {"data": f"{tmp_path}/tiny", "out": f"{tmp_path}/out", "metrics": "psnr_y"}

    def evaluate(models="nearest", scale=4, **more):
        calls.clear()
        arguments = common | {"models": models, "scale": scale, "resume": True} | more
        assert run(plan.make(**arguments)._replace(pictures=False)) == []
        return read_json(tmp_path / "out/results.json")["rows"], len(calls)

    return evaluate


def test_what_was_measured_is_reused_and_the_rest_is_measured(evaluate, tmp_path):
    first, calls = evaluate()
    assert calls > 0
    both, calls = evaluate("bicubic,again=nearest")
    assert calls == 0
    assert [row["model"] for row in both] == ["bicubic", "again"]
    assert both[1] == first[0] | {"model": "again"}
    files = list((tmp_path / "out/rows").iterdir())
    assert len(files) == 2
    for file in files:
        file.write_text("damaged")
    assert evaluate()[1] > 0


def test_other_photos_metrics_or_scales_are_measured_again(evaluate, tmp_path):
    evaluate()
    assert evaluate(metrics="psnr_y,psnr_rgb")[1] > 0
    assert evaluate(scale=2)[1] > 0
    shutil.copy(tmp_path / "tiny/0.png", tmp_path / "tiny/1.png")
    assert evaluate()[1] > 0


def test_photos_without_hr_are_measured_again_for_another_teacher_alone(evaluate, tmp_path, photo):
    data = f"lr:{tiny.lr_photos(tmp_path / 'real', photo)}"
    for name in "ab":
        native.save(tmp_path / f"{name}.safetensors", tiny.model(seed=ord(name)))
    first, calls = evaluate(data=data, reference_model=f"one={tmp_path}/a.safetensors")
    assert calls > 0
    again, calls = evaluate(data=data, reference_model=f"two={tmp_path}/a.safetensors")
    assert calls == 0
    assert again == [first[0] | {"reference": "two"}]
    other, calls = evaluate(data=data, reference_model=f"one={tmp_path}/b.safetensors")
    assert calls > 0
    assert other[0]["psnr_y"] != first[0]["psnr_y"]
    assert evaluate(reference_model=f"one={tmp_path}/a.safetensors")[1] > 0
    assert evaluate()[1] > 0  # to HR


def test_photos_without_a_reference_are_reused(evaluate, tmp_path, photo):
    data = {"data": f"lr:{tiny.lr_photos(tmp_path / 'real', photo)}", "metrics": "mesh"}
    first, calls = evaluate(**data)
    assert calls > 0
    assert first[0]["reference"] is first[0]["psnr_y"] is None
    assert evaluate(**data) == (first, 0)


def test_weights_tell_models_apart(tmp_path):
    model, same, other = tiny.model(), tiny.model(), tiny.model(seed=1)
    upscalers = [
        measure.from_model("a", model),
        measure.from_model("b", same),
        measure.from_ensemble("c", model),
        measure.from_model("d", other),
        measure.from_baseline("bicubic", 4),
    ]
    paths = [cache.rows_path(tmp_path, u, "x", 4, ["psnr_y"]) for u in upscalers]
    assert paths[0] == paths[1]
    assert len(set(paths)) == 4


def test_rows_without_the_fields_of_today_are_measured_again(tmp_path, monkeypatch):
    bicubic = measure.from_baseline("bicubic", 4)
    before = cache.rows_path(tmp_path, bicubic, "x", 4, ["psnr_y"])
    monkeypatch.setattr(cache, "METRICS", [*cache.METRICS, "another"])
    assert cache.rows_path(tmp_path, bicubic, "x", 4, ["psnr_y"]) != before


def test_infinity_survives(tmp_path):
    rows = [{"model": "m", "dataset": "d", "psnr_y": float("inf")}]
    cache.store(tmp_path / "a/b.json", rows, rows)
    names = {"model": "n", "dataset": "e", "reference": "t"}
    renamed = [{**names, "psnr_y": float("inf")}]
    assert cache.load(tmp_path / "a/b.json", *names.values()) == (renamed, renamed)
    assert cache.load(tmp_path / "none.json", *names.values()) is None


def test_the_digest_of_a_set_is_that_of_its_images(photo):
    one = Photo("a", photo, None, photo.shape[:2])
    other = one._replace(hr=np.flip(photo, 0).copy())
    assert cache.set_digest([one]) == cache.set_digest([one._replace(hr=photo.copy())])
    lr = Photo("a", None, photo, photo.shape[:2])
    part, copy = one._replace(part=Box(0, 0, 8, 8)), one._replace(copy=Copy("light", "a", 0))
    sets = [one], [other], [one, one], [lr], [part], [copy]
    assert len({cache.set_digest(photos) for photos in sets}) == len(sets)
