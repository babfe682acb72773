import csv
import json
import math

import pytest

from kdgan_jax.evaluation import metrics, report


def row(model, dataset, psnr=28.4291, **more):
    return {
        "model": model,
        "dataset": dataset,
        "reference": "HR",
        "scale": 4,
        "images": {"Set5": 5, "Set14": 14}[dataset],
        "psnr_y": psnr,
        "ssim_y": 0.81114,
        "psnr_rgb": psnr - 1.5,
        "lpips_alex": 0.33984,
        "lpips_vgg": None,
        "dists": None,
        "niqe": None,
        "mesh": None,
        "params": 36483,
        "multi_adds_720p": 33_531_494_400,
        "seconds_per_image": 0.126,
        **more,
    }


ROWS = [
    row("bicubic", "Set5"),
    row("runs/kd", "Set5", 30.005),
    row("bicubic", "Set14", 26.0881),
    row("runs/kd", "Set14", 27.1),
]


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def read_csv(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_line_per_model_and_a_column_per_set():
    head, rule, *lines = report.markdown(ROWS).splitlines()
    costs = ["parameters", "multi-adds", "seconds per image"]
    assert cells(head) == ["model", "Set5 (5)", "Set14 (14)", *costs]
    assert cells(rule) == ["---"] * 6
    assert [cells(line)[:3] for line in lines] == [
        ["bicubic", "28.43 / 0.8111 / 0.340", "26.09 / 0.8111 / 0.340"],
        ["runs/kd", "30.00 / 0.8111 / 0.340", "27.10 / 0.8111 / 0.340"],
    ]
    assert cells(lines[0])[3:] == ["36,483", "33.5 G", "0.13"]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("multi_adds_720p", {None: "-", 0: "0", 940_000_000: "0.94 G", 52_700_000_000: "52.7 G"}),
        ("seconds_per_image", {0.00002: "< 0.001", 0.0123: "0.012", 1.26: "1.3", 61.4: "61"}),
    ],
)
def test_costs_are_rounded_and_seconds_those_of_the_slowest_set(field, values):
    for value, text in values.items():
        rows = [row("m", "Set5", **{field: value}), row("m", "Set14", seconds_per_image=1e-6)]
        line = report.markdown(rows).splitlines()[2]
        assert cells(line)[{"multi_adds_720p": 4, "seconds_per_image": 5}[field]] == text


def test_what_is_worse_than_bicubic_is_said_below_the_table(tmp_path):
    rows = [*ROWS[:3], row("runs/kd", "Set14", 26.0), row("x", "Set5", 28.4290)]
    last = report.markdown(rows).splitlines()[-1]
    for fact in ("runs/kd on Set14 by 0.09 dB", "x on Set5 by less than 0.01 dB"):
        assert fact in last
    assert "bicubic on" not in last
    assert "Set5 by 0" not in last
    assert "Worse" not in report.markdown(ROWS)
    # Its figures may come from elsewhere, each to the same reference.
    alone = [row("x", "Set5"), row("x", "Set5", 20, reference="big")]
    assert "Worse" not in report.markdown(alone)
    report.write(tmp_path, alone, PER_IMAGE, bicubic={"Set5": 20, "Set5, to big": 21})
    text = (tmp_path / "results.md").read_text()
    assert "x on Set5, to big by 1.00 dB." in text
    assert "x on Set5 by" not in text


def test_colours_that_are_off_are_said_below_the_table():
    rows = [
        row("grey", "Set5", 26.2, psnr_rgb=21.1),
        row("sound", "Set5", 30.1, psnr_rgb=27.4),
        row("unmeasured", "Set5", 30.1, psnr_rgb=None),
        row("same", "Set5", math.inf, psnr_rgb=math.inf),
    ]
    last = report.markdown(rows).splitlines()[-1]
    assert last == "Colours are off: grey on Set5 (26.20 dB on Y, 21.10 on RGB)."


def test_paths_of_models_stand_once_below_the_table(tmp_path):
    path = "/a/long/path/net.pth"
    report.write(tmp_path, [row("net", "Set5")], PER_IMAGE, paths={"net": path})
    text = (tmp_path / "results.md").read_text()
    assert text.count(path) == 1
    assert text.endswith(f"- net: {path}\n")
    assert json.loads((tmp_path / "results.json").read_text())["models"] == {"net": path}


def test_what_was_not_measured_is_left_out_or_a_dash():
    rows = [{**r, "lpips_alex": None} for r in ROWS[:3]]
    lines = report.markdown(rows).splitlines()
    assert cells(lines[2])[1] == "28.43 / 0.8111"
    assert cells(lines[3])[:3] == ["runs/kd", "30.00 / 0.8111", "-"]


