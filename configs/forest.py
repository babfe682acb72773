"""A super-resolution forest, a baseline that is not a network (Schulter et al. 2015).

    python -m kdgan_jax.forest --config=configs/forest.py --workdir=runs/forest

Takes minutes on 2 CPU cores. `--config.data.source=FOLDER` trains on more photos than the embedded
ones. Variants, after a colon:
    (none)  the forest of the benchmark table
    smoke   seconds; for tests
"""

from kdgan_jax.baselines import forest_settings
from kdgan_jax.config import check_variant


def get_config(variant: str = ""):
    """Returns the config; `variant` is "" or "smoke"."""
    check_variant(variant, ("smoke",))
    config = forest_settings.default()
    if variant == "smoke":
        config.update(trees=2, leaves=30, components=16, basis=12, samples=6_000, windows=20_000)
    return config
