"""Upscales pictures with trained models, and keeps what they were.

python -m kdgan_jax.upscale photo.png folder/ --out=OUT [--model=runs/kd]
"""

import argparse
import contextlib
import importlib.util
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kdgan_jax.runtime import interrupts

with interrupts.in_one_line(__name__ == "__main__"):  # JAX takes seconds
    from kdgan_jax.data.sources import between_commas
    from kdgan_jax.evaluation import naming
    from kdgan_jax.inference import catalogue, engines
    from kdgan_jax.inference.load import DEFAULT, SHIPPED, load
    from kdgan_jax.inference.model import Model
    from kdgan_jax.pictures import folders, writing
    from kdgan_jax.runtime import console, devices, outputs
    from kdgan_jax.runtime.errors import UserError, leave, missing
    from kdgan_jax.upscaling import gathering, stages, targets
    from kdgan_jax.upscaling.batch import Batch, Job

STREAM = "-"  # as an input, stdin; as an output, stdout
SHEETS = "sheets"  # folder of comparison sheets, beside those of models


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kdgan upscale",
        usage="%(prog)s PICTURE... -o OUT [-n MODEL] [-s FACTOR] [options]",
        description="Upscale pictures with a trained model. Results have the names of the pictures"
        " and keep their bits, transparency, colour profile, EXIF, resolution and text. Results"
        " that exist are skipped, so the same command goes on where it was stopped.",
        epilog="Exit code: 0; 1 if some files failed (each is named); 2 if nothing was upscaled"
        " because an argument is wrong; 130, 143 or 129 if Ctrl-C, SIGTERM or SIGHUP stopped it.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "inputs",
        nargs="*",
        metavar="PICTURE",
        help="image files, or folders searched at any depth; - is stdin",
    )
    add(
        "-i",
        "--input",
        nargs="+",
        action="extend",
        default=[],
        metavar="PICTURE",
        help="the same, as an option",
    )
    add("--version", action="version", version=_version())
    add(
        "--list_models",
        action="store_true",
        help="list the models that come with the package, and where to find others",
    )

    add = parser.add_argument_group("results").add_argument
    add(
        "-o",
        "--out",
        "--output",
        metavar="OUT",
        help="folder for the results, made if missing; for one photo also a file such as big.png;"
        " - is stdout (the default if the picture is stdin)",
    )
    add(
        "--ext",
        "--format",
        dest="ext",
        choices=(*targets.FORMATS, targets.AUTO),
        help="format (default: png); auto keeps each picture's, where it can be written",
    )
    add("--suffix", default="", help="end of names: --suffix=x4 makes a_x4.png of a.jpg")
    add(
        "--quality",
        type=int,
        metavar="1..100",
        help="of JPEG (default 95), AVIF (90) and WebP (default: lossless)",
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--skip_existing", action="store_true", help="keep results that exist (the default)"
    )
    again.add_argument("--overwrite", action="store_true", help="make results that exist again")
    add(
        "--strip",
        action="store_true",
        help="leave out EXIF, IPTC, resolution and text, and do not name the model in the results",
    )
    add(
        "--all_frames",
        action="store_true",
        help="enlarge all frames of animated GIF, WebP and PNG, with --ext=png, webp or auto",
    )

    add = parser.add_argument_group("models and sizes").add_argument
    add(
        "-n",
        "--model",
        "--model_name",
        action="append",
        metavar="MODEL",
        help=f"one that comes with the package ({', '.join(SHIPPED)}; default: {DEFAULT}), a"
        " run's workdir (runs/kd, runs/kd:control), a checkpoint, or a file of weights,"
        " kdgan_jax's own or published. Several, separated by commas or by another -n, have a"
        " folder each in OUT",
    )
    add(
        "--sheet",
        action="store_true",
        help="also draw each picture beside what the models make of it, in OUT/sheets",
    )
    add(
        "-s",
        "--scale",
        "--outscale",
        metavar="FACTOR",
        help="of the results, such as 2 or 2.5: the network's scale, then Lanczos (default: the"
        " network's scale)",
    )
    add(
        "--size",
        metavar="WxH",
        help="of the results in pixels, in the same way; 1920x and x1080 keep the shape",
    )
    add(
        "--strength",
        type=float,
        metavar="0..1",
        help="of a refined model whose card names the soft one that it starts from: 0 is the soft"
        " one, 1 the refined one",
    )
    add(
        "--self_ensemble",
        action="store_true",
        help="average over the eight flips and rotations: slightly better, eight times slower",
    )
    add(
        "--keep_colour",
        action="store_true",
        help="keep the means of colours over neighbourhoods, which networks move by a few levels",
    )
    add(
        "--device",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        help="what runs the network (default: a GPU, if JAX finds one)",
    )
    add(
        "--engine",
        choices=engines.NAMES,
        default=engines.AUTO,
        help="what runs it on a CPU: ONNX Runtime, which is faster, or JAX (default: ONNX Runtime,"
        " if its results are JAX's)",
    )
    add(
        "-t",
        "--tile",
        type=int,
        default=0,
        metavar="PIXELS",
        help="side of the tiles in which pictures go through the network (default: 0, what suits"
        " the network); tiles leave no seams, unless a network sees the whole picture",
    )
    return parser


