import numpy as np
import pytest

from kdgan_jax.inference.ensemble import quantise, self_ensemble


def enlarge(lr):
    """Nearest, as float with 1 for white: it commutes with every flip and rotation."""
    return np.float32(lr.repeat(2, axis=0).repeat(2, axis=1)) / 255


def test_the_eight_flips_and_rotations_are_all_used_once_and_turned_back(photo):
    lr, inputs = photo[:9, :13], []

    def predict(image):
        assert image.flags["C_CONTIGUOUS"]
        inputs.append(image.tobytes())
        return enlarge(image)

    np.testing.assert_allclose(self_ensemble(predict, lr), enlarge(lr), atol=1e-6)
    turned = [np.rot90(side, turns) for turns in range(4) for side in (lr, lr[:, ::-1])]
    assert sorted(inputs) == sorted(image.tobytes() for image in turned)


def test_an_error_in_one_direction_cancels(photo):
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
