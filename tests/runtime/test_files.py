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
