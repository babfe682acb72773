"""`launch/benchmarks/methods.py`: made-up times, and a tiny run."""

import re
import runpy
import sys

import numpy as np
from conftest import ROOT

from launch.benchmarks import methods


def test_ratios_compare_times_of_one_round():
    seconds = {"output": [0.1, 0.2, 0.4], "hints": [0.15, 0.3, 0.6]}  # a machine that slows down
    times = {title: np.array([column, column]).T for title, column in seconds.items()}
    needed = {"output": methods.Needs(7.1, 40.0), "hints": methods.Needs(8.5, 50.4)}
    first, second = methods.rows(times, needed)
    assert first == "| output | 200 | 1.00 (1.00 to 1.00) | 7.1 | 40 |"
    assert second == "| hints | 300 | 1.50 (1.50 to 1.50) | 8.5 | 50 |"


def test_methods_are_variants_of_the_recipes():
    known = runpy.run_path(str(ROOT / methods.RECIPES))["RUNS"]
    assert {variant for variant, _ in methods.METHODS.values()} <= set(known)


def test_a_tiny_run_prints_every_method(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    titles = "affinity, pool=2", "own_average"
    options = "--size=smoke", "--rounds=1", "--seconds=0.01", "--methods", *titles
    monkeypatch.setattr(sys, "argv", ["methods", *options])
    assert methods.main() == 0
    table = re.findall(r"^\| ([^|]+) \| [\d.]+ \|.* \| (\d+) \|", capsys.readouterr().out, re.M)
    assert [title for title, _ in table] == ["output", *titles]
