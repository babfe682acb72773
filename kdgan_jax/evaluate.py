"""Measures models on folders of photos: tables, comparison sheets, plots.

python -m kdgan_jax.evaluate --models=bicubic,runs/kd --data=Set5,Set14 --out=results
"""

import argparse
import sys
from collections.abc import Sequence

from kdgan_jax.runtime import interrupts

with interrupts.in_one_line(__name__ == "__main__"):  # JAX takes seconds
    from kdgan_jax.baselines.interpolation import BASELINES
    from kdgan_jax.evaluation import plan
    from kdgan_jax.evaluation.metrics import DEFAULT, METRICS, NO_REFERENCE
    from kdgan_jax.evaluation.run import check_out, run
    from kdgan_jax.inference import engines
    from kdgan_jax.models import SCALES
    from kdgan_jax.runtime import console, devices, files, outputs
    from kdgan_jax.runtime.errors import UserError, leave


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kdgan evaluate",
        description="Measure models on folders of photos: tables, comparison sheets, plots.",
        epilog="Exit code: 0, or 1 if sets failed (each is named, the others are measured), or 2 if"
        " nothing was measured, or 130, 143 or 129 if Ctrl-C, SIGTERM or SIGHUP stopped it.",
    )
    add = parser.add_argument
    add(
        "--models",
        required=True,
        help=f"separated by commas: {', '.join(BASELINES)}; forest (runs/forest) or forest:PATH; a"
        " run's workdir or checkpoint (runs/kd, runs/kd:control, runs/kd:distill; :raw takes the"
        " plain weights instead of their moving average); a file of weights, native or published."
        " A model is named by the end of its path; LABEL=PATH gives another name",
    )
    add(
        "--data",
        required=True,
        help="folders separated by commas; each holds HR images, or pairs, such as HR/ beside LRx4/"
        " or LR_bicubic/X4/; hr:DIR, pairs:DIR, pairs:HR_DIR:LR_DIR or lr:DIR (LR without HR) says"
        " which. LABEL=DIR names a set in tables and files",
    )
    add(
        "--reference_model",
        metavar="MODEL",
        help="model (a path or name as in --models) whose images are what all models are measured"
        " against, instead of HR; photos without HR need it for all metrics but"
        f" {' and '.join(NO_REFERENCE)}. Its scale may be a multiple of --scale: its images are"
        " then reduced",
    )
    add("--out", required=True, help="folder for tables and pictures, made if missing")
    add(
        "--overwrite",
        action="store_true",
        help="write over results of other models, which are refused otherwise",
    )
    add("--scale", type=int, default=4, choices=SCALES, help="enlargement (default: %(default)s)")
    add(
        "--metrics",
        help=f"separated by commas, out of {', '.join(METRICS)} (default: {','.join(DEFAULT)});"
        f" {' and '.join(NO_REFERENCE)} need no HR, and by default measure photos without it;"
        " lpips_vgg and dists take 20 times as long as lpips_alex",
    )
    add(
        "--engine",
        choices=engines.NAMES,
        default=engines.JAX,
        help="what runs networks (default: %(default)s, so that figures stay comparable)",
    )
    add("--self_ensemble", action="store_true", help='add a "+" row for every trained model')
    add(
        "--compare",
        action="append",
        default=[],
        metavar="A,B",
        help="paired difference A - B with its 95 %% bootstrap interval; may be repeated",
    )
    add(
        "--reference",
        help="model over which gains are plotted (default: bicubic, else the first model)",
    )
    add(
        "--images",
        help="names of the photos on the sheets, separated by commas (default: first"
        f" {plan.SHEET_PHOTOS})",
    )
    add(
        "--crop",
        metavar="x,y,w,h",
        help="box on the sheets, in HR pixels (default: where the models differ most)",
    )
    add(
        "--resume",
        action="store_true",
        help="keep each model's rows in OUT/rows, and reuse those that an earlier run left there",
    )
    add(
        "--save_images",
        action="store_true",
        help="write every model's image of every photo, as OUT/images/MODEL/SET/PHOTO.png",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what the arguments name; returns 0, or 1 if some sets failed."""
    console.setup()
    arguments = vars(_parser().parse_args(console.arguments(argv)))
    overwrite = arguments.pop("overwrite")
    with interrupts.in_one_line():
        devices.configure(kept_from=0.1)  # LPIPS for a new size of photo takes less than a second
        try:
            request = plan.make(**arguments)
            if not overwrite:
                check_out(request)
            outputs.make(request.out, "--out")
        except UserError as error:
            leave(error)
        failed = run(request)
    if len(failed) < len(request.sets):
        print(files.read_text(request.out / "results.md"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
