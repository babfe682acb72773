"""How to train a small network for clean photos: short trials of equal length, two paired seeds.

    DATA=data python -m launch.ablate --sweep=configs/sweeps/students.py --workdir=runs/trials

DATA is a folder as in docs/reproduce.md. Beside its folders, `trials/held` has 41 photos out of
`train/` (every 13th by path, from the seventh), on which the students are compared, `trials/train`
the others, and `trials/tiles` more photos. No benchmark image has a part in it. An hour and a half
of 2 CPU cores.
"""

import os
from collections.abc import Mapping

from launch.ablation.sweep import Sweep

DATA = os.environ.get("DATA", "data")
PHOTOS = f"{DATA}/trials/train"
SETS = {"held": f"hr:{DATA}/trials/held"}
STUDENT, LATE = "train.student", "train.late"


def net(**options: object) -> dict[str, object]:
    """Returns the override of another network."""
    options = {"channels": 32, "depth": 4, **options}
    text = ",".join(f"{name}={value}" for name, value in options.items())
    return {"student.network": f"compact:{text}"}


def late(steps: int, fields: Mapping[str, object]) -> dict[str, object]:
    """Returns the overrides of a last phase of so many of the 6,000 steps, with other fields."""
    fields = {
        "learning_rate": 2e-4,
        "losses.pixel.kind": "l1",
        "losses.output.kind": "l1",
        **fields,
    }
    return {
        "phases": ("student", "late"),
        f"{STUDENT}.steps": 6000 - steps,
        f"{LATE}.steps": steps,
        **{f"{LATE}.{name}": value for name, value in fields.items()},
    }


def taught(
    phase: str = STUDENT, share: float = 0.5, schedule: str = "constant"
) -> dict[str, object]:
    """Returns the overrides by which a phase learns a share from a published network's images."""
    losses = f"{phase}.losses"
    return {
        f"{phase}.teachers.teacher.model": f"{DATA}/weights/smfanet_plus_x4.pth",
        f"{losses}.output.weight": share,
        f"{losses}.output.schedule": schedule,
        f"{losses}.pixel.weight": 1 - share,
    }


def get_sweep() -> Sweep:
    """Returns the sweep."""
    return Sweep(
        base="configs/students.py:trial",
        common={"data.source": f"hr:{PHOTOS}", "phases": ("student",)},
        variants={
            "control": {},
            "branches": net(branches=True),
            "expansion": net(expansion=4),
            "both": net(branches=True, expansion=4),
            "deep": net(channels=24, depth=8),
            "branches-deep": net(channels=24, depth=8, branches=True),
            "deeper": net(channels=20, depth=11),
            "branches-deeper": net(channels=20, depth=11, branches=True),
            "wide": net(channels=36, depth=3),
            "rate-1e-3": {f"{STUDENT}.learning_rate": 1e-3},
            "rate-4e-3": {f"{STUDENT}.learning_rate": 4e-3},
            "restart": late(3000, {"learning_rate": 1e-3}),
            "squared-late": late(600, {"losses.pixel.kind": "l2"}),
            "large-late": late(600, {"lr_patch": 48, "batch": 32}),
            "patch-48": {f"{STUDENT}.lr_patch": 48, f"{STUDENT}.batch": 4},
            "images": {"data.sampling": "images"},
            "recolour": {"data.recolour": True, "data.copies": 4},
            "tiles": {"data.source": f"hr:{PHOTOS},hr:{DATA}/trials/tiles"},
            "taught": taught(),
            "taught-early": taught(schedule="between:end=3000"),
            "taught-late": late(3000, {"learning_rate": 1e-3}) | taught(LATE),
            "taught-alone": taught(share=1.0),
            "taught-zoom-in": taught(share=1.0)
            | {"data.source": f"hr:{PHOTOS},lr:{PHOTOS}", "data.weights": (1.0, 1.0)},
        },
        seeds=(0, 1),
        prepare=True,
        sets=SETS,
        metrics=("psnr_y", "ssim_y"),
    )
