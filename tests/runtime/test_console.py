import itertools
import json
import logging

import pytest

from kdgan_jax.runtime import console
from kdgan_jax.workdir.metrics import MetricLog, read_metrics


def written(workdir, phase="kd", start=0, steps=(1, 2, 3)):
    log = MetricLog(workdir, phase, start)
    for step in steps:
        log.write(step, {"pixel": 1 / step})
    log.close()
    return read_metrics(workdir / "metrics.jsonl")


def points(rows):
    return [(row["phase"], row["step"]) for row in rows]


def test_rows_come_back_as_written(tmp_path):
    assert written(tmp_path, steps=(1, 4)) == [
        {"phase": "kd", "step": 1, "pixel": 1.0},
        {"phase": "kd", "step": 4, "pixel": 0.25},
    ]


def test_resuming_drops_this_phases_rows_after_the_start_step(tmp_path):
    written(tmp_path, "teacher", steps=(1, 2, 3))
    written(tmp_path, "kd", steps=(1, 2, 3))
    rows = written(tmp_path, "kd", start=2, steps=(3, 4))
    assert points(rows) == [
        *[("teacher", step) for step in (1, 2, 3)],
        *[("kd", step) for step in (1, 2, 3, 4)],
    ]


def test_a_phase_that_begins_anew_leaves_the_other_phases_rows(tmp_path):
    written(tmp_path, "teacher")
    written(tmp_path, "kd")
    assert points(written(tmp_path, "teacher", start=0, steps=())) == [
        ("kd", step) for step in (1, 2, 3)
    ]


def test_a_last_line_cut_short_is_left_out(tmp_path):
    written(tmp_path)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-9])
    assert points(read_metrics(path)) == [("kd", 1), ("kd", 2)]


def test_resuming_after_a_line_cut_short_leaves_whole_lines(tmp_path):
    written(tmp_path)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-9])
    written(tmp_path, start=2, steps=(3,))
    lines = path.read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def test_a_file_that_is_missing_has_no_rows(tmp_path):
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_tensorboard_events_are_written_per_phase(tmp_path):
    written(tmp_path, "kd")
    (events,) = (tmp_path / "events" / "kd").iterdir()
    assert b"pixel" in events.read_bytes()


def test_metrics_are_written_without_tensorboard(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(console.sys.modules, "tensorboardX", None)  # makes its import fail
    assert points(written(tmp_path)) == [("kd", 1), ("kd", 2), ("kd", 3)]
    assert not (tmp_path / "events").exists()
    assert "tensorboardX is not installed" in caplog.text


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by 10 seconds at every look."""
    now = itertools.count(0, 10)
    monkeypatch.setattr(console.time, "monotonic", lambda: next(now))


def test_progress_away_from_a_terminal_is_a_line_every_30_seconds_and_a_last_one(caplog, clock):
    caplog.set_level(logging.INFO, "kdgan_jax")
    with console.progress("upscaling", 7) as bar:
        for i in range(7):
            bar.advance(f"{i}.png")
    assert caplog.messages == [
        "upscaling: 3 of 7, 0:00:30 elapsed, ETA 0:00:40  2.png",
        "upscaling: 6 of 7, 0:01:00 elapsed, ETA 0:00:10  5.png",
        "upscaling: 7 of 7, 0:01:10 elapsed, ETA 0:00:00  6.png",
    ]


def test_progress_goes_on_from_where_a_run_was_resumed(caplog, clock):
    caplog.set_level(logging.INFO, "kdgan_jax")
    with console.progress("kd", 12, start=8) as bar:
        for _ in range(4):
            bar.advance()
    assert [m.strip() for m in caplog.messages] == [
        "kd: 11 of 12, 0:00:30 elapsed, ETA 0:00:10",
        "kd: 12 of 12, 0:00:40 elapsed, ETA 0:00:00",
    ]
