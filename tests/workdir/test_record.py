import json
import subprocess

import pytest

from kdgan_jax.runtime.errors import Stopped, UserError
from kdgan_jax.workdir import record


def starts(path):
    return json.loads(path.read_text())["starts"]


def test_a_start_says_what_it_runs_on_and_that_it_runs(tmp_path):
    path = tmp_path / "run.json"
    with record.kept(path, {"seed": 3}):
        (ours,) = starts(path)
        assert (ours["exit"], ours["end"], ours["seed"]) == ("running", None, 3)
        assert {"python", "jax", "flax", "numpy"} <= ours["versions"].keys()
    (ours,) = starts(path)
    assert ours["exit"] == "complete"
    assert ours["start"] <= ours["end"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Stopped("stopped by SIGTERM"), "stopped by SIGTERM"),
        (UserError("a photo is gone"), "a photo is gone"),
        (MemoryError(), "failed: MemoryError()"),
        (KeyboardInterrupt(), "failed: KeyboardInterrupt()"),
    ],
)
def test_the_reason_of_the_end_is_kept_and_the_error_goes_on(tmp_path, error, said):
    with pytest.raises(type(error)), record.kept(tmp_path / "run.json", {}):
        raise error
    assert starts(tmp_path / "run.json")[-1]["exit"] == said


def test_a_start_that_never_ended_is_said_to_have_been_killed(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"starts": [{"exit": "running"}, {"exit": "complete"}]}))
    with record.kept(path, {}):
        pass
    exits = [one["exit"] for one in starts(path)]
    assert exits[0].startswith("ended without a word: killed")
    assert exits[1:] == ["complete", "complete"]


def test_a_broken_file_is_begun_anew(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with record.kept(tmp_path / "run.json", {}):
        pass
    assert len(starts(tmp_path / "run.json")) == 1


def test_revision_is_a_commit_or_nothing(monkeypatch):
    found = record.revision()
    assert found is None or len(found.rstrip("+")) == 40

    def fails(*arguments, **more):
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(subprocess, "run", fails)
    assert record.revision() is None
