"""What is done, what is left and the report, from runs whose figures are made up."""

import dataclasses
import json

import pretend
import pytest
from conftest import ROOT
from PIL import Image

from kdgan_jax.evaluation import report as evaluation_report
from launch.ablation import comparison, figures, planning, progress, report, sweep, tasks
from launch.ablation.tasks import Record

SMOKE = pretend.bare(sweep.read(str(ROOT / "configs/sweeps/smoke.py")))


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """Returns a function to a plan of the smoke sweep with three seeds, in another folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        changed = dataclasses.replace(SMOKE, seeds=(0, 1, 2), metrics=("psnr_y", "ssim_y"))
        whole = planning.make(changed, tmp_path_factory.mktemp("plan"), "S")

    def of(folder):
        text = str(whole.folder)

        def moved(task):
            stages = [s._replace(result=folder / s.result.relative_to(text)) for s in task.stages]
            place = folder / task.folder.relative_to(text)
            return dataclasses.replace(task, sweep=folder, folder=place, stages=tuple(stages))

        runs = tuple(run._replace(task=moved(run.task)) for run in whole.runs)
        every = {task.name: moved(task) for task in whole.tasks}
        return whole._replace(folder=folder, tasks=tuple(every.values()), runs=runs)

    return of


@pytest.fixture
def plan(planned, tmp_path):
    return planned(tmp_path)


def finish(task, seconds=10.0, **changes):
    if task.name == "shared":
        task.folder.mkdir()
        (task.folder / "results.json").touch()
    else:
        pretend.write_run(task.folder, task.name, **changes)
    tasks.keep(task, Record([task.stages[0].facts], 1, seconds))


def finish_all(plan, *but):
    for task in plan.tasks:
        if task.name not in but:
            finish(task)


def columns(text, head):
    """Returns the rows of the table with the column `head`, as dicts."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|") and head in line)
    names = [cell.strip() for cell in lines[first].strip("|").split("|")]
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows.append(dict(zip(names, cells, strict=True)))
    return rows


def test_a_whole_report_has_means_paired_differences_costs_and_plots(plan):
    finish_all(plan)
    text = report.write(plan)
    assert "missing" not in text
    folder = plan.folder / "report"
    assert (folder / "report.md").read_text() == text
    found = json.loads((folder / "report.json").read_text())
    # Seeds have 30, 31, 32 dB, and t of 2 degrees of freedom / sqrt(3) = 2.4842.
    control, output = columns(text, "PSNR, held out (3)")
    assert control["PSNR, held out (3)"] == "31.000 ± 2.484"
    assert output["PSNR, held out (3)"].startswith("31.200 ± ")
    assert (output["updates"], output["seeds"]) == ("12", "3")
    psnr, ssim = columns(text, "95 % over seeds")
    # Differences .1, .3, .2: mean .2, standard deviation .1.
    assert psnr["difference"] == "+0.200"
    assert psnr["95 % over seeds"] == "-0.048 to +0.448"
    assert psnr["95 % over images"] == "+0.200 to +0.200"
    assert (psnr["set (images)"], psnr["seeds"]) == ("held out (3)", "3")
    assert ssim["difference"] == "+0.00000"
    (row,) = columns(text, "variant | held out (3)")
    assert row == {"variant": "output", "held out (3)": "+0.200 ± 0.248"}
    row = found["differences"][0]
    assert row["by_seed"] == pytest.approx([0.1, 0.3, 0.2])
    for name in "curves.png", "differences.png":
        assert min(Image.open(folder / name).size) > 100
        assert f"]({name})" in text


def test_costs_leave_out_what_compiles_and_say_when_a_psnr_is_reached(plan):
    for task in plan.tasks:
        finish(task, **({"steps": (8, 12)} if task.variant else {}))
    control, output = columns(report.write(plan), "ms per update")
    assert control["ms per update"] == "500.0 ± 0.0"  # and not the first row's 9 s
    assert (control["over control"], output["over control"]) == ("1", "1.00 ± 0.00")
    assert control["updates take"] == "0:01:14"  # 8 x 9 + 4 x .5
    assert (control["run takes"], control["MB"]) == ("0:00:10", "112")
    # A hundredth of a dB per update: the variant is .1 dB ahead and more, so it has what the
    # control has at the end when it is first measured, after 8 updates.
    assert control["after updates"] == "12 ± 0"
    assert output["reaches"] == "31.00 dB: 3 of 3 seeds"
    assert (output["after updates"], output["over control's updates"]) == ("8 ± 0", "0.67 ± 0.00")
    assert output["over control's time"] == "0.67 ± 0.00"


