"""One's own pictures: distils any model into a small student for them, in a given time, without HR.

    python -m kdgan_jax.main --config=configs/own.py --config.teacher.checkpoint=MODEL \\
        --config.data.source=PICTURES --workdir=runs/own --config.minutes=10

The pictures are taken as they are, as LR that is to be enlarged, and once more slightly degraded.
The teacher labels as many crops of them as the time allows, and the student trains on the labels;
both speeds are measured first. Leaves the student as a file with a card, a table and a sheet.
With `--config.refine=True` a part of the time goes into an adversarial phase whose real images are
the teacher's, for a sharper student. Variants, after a colon:
    (none)    photos; the student starts from `photo_soft_x4` where that fits
    drawings  fresh weights
    smoke     runs in seconds, for tests
"""

from kdgan_jax.config import check_variant, default, imitate, network, polish


def get_config(variant: str = ""):
    """Returns the config; `variant` is "", "drawings" or "smoke"."""
    check_variant(variant, ("drawings", "smoke"))
    smoke = variant == "smoke"
    size = "channels=8,depth=1" if smoke else "channels=32,depth=8"
    small = {"steps": 4, "batch": 4, "hr_patch": 32}
    config = default(
        networks={
            "teacher": network("", "realesr-general-x4v3"),
            "student": network(f"compact:{size}"),
        },
        phases={
            "distill": imitate(
                start="" if variant else "photo_soft_x4 or fresh",
                **(small if smoke else {"lr_patch": 32, "learning_rate": 1e-3}),
            ),
            "refine": polish(**(small | {"steps": 2, "warmup_steps": 0} if smoke else {})),
        },
    )
    config.refine = False
    config.minutes = 0.0 if smoke else 10.0
    config.data.source = "embedded" if smoke else ""
    config.data.plain = "lr"
    config.data.complement = 0 if variant else 10
    config.data.degradation = "none,light"
    config.data.crop = 16 if smoke else 128
    config.data.copies = 1 if smoke else 2
    return config
