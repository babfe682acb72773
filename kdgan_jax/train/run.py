"""A whole run: all phases in order, then the evaluation; it can be resumed at any point."""

import contextlib
import errno
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kdgan_jax.config.settings import RunConfig
from kdgan_jax.data.buffers import Buffers
from kdgan_jax.data.photos import Photo, Photos, decode
from kdgan_jax.data.photos import load as load_images
from kdgan_jax.evaluation import measure, metrics, plots, report, sheets
from kdgan_jax.inference.load import load
from kdgan_jax.inference.model import Model
from kdgan_jax.inference.reduced import at_scale
from kdgan_jax.runtime import console, devices, files, processes
from kdgan_jax.runtime.errors import UserError, missing
from kdgan_jax.train import checks, inputs, labelling, loop
from kdgan_jax.train.feed import feed_factory
from kdgan_jax.train.phase_setup import PhaseSetup
from kdgan_jax.train.stopping import Stop, listening
from kdgan_jax.workdir import lock, record
from kdgan_jax.workdir.metrics import read_metrics

Holdout = dict[str, dict[str, np.ndarray]]  # images of held-out photos by name: "lr", "hr"
SHEET_PHOTOS = 4  # held-out photos in comparison.png
# Errors of a disk that is full or read-only.
NOT_WRITABLE = errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM


def run(config: Any, workdir: str | Path) -> None:
    """Starts the run that `config` describes in `workdir`, or resumes it.

    Writes checkpoints, `config.json`, `metrics.jsonl` and `events/`, and at the end `results.md`,
    `results.json`, `comparison.png` and `curves.png`.

    Args:
      config: a ConfigDict of `kdgan_jax.config.default`.
      workdir: the run's folder.

    Raises:
      UserError: the config, the data or the contents of `workdir` are wrong; wherever possible
        this is found before training starts.
      Stopped: the run was asked to stop; it can be resumed.
    """
    workdir = Path(workdir)
    try:
        _start(checks.checked(config), workdir)
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        raise UserError(
            f"{workdir}: cannot be written to ({error}); its checkpoints are intact; free some"
            " space or allow writing, and run the same command to resume"
        ) from None


def _start(config: RunConfig, workdir: Path) -> None:
    """Starts or resumes the run, or logs its results if it is complete."""
    processes.agree(config.saved, "config")
    checks.check_workdir(config, workdir / "config.json")
    finished = [loop.finished(workdir, phase.name, phase.steps) for phase in config.phases]
    has_results = (workdir / "results.json").is_file()
    processes.agree([finished, has_results], "state of the run")
    if all(finished) and has_results:
        console.log.info("%s: the run is complete; its results:", workdir)
        console.log.info("%s", (workdir / "results.md").read_text())
        return

    with listening() as stop:
        number = devices.count(config.devices, config.batches)
        models = inputs.external_models(config, workdir)
        inputs.check_phases(config, workdir, models)
        prepared, photos = inputs.photos(config)
        with _locked_workdir(config, workdir, models, photos):
            _run(config, workdir, models, prepared, photos, number, stop)


@contextlib.contextmanager
def _locked_workdir(
    config: RunConfig, workdir: Path, models: inputs.ExternalModels, photos: Photos
) -> Iterator[None]:
    """Locks the workdir and records the run's config, photos and external models in it.

    The first process does this while the others wait.
    """
    photo_list = inputs.photo_list(photos)
    processes.agree(photo_list, "set of photos")
    processes.agree({field: model.digest for field, model in models.items()}, "set of models")
    with contextlib.ExitStack() as stack:
        if processes.first():
            try:
                workdir.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"--workdir={workdir}: cannot be created ({error})") from None
            stack.enter_context(lock.alone(workdir))
            # Check again: another start may have created a run here in the meantime.
            checks.check_workdir(config, workdir / "config.json")
            inputs.record_photos(workdir / "photos.json", photo_list)
            inputs.record_models(workdir / "given.json", models)
            files.write_json(workdir / "config.json", dict(config.saved))
        processes.barrier("the workdir is locked")
        path = workdir / "config.json"
        processes.agree(path.is_file() and files.sha256(path), "workdir")
        yield


def _run(
    config: RunConfig,
    workdir: Path,
    models: inputs.ExternalModels,
    prepared: Buffers | None,
    photos: Photos,
    number: int,
    stop: Stop,
) -> None:
    """Runs all phases and the evaluation; the caller holds the workdir's lock."""
    console.log.info(
        "%d photos to train on, %d held out; training on %s",
        len(photos.train),
        len(photos.holdout),
        devices.describe(number),
    )
    decoded = decode(
        photos.holdout,
        lambda photo: load_images(photo, config.scale),
        config.data.max_bad_fraction,
        "the held-out photos",
    )
    holdout = {photo.name: images for photo, images in decoded}
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
        _report(config, workdir, models, holdout, devices.describe(number))