def _version() -> str:
    from kdgan_jax.workdir import record

    return f"kdgan_jax {record.versions().get('kdgan_jax', '')}".strip()


def _models_listed() -> str:
    """Returns the models of the package, a line each, and where to find others."""
    width = max(map(len, SHIPPED))
    ordered = sorted(SHIPPED, key=lambda name: (name != DEFAULT, name))
    lines = [f"{name:<{width}}  {catalogue.PURPOSES.get(name, '')}".rstrip() for name in ordered]
    return "\n".join(
        [
            *lines,
            "",
            "-n also takes a run's workdir (runs/kd) and a file of weights (.safetensors, .pth).",
            "kdgan zoo FOLDER lists those in a folder, and published ones to fetch.",
        ]
    )


class _Place(NamedTuple):
    """Where results go.

    Attributes:
      folder: the folder.
      file: the result of a single photo, if it is named; None for names by the pictures.
    """

    folder: Path
    file: Path | None


def _inputs(arguments: argparse.Namespace) -> list[str]:
    """Returns the inputs; checks that they, and the output, are named as they may be."""
    inputs = [*arguments.inputs, *arguments.input]
    if not inputs:
        raise UserError("no picture is named; give files or folders, as in PICTURE -o OUT")
    streams = [name for name in inputs if _is_stdin(name)]
    if streams and len(inputs) > 1:
        raise UserError(f"{streams[0]}: stdin is the only input, or none; name files instead")
    if arguments.out is None and streams:
        arguments.out = STREAM
    if arguments.out is None:
        raise UserError("-o is missing: the folder for results, or for one photo a file")
    if not arguments.out:
        raise UserError("--out is empty; name a folder (is a variable not set?)")
    return inputs


