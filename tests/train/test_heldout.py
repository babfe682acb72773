import numpy as np

from kdgan_jax.evaluation import metrics
from kdgan_jax.evaluation.measure import Example
from kdgan_jax.inference.model import Model
from kdgan_jax.pictures import bicubic
from kdgan_jax.train.heldout import LARGEST, SHOWN, scores


class Twice(Model):
    def upscale(self, image):
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
        pairs = [(model.upscale(e.lr), e.reference) for e in examples]
        expected = np.mean([metrics.METRICS[name](*pair, 2) for pair in pairs])
        np.testing.assert_allclose(found.means[f"holdout_{name}"], expected)
    first = examples[0]
    height, width = first.reference.shape[:2]
    strip = np.concatenate([first.reference, model.upscale(first.lr), first.reference], axis=1)
    np.testing.assert_array_equal(found.picture[:height, : 3 * width], strip)
    assert found.picture.shape[0] == sum(e.reference.shape[0] for e in examples[:SHOWN])
    large = Example("large", np.zeros((800, 600, 3), np.uint8), np.zeros((400, 300, 3), np.uint8))
    assert scores(model, [large], ("psnr_y",)).picture.shape == (LARGEST, 3 * LARGEST, 3)
