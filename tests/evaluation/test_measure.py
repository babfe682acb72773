import re
import time
from dataclasses import replace

import numpy as np
import pytest
from evaluation import tiny

from kdgan_jax.baselines.interpolation import BASELINES
from kdgan_jax.evaluation import measure, metrics
from kdgan_jax.inference.reduced import Reduced
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError


def example(photo, top, name="cat"):
    hr = np.ascontiguousarray(photo[top : top + 64, 100:196])
    return measure.Example(name, hr, bicubic.downscale(hr, 4))


@pytest.fixture
def examples(photo):
    return [example(photo, 0, "ears"), example(photo, 100, "eyes"), example(photo, 200, "paws")]


def constant(name, value, parameters=0):
    def upscale(lr):
        return np.full((lr.shape[0] * 4, lr.shape[1] * 4, 3), value, np.uint8)

    return measure.Upscaler(name, upscale, parameters, None)


FIELDS = [
    "model",
    "dataset",
    "reference",
    "scale",
    "images",
    "psnr_y",
    "ssim_y",
    "psnr_rgb",
    "lpips_alex",
]
FIELDS += ["lpips_vgg", "dists", "niqe", "mesh"]
FIELDS += ["params", "multi_adds_720p", "seconds_per_image"]


def test_a_row_has_all_fields_and_the_means_of_its_images(examples):
    upscalers = [constant("grey", 99, 7), measure.from_baseline("bicubic", 4)]
    names = metrics.measurable(metrics.METRICS, 64, 4)
    rows, per_image = measure.measure(upscalers, examples, dataset="Set3", scale=4, metrics=names)
    assert names == [name for name in metrics.METRICS if name != "niqe"]
    assert all(list(row) == FIELDS for row in rows)
    assert [(r["model"], r["dataset"], r["scale"], r["images"], r["params"]) for r in rows] == [
        ("grey", "Set3", 4, 3, 7),
        ("bicubic", "Set3", 4, 3, 0),
    ]
    assert [row["multi_adds_720p"] for row in rows] == [None, 0]
    assert {row["reference"] for row in (*rows, *per_image)} == {"HR"}
    assert [(r["model"], r["image"]) for r in per_image] == [
        (model, image) for image in ("ears", "eyes", "paws") for model in ("grey", "bicubic")
    ]
    fields = {"model", "dataset", "reference", "image", "seconds"}
    assert all(set(row) == fields | set(metrics.METRICS) for row in per_image)
    assert {row["niqe"] for row in (*rows, *per_image)} == {None}
    for name in names:
        metric = metrics.METRICS[name]
        each = [metric(np.full((64, 96, 3), 99, np.uint8), e.reference, 4) for e in examples]
        assert [row[name] for row in per_image[::2]] == pytest.approx(each)
        assert rows[0][name] == pytest.approx(np.mean(each), abs=1e-9)
        assert np.ptp(each) > (0.01 if name != "mesh" else -1)  # of the same grey


@pytest.mark.parametrize(("timed", "at"), [(None, 1), ("paws", 2)])
def test_seconds_are_the_median_of_five_runs_of_one_image(photo, monkeypatch, timed, at):
    sizes = {"ears": 60, "eyes": 64, "paws": 68}  # the one of middle size, if none is named
    examples = [example(photo, 0, name)._replace(lr=photo[:w, :16]) for name, w in sizes.items()]
    examples = [e._replace(reference=photo[: 4 * len(e.lr), :64]) for e in examples]
    clock = iter(tick for second in (9, 9, 3, 1, 1) for tick in (0.0, second))
    monkeypatch.setattr(measure.costs.time, "perf_counter", lambda: next(clock))
    rows, per_image = measure.measure(
        [constant("grey", 99)], examples, dataset="d", scale=4, metrics=["psnr_y"], timed=timed
    )
    assert [row["seconds"] for row in per_image] == [3 if i == at else None for i in range(3)]
    assert rows[0]["seconds_per_image"] == 3


