"""`launch/benchmarks/scaling.py`: arithmetic on made-up times, a tiny run, what it refuses."""

import json
import os
import runpy
import sys

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from conftest import HASTE, ROOT, run_module

from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import checks
from launch.benchmarks import scaling

# Seconds of a step in three rounds by (devices, batch), 4 images a device or 16 in all. The machine
# takes twice as long in the last round, with any number of devices.
TIMES = {
    (1, 4): [0.4, 0.4, 0.8],  # 10 images/s
    (1, 16): [1.6, 1.6, 3.2],  # 10
    (2, 8): [0.5, 0.5, 1.0],  # 16
    (2, 16): [1.0, 1.0, 2.0],  # 16
    (4, 16): [0.8, 0.8, 1.6],  # 20
}


def column(rows, kind, field):
    return [row[field] for row in rows if row["scaling"] == kind]


def test_speed_up_and_efficiency_compare_times_of_one_round():
    rows = scaling.summary(TIMES, per_device=4, total=16)
    assert column(rows, "weak", "batch") == [4, 8, 16]
    assert column(rows, "strong", "batch") == [16, 16, 16]
    for kind in "weak", "strong":
        assert column(rows, kind, "devices") == [1, 2, 4]
        rates = [row[1] for row in column(rows, kind, "images_per_second")]
        assert rates == pytest.approx([10, 16, 20])
        # All three quartiles: a slow round is slow for all, so these do not spread.
        gains = np.ravel(column(rows, kind, "speed_up"))
        assert gains == pytest.approx([1] * 3 + [1.6] * 3 + [2] * 3)
        shares = np.ravel(column(rows, kind, "efficiency"))
        assert shares == pytest.approx([1] * 3 + [0.8] * 3 + [0.5] * 3)
    fewer = {cell: seconds for cell, seconds in TIMES.items() if cell[0] > 1}
    rows = scaling.summary(fewer, per_device=4, total=16)  # over the smallest number of devices
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


def test_rounds_alternate_in_order_after_a_warm_up_that_is_not_counted():
    class Counting:
        """Stands in for a loop: a step takes as many seconds as there were runs before."""

        per_call = 2
        runs = 0

        def run(self, calls):
            Counting.runs += 1
            return Counting.runs - 1, 0.0

    times = scaling.measure({(1, 4): Counting(), (2, 8): Counting()}, steps=5, rounds=2)
    assert times == {(1, 4): [3, 4], (2, 8): [2, 5]}


def test_devices_are_sorted_and_unique_numbers():
    assert scaling.parse(["4", "1", "2", "1"]) == [1, 2, 4]
    for words in [], [""], ["1", "two"], ["0"], ["-1"], ["1.5"]:
        with pytest.raises(UserError, match=f"--devices={','.join(words)} "):
            scaling.parse(words)


def test_numbers_of_devices_that_cannot_be_measured_are_refused(monkeypatch):
    scaling.check([1, 2, 4], 16)
    with pytest.raises(UserError, match=r"--devices=8, .* 4 .*JAX_NUM_CPU_DEVICES"):
        scaling.check([1, 8], 16)
    with pytest.raises(UserError, match=r"--global_batch=16 .*--devices=3"):
        scaling.check([3], 16)
    monkeypatch.setattr(scaling.processes, "number", lambda: 2)
    with pytest.raises(UserError, match=r"--devices=3 .*2 processes"):
        scaling.check([3], 6)


def measured(folder):
    """Returns the facts in a folder, after a look at its table and plot."""
    facts = json.loads((folder / "scaling.json").read_text())
    assert all(min(row[2:]) > 0 for row in facts["seconds"])
    text = (folder / "scaling.md").read_text()
    assert text.count("| fixed global batch |") == len({row[0] for row in facts["seconds"]})
    assert (folder / "scaling.png").read_bytes().startswith(b"\x89PNG")
    return facts


def test_a_tiny_measurement_leaves_table_numbers_and_plot(tmp_path):
    config = runpy.run_path(str(ROOT / "configs/kd.py"))["get_config"]("scratch,smoke")
    config.phases = ("teacher", "distill")
    jax.config.update("jax_disable_most_optimizations", True)
    flags.FLAGS(["scaling"])
    sizes = {"batch_per_device": 1, "global_batch": 2, "steps": 1, "rounds": 2}
    with flagsaver.flagsaver(phase="distill", **sizes):
        scaling.scale(checks.checked(config), tmp_path, [2])
    jax.config.update("jax_disable_most_optimizations", False)
    facts = measured(tmp_path)
    # (devices, batch) and a time for every round; what weak and strong share is timed once.
    ((*cell, _, _),) = facts["seconds"]
    assert cell == [2, 2]
    assert facts["device"].startswith("2 x cpu (")
    assert facts["phase"] == "distill"
    assert "jax" in facts["versions"]


TINY = [
    *(
        "--config=configs/kd.py:scratch,smoke",
        "--config.train.adversarial.losses.perceptual.weight=0",
    ),
    *("--batch_per_device=1", "--global_batch=2", "--steps=2", "--rounds=2"),
]


@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 2])
def test_the_command_measures_in_one_process_or_two(tmp_path, monkeypatch, processes):
    haste = " ".join(f"--{name}={value}" for name, value in HASTE.items())
    monkeypatch.setenv("XLA_FLAGS", f"{os.environ['XLA_FLAGS']} {haste}")
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES")  # the command sets it
    launcher = ["launch.local", "--processes=2", "--", sys.executable, "-m"] * (processes == 2)
    numbers = "--devices=2" if processes == 2 else "--devices=1,2"
    command = [*launcher, "launch.benchmarks.scaling", numbers, *TINY, f"--out={tmp_path}"]
    result = run_module(*command, check=False)
    assert result.returncode == 0, result.stderr
    cells = [[1, 1], [1, 2], [2, 2]][2 * (processes == 2) :]
    assert [row[:2] for row in measured(tmp_path)["seconds"]] == cells
    assert ("2 processes" in measured(tmp_path)["device"]) == (processes == 2)
    assert result.stderr.count("| fixed batch per device |") == 3 - processes  # one process prints
