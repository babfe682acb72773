"""The program `kdgan`: lists the commands or runs one of them.

kdgan upscale photos/ --out=large/  # is python -m kdgan_jax.upscale photos/ --out=large/
"""

import runpy
import sys

from kdgan_jax.runtime.errors import leave, suggest

COMMANDS = {
    "upscale": "Upscale photos with a trained model.",
    "main": "Train a teacher, distil it into a student, refine the student adversarially.",
    "evaluate": "Measure models on folders of photos: tables, comparison sheets, plots.",
    "zoo": "List architectures and published weights: costs, licences, sources.",
    "convert": "Write any model as one file, average models, export PyTorch's names.",
    "export": "Write a model as an ONNX file, for other programs.",
    "check_data": "Find problems in folders of photos before training on them.",
    "prepare": "Decode photos once, into one file that training maps into memory.",
    "label": "Compute the images of stored teachers once, into a folder that training reads.",
    "replay": "Repeat a training step whose update was not finite, and show where.",
    "forest": "Train a random forest, a baseline without a network.",
}


def usage() -> str:
    """Returns the help text: a list of the commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: kdgan COMMAND [ARGUMENTS]",
            "",
            *lines,
            "",
            "kdgan COMMAND --help explains a command.",
        ]
    )


def main() -> None:
    """Runs the command in the first argument, as `python -m kdgan_jax.COMMAND` does."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("", "-h", "--help", "help"):
        print(usage())
        return
    if name == "--version":
        from importlib.metadata import version

        print(f"kdgan_jax {version('kdgan_jax')}")
        return
    if name not in COMMANDS:
        leave(f"{name!r} is not a command (run kdgan for a list){suggest(name, COMMANDS)}")
    del sys.argv[1]
    runpy.run_module(f"kdgan_jax.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