def _train(
    config: RunConfig,
    workdir: Path,
    models: inputs.ExternalModels,
    photos: list[Photo],
    prepared: Buffers | None,
    holdout: Holdout,
    number: int,
    stop: Stop,
) -> None:
    """Trains the phases that are not finished yet."""

    def trained(name: str, fold: bool) -> Model:
        return load(workdir, name, fold=fold)

    feeds = None
    for phase in config.phases:
        if loop.finished(workdir, phase.name, phase.steps):
            console.log.info("%s: finished earlier", phase.name)
            continue
        setup = inputs.set_up_phase(phase, config, workdir, models, number, trained)
        if phase.checkpoint:
            loop.adopt(setup)
            continue
        if feeds is None:
            feeds = feed_factory(
                config.data,
                config.scale,
                photos,
                prepared,
                number,
                with_hr=config.needs_hr,
                stored=max(len(phase.stored) for phase in config.phases),
            )
        labels = labelling.stored_outputs(setup, feeds.photos, config.data)
        examples = _examples(setup, holdout)
        loop.train(
            setup,
            feeds(setup.batch_seed, phase.batches, labels),
            functools.partial(_mean_psnr, examples=examples),
            config.loop,
            stop,
        )
        stop.check()


def _examples(setup: PhaseSetup, holdout: Holdout) -> list[measure.Example]:
    """Returns this process's share of the held-out photos, with what the phase's model is to give.

    That is HR, or the image of the phase's first teacher if the phase reads no HR.
    """
    share = processes.share(list(holdout.items()))
    if setup.config.needs_hr:
        return [measure.Example(n, i["hr"], i["lr"]) for n, i in share if "hr" in i]
    label = next(iter(setup.teachers))
    teacher = at_scale(setup.teachers[label], setup.model.scale, f"teacher {label!r}")
    upscaler = measure.from_model(label, teacher)
    return [measure.referred(name, images["lr"], upscaler) for name, images in share]


def _mean_psnr(model: Model, examples: list[measure.Example]) -> float:
    """Returns the mean Y-PSNR in dB over the photos of all processes; each has its share."""
    values = [metrics.psnr_y(model.upscale(e.lr), e.reference, model.scale) for e in examples]
    return float(np.mean(processes.collect(values)))


def row_names(config: RunConfig) -> dict[str, str]:
    """Returns the name of each phase's model in the tables, by phase.

    The model of a network's first phase is named after the network; later ones add the phase.
    """
    names: dict[str, str] = {}
    for phase in config.phases:
        taken = phase.network in names.values()
        names[phase.name] = f"{phase.network}, {phase.name}" if taken else phase.network
    return names


def _stored_teachers(config: RunConfig, models: inputs.ExternalModels) -> list[measure.Upscaler]:
    """Returns the teachers from elsewhere whose images the run stores, under their names."""
    upscalers = {}
    for phase in config.phases:
        for name in phase.stored:
            field = f"config.train.{phase.name}.teachers.{name}.model"
            if field in models:
                teacher = at_scale(models[field], config.scale, field)
                upscalers[name] = measure.from_model(name, teacher)
    return list(upscalers.values())


def _report(
    config: RunConfig,
    workdir: Path,
    models: inputs.ExternalModels,
    holdout: Holdout,
    device: str,
) -> None:
    """Evaluates bicubic and every model on the held-out photos, and writes the results.

    Photos with HR are measured against HR, and all photos against every stored teacher.
    """
    names = ["psnr_y", "ssim_y", "psnr_rgb"]
    try:
        metrics.check(["lpips_alex"])
        names.append("lpips_alex")
    except UserError as error:
        console.log.warning("LPIPS is not measured: %s", error)
    teachers = _stored_teachers(config, models)
    upscalers = [measure.from_baseline("bicubic", config.scale)]
    upscalers += [
        measure.from_model(name, load(workdir, phase)) for phase, name in row_names(config).items()
    ]
    upscalers += teachers
    share = processes.share(list(holdout.items()))
    sets = [[measure.Example(n, i["hr"], i["lr"]) for n, i in share if "hr" in i]]
    sets += [[measure.referred(n, i["lr"], teacher) for n, i in share] for teacher in teachers]
    images = []
    with console.progress("evaluation", len(upscalers) * sum(map(len, sets))) as bar:
        for examples in sets:
            measured = measure.images(
                upscalers,
                examples,
                dataset="held out",
                scale=config.scale,
                metrics=names,
                on_image=bar.advance,
            )
            images += [
                measured[i : i + len(upscalers)] for i in range(0, len(measured), len(upscalers))
            ]
    per_image = [row for rows in processes.collect(images) for row in rows]
    if not processes.first():
        return
    rows = []
    for title in dict.fromkeys(map(measure.title, per_image)):
        of_set = [row for row in per_image if measure.title(row) == title]
        rows += measure.means(upscalers, of_set, config.scale)
    try:
        lines = []
        for example in next(examples for examples in sets if examples)[:SHEET_PHOTOS]:
            upscaled = {u.name: u.upscale(example.lr) for u in upscalers}
            lines.append(sheets.line(example, upscaled, per_image, scale=config.scale))
        sheets.sheet(workdir / "comparison.png", lines)
        training_rows = read_metrics(workdir / "metrics.jsonl")
        if training_rows:  # there are none if all models were trained elsewhere
            plots.curves(workdir / "curves.png", training_rows)
    except ImportError:
        console.log.warning("%s", missing("matplotlib", "drawing comparison.png and curves.png"))
    report.write(workdir, rows, per_image, device=device, versions=record.versions())
    console.log.info("%s", (workdir / "results.md").read_text())
    written = [name for name in ("results.md", "comparison.png") if (workdir / name).is_file()]
    console.log.info("Results are in %s: see %s.", workdir, " and ".join(written))
