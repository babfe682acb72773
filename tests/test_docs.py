"""The papers: links lead somewhere, commands parse, examples run, and what they name exists."""

import argparse
import importlib
import itertools
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
from absl import flags
from absl.testing import flagsaver
from conftest import ROOT
from forests import small_forest
from PIL import Image
from test_layout import SUBPACKAGES

from kdgan_jax import losses
from kdgan_jax.baselines import forest_settings, random_forest
from kdgan_jax.config import command, spec
from kdgan_jax.pictures import bicubic
from kdgan_jax.train import checks

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
DRAWINGS = ROOT / "launch/reproduce/drawings.py"
EXAMPLE = "configs/mine.py"  # a file of docs/architecture.md, which test_architecture.py runs
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# Commands with a config: the flag of where to write, default arguments, the check of the config.
CONFIGURED = {
    "kdgan_jax.main": ("workdir", [], checks.checked),
    "kdgan_jax.forest": ("workdir", ["--workdir=runs/forest"], forest_settings.checked),
    "kdgan_jax.prepare": ("out", [], checks.checked),
    "kdgan_jax.label": ("out", [], checks.checked),
    "launch.benchmarks.scaling": (
        "out",
        ["--config=configs/kd.py:scratch", "--out=out"],
        checks.checked,
    ),
}


def prose(page):
    return FENCE.sub("", page.read_text())


def blocks(page, *languages):
    return [text for language, text in FENCE.findall(page.read_text()) if language in languages]


def spans(page):
    return re.findall(r"`([^`\n]+)`", prose(page))


def stop(parsed):
    raise InterruptedError


def commands(page, inline=True):
    """Yields (module, arguments) of the commands on a page, and of configs and options alone."""
    lines = "\n".join(blocks(page, "", "sh")).replace("\\\n", " ").splitlines()
    for span in spans(page) if inline else ():
        if re.match(r"(python -m|kdgan) .*-", span) and "NAME" not in span and "..." not in span:
            lines.append(span)
        if re.match(r"configs/(?!forest)\w*[a-z]\.py", span):
            lines.append(f"kdgan main --workdir=runs/kd --config={span}")
        if span.startswith("--config.") and not span.endswith("="):
            lines.append(f"kdgan main --workdir=runs/kd --config=configs/kd.py:full {span}")
    for text in "&&".join(lines).split("&&"):
        yield from split(shlex.split(text, comments=True))


def split(words):
    """Yields (module, arguments) of a command line, and of the command that it starts."""
    if "--" in words:
        yield from split(words[words.index("--") + 1 :])
    if words[:1] == ["sbatch"]:
        yield "kdgan_jax.main", words[words.index("launch/slurm.sbatch") + 1 :]
    elif words[:1] == ["kdgan"] and words[1:]:
        yield f"kdgan_jax.{words[1]}", words[2:]
    elif words[:2] == ["python", "-m"]:
        yield words[2], words[3:]


COMMANDS = [(page.name, *found) for page in PAGES for found in commands(page)]


@pytest.mark.parametrize(("page", "module", "words"), COMMANDS, ids=lambda value: str(value)[:60])
def test_commands_are_right(page, module, words, monkeypatch):
    if EXAMPLE in "".join(words):
        pytest.skip("test_architecture.py runs it")
    program = importlib.import_module(module)
    flag, defaults, check = CONFIGURED.get(module, ("", [], None))
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [module, *defaults, *words])
    parse, configs = argparse.ArgumentParser.parse_args, []
    if not check:  # the parser that `main` makes parses, and nothing else is run
        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", lambda *args: stop(parse(*args)))
        with pytest.raises(InterruptedError):
            program.main()
        return
    monkeypatch.setattr(command.app, "run", lambda main, flags_parser: main(flags_parser(sys.argv)))
    with flagsaver.flagsaver():
        command.start(lambda config, _: configs.append(config), (), flag=flag)
        defined = flags.FLAGS.flags_by_module_dict()
    allowed = {f.name for name in (module, "kdgan_jax.main") for f in defined.get(name, ())}
    names = {word[2:].partition("=")[0] for word in words}
    assert {name for name in names if not name.startswith("config")} <= allowed | {flag}
    config = configs[0]
    config.data.source = config.data.source or "photos"
    if "students.py" in "".join(words):  # the reader's own teacher
        config.teacher.checkpoint = config.teacher.checkpoint or "clean_x4"
    check(config)


LISTED = "PHOTOS", "PICTURES", "FOLDER"  # folders that stand for the reader's own
SETS = "Set5", "Set14", "BSD100", "Urban100"


