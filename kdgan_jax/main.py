"""Trains a teacher, distils it into a small student, refines the student adversarially.

python -m kdgan_jax.main --config=configs/kd.py --workdir=runs/kd
"""

from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from kdgan_jax import devices
from kdgan_jax.errors import UserError, leave
from kdgan_jax.io import logs

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file(
    "config", None, "A file of configs/, with a variant after a colon: configs/kd.py:smoke"
)
flags.DEFINE_string("workdir", None, "Folder that the run writes to and resumes from")
flags.mark_flags_as_required(["config", "workdir"])


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; a missing file, unknown field or variant is one line, too."""
    for argument in argv:
        name, _, value = argument.lstrip("-").partition("=")
        if name == "config" and value and not Path(value.split(":")[0]).is_file():
            leave(f"--config={value}: no such file; the project's are in configs/")
    try:
        return FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        leave(_reason(error))


def _reason(error: BaseException) -> str:
    """Returns what went wrong, out of the exceptions that absl and ml_collections wrap it in."""
    message: object = error
    while isinstance(message, BaseException) and message.args:
        message = message.args[0]
    lines = [line for line in str(message).splitlines() if line.strip()]
    if "Traceback" in str(message):  # of what get_config raised
        return lines[-1].removeprefix("kdgan_jax.errors.UserError: ")
    text = "; ".join(lines)
    return text if isinstance(error, flags.Error) else f"--config has no field or value {text}"


def main(argv: list[str]) -> None:
    """Runs what the flags name; a user's error is one line and exit code 2."""
    if argv[1:]:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logs.setup()
    devices.configure()
    from kdgan_jax.train.run import run

    try:
        run(FLAGS.config, FLAGS.workdir)
    except UserError as error:
        leave(error)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
