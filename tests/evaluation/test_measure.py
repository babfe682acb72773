import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.baselines.interpolation import BASELINES
from kdgan_jax.evaluation import measure, metrics
from kdgan_jax.inference.model import Model
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError


def example(photo, top, name="cat"):
    hr = np.ascontiguousarray(photo[top : top + 64, 100:164])
    return measure.Example(name, hr, bicubic.downscale(hr, 4))


@pytest.fixture
def examples(photo):
    return [example(photo, 0, "ears"), example(photo, 100, "eyes"), example(photo, 200, "paws")]


def constant(name, value, parameters=0):
    def upscale(lr):
        return np.full((lr.shape[0] * 4, lr.shape[1] * 4, 3), value, np.uint8)

    return measure.Upscaler(name, upscale, parameters, None)


def test_a_sets_figure_is_the_mean_of_its_images_figures(examples):
    rows, per_image = measure.measure([constant("grey", 99)], examples, dataset="d", scale=4)
    for name, metric in metrics.METRICS.items():
        each = [metric(np.full((64, 64, 3), 99, np.uint8), e.hr, 4) for e in examples]
        assert [row[name] for row in per_image] == pytest.approx(each)
        assert rows[0][name] == pytest.approx(np.mean(each), abs=1e-9)
        assert np.ptp(each) > 0.01


FIELDS = ["model", "dataset", "scale", "images", "psnr_y", "ssim_y", "psnr_rgb", "lpips_alex"]
FIELDS += ["lpips_vgg", "params", "multi_adds_720p", "seconds_per_image"]


def test_rows_have_all_fields(examples):
    upscalers = [constant("black", 0, 7), measure.from_baseline("bicubic", 4)]
    rows, per_image = measure.measure(upscalers, examples, dataset="Set3", scale=4)
    assert [(r["model"], r["dataset"], r["scale"], r["images"], r["params"]) for r in rows] == [
        ("black", "Set3", 4, 3, 7),
        ("bicubic", "Set3", 4, 3, 0),
    ]
    assert all(list(row) == FIELDS for row in rows)
    assert [row["multi_adds_720p"] for row in rows] == [None, 0]
    assert [(r["model"], r["image"]) for r in per_image] == [
        (model, image) for image in ("ears", "eyes", "paws") for model in ("black", "bicubic")
    ]
    fields = {"model", "dataset", "image", "seconds"}
    assert all(set(row) == fields | set(metrics.METRICS) for row in per_image)


def test_seconds_are_medians_of_five_runs_of_the_first_image_and_over_images(examples, monkeypatch):
    runs = [9, 9, 3, 1, 1, 1, 2]  # seconds: five of the first image, then one of each
    clock = iter(tick for second in runs for tick in (0.0, second))
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))
    rows, per_image = measure.measure([constant("grey", 99)], examples, dataset="d", scale=4)
    assert [row["seconds"] for row in per_image] == [3, 1, 2]
    assert rows[0]["seconds_per_image"] == 2


def test_examples_may_be_a_generator_and_each_result_is_announced(examples):
    done = []
    upscalers = [constant(name, 0) for name in "ab"]
    rows, _ = measure.measure(
        upscalers, iter(examples), dataset="d", scale=4, metrics=["psnr_y"], on_image=done.append
    )
    assert [row["images"] for row in rows] == [3, 3]
    assert done == ["a", "b"] * 3


def test_metrics_that_were_not_asked_for_are_none(examples):
    found = measure.measure(
        [constant("grey", 9)], examples, dataset="d", scale=4, metrics=["ssim_y"]
    )
    for row in (*found[0], *found[1]):
        assert {m for m in metrics.METRICS if row[m] is not None} == {"ssim_y"}


def test_an_image_that_cannot_be_measured_is_named(photo):
    small = measure.Example("paw", photo[:8, :8], bicubic.downscale(photo[:8, :8], 4))
    with pytest.raises(UserError, match=r"^d/paw: an image of 8x8 is too small"):
        measure.measure([constant("grey", 9)], [small], dataset="d", scale=4)


