import jax
import numpy as np
from decoded import turned

from kdgan_jax.data import patches


def test_both_ways_to_turn_give_the_same_eight_turns():
    # A CPU uses one of them, an accelerator the other.
    images = np.random.default_rng(0).integers(0, 256, (8, 5, 5, 3), np.uint8)
    turns = np.arange(8, dtype=np.int32)
    expected = np.stack([turned(image, turn) for image, turn in zip(images, turns, strict=True)])
    np.testing.assert_array_equal(jax.vmap(patches._turned)(images, turns), expected)
    np.testing.assert_array_equal(patches._turned_one_by_one(images, turns), expected)