def test_a_set_to_two_references_has_two_columns_and_models_may_lack_in_one(tmp_path):
    teacher = {"reference": "big"}
    rows = [row("small", "Set5"), row("big", "Set5", 30.005), row("small", "Set5", 26.5, **teacher)]
    report.write(tmp_path, rows, PER_IMAGE, [{**COMPARISON, **teacher}])
    text = (tmp_path / "results.md").read_text()
    head, _, small, big, *_ = [line for line in text.splitlines() if line.startswith("|")]
    assert cells(head)[:3] == ["model", "Set5 (5)", "Set5, to big (5)"]
    assert cells(small)[:3] == ["small", "28.43 / 0.8111 / 0.340", "26.50 / 0.8111 / 0.340"]
    assert cells(big)[:3] == ["big", "30.00 / 0.8111 / 0.340", "-"]
    assert "that big makes" in text
    assert "runs/kd - bicubic | Set5, to big (5) |" in text
    assert [r["reference"] for r in read_csv(tmp_path / "results.csv")] == ["HR", "HR", "big"]


def test_a_set_without_references_has_figures_of_its_own(tmp_path):
    none = dict.fromkeys(metrics.METRICS) | {"reference": None, "niqe": 4.126, "mesh": 0.314}
    alone = [row("bicubic", "Set14", **none), row("net", "Set14", **none)]
    assert cells(report.markdown(alone).splitlines()[2])[:2] == ["bicubic", "4.13 / 0.31"]
    report.write(tmp_path, [row("bicubic", "Set5"), row("net", "Set5", 27), *alone], PER_IMAGE)
    text = (tmp_path / "results.md").read_text()
    assert text.startswith("PSNR / SSIM / LPIPS-Alex / NIQE / mesh at x4")
    assert "To " not in text
    assert "Set14 by" not in text
    head, _, first, *_ = [line for line in text.splitlines() if line.startswith("|")]
    assert cells(head)[1:3] == ["Set5 (5)", "Set14 (14)"]
    assert cells(first)[1:3] == ["28.43 / 0.8111 / 0.340 / - / -", "- / - / - / 4.13 / 0.31"]
    assert [r["reference"] for r in read_csv(tmp_path / "results.csv")] == ["HR", "HR", "", ""]
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert (rows[2]["reference"], rows[2]["psnr_y"], rows[2]["niqe"]) == (None, None, 4.126)


PER_IMAGE = [{"model": "bicubic", "dataset": "Set5", "image": "baby", "psnr_y": 31.78}]
COMPARISON = {
    "a": "runs/kd",
    "b": "bicubic",
    "dataset": "Set5",
    "reference": "HR",
    "metric": "psnr_y",
    "images": 5,
    "left_out": 0,
    "difference": 1.5,
    "low": 1.25,
    "high": None,
}


def test_results_hold_the_protocol_the_rows_and_what_was_said_about_them(tmp_path):
    report.write(tmp_path, ROWS, PER_IMAGE, device="1 CPU")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "per_image.csv",
        "results.csv",
        "results.json",
        "results.md",
    ]
    assert json.loads((tmp_path / "results.json").read_text()) == {
        "protocol": metrics.PROTOCOL,
        "device": "1 CPU",
        "rows": ROWS,
    }
    text = (tmp_path / "results.md").read_text()
    start = f"PSNR / SSIM / LPIPS-Alex at x4, {metrics.PROTOCOL}; device 1 CPU. PSNR in dB"
    assert text.startswith(start)
    assert text.endswith(report.markdown(ROWS))
    report.write(tmp_path, ROWS[:1], PER_IMAGE)  # a second run replaces the results
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == ROWS[:1]


def test_csv_files_hold_the_same_rows(tmp_path):
    report.write(tmp_path, ROWS, PER_IMAGE)
    rows = read_csv(tmp_path / "results.csv")
    assert [list(r) for r in rows] == [list(r) for r in ROWS]
    assert [float(r["psnr_y"]) for r in rows] == [r["psnr_y"] for r in ROWS]
    assert {r["lpips_vgg"] for r in rows} == {""}
    assert (tmp_path / "per_image.csv").read_text().splitlines() == [
        "model,dataset,image,psnr_y",
        "bicubic,Set5,baby,31.78",
    ]


def test_comparisons_stand_below_the_table_and_in_the_json(tmp_path):
    report.write(tmp_path, ROWS, PER_IMAGE, [COMPARISON])
    *_, last, _, note = (tmp_path / "results.md").read_text().splitlines()
    expected = ["runs/kd - bicubic", "Set5 (5)", "psnr_y", "+1.500", "+1.250 to -"]
    assert cells(last) == expected
    assert "too narrow" in note
    assert "Set5" in note
    assert json.loads((tmp_path / "results.json").read_text())["comparisons"] == [COMPARISON]


def test_notes_below_comparisons_are_there_where_they_hold():
    *_, last = report.comparisons_markdown([{**COMPARISON, "images": 100}]).splitlines()
    assert cells(last)[1] == "Set5 (100)"  # no note follows
    some = {**COMPARISON, "images": 98, "left_out": 2}
    *_, last = report.comparisons_markdown([some]).splitlines()
    assert last.startswith("Left out")
    assert "2 differences" in last


def test_infinity_is_valid_json_and_csv(tmp_path):
    report.write(tmp_path, [row("oracle", "Set5", float("inf"))], PER_IMAGE)
    text = (tmp_path / "results.json").read_text()
    json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} in JSON"))
    assert json.loads(text)["rows"][0]["psnr_y"] == "inf"
    assert ",inf,0.81114," in (tmp_path / "results.csv").read_text()
    assert "| inf / 0.8111" in (tmp_path / "results.md").read_text()
