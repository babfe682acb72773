"""A teacher alone: minimise L1 to the truth.

    python -m kdgan_jax.main --config=configs/teacher.py --workdir=runs/teacher

`--config.teacher.checkpoint=runs/teacher` makes other runs load it. Variants, after a colon:
    (none)  the teacher of configs/kd.py
    srcnn   SRCNN 9-5-5 (Dong et al. 2016) on Y, as a residual: the paper trains the image itself
            for 8e8 patches, which minutes cannot
    smoke   seconds; for tests
    full    EDSR-baseline (Lim et al. 2017) on a folder of photos (--config.data.source=DIV2K/HR)
"""

from kdgan_jax import config as base
from kdgan_jax.config import network


def get_config(variant: str = ""):
    """Returns the config; `variant` is "", "srcnn", "smoke" or "full"."""
    base.refuse_unknown(variant, ("srcnn", "smoke", "full"))
    text, phase = {
        "": ("compact:channels=64,depth=6", base.teach(steps=1500)),
        "srcnn": ("srcnn:residual=True", base.teach(steps=5000, hr_patch=48)),
        "smoke": ("compact:channels=8,depth=2", base.teach(steps=4, batch=4, hr_patch=32)),
        "full": ("edsr:channels=64,blocks=16", base.teach_edsr_baseline()),
    }[variant]
    config = base.default(networks={"teacher": network(text)}, phases={"teacher": phase})
    if variant == "smoke":
        config.checkpoint_every = config.log_every = 2
    elif variant == "full":
        base.on_given_photos(config)
    return config
