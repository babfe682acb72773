"""Reading the file of a sweep, and what is refused before its base is even looked at."""

import pytest
from conftest import ROOT

from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import checks
from launch.ablation import planning, sweep
from launch.ablation.sweep import Sweep

HEAD = "from launch.ablation.sweep import Sweep\ndef get_sweep():\n    return "


def written(tmp_path, text):
    path = tmp_path / "s.py"
    path.write_text(text)
    return str(path)


PROJECT_S = sorted((ROOT / "configs/sweeps").glob("*.py"))


def test_the_project_s_sweeps_can_be_read():
    assert PROJECT_S
    for path in PROJECT_S:
        assert sweep.read(str(path)).control in sweep.read(str(path)).variants


@pytest.mark.parametrize("path", PROJECT_S, ids=lambda path: path.stem)
def test_the_project_s_sweeps_have_valid_configs(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = sweep.read(str(path))
    base = planning.base_config(found.base)
    for name, overrides in found.variants.items():
        checks.checked(planning.overridden(base, {**found.common, **overrides}, name))


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("def get_sweep(:", ["not a Python file", "line 1"]),
        ("x = 1", [r"get_sweep\(\)"]),
        ("def get_sweep():\n    return {}", ["dict", "Sweep"]),
        ("def get_sweep():\n    return 1 / 0", ["line 2", "ZeroDivisionError"]),
        ("def get_sweep():\n    return {}['x']", ["line 2", "KeyError"]),
        (HEAD + "Sweep('b', {'control': {}}, (0,), contol='x')", ["contol", "'control'"]),
        (HEAD + "Sweep(base='b')", ["variants.*seeds"]),
        (HEAD + "Sweep('b',\n {'control': {},\n  'a': {},\n  'a': {}}, (0,))", ["line 4", "'a'"]),
        (HEAD + "Sweep('b', {'control': {}}, ())", ["seeds=", "at least one"]),
        (HEAD + "Sweep('b', {'control': {}}, (0, 1, 0))", ["seeds=", "0 twice"]),
        (HEAD + "Sweep('b', {'control': {}}, (0.5,))", ["seeds="]),
        (HEAD + "Sweep('b', {'control': {}}, 0)", ["seeds is 0"]),
        (HEAD + "Sweep('b', {'contrl': {}}, (0,))", ["control='control'", "contrl"]),
        (HEAD + "Sweep('b', {}, (0,))", ["control='control'", "there are none"]),
        (HEAD + "Sweep('b', {'control': {}, 'A': {}, 'a': {}}, (0,))", ["A and a"]),
        (HEAD + "Sweep('b', {'control': {}, 'a/b': {}}, (0,))", ["'a/b'"]),
        (HEAD + "Sweep('b', {'control': {}, 'shared': {}}, (0,))", ["'shared'"]),
        (HEAD + "Sweep('b', {'control': {'seed': 1}}, (0,))", [r"variants\['control'\]", "seed"]),
        (HEAD + "Sweep('b', {'control': 3}, (0,))", [r"variants\['control'\] is 3"]),
        (HEAD + "Sweep('b', {'control': {}}, (0,), metrics=('psnr',))", ["'psnr'", "psnr_y"]),
        (HEAD + "Sweep('b', {'control': {}}, (0,), sets={'a,b': 'c'})", ["sets", "a,b"]),
        (HEAD + "Sweep('b', {'control': {}}, (0,), target_psnr=-1)", ["target_psnr=-1"]),
        (HEAD + "Sweep('b', {'control': {}, 'trial-1': {}}, (0,))", ["'trial-1'", "trial-"]),
        (HEAD + "Sweep('b', {'control': {}}, (0,), trials=2)", ["trials=2", "0 without"]),
        (HEAD + "Sweep('b', {'control': {}}, (0,), search={'w': (1, 2)})", ["trials=0"]),
        (HEAD + "Sweep('b', {'control': {}}, (0,), search={'w': (0, 2)}, trials=2)", [r"'w'\]"]),
        (HEAD + "Sweep('b', {'control': {}}, (0,), search={'w': (2, 1)}, trials=2)", ["lowest"]),
        (HEAD + "Sweep('b', {'control': {}}, (0,), search={'w': 3}, trials=2)", ["=3"]),
        (HEAD + "Sweep('b', {'control': {}}, (0,), search=['w'], trials=2)", ["search is"]),
    ],
)
def test_what_is_wrong_with_a_file_is_told_in_one_sentence(tmp_path, text, facts):
    path = written(tmp_path, text)
    for fact in facts:
        with pytest.raises(UserError, match=fact) as error:
            sweep.read(path)
        assert str(error.value).startswith(f"--sweep={path}")


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"--sweep=nowhere\.py: no such file"):
        sweep.read("nowhere.py")


def test_a_whole_sweep_passes():
    whole = Sweep("b", {"control": {}, "x-1.5_y+": {}}, [3], common={"seed": 1}, sets={"S": "a b"})
    sweep.check(whole, "here")
