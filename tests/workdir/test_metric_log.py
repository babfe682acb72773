import json
import sys

from kdgan_jax.workdir.metrics import MetricLog, read_metrics


def write(workdir, phase="kd", start=0, steps=(1, 2, 3)):
    """Writes rows; returns (phase, step) of all rows in the file."""
    log = MetricLog(workdir, phase, start)
    for step in steps:
        log.write(step, {"pixel": 1 / step})
    log.close()
    return read(workdir)


def read(workdir):
    return [(row["phase"], row["step"]) for row in read_metrics(workdir / "metrics.jsonl")]


def test_rows_come_back_as_written_and_as_events(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == []
    write(tmp_path, steps=(1, 4))
    assert read_metrics(path) == [
        {"phase": "kd", "step": 1, "pixel": 1.0},
        {"phase": "kd", "step": 4, "pixel": 0.25},
    ]
    (events,) = (tmp_path / "events" / "kd").iterdir()
    assert b"pixel" in events.read_bytes()


def test_resuming_drops_the_rows_of_this_phase_after_the_start_step(tmp_path):
    teacher = [("teacher", 1), ("teacher", 2), ("teacher", 3)]
    student = [("kd", 1), ("kd", 2), ("kd", 3)]
    write(tmp_path, "teacher")
    assert write(tmp_path, "kd") == teacher + student
    assert write(tmp_path, "kd", start=2, steps=(3, 4)) == [*teacher, *student, ("kd", 4)]
    assert write(tmp_path, "teacher", steps=()) == [*student, ("kd", 4)]


def test_a_last_line_that_was_cut_short_is_dropped(tmp_path):
    write(tmp_path)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-9])
    assert read(tmp_path) == [("kd", 1), ("kd", 2)]
    write(tmp_path, start=2, steps=(3,))
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_metrics_are_written_without_tensorboard(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)  # its import fails
    assert write(tmp_path) == [("kd", 1), ("kd", 2), ("kd", 3)]
    assert not (tmp_path / "events").exists()
    assert "tensorboardX" in caplog.text
