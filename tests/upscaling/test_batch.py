"""The batch, with stages that add numbers: a picture is a number, and a result text."""

import contextlib
import logging
import threading
import time

import pytest

from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.upscaling import batch as batches
from kdgan_jax.upscaling.batch import Batch, Job
from kdgan_jax.upscaling.claims import claim


class Numbers:
    """Stages that take `seconds` each, and keep how many pictures there are at a time."""

    def __init__(self, seconds=0.0, pixels=1, bad=(), wait=None):
        self.seconds, self.size, self.bad, self.wait = seconds, pixels, bad, wait
        self.lock, self.held, self.most, self.calls = threading.Lock(), set(), 0, []

    def fault(self, stage, source):
        if (stage, source.name) in self.bad:
            raise self.bad[stage, source.name]
        self.calls.append((stage, source.name))
        time.sleep(self.seconds)

    def pixels(self, source):
        return self.size

    def read(self, source):
        with self.lock:
            self.held.add(source.name)
            self.most = max(self.most, len(self.held))
        console.log.warning("read %s", source.name)
        self.fault("read", source)
        return [(source, 0.0)]

    def enlarge(self, model, frames, on_share):
        on_share(0.5)
        self.fault("enlarge", frames[0][0])
        on_share(1.0)
        return [(f"{frames[0][0].name} by {model}", 0.0)]

    def write(self, model, target, frames):
        name = frames[0][0].partition(" ")[0]
        if self.wait:
            self.wait.wait(60)
        console.log.warning("write %s", name)
        self.fault("write", target.with_name(name))
        with self.lock:
            self.held.discard(name)
        return lambda path: path.write_text(frames[0][0])

    def draw(self, job, frames, results, path):
        assert path.suffix == ".png"
        path.write_text(f"sheet of {job.source.name} with {sorted(results)}")


@pytest.fixture
def jobs(tmp_path):
    """Returns jobs of a number of pictures for a number of models."""

    def jobs(number=5, models=1, sheet=False):
        return [
            Job(
                tmp_path / f"{i}",
                tuple(tmp_path / f"out/{m}/{i}.txt" for m in range(models)),
                tmp_path / f"out/sheets/{i}.png" if sheet else None,
            )
            for i in range(number)
        ]

    return jobs


def run(jobs, stages, tmp_path, **options):
    return [(o.state, o.error) for o in Batch(jobs, stages, tmp_path, **options).outcomes()]


def written(tmp_path):
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    return {str(path.relative_to(tmp_path / "out")): path.read_text() for path in files}


def test_every_model_has_its_result_of_every_picture(jobs, tmp_path):
    assert run(jobs(7, models=2), Numbers(), tmp_path) == [("made", "")] * 7
    expected = {f"{m}/{i}.txt": f"{i} by {m}" for i in range(7) for m in range(2)}
    assert written(tmp_path) == expected


def test_stages_run_at_the_same_time_and_few_pictures_are_held(jobs, tmp_path):
    stages = Numbers(seconds=0.05)
    began = time.monotonic()
    run(jobs(20), stages, tmp_path)
    assert time.monotonic() - began < 0.8 * 20 * 3 * 0.05
    assert 1 < stages.most <= batches.AT_ONCE
    large = Numbers(pixels=batches.PIXELS)
    run(jobs(20), large, tmp_path, overwrite=True)
    assert large.most == 1


def test_outcomes_and_messages_keep_the_order_of_jobs(jobs, tmp_path, caplog):
    some = jobs(8)
    stages = Numbers(
        bad={("read", "1"): UserError("no picture"), ("write", "2"): OSError(28, "full")}
    )
    batch = Batch(some, stages, tmp_path)
    for outcome in batch.outcomes():
        logging.getLogger("kdgan_jax").warning("end %s", outcome.job.source.name)
    said = ["read {0}", "write {0}", "end {0}"]
    lines = [line.format(i) for i in range(8) for line in said]
    lines.remove("write 1")
    assert caplog.messages == lines
    assert batch.written == 6


@pytest.mark.parametrize("stage", ["read", "enlarge", "write"])
@pytest.mark.parametrize(
    "error", [UserError("it is no picture"), OSError(28, "No space left"), MemoryError("much")]
)
def test_a_failure_is_told_with_the_picture_and_leaves_no_part(jobs, tmp_path, stage, error):
    outcomes = run(jobs(4), Numbers(bad={(stage, "2"): error}), tmp_path)
    assert [state for state, _ in outcomes] == ["made", "made", "failed", "made"]
    assert f"{tmp_path}/2: " in outcomes[2][1]
    assert str(getattr(error, "strerror", None) or error) in outcomes[2][1]
    assert sorted(written(tmp_path)) == ["0/0.txt", "0/1.txt", "0/3.txt"]


