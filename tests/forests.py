"""A forest for tests that need one, but no training."""

import numpy as np

from kdgan_jax.baselines.random_forest import Forest


def small_forest(scale=2, trees=3, kept=5, patterns=4, seed=0):
    """Returns a forest of random numbers: every tree is a root, an inner node and three leaves."""
    random = np.random.default_rng(seed)
    size = 4 * (3 * scale) ** 2

    def normal(*shape):
        return random.normal(size=shape).astype(np.float32)

    def nodes(*values):
        return np.tile(np.array(values, np.int32), trees)

    return Forest(
        scale=scale,
        mean=normal(size),
        components=normal(size, kept) / 10,
        roots=np.arange(trees, dtype=np.int32) * 5,
        feature=random.integers(0, 2 * kept, 5 * trees).astype(np.int32),
        threshold=normal(5 * trees) / 10,
        left=nodes(1, 3, -1, -1, -1),
        right=nodes(2, 4, -1, -1, -1),
        matrices=(normal(3 * trees, kept + 1, patterns) / 10).astype(np.float16),
        basis=normal(patterns, (3 * scale) ** 2),
        recipe={"seed": seed},
    )
