"""Small networks for clean photos, trained long, such as `clean_tiny_x4`.

    python -m kdgan_jax.main --config=configs/students.py:clean --workdir=runs/clean \\
        --config.data.source=hr:PHOTOS --config.teacher.checkpoint=smfanet_plus_x4.pth

They learn half from HR and half from the images of the teacher, by L1 and, in a tenth more steps,
by the squared error. Hours of a CPU core each; a run that is stopped goes on. Variants, after a
colon:
    tiny    at most 25,000 parameters
    clean   at most 100,000
    origin  the student of the original notebook
    trial   the base of configs/sweeps/students.py: 6,000 steps of 51,920 parameters, on HR alone
with ",smoke" appended ("clean,smoke"), they run in seconds on HR alone, for tests. The scale is
config.scale.
"""

from kdgan_jax.config import check_variant, default, loss, network, phase, teacher

FOLDS = "branches=True,expansion=4"
NETWORKS = {
    "tiny": f"compact:channels=16,depth=7,{FOLDS}",
    "clean": f"compact:channels=32,depth=9,{FOLDS}",
    "origin": "kdgan_student",
    "trial": "compact:channels=32,depth=4",
}
TRIAL = {"steps": 6000, "batch": 16, "lr_patch": 24, "learning_rate": 2e-3}
# Without a warm-up and clipped gradients, deep networks that fold end as constants.
LONG = {**TRIAL, "steps": 200_000, "learning_rate": 4e-3, "warmup_steps": 1000, "clip_norm": 0.1}
TRAINING = {
    "tiny": LONG,
    "clean": {**LONG, "learning_rate": 2e-3},  # with 4e-3 it falls back at times
    # The origin works at HR size; with 3e-3, it has 0.08 dB less after 3,000 steps.
    "origin": {**LONG, "steps": 40_000, "lr_patch": 12, "learning_rate": 1e-3},
    "trial": TRIAL,
}


def get_config(variant: str = "clean"):
    """Returns the config; `variant` is one of those above, with or without ",smoke"."""
    name, _, size = variant.partition(",")
    name = name or "clean"
    check_variant(name, tuple(NETWORKS))
    check_variant(size, ("smoke",))
    training = TRAINING[name]
    late = {**training, "steps": training["steps"] // 10, "learning_rate": 5e-4}
    if size:
        training = late = {"steps": 4, "batch": 4, "lr_patch": 8}
    alone = bool(size) or name == "trial"
    share = 0.0 if alone else 0.5
    teachers = {"teacher": teacher("" if alone else "teacher", stored="uint8")}

    def taught(kind: str, **fields):
        losses = {"pixel": loss(kind, 1 - share), "output": loss(kind, share, target="teacher")}
        return phase(losses=losses, teachers=teachers, **fields)

    networks = {"student": network("compact:channels=4,depth=1" if size else NETWORKS[name])}
    if not alone:
        networks["teacher"] = network("", "")
    phases = {
        "student": taught("l1", **training),
        "late": taught("l2", start="student", **late),
    }
    config = default(networks=networks, phases=phases)
    config.data.source = "embedded" if size else ""
    config.data.holdout = 16
    config.log_every = 2 if size else 100
    config.evaluate_every = config.checkpoint_every = 4 if size else 2500
    return config
