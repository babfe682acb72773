"""Records of tasks: what is complete, what has changed, who works on it."""

import dataclasses
import fcntl
import subprocess
import sys

from launch.ablation import tasks
from launch.ablation.tasks import Record, Stage, Task


def task(tmp_path, *facts):
    stages = [Stage(("true",), tmp_path / f"runs/a/{i}", fact) for i, fact in enumerate(facts)]
    return Task("a", tmp_path, tmp_path / "runs/a", tuple(stages))


def complete(one):
    one.folder.mkdir(parents=True)
    for stage in one.stages:
        stage.result.touch()
    started = [stage.facts for stage in one.stages]
    tasks.keep(one, Record(started, len(started), 5.0))


def test_commands_are_complete_until_a_fact_changes_or_a_result_is_gone(tmp_path):
    one = task(tmp_path, {"config": {"steps": 4}}, {"sets": ["x"]})
    assert tasks.pending(one, tasks.recorded(one)) == 0
    complete(one)
    assert tasks.is_done(one)
    assert tasks.recorded(one).seconds == 5.0
    others = {
        0: task(tmp_path, {"config": {"steps": 8}}, {"sets": ["x"]}),
        1: task(tmp_path, {"config": {"steps": 4}}, {"sets": ["x", "y"]}),
        2: task(tmp_path, {"config": {"steps": 4, "log_every": 9}}, {"sets": ["x"]}),
    }
    for number, other in others.items():
        assert tasks.pending(other, tasks.recorded(other)) == number
    assert tasks.changed(others[0]) == ["config.steps: 4 before, 8 now"]
    assert tasks.changed(others[1]) == []
    one.stages[1].result.unlink()
    assert tasks.pending(one, tasks.recorded(one)) == 1


def test_a_field_that_is_new_or_gone_is_a_difference():
    assert tasks.differences({"a": {"b": 1}}, {"a": {"c": None}}) == [
        "a.c: not there before, None now",
        "a.b: 1 before, not there now",
    ]
    assert tasks.differences({"config": {"data": {"source": "x"}}}, {"config": {}})
    assert not tasks.differences({"config": {"data": {"labels": "x"}}}, {"config": {}})
    assert tasks.digest({"config": {"devices": 1}}) == tasks.digest({"config": {"devices": 2}})
    assert tasks.digest({"config": {"seed": 1}}) != tasks.digest({"config": {"seed": 2}})


def test_a_damaged_record_is_none(tmp_path):
    one = task(tmp_path, {})
    one.record.parent.mkdir()
    for text in "{", '{"x": 1}', '{"started": 3}', '{"started": [3]}', '{"complete": "x"}':
        one.record.write_text(text)
        assert tasks.recorded(one) == Record()


def test_what_is_replaced_is_kept(tmp_path):
    one = task(tmp_path, {})
    assert tasks.set_aside(one) is None
    for number in 1, 2:
        one.folder.mkdir(parents=True)
        (one.folder / str(number)).touch()
        place = tasks.set_aside(one)
        assert place == tmp_path / f"replaced/a.{number}"
        assert (place / str(number)).exists()
        assert not one.folder.exists()


def test_a_lock_and_a_process_tell_that_someone_works(tmp_path):
    assert not tasks.in_use(tmp_path)
    with (tmp_path / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert tasks.in_use(tmp_path)
    assert not tasks.in_use(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record = Record(process=f"{child.pid} on {tasks.socket.gethostname()}")
    assert record.alive
    child.communicate(b"\n")
    assert not record.alive
    assert dataclasses.replace(record, process="5 on another").alive
    assert not Record().alive


def test_the_last_line_of_a_log_is_that_of_the_last_start(tmp_path):
    log = tmp_path / "log"
    assert tasks.last_line(log) == ""
    log.write_bytes(b"first\n\xff x \n \n")
    assert tasks.last_line(log) == "\ufffd x"
    assert tasks.last_line(log, since=9) == ""
