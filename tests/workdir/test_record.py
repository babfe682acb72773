import json
import subprocess

import pytest

from kdgan_jax.runtime.errors import Stopped, UserError
from kdgan_jax.workdir import record


def starts(path):
    return json.loads(path.read_text())["starts"]


def test_a_start_has_what_it_runs_on_and_that_it_runs(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("{")  # a broken file is replaced
    with record.kept(path, {"seed": 3}):
        (start,) = starts(path)
        assert (start["exit"], start["end"], start["seed"]) == ("running", None, 3)
        assert {"python", "jax", "flax", "numpy"} <= start["versions"].keys()
    (start,) = starts(path)
    assert start["exit"] == "complete"
    assert start["start"] <= start["end"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Stopped("stopped by SIGTERM"), "stopped by SIGTERM"),
        (UserError("a photo is gone"), "a photo is gone"),
        (MemoryError(), "failed: MemoryError()"),
        (KeyboardInterrupt(), "failed: KeyboardInterrupt()"),
    ],
)
def test_the_reason_of_the_end_is_recorded_and_the_error_goes_on(tmp_path, error, reason):
    with pytest.raises(type(error)), record.kept(tmp_path / "run.json", {}):
        raise error
    assert starts(tmp_path / "run.json")[-1]["exit"] == reason


def test_a_start_that_never_ended_was_killed(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"starts": [{"exit": "running"}, {"exit": "complete"}]}))
    with record.kept(path, {}):
        pass
    killed, *later = [start["exit"] for start in starts(path)]
    assert "killed" in killed
    assert later == ["complete", "complete"]


def test_revision_is_a_commit_or_none(monkeypatch):
    revision = record.revision()
    assert revision is None or len(revision.rstrip("+")) == 40

    def fail(*arguments, **more):
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(subprocess, "run", fail)
    assert record.revision() is None
