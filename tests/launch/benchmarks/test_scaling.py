"""`launch/benchmarks/scaling.py`: arithmetic on made-up times; a tiny run; what it refuses."""

import json
import os
import sys

import numpy as np
import pytest
from conftest import HASTE, ROOT, run_module

from kdgan_jax.runtime.errors import UserError

sys.path.insert(0, str(ROOT))  # launch/ is started from the repository and not installed

from launch.benchmarks import scaling

# Seconds of a step in three rounds by (devices, batch), 4 images a device or 16 in all. The machine
# takes twice as long in the last round, for all the same.
TIMES = {
    (1, 4): [0.4, 0.4, 0.8],  # 10 images/s
    (1, 16): [1.6, 1.6, 3.2],  # 10
    (2, 8): [0.5, 0.5, 1.0],  # 16
    (2, 16): [1.0, 1.0, 2.0],  # 16
    (4, 16): [0.8, 0.8, 1.6],  # 20
}


def column(rows, kind, field):
    return [row[field] for row in rows if row["scaling"] == kind]


def test_speed_up_and_efficiency_are_of_one_round():
    rows = scaling.summary(TIMES, per_device=4, total=16)
    assert column(rows, "weak", "batch") == [4, 8, 16]
    assert column(rows, "strong", "batch") == [16, 16, 16]
    for kind in "weak", "strong":
        assert column(rows, kind, "devices") == [1, 2, 4]
        rates = [row[1] for row in column(rows, kind, "images_per_second")]
        assert rates == pytest.approx([10, 16, 20])
        # All three quartiles: a slow round is slow for all, so these have no spread.
        gains = np.ravel(column(rows, kind, "speed_up"))
        assert gains == pytest.approx([1] * 3 + [1.6] * 3 + [2] * 3)
        shares = np.ravel(column(rows, kind, "efficiency"))
        assert shares == pytest.approx([1] * 3 + [0.8] * 3 + [0.5] * 3)


def test_efficiency_is_over_the_smallest_number_of_devices():
    times = {cell: seconds for cell, seconds in TIMES.items() if cell[0] > 1}
    rows = scaling.summary(times, per_device=4, total=16)
    assert column(rows, "weak", "efficiency")[1] == pytest.approx([0.625] * 3)  # 20 / 16 / 2


def test_table_has_medians_and_quartiles():
    uneven = {**TIMES, (2, 8): [0.4, 0.5, 1.25]}
    lines = scaling.table(scaling.summary(uneven, per_device=4, total=16)).splitlines()
    assert lines[2:4] == [
        "| fixed batch per device | 1 | 4 | 400.0 | 10.0 (7.5 to 10.0) | 1.00 | 100 % |",
        # 20, 16 and 6.4 images/s, which are 2, 1.6 and 1.28 times one device's of that round.
        "| fixed batch per device | 2 | 8 | 500.0 | 16.0 (11.2 to 18.0) | 1.60 | 80 % (72 to 90) |",
    ]
    assert len(lines) == 2 + 6


class Recorded:
    """Stands in for a loop: each call of `run` takes as many seconds as there were runs before."""

    per_call = 2
    log: list = []  # noqa: RUF012

    def __init__(self, name):
        self.name = name

    def run(self, calls):
        self.log.append((self.name, calls))
        return float(len(self.log) - 1), 0.0


def test_rounds_go_there_and_back_after_a_warm_up_that_is_not_counted():
    times = scaling.measure({(1, 4): Recorded("a"), (2, 8): Recorded("b")}, steps=5, rounds=2)
    # Five steps are three calls of two.
    assert Recorded.log == [("a", 2), ("b", 2), ("b", 3), ("a", 3), ("a", 3), ("b", 3)]
    assert times == {(1, 4): [3, 4], (2, 8): [2, 5]}


def test_plot_can_be_drawn(tmp_path):
    scaling.plot(tmp_path / "scaling.png", scaling.summary(TIMES, 4, 16), "title")
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("words", [[], [""], ["1", "two"], ["0"], ["-1"], ["1.5"]])
def test_devices_that_are_no_numbers_are_refused(words):
    with pytest.raises(UserError, match=r"--devices=.* must be numbers from 1, such as 1,2,4"):
        scaling.parse(words)


def test_devices_are_sorted_and_each_is_there_once():
    assert scaling.parse(["4", "1", "2", "1"]) == [1, 2, 4]


@pytest.mark.parametrize(
    ("number", "total", "message"),
    [
        (8, 16, r"--devices=8, but there are 4 \(on a CPU JAX_NUM_CPU_DEVICES"),
        (3, 16, r"--global_batch=16 is not divisible by --devices=3; name a multiple"),
    ],
)
def test_what_cannot_be_measured_is_refused(number, total, message):
    scaling.check([1, 2, 4], 16)
    with pytest.raises(UserError, match=message):
        scaling.check([1, number], total)


def test_devices_that_the_processes_cannot_share_are_refused(monkeypatch):
    monkeypatch.setattr(scaling.processes, "number", lambda: 2)
    with pytest.raises(UserError, match=r"--devices=3 is not divisible by the 2 processes"):
        scaling.check([3], 6)


TINY = [
    *("--config=configs/kd.py:smoke", "--config.train.adversarial.losses.perceptual.weight=0"),
    *("--batch_per_device=1", "--global_batch=2", "--steps=2", "--rounds=2"),
]


@pytest.fixture(autouse=True)
def _haste(monkeypatch):
    """Compiles in half the time."""
    flags = " ".join(f"--{name}={value}" for name, value in HASTE.items())
    monkeypatch.setenv("XLA_FLAGS", f"{os.environ['XLA_FLAGS']} {flags}")


def test_tiny_run_leaves_table_numbers_and_plot(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES")  # it takes care of that itself
    result = run_module(
        "launch.benchmarks.scaling", "--devices=1,2", *TINY, f"--out={tmp_path}", check=False
    )
    assert result.returncode == 0, result.stderr
    assert {file.name for file in tmp_path.iterdir()} == {
        *("scaling.md", "scaling.json", "scaling.png")
    }
    facts = json.loads((tmp_path / "scaling.json").read_text())
    assert facts["device"].startswith("2 x cpu (")
    assert facts["phase"] == "adversarial"
    assert "jax" in facts["versions"]
    # (devices, batch) and a time for every round; what weak and strong share is timed once.
    assert [row[:2] for row in facts["seconds"]] == [[1, 1], [1, 2], [2, 2]]
    assert all(len(row) == 4 and min(row[2:]) > 0 for row in facts["seconds"])
    text = (tmp_path / "scaling.md").read_text()
    assert text.startswith("Adversarial step on 2 x cpu (")
    assert text.count("| fixed global batch |") == 2


def test_two_processes_measure_together_and_one_writes(tmp_path):
    processes = [
        "launch.local",
        "--processes=2",
        "--",
        sys.executable,
        "-m",
        "launch.benchmarks.scaling",
    ]
    more = [*TINY, "--phase=teacher", f"--out={tmp_path}"]
    result = run_module(*processes, "--devices=2", *more, check=False)
    assert result.returncode == 0, result.stderr
    assert "2 processes" in json.loads((tmp_path / "scaling.json").read_text())["device"]
    assert result.stderr.count("| fixed batch per device |") == 1
