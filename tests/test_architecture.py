"""Every example of docs/architecture.md, run as it stands there."""

import importlib.util
import re
import shlex
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import kdgan_jax
from kdgan_jax import losses, models
from kdgan_jax.train import run as training
from kdgan_jax.workdir.metrics import read_metrics

PAGE = (ROOT / "docs" / "architecture.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"```\n(python .*?)```", PAGE, re.DOTALL)


@pytest.fixture
def added(monkeypatch, tmp_path):
    """What a reader adds: files of classes, and a line in a table for each; returns the config."""
    names = {}
    for table in "TERMS", "REGULARIZERS":
        copy = dict(getattr(losses, table))
        monkeypatch.setattr(losses, table, copy)
        names[table] = copy
    names["GENERATORS"] = dict(models.GENERATORS)
    monkeypatch.setattr(models, "GENERATORS", names["GENERATORS"])
    (config,) = [block for block in BLOCKS if "def get_config" in block]
    for i, block in enumerate(BLOCKS):
        if block != config:
            module = type(sys)(f"example_{i}")  # dataclasses look their module up
            monkeypatch.setitem(sys.modules, module.__name__, module)
            names["__name__"] = module.__name__
            exec(compile(block, f"docs/architecture.md, block {i}", "exec"), names)
    (tmp_path / "mine.py").write_text(config)
    spec = importlib.util.spec_from_file_location("mine", tmp_path / "mine.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


@pytest.fixture
def folder(tmp_path, photo):
    (tmp_path / "photos").mkdir()
    for i in range(5):
        Image.fromarray(photo[48 * i : 48 * i + 64, :96]).save(tmp_path / f"photos/{i}.png")
    return tmp_path / "photos"


def test_what_is_added_trains(added, folder, tmp_path):
    added.data.source, added.data.holdout = str(folder), 1
    training.run(added, tmp_path / "run")
    rows = read_metrics(tmp_path / "run/metrics.jsonl")
    columns = {row["phase"]: row.keys() for row in rows}
    assert {"image", "edges", "hints"} <= columns["follow"]
    assert {"pixel", "game", "discriminator", "r1", "same"} <= columns["refine"]
    assert all(np.isfinite(row[name]) for row in rows for name in row if name != "phase")
    assert kdgan_jax.load(tmp_path / "run", "small").name == "tiny"


def test_commands_name_fields_that_there_are(added):
    assert COMMANDS
    commands = COMMANDS[0].replace("\\\n", " ").splitlines()
    for command in commands:
        for word in shlex.split(command):
            field, _, value = word.removeprefix("--config.").partition("=")
            if word.startswith("--config."):
                *path, last = field.split(".")
                place = added
                for part in path:
                    place = place[part]
                assert last in place, word
                assert value
