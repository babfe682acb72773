"""Lists models: those of the package, in folders and to fetch; or compares with published results.

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
        description="List the models that come with the package, those in FOLDERS, with what cannot"
        " be loaded and why, known ones to fetch, and the architectures. With --results, print"
        " measured beside published results instead.",
    )
    add = parser.add_argument
    add("folders", nargs="*", help="folders with files of weights, at any depth")
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
        if arguments.results:
            results = [Path(name) for name in arguments.results]
            paths = catalogue.find(folders)
            print(catalogue.markdown(catalogue.comparison(paths, results, arguments.seconds)))
        else:
            _list(folders)
    except UserError as error:
        leave(error)
    return 0


def _list(folders: list[Path]) -> None:
    """Prints the tables, each as soon as it is made."""

    def show(title: str, table: catalogue.Table) -> None:
        if len(table) > 1:
            print(f"{title}:\n\n{catalogue.markdown(table)}\n", flush=True)

    show("With the package", catalogue.shipped())
    names = ", ".join(map(str, folders))
    found = catalogue.files(catalogue.candidates(folders))
    show(f"In {names}", found.models)
    show(f"Also in {names}", found.others)
    if folders and not found.models[1:] + found.others[1:]:
        print(f"In {names}: no file of weights\n")
    show("To fetch, each under terms of its own", catalogue.to_fetch(found.digests))
    show("Architectures", catalogue.architectures())


if __name__ == "__main__":
    sys.exit(main())
