"""The report of a sweep, finished or not: Markdown for people, JSON for programs, plots."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdgan_jax.evaluation.metrics import PROTOCOL
from kdgan_jax.evaluation.report import COVERAGE, FEW, SHOWN
from kdgan_jax.runtime import console, files
from kdgan_jax.runtime.console import counted
from launch.ablation import comparison, figures, plots, progress
from launch.ablation.comparison import Comparison
from launch.ablation.figures import HELD_OUT, LOWER
from launch.ablation.planning import Plan
from launch.ablation.sweep import TRIAL, Sweep

FOLDER = "report"  # in the sweep's folder
NOTHING = "There is nothing to report yet"  # begins the text then


def write(plan: Plan) -> str:
    """Writes the report of what is done, and returns its text.

    It consists of report.md, report.json, curves.png and differences.png. Without a finished run
    there is only a sentence that says so.
    """
    runs = figures.made(plan)
    missing = _missing(plan)
    if not any(runs.values()):
        return f"{NOTHING}: {missing}\n"
    found = comparison.compare(plan, runs)
    folder = plan.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    pictures = _draw(folder, plan, found)
    makers = _makers(runs)
    text = _text(plan, found, [missing, _unlike(makers)], pictures)
    facts = {
        "base": plan.sweep.base,
        "control": plan.sweep.control,
        "seeds": list(plan.sweep.seeds),
        "protocol": PROTOCOL,
        "missing": missing,
        "made_by": makers,
        **found._asdict(),
    }
    files.write_text(folder / "report.md", text)
    files.write_json(folder / "report.json", facts)
    return text


def _missing(plan: Plan) -> str:
    """Returns a sentence about the runs that are not finished, "" if all are."""
    found = [s for s in progress.standings(plan) if s.task.variant and s.state != progress.DONE]
    if not found:
        return ""
    stuck = [s for s in found if s.state in (progress.FAILED, progress.BLOCKED)]
    states = [f"{s.task.name} ({s.state}: {s.note})" for s in stuck]
    others = Counter(s.state for s in found if s not in stuck)
    states += [f"{number} {state}" for state, number in others.items()]
    verb = "is" if len(found) == 1 else "are"
    return (
        f"{len(found)} of {counted(len(plan.runs), 'run')} {verb} missing: {'; '.join(states)}."
        " Start the sweep again to make what is missing."
    )


def _draw(folder: Path, plan: Plan, found: Comparison) -> list[str]:
    """Draws what there is, and returns the names of the pictures."""
    drawn = []
    for name, draw in {"curves.png": plots.curves, "differences.png": plots.differences}.items():
        (folder / name).unlink(missing_ok=True)
        try:
            if draw(folder / name, found, plan.sweep.control):
                drawn.append(name)
        except ImportError:
            console.log.warning("matplotlib is not installed; %s is not drawn", name)
    return drawn


def _makers(runs: comparison.Runs) -> dict[str, list[str]]:
    """Returns the names of the finished runs by what has made them."""
    makers: dict[str, list[str]] = {}
    for own in runs.values():
        for made in own:
            makers.setdefault(made.made_by, []).append(made.run.task.name)
    return makers


def _unlike(makers: Mapping[str, list[str]]) -> str:
    """Returns a warning if runs were made by different programs or devices, else ""."""
    if len(makers) < 2:
        return ""
    listed = "; ".join(f"{maker} ({', '.join(names)})" for maker, names in makers.items())
    return f"The runs were not all made by the same program on the same devices: {listed}."


def _text(plan: Plan, found: Comparison, remarks: list[str], pictures: list[str]) -> str:
    sweep = plan.sweep
    seeds = ", ".join(map(str, sweep.seeds))
    parts = [
        f"# Ablation of {sweep.base}\n",
        f"Seeds: {seeds}; the control is {sweep.control}. {PROTOCOL}. After ± stands half of the"
        " 95 % interval over seeds (Student's t); there is none for a single seed.",
        *remarks,
        "## Figures",
        _figures_table(found),
        f"## Differences to {sweep.control} at equal updates",
        *_overview(found, sweep),
        _differences_table(found),
        *_conclusions(found, sweep.control),
        *_search(found, sweep),
        *(f"![{name}]({name})" for name in pictures if name.startswith("differences")),
        "## Costs",
        _costs_table(found, sweep.control),
        *(f"![{name}]({name})" for name in pictures if name.startswith("curves")),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"


def _lines(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _pm(row: Mapping[str, Any], form: str, value: str = "mean", factor: float = 1.0) -> str:
    """Returns a mean and half of its interval, as "27.31 ± 0.08"."""
    mean, low, high = (row[name] for name in (value, "low", "high"))
    if mean is None:
        return "-"
    half = "" if low is None else f" ± {factor * (high - low) / 2:{form.lstrip('+')}}"
    return f"{factor * mean:{form}}{half}"


def _digits(metric: str, more: int = 0) -> str:
    """Returns the format of a metric, with so many digits more than in other tables."""
    form = SHOWN[metric][1] if metric in SHOWN else ".2f"
    return f".{int(form[1]) + more}f"


def _name(metric: str) -> str:
    return SHOWN[metric][0] if metric in SHOWN else metric


def _figures_table(found: Comparison) -> str:
    by_key = {(row["variant"], row["set"], row["metric"]): row for row in found.figures}
    columns = {(row["set"], row["metric"]): row["images"] for row in found.figures}
    head = ["variant", "updates", "seeds"]
    head += [f"{_name(metric)}, {name} ({n})" for (name, metric), n in columns.items()]
    rows = []
    for variant in dict.fromkeys(row["variant"] for row in found.figures):
        own = [row for row in found.figures if row["variant"] == variant]
        cells = [
            _pm(row, _digits(metric, 1)) if (row := by_key.get((variant, name, metric))) else "-"
            for name, metric in columns
        ]
        rows.append([variant, f"{own[0]['updates']:,}", str(max(r["seeds"] for r in own)), *cells])
    return _lines(head, rows)


def _overview(found: Comparison, sweep: Sweep) -> list[str]:
    """Returns a sentence and a table of the first metric: variants in rows, sets in columns."""
    rows = [row for row in found.differences if row["metric"] == sweep.metrics[0]]
    if not rows:
        return []
    by_key = {(row["variant"], row["set"]): row for row in rows}
    sets = {row["set"]: row["images"] for row in rows}

    def cell(variant: str, name: str) -> str:
        row = by_key.get((variant, name))
        if row is None:
            return "-"
        text = _pm(row, f"+{_digits(row['metric'], 1)}", "difference")
        return f"**{text}**" if comparison.verdict(row) else text

    lines = [
        [variant, *(cell(variant, name) for name in sets)]
        for variant in dict.fromkeys(row["variant"] for row in rows)
    ]
    text = f"{_name(sweep.metrics[0])}, paired by seed"
    if any(row["low"] is not None for row in rows):
        text += "; bold where the difference is beyond its interval over seeds"
    head = ["variant", *(f"{name} ({number})" for name, number in sets.items())]
    return [f"{text}.", _lines(head, lines), "All metrics:"]


def _differences_table(found: Comparison) -> str:
    if not found.differences:
        return "There are none: no seed has both a variant and the control with the same photos."
    rows = []
    for row in found.differences:
        form = f"+{_digits(row['metric'], 1)}"
        over_seeds, over_images = (
            "-" if row[low] is None else f"{row[low]:{form}} to {row[high]:{form}}"
            for low, high in (("low", "high"), ("images_low", "images_high"))
        )
        mean = "-" if row["difference"] is None else f"{row['difference']:{form}}"
        mark = "*" * (row["variant"] in found.unequal)
        cells = [f"{row['variant']}{mark}", f"{row['set']} ({row['images']})"]
        cells += [_name(row["metric"]), mean, over_seeds, over_images, str(row["seeds"])]
        rows.append([*cells, comparison.verdict(row)])
    head = ["variant", "set (images)", "metric", "difference", "95 % over seeds"]
    return _lines([*head, "95 % over images", "seeds", "beyond the seeds"], rows)


def _conclusions(found: Comparison, control: str) -> list[str]:
    """Returns paragraphs: what is beyond its interval, and what the intervals do not say."""
    if not found.differences:
        return []
    texts = []
    number = sum(row["low"] is not None for row in found.differences)
    for word in ("better", "worse") if number else ():
        named: dict[str, list[str]] = {}
        for row in found.differences:
            if comparison.verdict(row) == word:
                form = f"+{_digits(row['metric'], 1)}"
                value = f"{_name(row['metric'])} on {row['set']} {row['difference']:{form}}"
                named.setdefault(row["variant"], []).append(value)
        listed = "; ".join(f"{variant} ({', '.join(values)})" for variant, values in named.items())
        texts.append(
            f"{word.capitalize()} than {control} by more than the interval over seeds:"
            f" {listed or 'none'}."
        )
    texts.append(
        f"Of {counted(number, 'comparison')}, {0.05 * number:.1f} are expected there by chance."
        if number
        else "With one seed there is no interval over seeds: nothing says how much a seed changes."
    )
    texts.append("Over images: bootstrap of differences of the means over seeds.")
    few = {row["set"]: row["images"] for row in found.differences if row["images"] < FEW}
    if few:
        texts.append(f"Those are too narrow for few images ({'; '.join(few)}): {COVERAGE}.")
    paragraphs = [" ".join(texts)]
    shown = {row["variant"] for row in found.differences}
    reasons = [f"{name} {why}" for name, why in found.unequal.items() if name in shown]
    if reasons:
        paragraphs.append(f"\\* Not on equal terms: {'; '.join(reasons)}.")
        paragraphs += _at_common_update(found)
    return paragraphs


def _search(found: Comparison, sweep: Sweep) -> list[str]:
    """Returns a heading, a sentence and a table of the trials, the best first."""
    metric = sweep.metrics[0] if sweep.search else ""
    trials = [
        row
        for row in found.figures
        if row["variant"].startswith(TRIAL) and (row["set"], row["metric"]) == (HELD_OUT, metric)
    ]
    if not trials:
        return []
    trials.sort(key=lambda row: row["mean"], reverse=metric not in LOWER)
    rows = [
        [row["variant"], _pm(row, _digits(metric, 1))]
        + [f"{sweep.variants[row['variant']][name]:g}" for name in sweep.search]
        for row in trials
    ]
    text = (
        f"{counted(len(trials), 'trial')} of {sweep.trials}, the best first. The held-out photos"
        " have chosen it, so its lead there is too good; another set tells what it is worth."
    )
    return ["## Search", text, _lines(["trial", f"{_name(metric)}, held out", *sweep.search], rows)]


def _at_common_update(found: Comparison) -> list[str]:
    """Returns a sentence with the differences of logged PSNR where updates are not equal."""
    texts = []
    for row in found.curves:
        if row["variant"] in found.unequal and row["difference"]:
            last = row["difference"][-1]
            value = _pm(last, "+.3f")
            texts.append(f"{row['variant']} {value} dB after {last['update']:,} updates")
    if not texts:
        return []
    return [f"By the log of the last phase, on the held-out photos: {'; '.join(texts)}."]


def _costs_table(found: Comparison, control: str) -> str:
    rows = []
    for row in found.costs:
        reached, is_control = row["reached"], row["variant"] == control
        every = reached["seeds"] and reached["reached"] == reached["seeds"]
        when = f"{reached['reached']} of {counted(reached['seeds'], 'seed')}"
        rows.append(
            [
                row["variant"],
                _pm(row["seconds_per_update"], ".1f", factor=1e3),
                "1" if is_control else _pm(row["relative"], ".2f"),
                progress.time(row["training_seconds"]["mean"]),
                progress.time(row["seconds"]["mean"]),
                "-" if row["memory_mb"] is None else f"{row['memory_mb']:,.0f}",
                "-" if reached["psnr"] is None else f"{reached['psnr']:.2f} dB: {when}",
                _pm(reached["updates"], ",.0f") if every else "-",
                _pm(reached["relative_updates"], ".2f") if every else "-",
                _pm(reached["relative_seconds"], ".2f") if every else "-",
            ]
        )
    head = ["variant", "ms per update", f"over {control}", "updates take", "run takes", "MB"]
    head += ["reaches", "after updates", f"over {control}'s updates", f"over {control}'s time"]
    notes = (
        "Times are of this machine under the load of the sweep. An update's is the median of the"
        " last phase; the run's has its start and its evaluations; shared phases count for none."
        " A variant reaches a PSNR, on the held-out photos, where straight lines between its"
        " evaluations do; unless the sweep names it, it is what the control of the seed has at the"
        " end. A learning rate that falls to its end delays that for all."
    )
    others = [row["variant"] for row in found.curves if not row["comparable"]]
    if others:
        notes += (
            f" The log of {', '.join(others)} does not show what that of {control} does: it is of"
            " another phase, of other held-out photos, or compares them with another image. So it"
            " is not compared."
        )
    return f"{_lines(head, rows)}\n\n{notes}"