@pytest.mark.parametrize("large", [2**22, 0])
def test_few_examples_are_in_work_none_while_one_is_timed_and_large_ones_alone(
    photo, monkeypatch, large
):
    monkeypatch.setattr(measure, "LARGE", large)
    monkeypatch.setattr(measure.devices, "cores", lambda: 3)
    drawn, finished, running, most, done, kept = [], [], [], [], [], []

    def upscale(lr):
        running.append(1)
        most.append((len(running), len(drawn) - len(finished)))
        time.sleep(0.02)
        running.pop()
        return np.zeros((64, 96, 3), np.uint8)

    def keep(shown, pictures, rows):
        finished.append(1)
        kept.append((shown.name, list(pictures), [row["model"] for row in rows]))

    names = [str(i) for i in range(9)]
    rows = measure.images(
        [measure.Upscaler("a", upscale, 0, 0), constant("b", 0)],
        (drawn.append(name) or example(photo, 0, name) for name in names),
        dataset="d",
        scale=4,
        metrics=["psnr_y"],
        on_image=done.append,
        keep=keep,
    )
    assert [(row["image"], row["model"]) for row in rows] == [(n, m) for n in names for m in "ab"]
    assert (done.count("a"), done.count("b"), len(done)) == (9, 9, 18)
    assert sorted(kept) == [(name, ["a", "b"], ["a", "b"]) for name in names]
    at_once, ahead = (max(values) for values in zip(*most, strict=True))
    assert at_once == (3 if large else 1)
    assert ahead <= 5
    assert [n for n, _ in most[-measure.LEAST_RUNS :]] == [1] * measure.LEAST_RUNS
    for row in rows:
        assert {m for m in metrics.METRICS if row[m] is not None} == {"psnr_y"}


def test_an_upscaler_may_have_fewer_metrics(examples):
    few = replace(constant("few", 9), only=["psnr_y"])
    rows = measure.images([few, constant("all", 9)], examples[:1], dataset="d", scale=4)
    assert [[m for m in metrics.METRICS if row[m] is None] for row in rows] == [
        [m for m in metrics.METRICS if m != "psnr_y"],
        [m for m in metrics.METRICS if m not in metrics.DEFAULT],
    ]
    assert rows[0]["psnr_y"] == rows[1]["psnr_y"]


def test_an_image_that_cannot_be_measured_is_named(photo):
    small = measure.Example("paw", photo[:8, :8], bicubic.downscale(photo[:8, :8], 4))
    with pytest.raises(UserError, match=r"^d/paw: .*8x8"):
        measure.measure([constant("grey", 9)], [small], dataset="d", scale=4)


def test_a_teachers_images_are_the_reference_and_it_is_exact(photo):
    teacher = measure.from_model("big", tiny.model())
    bicubic_x4 = measure.from_baseline("bicubic", 4)
    lr = photo[:16, :24]
    referred = measure.referred("cat", lr, teacher)
    np.testing.assert_array_equal(referred.reference, teacher.upscale(lr))
    rows, per_image = measure.measure([teacher, bicubic_x4], [referred], dataset="d", scale=4)
    assert {row["reference"] for row in (*rows, *per_image)} == {"big"}
    assert rows[0]["psnr_y"] == rows[0]["psnr_rgb"] == float("inf")
    assert (rows[0]["ssim_y"], rows[0]["lpips_alex"]) == pytest.approx((1, 0), abs=1e-9)
    expected = metrics.psnr_y(bicubic.upscale(lr, 4), teacher.upscale(lr), 4)
    assert rows[1]["psnr_y"] == expected < 100
    titles = [measure.title(row) for row in (rows[0], rows[0] | {"reference": "HR"})]
    assert titles == ["d, to big", "d"]


def test_without_a_reference_only_what_needs_none_is_measured(photo):
    lr = photo[:48, :60]
    alone = measure.alone("cat", lr, 4)
    rows, per_image = measure.measure(
        [measure.from_baseline("nearest", 4)],
        [alone],
        dataset="d",
        scale=4,
        metrics=metrics.NO_REFERENCE,
    )
    sr = lr.repeat(4, axis=0).repeat(4, axis=1)
    expected = {name: metrics.METRICS[name](sr, photo, 4) for name in metrics.NO_REFERENCE}
    for row in rows[0], per_image[0]:
        assert {m: row[m] for m in metrics.METRICS if row[m] is not None} == expected
        assert row["reference"] is None
        assert measure.title(row) == "d"