def test_a_psnr_that_a_seed_does_not_reach_has_no_time(plan):
    plan = plan._replace(sweep=dataclasses.replace(plan.sweep, target_psnr=30.95))
    finish_all(plan)
    control, output = columns(report.write(plan), "ms per update")
    assert control["reaches"] == "30.95 dB: 2 of 3 seeds"
    assert (control["after updates"], output["over control's time"]) == ("-", "-")


def test_the_report_of_a_half_finished_sweep_says_what_is_missing(plan):
    finish_all(plan, "output-1", "control-2", "output-2")
    failed = next(task for task in plan.tasks if task.name == "output-1")
    tasks.keep(failed, Record([failed.stages[0].facts], 0, 1.0, "the disk is full"))
    text = report.write(plan)
    sentence = next(line for line in text.splitlines() if "missing" in line)
    for fact in "3 of 6 runs", "output-1 (failed: the disk is full)", "2 waiting":
        assert fact in sentence
    control, output = columns(text, "PSNR, held out (3)")
    assert (control["seeds"], output["seeds"]) == ("2", "1")
    psnr, _ = columns(text, "95 % over seeds")
    assert (psnr["difference"], psnr["95 % over seeds"]) == ("+0.100", "-")
    assert "With one seed" in text


def test_one_seed_has_no_interval_to_speak_of(plan):
    one = plan._replace(
        sweep=dataclasses.replace(plan.sweep, seeds=(0,)),
        tasks=tuple(task for task in plan.tasks if not task.seed),
        runs=tuple(run for run in plan.runs if not run.task.seed),
    )
    finish_all(one)
    text = report.write(one)
    assert "With one seed there is no interval" in text
    for words in "bold", "etter than control", "orse than control":
        assert words not in text


def test_without_a_control_there_are_figures_alone(plan):
    finish_all(plan, "control-0", "control-1", "control-2")
    text = report.write(plan)
    assert len(columns(text, "PSNR, held out (3)")) == 1
    assert "| difference |" not in text
    assert not (plan.folder / "report/differences.png").exists()


def test_without_a_run_there_is_a_sentence_alone(plan):
    text = report.write(plan)
    assert len(text.splitlines()) == 1
    assert "6 of 6 runs are missing: 6 waiting." in text
    assert not (plan.folder / "report").exists()


def test_what_is_beyond_its_interval_is_named_by_what_is_better(plan, monkeypatch):
    gain = pretend.psnr
    monkeypatch.setattr(pretend, "psnr", lambda name, step=12: gain(name.replace("1", "0"), step))
    finish_all(plan, "control-2", "output-2")  # both seeds gain .1 dB
    text = report.write(plan)
    better, worse = text.split("by more than the interval over seeds: ")[1:]
    assert better.startswith("output (PSNR on held out +0.100)")
    assert columns(text, "variant | held out (3)")[0]["held out (3)"] == "**+0.100 ± 0.000**"
    assert worse.startswith("none")
    row = {"low": -0.2, "high": -0.1, "difference": -0.15, "metric": "psnr_y"}
    assert comparison.verdict(row) == "worse"
    assert comparison.verdict({**row, "metric": "lpips_alex"}) == "better"
    assert comparison.verdict({**row, "high": 0.1}) == ""
    assert comparison.verdict({**row, "low": None, "high": None}) == ""


def test_what_is_not_at_equal_terms_is_marked_and_compared_by_the_log(plan):
    def longer(run):
        if run.task.variant == "control":
            return run
        return run._replace(task=dataclasses.replace(run.task, steps={"distill": 16}))

    plan = plan._replace(runs=tuple(map(longer, plan.runs)))
    for task in plan.tasks:
        changes = {"steps": (*pretend.STEPS, 16)} if "output" in task.name else {}
        finish(task, **changes)
    text = report.write(plan)
    assert columns(text, "95 % over seeds")[0]["variant"] == "output*"
    assert "16 updates and the control 12" in text
    assert "output +0.200 ± 0.248 dB after 12 updates" in text


def test_psnr_to_different_references_is_not_compared(plan):
    def blind(run):
        if run.task.variant == "control":
            return run
        (phase,) = run.config.phases
        phases = (dataclasses.replace(phase, needs_hr=False),)
        return run._replace(config=dataclasses.replace(run.config, phases=phases))

    plan = plan._replace(runs=tuple(map(blind, plan.runs)))
    finish_all(plan)
    text = report.write(plan)
    assert "The log of output does not show" in text
    assert columns(text, "95 % over seeds")[0]["difference"] == "+0.200"  # of tables, to HR
    _, output = columns(text, "ms per update")
    assert output["after updates"] == "-"
    found = json.loads((plan.folder / "report/report.json").read_text())
    assert found["curves"][1]["difference"] == []


