import numpy as np
import pytest

from kdgan_jax.inference.ensemble import quantise, self_ensemble


def enlarge(lr):
    """Nearest, as float with 1 for white: it commutes with every symmetry."""
    return np.float32(lr.repeat(2, axis=0).repeat(2, axis=1)) / 255


def test_what_commutes_with_symmetries_is_unchanged(photo):
    lr = photo[:9, :13]
    np.testing.assert_allclose(self_ensemble(enlarge, lr), enlarge(lr), atol=1e-6)


def test_the_eight_symmetries_are_all_there_once(photo):
    lr, seen = photo[:9, :13], []

    def predict(image):
        assert image.flags["C_CONTIGUOUS"]
        seen.append(image.copy())
        return enlarge(image)

    self_ensemble(predict, lr)
    expected = [np.rot90(side, turns) for turns in range(4) for side in (lr, lr[:, ::-1])]
    assert sorted(x.tobytes() for x in seen) == sorted(x.tobytes() for x in expected)


def test_an_error_that_points_one_way_cancels(photo):
    def leaning(image):  # brighter to the right
        sr = enlarge(image)
        return sr + np.linspace(-0.5, 0.5, sr.shape[1], dtype=np.float32)[:, None]

    lr = photo[:9, :13]
    np.testing.assert_allclose(self_ensemble(leaning, lr), enlarge(lr), atol=1e-6)


@pytest.mark.parametrize(
    ("value", "level"), [(-0.1, 0), (0.5 / 255, 1), (1.49 / 255, 1), (1.2, 255)]
)
def test_rounding_is_half_up_and_clipped(value, level):
    sr = quantise(np.full((1, 1, 3), value))
    assert (sr.dtype, sr[0, 0, 0]) == (np.uint8, level)
