"""What a run leaves: tables, pictures, and the student's file with its card."""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kdgan_jax.config.settings import PhaseConfig, RunConfig
from kdgan_jax.evaluation import measure, metrics, plots, report, sheets
from kdgan_jax.evaluation.measure import Example, Rows
from kdgan_jax.formats import native
from kdgan_jax.inference import engines
from kdgan_jax.inference.load import SOFT, load
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import console, processes
from kdgan_jax.runtime.errors import UserError, missing
from kdgan_jax.runtime.files import read_text, write_text
from kdgan_jax.train.heldout import HeldOut, Teachers, shortest_side
from kdgan_jax.workdir import checkpoint, record
from kdgan_jax.workdir.metrics import read_metrics

SHEET_PHOTOS = 4  # held-out photos in comparison.png


def row_names(config: RunConfig) -> dict[str, str]:
    """Returns the name of each phase's model in the tables, by phase.

    The model of a network's first phase is named after the network; later ones add the phase.
    """
    names: dict[str, str] = {}
    for phase in config.phases:
        taken = phase.network in names.values()
        names[phase.name] = f"{phase.network}, {phase.name}" if taken else phase.network
    return names


def teacher_names(config: RunConfig) -> dict[tuple[str, str], str]:
    """Returns the names in the tables of teachers whose images are stored, by phase and label.

    A label that another model has already is followed by the phase.
    """
    names: dict[tuple[str, str], str] = {}
    taken = dict.fromkeys(row_names(config).values(), "")  # models by name
    for phase in config.phases:
        for label in phase.stored:
            model = phase.teachers[label].model
            name = label if taken.get(label, model) == model else f"{label}, {phase.name}"
            names[phase.name, label] = name
            taken[name] = model
    return names


def figures(sr: np.ndarray, reference: np.ndarray, scale: int) -> dict[str, float]:
    """Returns the metrics of one image in a run's table."""
    names = metrics.measurable(_metrics(), min(reference.shape[:2]), scale)
    return metrics.figures([sr], reference, scale, names)[0]


@functools.cache
def _metrics() -> list[str]:
    """Returns the metrics of a run's table that can be measured here."""
    names = ["psnr_y", "ssim_y", "psnr_rgb", "mesh"]
    try:
        metrics.check(["lpips_alex"])
        names.append("lpips_alex")
    except UserError as error:
        console.log.warning("LPIPS is not measured: %s", error)
    return names


def write(
    config: RunConfig, workdir: Path, teachers: Teachers, held_out: HeldOut, device: str
) -> None:
    """Evaluates bicubic and every model on the held-out photos, and writes the results.

    Photos with HR are measured against HR, and all photos against every stored teacher. The network
    of the last phase gets a file with a card.

    Args:
      config: of the run; phases without a checkpoint are left out.
      workdir: of the run.
      teachers: whose images are stored, from elsewhere.
      held_out: photos.
      device: describes the machine.
    """
    models = {
        name: load(workdir, phase, engine=engines.JAX)
        for phase, name in row_names(config).items()
        if has_checkpoint(workdir, phase)
    }
    upscalers = [measure.from_baseline("bicubic", config.scale)]
    upscalers += [measure.from_model(name, model) for name, model in models.items()]
    upscalers += [measure.from_model(name, teacher) for name, teacher in teachers.items()]
    sets = [held_out.truth(), *(held_out.against(*pair) for pair in teachers.items())]
    per_image = _measured(upscalers, sets, config.scale)
    if not processes.first():
        return
    rows: Rows = []
    for title in dict.fromkeys(map(measure.title, per_image)):
        of_set = [row for row in per_image if measure.title(row) == title]
        rows += measure.means(upscalers, of_set, config.scale)
    _draw(workdir, upscalers, next(examples for examples in sets if examples), per_image)
    engine, versions = measure.engine(upscalers), record.versions()
    report.write(workdir, rows, per_image, device=device, engine=engine, versions=versions)
    _write_card(config, workdir, models, teachers, rows)
    console.log.info("%s", read_text(workdir / "results.md"))
    written = [name for name in ("results.md", "comparison.png") if (workdir / name).is_file()]
    console.log.info("Results are in %s: see %s.", workdir, " and ".join(written))


def has_checkpoint(workdir: Path, phase: str) -> bool:
    """Returns whether a phase has a model to evaluate."""
    return bool(checkpoint.steps(checkpoint.phase_folder(workdir, phase)))


