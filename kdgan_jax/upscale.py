"""Upscales pictures with trained models, and keeps what they were.

python -m kdgan_jax.upscale photo.png folder/ --out=OUT [--model=runs/kd]
"""

import argparse
import contextlib
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdgan_jax.runtime import interrupts, startup

# JAX takes seconds.
with interrupts.in_one_line(__name__ == "__main__"), startup.importing(__name__ == "__main__"):
    from kdgan_jax.evaluation import naming
    from kdgan_jax.inference.load import DEFAULT, SHIPPED, load
    from kdgan_jax.inference.model import Model
    from kdgan_jax.layouts.places import between_commas
    from kdgan_jax.runtime import console, devices, outputs
    from kdgan_jax.runtime.errors import UserError, leave
    from kdgan_jax.upscaling import options, planning, stages, streams
    from kdgan_jax.upscaling.batch import Batch, Job


def _models_listed() -> str:
    """Returns the models of the package, a line each, and where to find others."""
    from kdgan_jax.inference import catalogue  # which pictures do not need

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
    given: dict[str, Any] = {"strength": arguments.strength, "engine": arguments.engine}
    model = load(path, **given)
    wanted = stages.size(arguments.scale, arguments.size)
    if wanted and wanted.factor in getattr(model.module, "serves_scales", ()):
        assert wanted.factor is not None
        model = load(path, scale=int(wanted.factor), **given)
    return stages.tiled(model, arguments.tile, path) if arguments.tile else model


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
    named, shown = options.ends(arguments)
    options.check(arguments)
    with streams.as_files(named, shown) as (inputs, out):
        networks = _models(arguments)
        place = planning.place(arguments, out, inputs, len(networks), shown == streams.STREAM)
        form = planning.form(arguments, place)
        size = stages.size(arguments.scale, arguments.size)
        if arguments.sheet:
            planning.check_sheet(networks, size)
        jobs = planning.jobs(arguments, inputs, place, networks)
        outputs.make(place.folder, "--out")
        work = stages.Work(
            networks,
            form,
            size,
            ensemble=arguments.self_ensemble,
            keep_colour=arguments.keep_colour,
            all_frames=arguments.all_frames,
        )
        batch = Batch(jobs, work, place.folder, overwrite=arguments.overwrite)
        return _run(batch, jobs, requests, "stdout" if shown == streams.STREAM else shown)


def main(argv: Sequence[str] | None = None) -> int:
    """Upscales the inputs; returns 0, or 1 if some files failed."""
    console.setup()
    arguments = options.parser().parse_args(console.arguments(argv))
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
