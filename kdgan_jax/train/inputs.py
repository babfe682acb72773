"""What a run is given, looked at before hours are spent: photos, and models made elsewhere."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kdgan_jax.config.settings import PhaseConfig, RunConfig
from kdgan_jax.data import photos as sources
from kdgan_jax.data.buffers import Buffers
from kdgan_jax.inference.load import load
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import files
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import loop
from kdgan_jax.train.phase import EXTRACTORS, Phase, check

Given = Mapping[str, Model]  # models made elsewhere, by the field of the config that names them


def photos(run: RunConfig) -> tuple[Buffers | None, sources.Photos]:
    """Returns the run's photos, and those to train on decoded, if a file has them so."""
    if not run.data.prepared:
        return None, sources.gather(run.data, run.scale, run.largest_patch)
    from kdgan_jax.data import prepared

    return prepared.open_for(run.data, run.scale, run.largest_patch)


def listed(chosen: sources.Photos) -> dict[str, Any]:
    """Returns which photos a run has, for its `photos.json`."""
    return {
        side: [[photo.name, *photo.size] for photo in some]
        for side, some in chosen._asdict().items()
    }


def same_photos(path: Path, ours: dict[str, Any]) -> None:
    """Records the photos of a run at its first start; later they must be the same.

    Raises:
      UserError: they are others, so batches and held-out photos would be, too.
    """
    if path.is_file():
        try:
            saved = {side: list(files.read_json(path)[side]) for side in ours}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: does not say which photos the run has ({error!r}); bring it back, or"
                " choose another --workdir"
            ) from None
        for side in ours:
            changed = [row for row in ours[side] if row not in saved[side]]
            changed += [row for row in saved[side] if row not in ours[side]]
            if not changed:  # the order counts, too
                pairs = zip(ours[side], saved[side], strict=True)
                changed = [row for row, other in pairs if row != other]
            if changed:
                raise UserError(
                    f"{path}: the photos have changed since the run was started ({len(changed)}"
                    f" of {side!r}, such as {changed[0][0]!r}); bring them back, or choose another"
                    " --workdir"
                )
    files.write_json(path, ours)


class Named(NamedTuple):
    """A model that the config names.

    Attributes:
      path: an earlier phase, or what `load` takes.
      role: of a workdir, where the path names none.
      fold: whether the model comes folded. What a phase starts from trains all its branches.
    """

    path: str
    role: str
    fold: bool


def named(phase: PhaseConfig, run: RunConfig) -> dict[str, Named]:
    """Returns the models that a phase is given, by field; those of the run's phases are none."""
    ours = [other.name for other in run.phases]
    fields = {
        f"config.{phase.network}.checkpoint": Named(phase.checkpoint, phase.network, False),
        f"config.train.{phase.name}.start": Named(phase.start, phase.network, False),
    }
    for label, teacher in phase.teachers.items():
        field = f"config.train.{phase.name}.teachers.{label}.model"
        fields[field] = Named(teacher.model, "teacher", True)
    return {field: one for field, one in fields.items() if one.path and one.path not in ours}


def given(run: RunConfig, workdir: Path) -> Given:
    """Returns the models that phases which are not finished need from elsewhere.

    Raises:
      UserError: one cannot be used, or is another one than the run has begun with.
    """
    recorded = _recorded(workdir / "given.json")
    found: dict[str, Model] = {}
    for phase in run.phases:
        finished = loop.finished(workdir, phase.name, phase.steps)
        for field, one in named(phase, run).items():
            try:
                model = _load(field, one, run.scale)
            except UserError:
                if finished:
                    continue  # it has served its purpose
                raise
            if recorded.get(field, model.digest) != model.digest:
                raise UserError(
                    f"{field}={one.path!r} has changed since {workdir} took it over; bring it back,"
                    " or choose another --workdir"
                )
            if not finished:
                found[field] = model
    return found


def _load(field: str, one: Named, scale: int) -> Model:
    model = load(one.path, one.role, scale=scale, fold=one.fold)
    if model.scale != scale:
        raise UserError(
            f"{field}={one.path!r} is of scale {model.scale}, config.scale is {scale}; choose a"
            " model of the run's scale"
        )
    return model


def _recorded(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        return dict(files.read_json(path))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path}: does not say which models the run has been given ({error!r}); bring it back,"
            " or choose another --workdir"
        ) from None


def record_given(path: Path, models: Given) -> None:
    """Adds hashes of the given models to the file at `path`, where a later start looks."""
    kept = _recorded(path)
    ours = kept | {field: model.digest for field, model in models.items()}
    if ours != kept:
        files.write_json(path, ours)


def make_phase(
    phase: PhaseConfig,
    run: RunConfig,
    workdir: Path,
    models: Given,
    devices: int,
    trained: Callable[[str, bool], Model],
) -> Phase:
    """Returns a phase with its networks: given ones, those of earlier phases, or a fresh one.

    Args:
      phase: of the run.
      run: of which it is a phase.
      workdir: of the run.
      models: of `given`.
      devices: to train on.
      trained: (name of an earlier phase, whether to fold) to its model.
    """

    def model(field: str, name: str, fold: bool) -> Model:
        return models[field] if field in models else trained(name, fold)

    field = f"config.train.{phase.name}"
    if phase.start:
        own = model(f"{field}.start", phase.start, False)
    else:
        fresh = Model(phase.spec.name, phase.spec.options, run.scale, None)
        own = models.get(f"config.{phase.network}.checkpoint", fresh)
    teachers = {
        name: model(f"{field}.teachers.{name}.model", teacher.model, True)
        for name, teacher in phase.teachers.items()
    }
    return Phase(phase, run.seed, workdir, own, teachers, devices)


def check_phases(run: RunConfig, workdir: Path, models: Given) -> None:
    """Checks that the losses of all phases find in their networks what they name.

    Raises:
      UserError: they do not, or weights of an extractor are missing.
    """
    there: dict[str, Model] = {}  # without params: not trained yet

    def trained(name: str, fold: bool) -> Model:
        return there[name].folded() if fold and there[name].params is not None else there[name]

    for phase in run.phases:
        if loop.finished(workdir, phase.name, phase.steps):  # what it was given may be gone
            there[phase.name] = load(workdir, phase.name, fold=False)
            continue
        one = make_phase(phase, run, workdir, models, 1, trained)
        for name in one.extractors:
            EXTRACTORS[name].check()
        check(one)
        there[phase.name] = one.model.with_params(None)