def _is_stdin(name: str) -> bool:
    return name in (STREAM, "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


def _place(arguments: argparse.Namespace, inputs: Sequence[str], models: int) -> _Place:
    """Returns where results go, which is a file if -o is the name of one.

    Raises:
      UserError: a file is named that cannot be the result.
    """
    out = Path(arguments.out)
    if out.is_dir() or out.suffix.lower() not in folders.KNOWN:
        return _Place(out, None)
    if len(inputs) > 1 or Path(inputs[0]).is_dir():
        raise UserError(f"-o {out}: names one file, but there may be several; name a folder")
    if models > 1 or arguments.sheet:
        what = "--sheet" if arguments.sheet else f"{models} models"
        raise UserError(f"-o {out}: names one file, but {what} need a folder; name one")
    for option, value in (("--ext", arguments.ext), ("--suffix", arguments.suffix)):
        if value and f".{value}" != out.suffix.lower():
            raise UserError(f"-o {out} names the file, and {option}={value} another; leave one out")
    return _Place(out.parent, out)


def _models(arguments: argparse.Namespace) -> list[stages.Network]:
    """Returns the models, loaded."""
    words = []
    for given in arguments.model or [DEFAULT]:
        found = between_commas(given, lambda word: Path(word).exists())
        if not all(found):
            raise UserError(
                f"--model={given}: a name is missing; --list_models lists those there are"
            )
        words += found
    words = list(dict.fromkeys(words))
    names = [naming.file_name(name) for name in naming.short(words)]
    if len(set(names)) < len(names):
        raise UserError(f"--model={','.join(words)}: two would have one folder; run them apart")
    return [
        stages.Network(name, _loaded(word, arguments))
        for name, word in zip(names, words, strict=True)
    ]


def _loaded(path: str, arguments: argparse.Namespace) -> Model:
    options: dict[str, Any] = {"strength": arguments.strength, "engine": arguments.engine}
    model = load(path, **options)
    wanted = stages.size(arguments.scale, arguments.size)
    if wanted and wanted.factor in getattr(model.module, "serves_scales", ()):
        assert wanted.factor is not None
        model = load(path, scale=int(wanted.factor), **options)
    return stages.tiled(model, arguments.tile, path) if arguments.tile else model


def _check(arguments: argparse.Namespace) -> None:
    """Checks options that need no model.

    Raises:
      UserError: an option is wrong by itself, or two do not fit together.
    """
    stages.size(arguments.scale, arguments.size)
    if arguments.tile < 0:
        raise UserError(f"--tile={arguments.tile} is no number of pixels; 0 is the default")
    if {"/", "\0"} & set(arguments.suffix) or len(arguments.suffix.encode()) > 100:
        raise UserError(f"--suffix={arguments.suffix} cannot be the end of a name")
    form = arguments.ext or "png"
    if arguments.all_frames and form not in (*stages.ANIMATED, targets.AUTO):
        raise UserError(f"--all_frames with --ext={form}; give {' or '.join(stages.ANIMATED)}")
    if arguments.sheet and not importlib.util.find_spec("matplotlib"):
        raise missing("matplotlib", "--sheet")


def _check_sheet(networks: Sequence[stages.Network], size: stages.Size | None) -> None:
    """Checks that all results on a sheet have one size, a multiple of the picture's."""
    scales = {size.factor} if size else {float(network.model.scale) for network in networks}
    if len(scales) > 1 or not all(scale and scale.is_integer() for scale in scales):
        raise UserError("--sheet needs results of one whole scale; give for example -s 4")


def _options(arguments: argparse.Namespace, place: _Place) -> writing.Options:
    """Returns how results are written.

    Raises:
      UserError: options do not fit together.
    """
    options = writing.Options(arguments.quality, arguments.strip, {"Software": _version()})
    form = arguments.ext or "png"
    example = f"{place.folder}/*.{'jpg' if form == targets.AUTO else form}"
    writing.check(place.file or example, options)
    return options


def _jobs(
    arguments: argparse.Namespace,
    inputs: Sequence[str],
    place: _Place,
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
    jobs = []
    for source, path in pairs:
        below = path.relative_to(place.folder)
        results = tuple(place.folder / n.name / below if several else path for n in networks)
        plain = f"{below.name}.png" if extension == targets.AUTO else f"{below.stem}.png"
        sheet = place.folder / SHEETS / below.with_name(targets.named(plain, "", ".png"))
        jobs.append(Job(source.path, results, sheet if arguments.sheet else None))
    return jobs


@contextlib.contextmanager
def _streams(arguments: argparse.Namespace, inputs: list[str]) -> Iterator[list[str]]:
    """Yields inputs and sets --out so that streams are files; writes stdout at the end.

    Raises:
      UserError: a stream is a terminal, or there are several pictures for stdout.
    """
    to_stdout, from_stdin = arguments.out == STREAM, _is_stdin(inputs[0])
    if not to_stdout and not from_stdin:
        yield inputs
        return
    if to_stdout and sys.stdout.isatty():
        raise UserError("-o -: stdout is a terminal; redirect it to a file, or name one by -o")
    if to_stdout and (len(inputs) > 1 or Path(inputs[0]).is_dir()):
        raise UserError("-o -: stdout takes one picture; name a folder for several")
    with tempfile.TemporaryDirectory() as temporary:
        if from_stdin:
            if sys.stdin.isatty():
                raise UserError(f"{inputs[0]}: stdin is a terminal; redirect a picture to it")
            Path(temporary, "stdin").write_bytes(sys.stdin.buffer.read())
            inputs = [str(Path(temporary, "stdin"))]
        results = Path(temporary, "results")
        if to_stdout:
            arguments.out = str(results)
        yield inputs
        if to_stdout:
            for path in sorted(results.iterdir()):
                sys.stdout.buffer.write(path.read_bytes())
            sys.stdout.buffer.flush()


def _run(batch: Batch, jobs: Sequence[Job], requests: interrupts.Requests, out: str) -> int:
    """Runs a batch and tells how it went; returns the exit code."""
    counts: Counter[str] = Counter()
    try:
        with (
            console.progress("upscaling", len(jobs)) as bar,
            contextlib.closing(batch.outcomes()) as outcomes,
        ):

            def on_move(job: Job) -> None:
                requests.check()
                bar.move(batch.under_way, job.source.name)

            batch.on_move = on_move
            for outcome in outcomes:
                requests.check()
                counts[outcome.state] += 1
                if outcome.error:
                    console.log.error("failed: %s", outcome.error)
                bar.under_way = batch.under_way
                bar.advance(outcome.job.source.name)
    except interrupts.Interrupted as stop:
        interrupts.leave(stop, f"stopped: {batch.written + counts['there']} of {len(jobs)}")
    parts = [f"{counts['made']} of {len(jobs)} upscaled into {out}"]
    if counts["there"]:
        parts.append(f"{counts['there']} skipped, since they exist (--overwrite makes them again)")
    if counts["elsewhere"]:
        parts.append(f"{counts['elsewhere']} left to another process that makes them")
    if counts["failed"]:
        parts.append(f"{counts['failed']} failed")
    console.log.info("%s", "; ".join(parts))
    return 1 if counts["failed"] else 0


def _upscale(arguments: argparse.Namespace, requests: interrupts.Requests) -> int:
    inputs = _inputs(arguments)
    _check(arguments)
    shown = arguments.out
    with _streams(arguments, inputs) as files:
        networks = _models(arguments)
        place = _place(arguments, files, len(networks))
        options = _options(arguments, place)
        size = stages.size(arguments.scale, arguments.size)
        if arguments.sheet:
            _check_sheet(networks, size)
        jobs = _jobs(arguments, files, place, networks)
        outputs.make(place.folder, "--out")
        work = stages.Work(
            networks,
            options,
            size,
            ensemble=arguments.self_ensemble,
            keep_colour=arguments.keep_colour,
            all_frames=arguments.all_frames,
        )
        batch = Batch(jobs, work, place.folder, overwrite=arguments.overwrite)
        return _run(batch, jobs, requests, "stdout" if shown == STREAM else shown)


def main(argv: Sequence[str] | None = None) -> int:
    """Upscales the inputs; returns 0, or 1 if some files failed."""
    console.setup()
    arguments = _parser().parse_args(console.arguments(argv))
    if arguments.list_models:
        print(_models_listed())
        return 0
    with interrupts.raised() as requests:
        try:
            devices.configure()
            devices.choose(arguments.device)
            return _upscale(arguments, requests)
        except UserError as error:
            leave(error)
        except interrupts.Interrupted as stop:
            interrupts.leave(stop)


if __name__ == "__main__":
    sys.exit(main())