def test_a_mistake_in_the_program_is_raised(jobs, tmp_path):
    with pytest.raises(ZeroDivisionError):
        run(jobs(2), Numbers(bad={("write", "1"): ZeroDivisionError()}), tmp_path)


def test_what_exists_is_skipped_or_made_again(jobs, tmp_path):
    (tmp_path / "out/0").mkdir(parents=True)
    (tmp_path / "out/0/1.txt").write_text("mine")
    stages = Numbers()
    assert [s for s, _ in run(jobs(3), stages, tmp_path)] == ["made", "there", "made"]
    assert ("read", "1") not in stages.calls
    assert written(tmp_path)["0/1.txt"] == "mine"
    assert [s for s, _ in run(jobs(3), Numbers(), tmp_path)] == ["there"] * 3
    assert [s for s, _ in run(jobs(3), Numbers(), tmp_path, overwrite=True)] == ["made"] * 3
    assert written(tmp_path)["0/1.txt"] == "1 by 0"


def test_a_sheet_is_drawn_of_all_results_even_if_some_exist(jobs, tmp_path):
    (tmp_path / "out/1").mkdir(parents=True)
    (tmp_path / "out/1/0.txt").write_text("mine")
    assert [s for s, _ in run(jobs(2, 2, sheet=True), Numbers(), tmp_path)] == ["made"] * 2
    assert written(tmp_path)["sheets/0.png"] == "sheet of 0 with [0]"
    assert written(tmp_path)["sheets/1.png"] == "sheet of 1 with [0, 1]"
    (tmp_path / "out/sheets/1.png").unlink()
    assert [s for s, _ in run(jobs(2, 2, sheet=True), Numbers(), tmp_path)] == ["there", "made"]
    assert written(tmp_path)["sheets/1.png"] == "sheet of 1 with []"


def test_what_another_process_makes_is_left_to_it(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(
        batches, "claim", lambda target: None if target.stem == "1" else claim(target)
    )
    assert [s for s, _ in run(jobs(3), Numbers(), tmp_path)] == ["made", "elsewhere", "made"]
    monkeypatch.setattr(batches, "claim", lambda target: (target.touch(), claim(target))[1])
    (tmp_path / "out/0/1.txt").unlink(missing_ok=True)
    stages = Numbers()
    assert [s for s, _ in run(jobs(3), stages, tmp_path)] == ["there"] * 3  # in the meantime
    assert stages.calls == []
    assert sorted(written(tmp_path)) == ["0/0.txt", "0/1.txt", "0/2.txt"]


def test_links_that_lead_out_are_named_and_not_followed(jobs, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "else").mkdir()
    (tmp_path / "out/0").symlink_to(tmp_path / "else")
    for state, error in run(jobs(2), Numbers(), tmp_path / "out"):
        assert state == "failed"
        assert str(tmp_path / "out/0") in error
    assert list((tmp_path / "else").iterdir()) == []


def test_shares_grow_and_all_is_written_when_a_job_is_done(jobs, tmp_path):
    shares = []
    batch = Batch(
        jobs(3, models=2), Numbers(), tmp_path, on_move=lambda job: shares.append(batch.under_way)
    )
    for done, outcome in enumerate(batch.outcomes(), start=1):
        assert all(path.exists() for path in outcome.job.targets)
        assert batch.written >= done
    assert 0 < shares[0] < shares[1] < 1
    assert max(shares) <= batches.AT_ONCE
    assert batch.under_way == 0


class Lingering:
    """A lock after which a thread that is not the main one lingers."""

    def __init__(self):
        self.lock = threading.Lock()

    def __enter__(self):
        self.lock.acquire()

    def __exit__(self, *error):
        self.lock.release()
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.5)


def test_a_result_in_its_place_counts_even_if_a_stop_follows_at_once(jobs, tmp_path):
    batch = Batch(jobs(2), Numbers(), tmp_path)
    batch._placing = Lingering()

    def stop(job):
        if job.source.name == "1":
            while not (tmp_path / "out/0/0.txt").exists():
                time.sleep(0.01)
            raise KeyboardInterrupt

    batch.on_move = stop
    with pytest.raises(KeyboardInterrupt), contextlib.closing(batch.outcomes()) as outcomes:
        list(outcomes)
    assert batch.written == len(written(tmp_path)) == 1


def test_stopping_leaves_no_part_of_a_result(jobs, tmp_path):
    wait = threading.Event()
    batch = Batch(jobs(6), Numbers(wait=wait), tmp_path)

    def stop(job):
        if job.source.name == "2":
            raise KeyboardInterrupt

    batch.on_move = stop
    with pytest.raises(KeyboardInterrupt), contextlib.closing(batch.outcomes()) as outcomes:
        list(outcomes)
    wait.set()  # results that are encoded only now are dropped
    time.sleep(0.2)
    assert batch.written == 0
    assert written(tmp_path) == {}
    console.log.warning("is logged again")
    assert not console.log.filters
