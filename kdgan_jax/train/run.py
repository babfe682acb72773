"""A whole run: its phases one after the other, then the evaluation; resumable throughout."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kdgan_jax.config.settings import RunConfig
from kdgan_jax.data import photos as sources
from kdgan_jax.data.buffers import Buffers
from kdgan_jax.evaluation import measure, metrics, plots, report, sheets
from kdgan_jax.inference.load import load
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import console, devices, files, processes
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import checks, feed, inputs, loop
from kdgan_jax.train.stopping import Stop, listening
from kdgan_jax.workdir import lock, record
from kdgan_jax.workdir.metrics import read_metrics

SHEET_PHOTOS = 4
# What a disk says that is full or may not be written to.
NO_ROOM = errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM


def run(config: Any, workdir: str | Path) -> None:
    """Makes the run that `config` describes in `workdir`, or goes on with it.

    Leaves checkpoints, `config.json`, `metrics.jsonl`, `events/`, and at the end `results.md`,
    `results.json`, `comparison.png` and `curves.png`.

    Raises:
      UserError: something is wrong with the config, the data or what lies in `workdir`; raised
        before training starts wherever it can be known then.
    """
    workdir = Path(workdir)
    try:
        _start(checks.checked(config), workdir)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise UserError(
            f"{workdir}: cannot be written to ({error}); its checkpoints are as they were: mend"
            " that, and start again to go on"
        ) from None


def _start(config: RunConfig, workdir: Path) -> None:
    """Begins the run, or goes on with it, unless it is complete."""
    processes.agree(config.saved, "config")
    checks.check_workdir(config, workdir / "config.json")
    finished = [loop.finished(workdir, phase.name, phase.steps) for phase in config.phases]
    there = (workdir / "results.json").is_file()
    processes.agree([finished, there], "state of the run")
    if all(finished) and there:
        console.log.info("%s: the run is complete; its results:", workdir)
        console.log.info("%s", (workdir / "results.md").read_text())
        return

    with listening() as stop:
        number = devices.count(config.devices, config.batches)
        models = inputs.given(config, workdir)
        inputs.check_phases(config, workdir, models)
        prepared, photos = inputs.photos(config)
        with _alone(config, workdir, models, photos):
            _run(config, workdir, models, prepared, photos, number, stop)


@contextlib.contextmanager
def _alone(
    config: RunConfig, workdir: Path, models: inputs.Given, photos: sources.Photos
) -> Iterator[None]:
    """Holds the workdir, with the run's config, photos and given models written in it.

    The first process does so, and the others wait for it.
    """
    listed = inputs.listed(photos)
    processes.agree(listed, "set of photos")
    processes.agree({field: model.digest for field, model in models.items()}, "set of models")
    with contextlib.ExitStack() as held:
        if processes.first():
            try:
                workdir.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"--workdir={workdir}: cannot be made ({error})") from None
            held.enter_context(lock.alone(workdir))
            # Once more: another start may have begun a run there since.
            checks.check_workdir(config, workdir / "config.json")
            inputs.same_photos(workdir / "photos.json", listed)
            inputs.record_given(workdir / "given.json", models)
            files.write_json(workdir / "config.json", dict(config.saved))
        processes.together("the workdir is ours")
        path = workdir / "config.json"
        processes.agree(path.is_file() and files.sha256(path), "workdir")
        yield


def _run(
    config: RunConfig,
    workdir: Path,
    models: inputs.Given,
    prepared: Buffers | None,
    photos: sources.Photos,
    number: int,
    stop: Stop,
) -> None:
    """Runs all phases and the evaluation; the caller holds the workdir."""
    console.log.info(
        "%d photos to train on, %d held out; training on %s",
        len(photos.train),
        len(photos.holdout),
        devices.describe(number),
    )
    decoded = sources.decode(
        photos.holdout,
        lambda photo: sources.load(photo, config.scale),
        config.data.max_bad_fraction,
        "the held-out photos",
    )
    holdout = [measure.Example(photo.name, *pair) for photo, pair in decoded]
    facts = {
        "processes": processes.number(),
        "device": devices.describe(number),
        "seed": config.seed,
        "config_sha256": files.sha256(workdir / "config.json"),
        "photos_sha256": files.sha256(workdir / "photos.json"),
    }
    start = record.kept(workdir / "run.json", facts)
    with start if processes.first() else contextlib.nullcontext():
        _train(config, workdir, models, photos.train, prepared, holdout, number, stop)
        _report(config, workdir, holdout, devices.describe(number))


def _train(
    config: RunConfig,
    workdir: Path,
    models: inputs.Given,
    photos: list[sources.Photo],
    prepared: Buffers | None,
    holdout: list[measure.Example],
    number: int,
    stop: Stop,
) -> None:
    """Runs the phases that are not finished yet."""

    def trained(name: str, fold: bool) -> Model:
        return load(workdir, name, fold=fold)

    source = None
    for own in config.phases:
        if loop.finished(workdir, own.name, own.steps):
            console.log.info("%s: finished earlier", own.name)
            continue
        phase = inputs.make_phase(own, config, workdir, models, number, trained)
        if own.checkpoint:
            loop.adopt(phase)
            continue
        if source is None:
            source = feed.source(config.data, config.scale, photos, prepared, number)
        loop.train(
            phase,
            source(phase.batch_seed, own.batches),
            lambda candidate: _mean_psnr(candidate, holdout),
            config.loop,
            stop,
        )
        stop.check()


def _mean_psnr(model: Model, holdout: list[measure.Example]) -> float:
    ours = processes.share(holdout)
    values = [metrics.psnr_y(model.upscale(e.lr), e.hr, model.scale) for e in ours]
    return float(np.mean(processes.collect(values)))


def row_names(config: RunConfig) -> dict[str, str]:
    """Returns the name of each phase's model in tables, by phase.

    The first phase of a network has the network's name; later ones say theirs as well.
    """
    names: dict[str, str] = {}
    for phase in config.phases:
        taken = phase.network in names.values()
        names[phase.name] = f"{phase.network}, {phase.name}" if taken else phase.network
    return names


def _report(config: RunConfig, workdir: Path, holdout: list[measure.Example], device: str) -> None:
    """Evaluates bicubic and every phase's model on the held-out photos; writes what is left."""
    names = ["psnr_y", "ssim_y", "psnr_rgb"]
    try:
        metrics.check(["lpips_alex"])
        names.append("lpips_alex")
    except UserError as error:
        console.log.warning("no LPIPS is measured: %s", error)
    upscalers = [measure.from_baseline("bicubic", config.scale)]
    upscalers += [
        measure.from_model(name, load(workdir, phase)) for phase, name in row_names(config).items()
    ]
    ours = processes.share(holdout)
    with console.progress("evaluation", len(upscalers) * len(ours)) as bar:
        measured = measure.images(
            upscalers,
            ours,
            dataset="held out",
            scale=config.scale,
            metrics=names,
            on_image=bar.advance,
        )
    images = [measured[i : i + len(upscalers)] for i in range(0, len(measured), len(upscalers))]
    per_image = [row for rows in processes.collect(images) for row in rows]
    if not processes.first():
        return
    rows = measure.means(upscalers, per_image, config.scale)
    try:
        lines = []
        for example in holdout[:SHEET_PHOTOS]:
            made = {u.name: u.upscale(example.lr) for u in upscalers}
            lines.append(sheets.line(example, made, per_image, scale=config.scale))
        sheets.sheet(workdir / "comparison.png", lines)
        trained = read_metrics(workdir / "metrics.jsonl")
        if trained:  # else all that the run has is a teacher that was given
            plots.curves(workdir / "curves.png", trained)
    except ImportError:
        console.log.warning("matplotlib is not installed: no comparison sheet and curves are made")
    report.write(workdir, rows, per_image, device=device, versions=record.versions())
    console.log.info("%s", (workdir / "results.md").read_text())
    shown = [name for name in ("results.md", "comparison.png") if (workdir / name).is_file()]
    console.log.info("Results are in %s: see %s.", workdir, " and ".join(shown))
