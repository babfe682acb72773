import numpy as np
import pytest

from kdgan_jax import bicubic
from kdgan_jax.evaluate import measure, metrics
from kdgan_jax.evaluate.baselines import BASELINES, nearest
from kdgan_jax.zoo.model import Model


def example(photo, top, name="cat"):
    hr = np.ascontiguousarray(photo[top : top + 64, 100:164])
    return measure.Example(name, hr, bicubic.downscale(hr, 4))


@pytest.fixture
def examples(photo):
    return [example(photo, 0, "ears"), example(photo, 100, "eyes"), example(photo, 200, "paws")]


def constant(name, value, parameters=0):
    def upscale(lr):
        return np.full((lr.shape[0] * 4, lr.shape[1] * 4, 3), value, np.uint8)

    return measure.Upscaler(name, upscale, parameters)


def test_a_sets_figure_is_the_mean_of_its_images_figures(examples):
    rows, per_image = measure.measure([constant("grey", 99)], examples, dataset="d", scale=4)
    for name, metric in metrics.METRICS.items():
        each = [metric(np.full((64, 64, 3), 99, np.uint8), e.hr, 4) for e in examples]
        assert [row[name] for row in per_image] == pytest.approx(each)
        assert rows[0][name] == pytest.approx(np.mean(each), abs=1e-9)
        assert np.ptp(each) > 0.01


def test_rows_have_all_fields(examples):
    upscalers = [constant("black", 0, 7), measure.from_baseline("bicubic", 4)]
    rows, per_image = measure.measure(upscalers, examples, dataset="Set3", scale=4)
    assert [(r["model"], r["dataset"], r["scale"], r["images"], r["params"]) for r in rows] == [
        ("black", "Set3", 4, 3, 7),
        ("bicubic", "Set3", 4, 3, 0),
    ]
    fields = {"model", "dataset", "scale", "images", "params", "seconds_per_image"}
    assert all(set(row) == fields | set(metrics.METRICS) for row in rows)
    assert [(r["model"], r["image"]) for r in per_image] == [
        (model, image) for image in ("ears", "eyes", "paws") for model in ("black", "bicubic")
    ]
    fields = {"model", "dataset", "image", "seconds"}
    assert all(set(row) == fields | set(metrics.METRICS) for row in per_image)


def test_seconds_are_the_median_over_images(examples, monkeypatch):
    clock = iter([0.0, 9.0, 10.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))
    rows, per_image = measure.measure([constant("grey", 99)], examples, dataset="d", scale=4)
    assert [row["seconds"] for row in per_image] == [9, 1, 2]
    assert rows[0]["seconds_per_image"] == 2


def test_examples_may_be_a_generator_and_each_result_is_announced(examples):
    done = []
    upscalers = (constant(name, 0) for name in "ab")
    rows, _ = measure.measure(
        upscalers, iter(examples), dataset="d", scale=4, on_image=lambda: done.append(1)
    )
    assert [row["images"] for row in rows] == [3, 3]
    assert len(done) == 6


def test_an_image_met_exactly_shows_as_infinite(photo):
    same = example(photo, 0)
    upscaler = measure.Upscaler("oracle", lambda lr: same.hr, 0)
    rows, _ = measure.measure([upscaler], [same], dataset="d", scale=4)
    assert rows[0]["psnr_y"] == rows[0]["psnr_rgb"] == float("inf")


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", BASELINES)
def test_baselines_enlarge_by_the_scale_without_parameters(photo, name, scale):
    lr = photo[:11, :7]
    upscaler = measure.from_baseline(name, scale)
    sr = upscaler.upscale(lr)
    assert (sr.shape, sr.dtype) == ((11 * scale, 7 * scale, 3), np.uint8)
    assert (upscaler.name, upscaler.parameters) == (name, 0)


def test_baselines_are_what_they_are_called(photo):
    lr = photo[:11, :7]
    sr = measure.from_baseline("bicubic", 4).upscale(lr)
    np.testing.assert_array_equal(sr, bicubic.upscale(lr, 4))
    np.testing.assert_array_equal(nearest(lr, 3), np.kron(lr, np.ones((3, 3, 1), np.uint8)))


def test_a_model_is_measured_with_its_own_upscale_and_parameters(photo, key):
    from kdgan_jax import models

    kwargs = {"features": 4, "depth": 1}
    params = models.init(models.generator("compact", kwargs, 4), key, 8)
    model = Model("compact", kwargs, 4, params)
    upscaler = measure.from_model("tiny", model)
    assert (upscaler.name, upscaler.parameters) == ("tiny", model.parameters)
    np.testing.assert_array_equal(upscaler.upscale(photo[:16, :16]), model.upscale(photo[:16, :16]))