def test_other_held_out_photos_are_not_compared(plan):
    finish_all(plan)
    for run in plan.runs_of("output"):
        path = run.task.folder / "photos.json"
        path.write_text(path.read_text().replace("9]", "8]"))
    text = report.write(plan)
    assert "The log of output does not show" in text
    assert "| difference |" not in text
    assert len(columns(text, "PSNR, held out (3)")) == 2


def test_runs_of_different_programs_are_named(plan):
    finish_all(plan)
    assert "same program" not in report.write(plan)
    path = plan.runs[1].task.folder / "run.json"
    path.write_text(path.read_text().replace("abc", "def+"))
    text = report.write(plan)
    assert "kdgan_jax def+, jax 1 on 2 x cpu (output-0)" in text


def test_figures_of_sets_stand_beside_the_held_out_photos(plan):
    run = plan.runs[0]
    out = plan.folder / "measured" / run.task.name
    more = run.task.stages[0]._replace(result=out / "results.json", facts={"sets": {}})
    task = dataclasses.replace(run.task, stages=(*run.task.stages, more))
    pretend.write_run(task.folder, task.name)
    out.mkdir(parents=True)
    row = {"model": planning.MODEL, "dataset": "five", "reference": "HR", "image": "x"}
    pretend.write_table(out, [{**row, "psnr_y": 33.5, "ssim_y": "", "seconds": ""}])
    (out / "results.json").touch()
    tasks.keep(task, Record([s.facts for s in task.stages], 2, 1.0))
    plan = plan._replace(runs=(run._replace(task=task),))
    (made,) = figures.made(plan)["control"]
    assert [row["psnr_y"] for row in made.images] == [29.0, 30.0, 31.0, 33.5]
    assert made.images[-1]["ssim_y"] is None
    (row,) = columns(report.write(plan), "PSNR, five (1)")
    assert row["PSNR, five (1)"] == "33.500"
    assert "SSIM, five (1)" not in row
    assert evaluation_report.SHOWN["psnr_y"][0] == "PSNR"


def test_the_table_tells_what_is_done_and_the_time_left(plan):
    found = progress.standings(plan)
    assert {s.state for s in found} == {progress.WAITING}
    assert progress.left(found, 1) is None
    shared, first, second, *_ = plan.tasks
    finish(shared)
    # 4 of 12 updates, at half a second each: 4 s are left of this one, 6 of each of the 5 others.
    pretend.write_run(first.folder, first.name, steps=(2, 4))
    (first.folder / "results.json").unlink()
    tasks.keep(first, Record([first.stages[0].facts], 0, 0.0))
    (first.folder / "metrics.jsonl").write_text(
        '{"phase": "distill", "step": 4, "seconds_per_step": 0.5}\n'
    )
    found = progress.standings(plan, [first.name])
    assert [s.state for s in found[:3]] == ["done", "running", "waiting"]
    assert [s.updates for s in found[1:3]] == [4, 0]
    assert [s.seconds for s in found[1:3]] == [4.0, 6.0]
    assert progress.left(found, 1) == 34.0
    assert progress.left(found, 2) == 17.0
    # Once a run is done, it tells the time of its variant, and of those that none was run of.
    finish(second, seconds=30.0)
    found = progress.standings(plan, [first.name])
    assert [s.seconds for s in found[1:5]] == pytest.approx([20, 30, 30, 30])
    lines = progress.table(found, 1).splitlines()
    assert lines[-1] == "2 of 7 tasks done; about 0:02:20 left"
    assert lines[3].split() == ["output-0", "done", "12", "of", "12", "0:00:30", "-"]


def test_the_table_tells_what_failed_what_that_blocks_and_what_has_changed(plan):
    shared, first, *_ = plan.tasks
    tasks.keep(shared, Record([shared.stages[0].facts], 0, 1.0, "no disk"))
    found = progress.standings(plan)
    assert [(s.state, s.note) for s in found[:2]] == [
        ("failed", "no disk"),
        ("blocked", "needs shared"),
    ]
    assert progress.left(found, 1) == 0.0
    assert progress.table(found, 1).splitlines()[-1] == "0 of 7 tasks done; 1 failed; 6 blocked"
    shared.record.unlink()
    tasks.keep(first, Record([{"config": {}}], 1, 1.0))
    assert progress.standings(plan)[1][1:] == ("waiting", 0, None, "has changed")
