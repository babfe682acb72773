"""What is to be done: where results go, in which form, and a job for each picture."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kdgan_jax.pictures import folders, writing
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.upscaling import gathering, stages, targets
from kdgan_jax.upscaling.batch import Job
from kdgan_jax.upscaling.options import version

SHEETS = "sheets"  # folder of comparison sheets, beside those of models


class Place(NamedTuple):
    """Where results go.

    Attributes:
      folder: the folder.
      file: the result of a single photo, if it is named; None for names by the pictures.
    """

    folder: Path
    file: Path | None


def place(
    arguments: argparse.Namespace, named: str, inputs: Sequence[str], models: int, stdout: bool
) -> Place:
    """Returns where results go, which is a file if the output `named` is the name of one.

    Raises:
      UserError: a file is named, or it is stdout, and there is more than one result.
    """
    if stdout and (models > 1 or arguments.sheet):
        what = "--sheet" if arguments.sheet else f"{models} models"
        raise UserError(f"-o -: stdout takes one result, but {what} need a folder; name one")
    out = Path(named)
    if out.is_dir() or out.suffix.lower() not in folders.KNOWN:
        return Place(out, None)
    if len(inputs) > 1 or Path(inputs[0]).is_dir():
        raise UserError(f"-o {out}: names one file, but there may be several; name a folder")
    if models > 1 or arguments.sheet:
        what = "--sheet" if arguments.sheet else f"{models} models"
        raise UserError(f"-o {out}: names one file, but {what} need a folder; name one")
    for option, value in (("--ext", arguments.ext), ("--suffix", arguments.suffix)):
        if value and f".{value}" != out.suffix.lower():
            raise UserError(f"-o {out} names the file, and {option}={value} another; leave one out")
    return Place(out.parent, out)


def check_sheet(networks: Sequence[stages.Network], size: stages.Size | None) -> None:
    """Checks that all results on a sheet have one size, a multiple of the picture's.

    Raises:
      UserError: they have not.
    """
    scales = {size.factor} if size else {float(network.model.scale) for network in networks}
    if len(scales) > 1 or not all(scale and scale.is_integer() for scale in scales):
        raise UserError("--sheet needs results of one whole scale; give for example -s 4")


def form(arguments: argparse.Namespace, place: Place) -> writing.Options:
    """Returns how results are written.

    Raises:
      UserError: options do not fit together.
    """
    options = writing.Options(arguments.quality, arguments.strip, {"Software": version()})
    extension = arguments.ext or "png"
    example = f"{place.folder}/*.{'jpg' if extension == targets.AUTO else extension}"
    writing.check(place.file or example, options)
    return options


def jobs(
    arguments: argparse.Namespace,
    inputs: Sequence[str],
    place: Place,
    networks: Sequence[stages.Network],
) -> list[Job]:
    """Returns what is to be done, picture by picture."""
    if place.file:
        (source,) = gathering.gather(inputs, None)
        return [Job(source.path, (path,)) for _, path in targets.check([(source, place.file)])]
    found = gathering.gather(inputs, place.folder, arguments.suffix)
    several = len(networks) > 1
    extension = arguments.ext or "png"
    pairs = targets.check(
        (source, targets.target(source, place.folder, arguments.suffix, extension))
        for source in found
    )
    planned = []
    for source, path in pairs:
        below = path.relative_to(place.folder)
        results = tuple(place.folder / n.name / below if several else path for n in networks)
        plain = f"{below.name}.png" if extension == targets.AUTO else f"{below.stem}.png"
        sheet = place.folder / SHEETS / below.with_name(targets.named(plain, "", ".png"))
        planned.append(Job(source.path, results, sheet if arguments.sheet else None))
    return planned
