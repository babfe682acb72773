import jax
import numpy as np

from kdgan_jax.data import patches


def test_both_ways_to_turn_are_the_same_eight_turns():
    # A CPU takes one of them, an accelerator the other.
    images = np.random.default_rng(0).integers(0, 256, (8, 5, 5, 3), np.uint8)
    turns = np.arange(8, dtype=np.int32)
    at_once = np.asarray(jax.vmap(patches._turned)(images, turns))
    np.testing.assert_array_equal(patches._turned_one_by_one(images, turns), at_once)
    for turn, (image, turned) in enumerate(zip(images, at_once, strict=True)):
        expected = image[:, ::-1] if turn & 1 else image
        expected = expected[::-1] if turn & 2 else expected
        expected = expected.transpose(1, 0, 2) if turn & 4 else expected
        np.testing.assert_array_equal(turned, expected)
