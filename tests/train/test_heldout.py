import numpy as np
import own_pictures
import pytest
from PIL import Image

from kdgan_jax.evaluation import metrics
from kdgan_jax.evaluation.measure import Example
from kdgan_jax.inference.model import Model
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train.heldout import LARGEST, SHOWN, scores
from kdgan_jax.train.run import run


class Twice(Model):
    def raw(self, image, on_tile=None):
        return image.repeat(2, axis=0).repeat(2, axis=1)


def test_scores_are_means_with_a_picture_of_the_first_photos():
    model, random = Twice("compact", {}, 2, {}), np.random.default_rng(0)
    examples = [
        Example(str(i), *(random.integers(0, 256, (n, 20 + n, 3), np.uint8) for n in (2 * s, s)))
        for i, s in enumerate((20, 24, 28, 32, 36))
    ]
    examples = [e._replace(reference=bicubic.upscale(e.lr, 2)) for e in examples]
    found = scores(model, examples, ("psnr_y", "ssim_y"))
    for name in "psnr_y", "ssim_y":
        pairs = [(model.raw(e.lr), e.reference) for e in examples]
        expected = np.mean([metrics.METRICS[name](*pair, 2) for pair in pairs])
        np.testing.assert_allclose(found.means[f"holdout_{name}"], expected)
    first = examples[0]
    height, width = first.reference.shape[:2]
    strip = np.concatenate([first.reference, model.raw(first.lr), first.reference], axis=1)
    np.testing.assert_array_equal(found.picture[:height, : 3 * width], strip)
    assert found.picture.shape[0] == sum(e.reference.shape[0] for e in examples[:SHOWN])
    large = Example("large", np.zeros((800, 600, 3), np.uint8), np.zeros((400, 300, 3), np.uint8))
    assert scores(model, [large], ("psnr_y",)).picture.shape == (LARGEST, 3 * LARGEST, 3)


def test_metrics_for_which_a_photo_is_too_small_are_left_out(tmp_path, photo):
    lr = photo[:8, :8]
    found = scores(Twice("compact", {}, 2, {}), [Example("a", photo[:16, :16], lr)], ("ssim_y",))
    assert list(found.means) == ["holdout_ssim_y"]
    small = Example("b", photo[:14, :30], photo[:7, :15])
    found = scores(Twice("compact", {}, 2, {}), [small], ("psnr_y", "ssim_y"))
    assert list(found.means) == ["holdout_psnr_y"]


def test_small_photos_are_measured_by_what_they_allow(tmp_path, photo, caplog):
    caplog.set_level("WARNING", "kdgan_jax")
    config = own_pictures.made(tmp_path, photo)
    pictures = list((tmp_path / "pictures").iterdir())
    for i, path in enumerate(pictures):
        Image.fromarray(photo[9 * i :][:4, :9]).save(path)
    config.data.crop, config.train.distill.hr_patch = 4, 16
    run(config, tmp_path / "run")
    assert "ssim_y, mesh, lpips_alex: not measured; a held-out photo has 16 pixels" in caplog.text
    assert "SSIM" not in (tmp_path / "run/student.md").read_text()
    for i, path in enumerate(pictures):
        Image.fromarray(photo[20 * i :][:2, 30 * i :][:, :9]).save(path)
    config.data.crop, config.train.distill.hr_patch = 2, 8
    with pytest.raises(UserError, match=r"\.png: \d+x8 is too small to be held out; .* 9 pixels"):
        run(config, tmp_path / "second")