@pytest.fixture(scope="module")
def desk(tmp_path_factory, smoke_run, photo, shared):
    """A folder with all that the pages' commands name, as small as it may be."""
    folder = tmp_path_factory.mktemp("desk")
    for name in "photos", "scans", "folder", "HR", "LR", *SETS, *LISTED:
        (folder / name).mkdir()
    for i in range(12):
        Image.fromarray(photo[10 * i :][:160, :192]).save(folder / f"PHOTOS/{i}.png")
    for i in range(5):
        Image.fromarray(photo[40 * i :][:40, :60]).save(folder / f"PICTURES/{i}.png")
    subprocess.run([sys.executable, DRAWINGS, folder / "drawings", "5"], check=True)
    for name in "photo.png", "folder/b.png":
        Image.fromarray(photo[:128, :160]).save(folder / name)
    for name, letter in zip(SETS, "cefg", strict=True):
        Image.fromarray(photo[160:300, 150:300]).save(folder / name / f"{letter}.png")
    Image.fromarray(photo[20:160, 40:200]).save(folder / "photos/a.png")
    Image.fromarray(photo[-192:, -192:]).save(folder / "HR/d.png")
    Image.fromarray(bicubic.downscale(photo[-192:, -192:], 4)).save(folder / "LR/d.png")
    Image.fromarray(photo[:60, 300:400]).save(folder / "scans/s.png")
    shutil.copytree(smoke_run, folder / "runs/scratch")
    for name in "kd", "own", "photo", "clean_gan":  # students of that size without a teacher
        distilled = "checkpoints/distill"
        shutil.copytree(smoke_run / distilled, folder / "runs" / name / distilled)
    (folder / "runs/forest").mkdir()
    small_forest(4).save(folder / "runs/forest" / random_forest.FILE)
    for name in "imdn_x4.pth", "vdsr.pth":
        (folder / name).symlink_to(shared / "weights" / name)
    for name in "realesr-animevideov3-x4.param", "realesr-animevideov3-x4.bin":
        (folder / name).symlink_to(shared / "real_world" / name)
    for name in "configs", "kdgan_jax", "launch":
        (folder / name).symlink_to(ROOT / name)
    return folder


SLOW = {*CONFIGURED, "kdgan_jax.zoo"}


def smallest(word):
    """Returns an argument with the smallest variant of the config that it names, which is short."""
    word = word.replace("warmup_steps=50", "warmup_steps=1")
    word = re.sub(r"\.steps=\d+$", ".steps=4", word)
    word = re.sub(r"config\.minutes=\d+$", "config.minutes=0", word)
    word = re.sub(r"(configs/(kd|forest|teacher|photo_soft|clean_gan)\.py)$", r"\1:smoke", word)
    word = re.sub(r"(configs/own\.py)(:drawings)?$", r"\1:smoke", word)
    return re.sub(r"(configs/(phases\.py:\w+|kd\.py:scratch))$", r"\1,smoke", word)


def runs(page, module, words):
    """Returns whether a command is one that this machine can run, at reduced size."""
    large = {":full", "launch/", "DATA", "NUM", "--distributed", "tfds", EXAMPLE, "/debug/"}
    started = module.startswith("kdgan_jax.") and page != "CONTRIBUTING.md"
    return started and "--help" not in words and not any(w in " ".join(words) for w in large)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        pytest.param(module, words, marks=[pytest.mark.long] * (module in SLOW))
        for page in PAGES
        for module, words in commands(page, inline=False)
        if runs(page.name, module, words)
    ],
    ids=lambda value: str(value)[:60],
)
def test_commands_run_at_reduced_size(module, words, desk, monkeypatch):
    monkeypatch.chdir(desk)
    words = [smallest(word) for word in words]
    if module in CONFIGURED:
        command_line = [sys.executable, "-m", module, *words]
        result = subprocess.run(command_line, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
    else:
        assert importlib.import_module(module).main(words) in (0, None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_names_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert "://" in link or target.exists(), link
        if anchor:  # as GitHub makes them of headings
            titles = re.findall(r"^#+ (.*)$", prose(target).lower(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", t).replace(" ", "-") for t in titles}, link
    code = "".join(path.read_text() for path in ROOT.glob("[kl]*/**/*.py"))  # package and launch
    words = {word for span in spans(page) for word in span.split() if "NAME" not in word}
    for word in words - {EXAMPLE}:
        path = word.partition(":")[0]
        if re.match(r"(\.ci|configs|docs|kdgan_jax|launch|tests)/|[a-z_]+/.*\.py$", path):
            assert (ROOT / path).exists() or (ROOT / "kdgan_jax" / path).exists(), word
        if option := re.match(r"--(\w+)", word):
            assert re.search(rf'"(--)?{option[1]}"', code) or option[1] == "help", word
        if field := re.match(r"(?:--)?config\.([\w.]+)", word):
            assert all(re.search(rf"\b{name}\b", code) for name in field[1].split(".")), word


EXAMPLES = [p for p in PAGES if blocks(p, "python") and p.name != "architecture.md"]


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.name)
def test_python_examples_run_in_order_and_print_what_is_shown(
    page, tmp_path, monkeypatch, photo, capsys
):
    # test_architecture.py runs those of its own page.
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo[:40, :48]).save("photo.png")
    names = {}
    found = [*FENCE.findall(page.read_text()), ("", "")]
    for (language, text), (next_language, shown) in itertools.pairwise(found):
        if language != "python":
            continue
        capsys.readouterr()
        if file := re.match(r"# (\w+\.py)\n", text):  # a program of its own
            (tmp_path / file[1]).write_text(text)
            command = [sys.executable, file[1]]
            printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        else:
            exec(compile(text, str(page), "exec"), names)
            printed = capsys.readouterr().out
        assert printed == (shown if next_language == "text" else "")
    if "large.png" in page.read_text():
        assert Image.open("large.png").size == (192, 160)


def test_pages_agree_with_the_code():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
    found = re.findall(
        r"^\| \[`(\w+)`\]", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE
    )
    assert found == list(SUBPACKAGES)
    for table in losses.TERMS, losses.REGULARIZERS, losses.SCHEDULES:
        named = [s for s in spans(ROOT / "docs/losses.md") if s.partition(":")[0] in table]
        built = [type(spec.build(table, *spec.parse(span, span), span)) for span in named]
        assert set(built) == set(table.values())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version} - " in (ROOT / "CHANGELOG.md").read_text()