def _measured(upscalers: list[measure.Upscaler], sets: list[list[Example]], scale: int) -> Rows:
    """Returns a row per set, photo and upscaler, of all processes."""
    per_image: Rows = []
    side = shortest_side([example for examples in sets for example in examples])
    names = metrics.measurable(_metrics(), side, scale)
    if len(names) < len(_metrics()):
        left_out = ", ".join(name for name in _metrics() if name not in names)
        console.log.warning("%s: not measured; a held-out photo has %d pixels", left_out, side)
    with console.progress("evaluation", len(upscalers) * sum(map(len, sets))) as bar:
        for examples in sets:
            rows = measure.images(
                upscalers,
                examples,
                dataset="held out",
                scale=scale,
                metrics=names,
                on_image=bar.advance,
            )
            by_photo = [rows[i : i + len(upscalers)] for i in range(0, len(rows), len(upscalers))]
            per_image += [row for group in processes.collect(by_photo) for row in group]
    return per_image


def _draw(
    workdir: Path, upscalers: list[measure.Upscaler], examples: list[Example], per_image: Rows
) -> None:
    """Draws photos as all models enlarge them, and the curves of training."""
    try:
        lines = []
        apart = max(1, len(examples) // SHEET_PHOTOS)  # neighbours may be copies of one photo
        for example in examples[::apart][:SHEET_PHOTOS]:
            shown = [u for u in upscalers if u.name != example.reference_name]
            upscaled = {u.name: u.upscale(example.lr) for u in shown}
            scale = example.reference.shape[0] // example.lr.shape[0]
            lines.append(sheets.line(example, upscaled, per_image, scale=scale))
        sheets.sheet(workdir / "comparison.png", lines)
        training_rows = read_metrics(workdir / "metrics.jsonl")
        if training_rows:  # there are none if all models were trained elsewhere
            plots.curves(workdir / "curves.png", training_rows)
    except ImportError:
        console.log.warning("%s", missing("matplotlib", "drawing comparison.png and curves.png"))


def _write_card(
    config: RunConfig, workdir: Path, models: Mapping[str, Model], teachers: Teachers, rows: Rows
) -> None:
    """Writes the network of the last phase as NETWORK.safetensors, and its card as NETWORK.md.

    A run that was stopped early has the newest model of that network.
    """
    names, network = row_names(config), config.phases[-1].network
    phases = [p for p in config.phases if p.network == network and names[p.name] in models]
    if not phases:
        return
    phase = phases[-1]
    name = names[phase.name]
    model = models[name]
    facts = {
        "made_by": f"kdgan_jax {record.versions().get('kdgan_jax', '')}, phase {phase.name}",
        "photos": _photos(config),
    }
    called = teacher_names(config)
    taught = {called[p.name, label]: p.teachers[label].model for p in phases for label in p.stored}
    for label in (label for label in teachers if label in taught):
        teacher, about = teachers[label], teachers[label].about
        facts[label] = f"{taught[label]}, {teacher.parameters:,} parameters"
        facts[f"{label}_licence"] = about.get("licence", "not stated; ask whose it is")
        facts[f"{label}_source"] = about.get("source", "not stated")
    if soft := _soft(config, workdir, phase):
        facts[SOFT] = soft
    for row in rows:
        if row["model"] == name:
            figures = [f"PSNR {row['psnr_y']:.2f} dB"]
            for head, metric, form in ("SSIM", "ssim_y", ".4f"), ("LPIPS", "lpips_alex", ".3f"):
                figures += [] if row[metric] is None else [f"{head} {row[metric]:{form}}"]
            facts[measure.title(row)] = (
                f"{', '.join(figures)} ({console.counted(row['images'], 'photo')})"
            )
    path = workdir / f"{phase.network}.safetensors"
    try:
        native.save(path, model.with_about(**facts))
    except ImportError:
        console.log.warning("%s", missing("safetensors", f"writing {path.name}"))
        return
    table = "\n".join(f"| {key.replace('_', ' ')} | {value} |" for key, value in facts.items())
    text = f"# {phase.network}\n\n{model.name} x{model.scale}, {model.parameters:,} parameters, in"
    text += (
        f" {path.name}. Run it with `kdgan upscale PICTURES --out=LARGE --model={path.name}`.\n\n"
    )
    text += f"| | |\n|---|---|\n{table}\n\n{report.markdown(rows)}"
    write_text(workdir / f"{phase.network}.md", text)


def _soft(config: RunConfig, workdir: Path, phase: PhaseConfig) -> str:
    """Returns the model that an adversarial phase refines, "" for other phases."""
    if phase.discriminator is None or not phase.start:
        return ""
    earlier = phase.start in [other.name for other in config.phases]
    return f"{workdir.absolute()}:{phase.start}" if earlier else phase.start


def _photos(config: RunConfig) -> str:
    """Returns what the student was trained on, in words."""
    data = config.data
    text = data.prepared or data.source
    if data.copied:
        copies = f"copies of each: {data.copies}" if data.copies else "degraded on the fly"
        text += f"; {copies}, degradation {data.degradation}"
    return text
