"""A run's inputs, which are checked before training starts: photos, and models made elsewhere."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kdgan_jax import models as networks
from kdgan_jax.audit.apart import apart
from kdgan_jax.config.settings import PhaseConfig, RunConfig
from kdgan_jax.data.buffers import Buffers
from kdgan_jax.data.holdout import Photos
from kdgan_jax.data.photos import Photo
from kdgan_jax.data.sources import gather
from kdgan_jax.inference import engines
from kdgan_jax.inference.load import load, resolve
from kdgan_jax.inference.model import Model
from kdgan_jax.inference.reduced import at_scale
from kdgan_jax.runtime import files
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import earlier, levelling, loop
from kdgan_jax.train.phase_setup import EXTRACTORS, PhaseSetup, check_features

ExternalModels = Mapping[str, Model]  # models made elsewhere, by the config field that names them


def photos(run: RunConfig) -> tuple[Buffers | None, Photos]:
    """Returns the run's photos, after the training photos decoded if a prepared file has them."""
    if run.data.prepared:
        from kdgan_jax.data import prepared

        decoded, gathered = prepared.open_for(run.data, run.scale, run.largest_patch)
    else:
        decoded, gathered = None, gather(run.data, run.scale, run.largest_patch, apart)
    check_hr(run, gathered)
    return decoded, gathered


def check_hr(run: RunConfig, photos: Photos) -> None:
    """Checks that photos have HR if a phase that is trained reads HR or is levelled towards it.

    Raises:
      UserError: none has; names the phase.
    """
    for phase in run.phases:
        if phase.checkpoint:
            continue
        if phase.level:
            _check_level(run, phase, photos.train)
        if not phase.needs_hr:
            continue
        for part, of_part in photos._asdict().items():
            if all(photo.hr is None for photo in of_part):
                which = "to train on" if part == "train" else "held out"
                raise UserError(
                    f"config.train.{phase.name} compares with HR, but none of the"
                    f" {len(of_part)} photos {which} has HR"
                    f" (config.data.source={run.data.source!r}); make a teacher the target of its"
                    " losses, or use photos that have HR"
                )


def _check_level(run: RunConfig, phase: PhaseConfig, photos: Sequence[Photo]) -> None:
    field = f"config.train.{phase.name}.level={phase.level:g}"
    with_hr = [photo.size for photo in photos if photo.hr is not None]
    if not with_hr:
        raise UserError(
            f"{field} takes the mesh out by comparing with HR, but none of the {len(photos)} photos"
            f" to train on has HR (config.data.source={run.data.source!r}); set it to 0, or take"
            " photos with HR"
        )
    try:
        levelling.chosen(with_hr, run.scale)
    except UserError as error:
        raise UserError(f"{field}: {error}; set it to 0, or take larger photos") from None


def photo_list(run_photos: Photos) -> dict[str, Any]:
    """Returns names and sizes of a run's photos, as `photos.json` holds them."""
    return {
        part: [[photo.name, *photo.size] for photo in photos]
        for part, photos in run_photos._asdict().items()
    }


def record_photos(path: Path, current: dict[str, Any]) -> None:
    """Writes a run's `photo_list` to `path` at its first start; later starts must have the same.

    Raises:
      UserError: the photos or their order differ, which would change batches and evaluations; or
        the file is damaged.
    """
    if path.is_file():
        try:
            saved = {part: list(files.read_json(path)[part]) for part in current}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: does not list the run's photos ({error!r}); restore it, or choose"
                " another --workdir"
            ) from None
        for part in current:
            changed = [row for row in current[part] if row not in saved[part]]
            changed += [row for row in saved[part] if row not in current[part]]
            if not changed:  # then compare the order
                pairs = zip(current[part], saved[part], strict=True)
                changed = [row for row, saved_row in pairs if row != saved_row]
            if changed:
                raise UserError(
                    f"{path}: the photos have changed since the run was started ({len(changed)}"
                    f" of {part!r}, such as {changed[0][0]!r}); restore them, or choose another"
                    " --workdir"
                )
    files.write_json(path, current)


class ModelReference(NamedTuple):
    """A model that the config names.

    Attributes:
      path: an earlier phase, or a path that `load` takes.
      role: the model to take from a workdir if the path does not say.
      fold: whether to fold its branches. They stay if the model is to be trained.
      reducible: whether it may have a multiple of the run's scale.
      optional: whether it is left out if its scale or architecture does not fit.
    """

    path: str
    role: str
    fold: bool
    reducible: bool = False
    optional: bool = False


def external_references(phase: PhaseConfig, run: RunConfig) -> dict[str, ModelReference]:
    """Returns the models that a phase uses and no phase of the run trains, by config field."""
    trained_here = [other.name for other in run.phases]
    references = {
        f"config.{phase.network}.checkpoint": ModelReference(
            phase.checkpoint, phase.network, False
        ),
        f"config.train.{phase.name}.start": ModelReference(
            phase.start, phase.network, False, optional=phase.start_if_fits
        ),
    }
    for label, teacher in phase.teachers.items():
        field = f"config.train.{phase.name}.teachers.{label}.model"
        references[field] = ModelReference(teacher.model, "teacher", True, bool(teacher.stored))
    return {
        field: reference
        for field, reference in references.items()
        if reference.path and reference.path not in trained_here
    }