def test_an_image_met_exactly_shows_as_infinite(photo):
    same = example(photo, 0)
    upscaler = measure.Upscaler("oracle", lambda lr: same.hr, 0, 0)
    rows, _ = measure.measure([upscaler], [same], dataset="d", scale=4)
    assert rows[0]["psnr_y"] == rows[0]["psnr_rgb"] == float("inf")


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", BASELINES)
def test_baselines_enlarge_by_the_scale_without_parameters(photo, name, scale):
    lr = photo[:11, :7]
    upscaler = measure.from_baseline(name, scale)
    sr = upscaler.upscale(lr)
    assert (sr.shape, sr.dtype) == ((11 * scale, 7 * scale, 3), np.uint8)
    assert (upscaler.name, upscaler.parameters, upscaler.multi_adds) == (name, 0, 0)


def textbook(lr, scale, kernel, radius):
    """Interpolation along both axes with edges renormalised, in float64."""
    for axis in (0, 1):
        size = lr.shape[axis]
        centres = (np.arange(size * scale) + 0.5) / scale - 0.5
        weights = kernel(centres[:, None] - np.arange(size)) * (
            np.abs(centres[:, None] - np.arange(size)) < radius
        )
        weights /= weights.sum(axis=1, keepdims=True)
        lr = np.moveaxis(np.tensordot(weights, lr, (1, axis)), 0, axis)
    return np.clip(lr, 0, 255)


def test_baselines_are_what_they_are_called(photo):
    lr = photo[:11, :17]
    made = {name: measure.from_baseline(name, 4).upscale(lr) for name in BASELINES}
    np.testing.assert_array_equal(made["bicubic"], bicubic.upscale(lr, 4))
    np.testing.assert_array_equal(made["nearest"], np.kron(lr, np.ones((4, 4, 1), np.uint8)))
    kernels = {
        "bilinear": (lambda t: 1 - np.abs(t), 1),
        "lanczos": (lambda t: np.sinc(t) * np.sinc(t / 3), 3),
    }
    assert set(BASELINES) == {"nearest", "bicubic", *kernels}
    for name, (kernel, radius) in kernels.items():
        difference = made[name] - textbook(lr, 4, kernel, radius)
        assert np.abs(difference).max() < 1.5, name  # each pass rounds to 8 bits


@pytest.fixture
def model(key):
    kwargs = {"channels": 4, "depth": 1}
    params = models.init(models.generator("compact", kwargs, 4), key, 8)["params"]
    return Model("compact", kwargs, 4, params)


def test_a_model_is_measured_with_its_own_upscale_and_costs(photo, model):
    upscaler = measure.from_model("tiny", model)
    assert (upscaler.name, upscaler.parameters) == ("tiny", model.parameters)
    assert upscaler.multi_adds == (3 * 4 * 9 + 4 * 4 * 9 + 4 * 48 * 9) * 320 * 180
    np.testing.assert_array_equal(upscaler.upscale(photo[:16, :16]), model.upscale(photo[:16, :16]))


def test_a_self_ensemble_costs_eight_times_and_is_the_mean_of_predictions(photo, model):
    plain, ensemble = measure.from_model("m", model), measure.from_ensemble("m+", model)
    assert (ensemble.name, ensemble.parameters) == ("m+", plain.parameters)
    assert ensemble.multi_adds == 8 * plain.multi_adds
    lr = photo[:16, :20]
    made = ensemble.upscale(lr)
    assert (made.dtype, made.shape) == (np.uint8, (64, 80, 3))
    flipped = ensemble.upscale(np.ascontiguousarray(lr[:, ::-1]))[:, ::-1]
    assert np.abs(made.astype(int) - flipped).max() <= 1  # the same mean in another order
    assert (made != plain.upscale(lr)).any()
