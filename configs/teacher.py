"""A teacher alone, trained with L1 to HR.

    python -m kdgan_jax.main --config=configs/teacher.py --workdir=runs/teacher

Other runs load it with `--config.teacher.checkpoint=runs/teacher`. Variants, after a colon:
    (none)  the teacher of configs/kd.py:scratch
    srcnn   SRCNN 9-5-5 (Dong et al. 2016) on Y, predicting a residual; the paper predicts the image
            itself, which takes 8e8 patches
    smoke   runs in seconds, for tests
    full    EDSR-baseline (Lim et al. 2017) on a folder of photos (--config.data.source=DIV2K/HR)
"""

from kdgan_jax.config import (
    check_variant,
    default,
    network,
    set_up_long_run,
    teach,
    teach_edsr_baseline,
)


def get_config(variant: str = ""):
    """Returns the config; `variant` is "", "srcnn", "smoke" or "full"."""
    check_variant(variant, ("srcnn", "smoke", "full"))
    description, phase = {
        "": ("compact:channels=64,depth=6", teach(steps=1500)),
        "srcnn": ("srcnn:residual=True", teach(steps=5000, hr_patch=48)),
        "smoke": ("compact:channels=8,depth=2", teach(steps=4, batch=4, hr_patch=32)),
        "full": ("edsr:channels=64,blocks=16", teach_edsr_baseline()),
    }[variant]
    config = default(networks={"teacher": network(description)}, phases={"teacher": phase})
    if variant == "smoke":
        config.checkpoint_every = config.log_every = 2
    elif variant == "full":
        set_up_long_run(config)
    return config
