"""Lists the architectures and the published files, or compares measured with published results.

python -m kdgan_jax.zoo [FOLDER ...] [--results=OUT ... [--seconds]]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kdgan_jax.inference import catalogue
from kdgan_jax.runtime import console, devices
from kdgan_jax.runtime.errors import UserError, leave


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables; returns 0."""
    parser = argparse.ArgumentParser(
        prog="kdgan zoo",
        description="List the architectures and the known published files, with licences, sources"
        " and the costs of those in FOLDERS. With --results, print measured beside published"
        " results instead.",
    )
    add = parser.add_argument
    add("folders", nargs="*", help="folders with published files, at any depth")
    add(
        "--results",
        nargs="+",
        default=[],
        metavar="OUT",
        help="folders in which kdgan_jax.evaluate left results of files in FOLDERS at x4",
    )
    add("--seconds", action="store_true", help="with --results: time a 1280x720 output of each")
    arguments = parser.parse_args(console.arguments(argv))
    console.setup()
    devices.configure()
    try:
        devices.check_platforms()
        folders = [Path(name) for name in arguments.folders]
        for folder in folders:
            if not folder.is_dir():
                raise UserError(f"{folder}: no such folder")
        if arguments.seconds and not arguments.results:
            raise UserError("--seconds needs --results; give both")
        paths = catalogue.find(folders)
        if arguments.results:
            results = [Path(name) for name in arguments.results]
            tables = [catalogue.comparison(paths, results, arguments.seconds)]
        else:
            tables = [catalogue.architectures(), catalogue.published_files(paths)]
    except UserError as error:
        leave(error)
    print("\n\n".join(map(catalogue.markdown, tables)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