def external_models(run: RunConfig, workdir: Path) -> ExternalModels:
    """Returns the models made elsewhere that unfinished phases or the evaluation need.

    Raises:
      UserError: a model is unusable, or differs from the one that the run started with.
    """
    recorded = earlier.given_models(workdir / earlier.GIVEN)
    needed: dict[str, Model] = {}
    for phase in run.phases:
        finished = loop.finished(workdir, phase.name, phase.steps)
        for field, reference in external_references(phase, run).items():
            measured = reference.reducible  # a stored teacher, which the evaluation measures
            try:
                model = _load(field, reference, run.scale)
            except UserError:
                if finished and not measured:
                    continue  # the model is no longer needed
                raise
            if reference.optional and not _fits(model, phase, run.scale):
                continue
            if recorded.get(field, model.digest) != model.digest:
                raise UserError(
                    f"{field}={reference.path!r} has changed since the run in {workdir} first used"
                    " it; restore it, or choose another --workdir"
                )
            if not finished or measured:
                needed[field] = model
    return needed


def _load(field: str, reference: ModelReference, scale: int) -> Model:
    model = resolve(
        *(reference.path, reference.role), scale=scale, fold=reference.fold, engine=engines.JAX
    )
    if reference.reducible:
        at_scale(model, scale, f"{field}={reference.path!r}")  # raises if it cannot be reduced
    elif model.scale != scale and not reference.optional:
        raise UserError(
            f"{field}={reference.path!r} has scale {model.scale}, but config.scale is {scale};"
            f" choose a model of scale {scale}"
        )
    return model


def _fits(model: Model, phase: PhaseConfig, scale: int) -> bool:
    """Returns whether a model is what the phase trains, so that it can start there."""
    return bool(model.module == networks.generator(*phase.spec, scale))


def record_models(path: Path, models: ExternalModels) -> None:
    """Adds the models' digests to the file at `path`, which later starts compare with."""
    recorded = earlier.given_models(path)
    updated = recorded | {field: model.digest for field, model in models.items()}
    if updated != recorded:
        files.write_json(path, updated)


def set_up_phase(
    phase: PhaseConfig,
    run: RunConfig,
    workdir: Path,
    models: ExternalModels,
    devices: int,
    trained: Callable[[str, bool], Model],
) -> PhaseSetup:
    """Returns a phase with its networks: external ones, those of earlier phases, or a fresh one.

    Args:
      phase: of the run.
      run: the whole run.
      workdir: of the run.
      models: from `external_models`.
      devices: number of devices to train on.
      trained: (name of an earlier phase, whether to fold) to its model.
    """

    def model(field: str, name: str, fold: bool) -> Model:
        return models[field] if field in models else trained(name, fold)

    field = f"config.train.{phase.name}"
    if phase.start and (f"{field}.start" in models or not phase.start_if_fits):
        generator = model(f"{field}.start", phase.start, False)
    else:
        untrained = Model(phase.spec.name, phase.spec.options, run.scale, None)
        generator = models.get(f"config.{phase.network}.checkpoint", untrained)
    teachers = {
        name: model(f"{field}.teachers.{name}.model", teacher.model, True)
        for name, teacher in phase.teachers.items()
    }
    return PhaseSetup(phase, run.seed, workdir, generator, teachers, devices)


def check_phases(run: RunConfig, workdir: Path, models: ExternalModels, devices: int) -> None:
    """Checks that all phases can run: features that losses name, extractors, images of a device.

    Args:
      run: its phases that are finished need nothing.
      workdir: of the run.
      models: its external models.
      devices: number of devices to train on.

    Raises:
      UserError: a feature does not exist or has another size, an extractor's weights are missing,
        or a loss needs more images than a device has.
    """
    by_phase: dict[str, Model] = {}  # without params if not trained yet

    def trained(name: str, fold: bool) -> Model:
        model = by_phase[name]
        return model.folded() if fold and model.params is not None else model

    for phase in run.phases:
        if loop.finished(workdir, phase.name, phase.steps):  # its external models may be gone
            by_phase[phase.name] = load(workdir, phase.name, fold=False, engine=engines.JAX)
            continue
        setup = set_up_phase(phase, run, workdir, models, devices, trained)
        for name in setup.extractors:
            EXTRACTORS[name].check()
        for label, term in setup.terms.items():
            field = f"config.train.{phase.name}.losses.{label}.kind"
            term.check_batch(phase.batches.batch // devices, field)
        check_features(setup)
        if phase.level:
            levelling.check(setup.model.module, f"config.train.{phase.name}.level")
        by_phase[phase.name] = setup.model.with_params(None)
