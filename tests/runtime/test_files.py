import os
import subprocess
import sys

import pytest

from kdgan_jax.runtime import files

NAMES = "café 日本 \udce9.png"  # the last letter is a byte that is no UTF-8


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_text_is_utf8_in_any_locale_and_names_that_are_none_are_escaped(tmp_path, locale):
    program = f"""
import sys
from kdgan_jax.runtime import console, files
console.setup()
files.write_text("names.md", {NAMES!a})
files.write_json("names.json", {{"name": {NAMES!a}}})
assert files.read_json("names.json") == {{"name": {NAMES!a}}}
assert files.read_text("names.md") == {NAMES!a}.replace({NAMES[-5]!a}, "\\\\udce9")
print({NAMES!a})
print({NAMES!a}, file=sys.stderr)
console.log.info("%s", {NAMES!a})
"""
    environment = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=os.environ | environment, check=True
    )
    assert (tmp_path / "names.md").read_text("utf-8") == "café 日本 \\udce9.png"
    assert files.read_json(tmp_path / "names.json") == {"name": NAMES}


def test_names_of_any_length_are_written_and_temporary_names_have_the_process_in_them(tmp_path):
    for name in "x" * 255, "写" * 85, ".a.part":
        with files.replacing(tmp_path / name) as temporary:
            temporary.write_text(name)
            assert [p.name for p in tmp_path.iterdir()] == [temporary.name]
            assert f"-{os.getpid()}-" in temporary.name
            assert temporary.name.startswith(".")
            assert temporary.suffix == ".part"
            assert len(os.fsencode(temporary.name)) < 60
        assert (tmp_path / name).read_text() == name
        (tmp_path / name).unlink()


def test_two_at_once_on_one_file_do_not_share_a_temporary_one(tmp_path):
    with files.replacing(tmp_path / "a") as first, files.replacing(tmp_path / "a") as second:
        first.write_text("first")
        second.write_text("second")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "first"  # which ended last


def test_what_a_killed_process_left_is_removed_and_what_others_write_is_not(tmp_path):
    program = """
import os, signal, sys
from kdgan_jax.runtime import files
with files.replacing("a.json") as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path)
    (left,) = tmp_path.iterdir()
    with files.replacing(tmp_path / "b") as running:
        running.touch()
        assert list(tmp_path.iterdir()) == [running]
        child = "from kdgan_jax.runtime import files; files.write_text('c', '')"
        subprocess.run([sys.executable, "-c", child], cwd=tmp_path, check=True)
        assert running.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "c"]
    elsewhere = left.name.replace(left.name.split("-")[1], "0123ab")  # another machine's
    for name in elsewhere, ".kdgan-notes.part", ".b.part":
        (tmp_path / name).touch()
    subprocess.run([sys.executable, "-c", child], cwd=tmp_path, check=True)
    assert len(list(tmp_path.iterdir())) == 5


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(OSError, match="full"), files.replacing(tmp_path / "a") as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise OSError("full")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_processes_run_or_do_not():
    assert files.is_running(os.getpid())
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not files.is_running(process.pid)
    assert not files.is_running(10**30)
