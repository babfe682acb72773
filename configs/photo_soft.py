"""The shipped student `photo_soft_x4`: a small network for real photos, distilled without HR.

    python -m kdgan_jax.main --config=configs/photo_soft.py --workdir=runs/photo_soft \\
        --config.data.source=hr:PHOTOS,lr:PHOTOS
    python -m kdgan_jax.main --config=configs/photo_soft.py:settle --workdir=runs/photo_settled \\
        --config.data.source=hr:PHOTOS,lr:PHOTOS,lr:DRAWINGS

Every photo serves twice: reduced by the degradations, and as LR at its own size (the zoom-in of
Zhang et al. 2023, "Data Upcycling Knowledge Distillation", arXiv 2309.14162). The teacher labels
the copies once; no HR image is read. The squared error keeps the means of colours, which L1 alone
shifts where LR is noisy. Takes hours on 2 CPU cores. Variants, after a colon:
    (none)  60,000 steps on photos
    settle  from there, 8,000 steps with drawings among the photos, and 15,000 on the squared error
    smoke   runs in seconds, for tests
"""

from kdgan_jax.config import check_variant, default, imitate, loss, network

LOSSES = {
    "distill": loss("l1", 1.0, target="teacher"),
    "squared": loss("l2", 5.0, target="teacher"),
}


def get_config(variant: str = ""):
    """Returns the config; `variant` is "", "settle" or "smoke"."""
    check_variant(variant, ("settle", "smoke"))
    smoke = variant == "smoke"
    if smoke:
        phases = {"distill": imitate(losses=LOSSES, steps=4, batch=4, hr_patch=32)}
    elif variant == "settle":
        phases = {
            "drawings": imitate(
                start="runs/photo_soft",
                losses=LOSSES,
                steps=8000,
                hr_patch=128,
                learning_rate=3e-4,
            ),
            "squares": imitate(
                start="drawings",
                losses={"squared": loss("l2", 1.0, target="teacher")},
                steps=15_000,
                hr_patch=128,
                learning_rate=3e-4,
            ),
        }
    else:
        phases = {"distill": imitate(losses=LOSSES, steps=60_000, hr_patch=128, learning_rate=1e-3)}
    config = default(
        networks={
            "teacher": network("", "realesr-general-x4v3"),
            "student": network(f"compact:channels={8 if smoke else 32},depth={1 if smoke else 8}"),
        },
        phases=phases,
    )
    config.data.source = "" if not smoke else "embedded"
    config.data.holdout = 16
    config.data.degradation = "light,strong,noisy,none"
    config.data.copies = 1 if smoke else 4
    config.data.recolour = True
    config.data.crop = 16 if smoke else 128
    config.log_every = 100
    config.evaluate_every = config.checkpoint_every = 2500
    return config
