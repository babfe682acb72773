import json

from kdgan_jax.evaluate import metrics, report


def row(model, dataset, psnr=28.4291, **more):
    return {
        "model": model,
        "dataset": dataset,
        "scale": 4,
        "images": {"Set5": 5, "Set14": 14}[dataset],
        "psnr_y": psnr,
        "ssim_y": 0.81114,
        "psnr_rgb": psnr - 1.5,
        "params": 36483,
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


def test_the_table_has_a_line_per_model_and_a_column_per_set():
    head, rule, *lines = report.markdown(ROWS).splitlines()
    expected = ["model", "Set5 (5)", "Set14 (14)", "parameters", "seconds per image"]
    assert cells(head) == expected
    assert cells(rule) == ["---"] * 5
    assert [cells(line)[:3] for line in lines] == [
        ["bicubic", "28.43 / 0.8111", "26.09 / 0.8111"],
        ["runs/kd", "30.00 / 0.8111", "27.10 / 0.8111"],
    ]
    assert cells(lines[0])[3:] == ["36,483", "0.13"]


def test_a_set_that_a_model_lacks_is_a_dash():
    lines = report.markdown(ROWS[:3]).splitlines()
    assert cells(lines[3])[:3] == ["runs/kd", "30.00 / 0.8111", "-"]


def test_seconds_are_the_slowest_sets():
    rows = [row("m", "Set5", seconds_per_image=2.0), row("m", "Set14", seconds_per_image=1.0)]
    assert cells(report.markdown(rows).splitlines()[2])[-1] == "2.00"


def test_results_hold_the_protocol_the_rows_and_what_was_said_about_them(tmp_path):
    per_image = [{"model": "bicubic", "dataset": "Set5", "image": "baby", "psnr_y": 31.78}]
    report.write(tmp_path, ROWS, per_image, device="1 CPU")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results.json", "results.md"]
    assert json.loads((tmp_path / "results.json").read_text()) == {
        "protocol": metrics.PROTOCOL,
        "device": "1 CPU",
        "rows": ROWS,
        "per_image": per_image,
    }
    text = (tmp_path / "results.md").read_text()
    assert text.startswith(f"PSNR (dB) / SSIM at x4, {metrics.PROTOCOL}; device 1 CPU.\n\n| model")
    assert text.endswith(report.markdown(ROWS))


def test_results_are_replaced_by_a_second_run(tmp_path):
    report.write(tmp_path, ROWS, [], device="1 CPU")
    report.write(tmp_path, ROWS[:1], [], device="1 CPU")
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == ROWS[:1]
