"""Small networks for clean photos, trained long: the students in the package.

    python -m kdgan_jax.main --config=configs/students.py:clean --workdir=runs/clean \\
        --config.data.source=hr:PHOTOS

Hours on 2 CPU cores each; a run that is stopped goes on. Variants, after a colon:
    tiny   at most 25,000 parameters
    clean  at most 100,000
    trial  the base of configs/sweeps/students.py, 6,000 steps of 51,920 parameters
with ",smoke" appended ("clean,smoke"), they run in seconds, for tests. The scale is config.scale.
They learn from HR. The loss `output` of each phase, at weight 0, is for the images of a model that
train.PHASE.teachers.teacher.model names.
"""

from kdgan_jax.config import check_variant, default, loss, network, phase, teacher

NETWORKS = {
    "tiny": "compact:channels=16,depth=7,branches=True,expansion=4",
    "clean": "compact:channels=32,depth=9,branches=True,expansion=4",
    "trial": "compact:channels=32,depth=4",
}
STEPS = {"tiny": 200_000, "clean": 200_000, "trial": 6000}


def get_config(variant: str = "clean"):
    """Returns the config; `variant` is one of those above, with or without ",smoke"."""
    name, _, size = variant.partition(",")
    name = name or "clean"
    check_variant(name, tuple(NETWORKS))
    check_variant(size, ("smoke",))
    steps = {"steps": STEPS[name], "batch": 16, "lr_patch": 24}
    if name != "trial":  # deep networks with blocks that fold end as constants without these
        steps |= {"warmup_steps": 1000, "clip_norm": 0.1}
    late = {"steps": STEPS[name] // 10, "batch": 16, "lr_patch": 48}
    if size:
        steps = late = {"steps": 4, "batch": 4, "lr_patch": 8}
    taught = {
        "losses": {"pixel": loss("l1", 1.0), "output": loss("l1", 0.0, target="teacher")},
        "teachers": {"teacher": teacher("", stored="uint8")},
    }
    config = default(
        networks={"student": network("compact:channels=4,depth=1" if size else NETWORKS[name])},
        phases={
            "student": phase(learning_rate=2e-3, **taught, **steps),
            "late": phase(start="student", learning_rate=2e-4, **taught, **late),
        },
    )
    config.data.source = "embedded" if size else ""
    config.data.holdout = 16
    config.log_every = 2 if size else 100
    config.evaluate_every = config.checkpoint_every = 4 if size else 2500
    return config
