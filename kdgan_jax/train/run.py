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
from kdgan_jax.data.holdout import Photos
from kdgan_jax.data.photos import Photo
from kdgan_jax.data.photos import load as load_photo
from kdgan_jax.inference import engines
from kdgan_jax.inference.load import load
from kdgan_jax.inference.model import Model
from kdgan_jax.inference.reduced import at_scale
from kdgan_jax.runtime import console, devices, files, processes
from kdgan_jax.runtime.errors import Stopped, UserError
from kdgan_jax.train import budget, checks, earlier, inputs, labelling, levelling, loop, results
from kdgan_jax.train.feed import feed_factory
from kdgan_jax.train.heldout import HeldOut, Teachers, scores
from kdgan_jax.train.stopping import Stop, listening
from kdgan_jax.workdir import lock, record

# Errors of a disk that is full or read-only.
NOT_WRITABLE = errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM


def run(config: Any, workdir: str | Path, spent: float = 0.0) -> None:
    """Starts the run that `config` describes in `workdir`, or resumes it.

    Writes checkpoints, `config.json`, `metrics.jsonl` and `events/`, and at the end `results.md`,
    `results.json`, `comparison.png` and `curves.png`.

    Args:
      config: a ConfigDict of `kdgan_jax.config.default`.
      workdir: the run's folder.
      spent: seconds that the command has taken so far, which count for `config.minutes`.

    Raises:
      UserError: the config, the data or the contents of `workdir` are wrong; wherever possible
        this is found before training starts.
      Stopped: the run was asked to stop; it can be resumed.
    """
    workdir = Path(workdir)
    devices.check_platforms()
    try:
        _start(checks.checked(budget.planned(config, workdir, spent)), workdir)
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
    earlier.check_workdir(config, workdir / "config.json")
    finished = [loop.finished(workdir, phase.name, phase.steps) for phase in config.phases]
    has_results = (workdir / "results.json").is_file()
    processes.agree([finished, has_results], "state of the run")
    if all(finished) and has_results:
        console.log.info("%s: the run is complete; its results:", workdir)
        console.log.info("%s", files.read_text(workdir / "results.md"))
        return

    with listening() as stop:
        number = devices.count(config.devices, config.batches)
        models = inputs.external_models(config, workdir)
        inputs.check_phases(config, workdir, models, number)
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
            earlier.check_workdir(config, workdir / "config.json")
            inputs.record_photos(workdir / "photos.json", photo_list)
            inputs.record_models(workdir / earlier.GIVEN, models)
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
    held_out = HeldOut(photos.holdout, config)
    facts = {
        "processes": processes.number(),
        "device": devices.describe(number),
        "seed": config.seed,
        "config_sha256": files.sha256(workdir / "config.json"),
        "photos_sha256": files.sha256(workdir / "photos.json"),
    }
    start = record.kept(workdir / "run.json", facts)
    with start if processes.first() else contextlib.nullcontext():
        teachers = _stored_teachers(config, models)
        write = functools.partial(
            results.write, config, workdir, teachers, held_out, devices.describe(number)
        )
        try:
            _train(config, workdir, models, photos.train, prepared, held_out, number, stop)
        except Stopped:
            if config.minutes and results.has_checkpoint(workdir, config.phases[0].name):
                write()
                (workdir / "results.json").unlink()  # which would say that the run is complete
            raise
        write()


def _train(
    config: RunConfig,
    workdir: Path,
    models: inputs.ExternalModels,
    photos: list[Photo],
    prepared: Buffers | None,
    held_out: HeldOut,
    number: int,
    stop: Stop,
) -> None:
    """Trains the phases that are not finished yet."""

    def trained(name: str, fold: bool) -> Model:
        return load(workdir, name, fold=fold, engine=engines.JAX)

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
                stored=max(phase.stored_bytes for phase in config.phases),
            )
        labels = labelling.stored_outputs(setup, feeds.photos, config.data, feeds.names)
        examples = held_out.goal(setup)
        finish = functools.partial(
            _finished, level=phase.level, photos=photos, decoded=feeds.photos
        )
        loop.train(
            setup,
            feeds(setup.batch_seed, phase.batches, labels),
            functools.partial(scores, examples=examples, names=config.loop.holdout_metrics),
            config.loop,
            stop,
            finish,
        )
        stop.check()


def _finished(model: Model, level: float, photos: list[Photo], decoded: Buffers | None) -> Model:
    """Returns a phase's final model, levelled if it is to be."""
    if not level:
        return model
    if decoded is None:
        with_hr = [photo for photo in photos if photo.hr is not None]
        chosen, side = levelling.chosen([photo.size for photo in with_hr], model.scale)
        images = (load_photo(with_hr[i], model.scale) for i in chosen)
        pairs = ((image["lr"], image["hr"]) for image in images)
    else:
        indices = np.flatnonzero(decoded.has("hr"))
        sizes = (decoded.sides[indices] * model.scale).tolist()
        chosen, side = levelling.chosen(sizes, model.scale)
        pairs = ((decoded.image("lr", i), decoded.image("hr", i)) for i in indices[chosen])
    return levelling.levelled(model, pairs, level, side)


def _stored_teachers(config: RunConfig, models: inputs.ExternalModels) -> Teachers:
    """Returns the teachers from elsewhere whose images the run stores, by their names in tables."""
    teachers = {}
    for (phase, label), name in results.teacher_names(config).items():
        field = f"config.train.{phase}.teachers.{label}.model"
        if field in models:
            teachers[name] = at_scale(models[field], config.scale, field)
    return teachers