def test_a_photo_that_is_too_small_for_the_teacher_is_named(photo):
    def refuse(lr):
        raise UserError(f"too small: {lr.shape[1]}x{lr.shape[0]}")

    with pytest.raises(UserError, match=r"^paw: .*9x8"):
        measure.referred("paw", photo[:8, :9], measure.Upscaler("big", refuse, 0, 0))


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


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_baselines_are_what_they_are_called(photo, scale):
    lr = photo[:11, :17]
    upscalers = [measure.from_baseline(name, scale) for name in BASELINES]
    assert all((u.parameters, u.multi_adds) == (0, 0) for u in upscalers)
    srs = {upscaler.name: upscaler.upscale(lr) for upscaler in upscalers}
    assert all(sr.dtype == np.uint8 for sr in srs.values())
    np.testing.assert_array_equal(srs["bicubic"], bicubic.upscale(lr, scale))
    np.testing.assert_array_equal(srs["nearest"], lr.repeat(scale, 0).repeat(scale, 1))
    kernels = {
        "bilinear": (lambda t: 1 - np.abs(t), 1),
        "lanczos": (lambda t: np.sinc(t) * np.sinc(t / 3), 3),
    }
    assert set(BASELINES) == {"nearest", "bicubic", *kernels}
    for name, (kernel, radius) in kernels.items():
        difference = srs[name] - textbook(lr, scale, kernel, radius)
        assert np.abs(difference).max() < 1.5, name  # each pass rounds to 8 bits


def test_a_model_is_measured_with_its_own_upscale_and_costs(photo):
    model = tiny.model()
    upscaler = measure.from_model("tiny", model)
    assert (upscaler.name, upscaler.parameters) == ("tiny", model.parameters)
    assert upscaler.multi_adds == (3 * 4 * 9 + 4 * 4 * 9 + 4 * 48 * 9) * 320 * 180
    np.testing.assert_array_equal(upscaler.upscale(photo[:16, :16]), model.upscale(photo[:16, :16]))


def test_a_self_ensemble_costs_eight_times_and_is_the_mean_of_predictions(photo):
    model = tiny.model()
    plain, ensemble = measure.from_model("m", model), measure.from_ensemble("m+", model)
    assert (ensemble.name, ensemble.parameters) == ("m+", plain.parameters)
    assert ensemble.multi_adds == 8 * plain.multi_adds
    lr = photo[:16, :20]
    sr = ensemble.upscale(lr)
    assert (sr.dtype, sr.shape) == (np.uint8, (64, 80, 3))
    flipped = ensemble.upscale(np.ascontiguousarray(lr[:, ::-1]))[:, ::-1]
    assert np.abs(sr.astype(int) - flipped).max() <= 1  # the same mean in another order
    assert (sr != plain.upscale(lr)).any()


def test_engines_are_named_and_tell_figures_apart():
    by_jax, by_onnx = (replace(tiny.model(), engine=name) for name in ("jax", "onnxruntime"))
    plain = measure.from_model("a", by_jax)
    others = [
        measure.from_model("b", by_onnx),
        measure.from_ensemble("b+", by_onnx),
        measure.from_model("c", Reduced(by_onnx, 2)),
    ]
    assert plain.digest() == by_jax.digest
    assert len({plain.digest(), by_jax.digest + "+", *(u.digest() for u in others)}) == 5
    bicubic = measure.from_baseline("bicubic", 4)
    assert measure.engine([bicubic]) == ""
    assert measure.engine([bicubic, *others]).startswith("onnxruntime ")
    several = measure.engine([plain, bicubic, *others])
    assert re.fullmatch(r"jax .* \(a\), onnxruntime .* \(b, b\+, c\)", several)
