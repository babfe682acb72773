import json

import pytest

from kdgan_jax import models, zoo
from kdgan_jax.inference import catalogue


def test_tables_are_printed(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(models, "GENERATORS", {"srcnn": models.GENERATORS["srcnn"]})
    assert zoo.main([str(tmp_path)]) == 0
    architectures, files = catalogue.architectures(), catalogue.published_files({})
    tables = f"{catalogue.markdown(architectures)}\n\n{catalogue.markdown(files)}\n"
    assert capsys.readouterr().out == tables
    (tmp_path / "results.json").write_text(json.dumps({"rows": []}))
    assert zoo.main(["--results", str(tmp_path), "--seconds"]) == 0
    assert "| seconds per frame |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["--seconds"], ["--seconds", "--results"]),
        (["--results", "no"], ["no/results.json: "]),
        (["no"], ["no: no such folder"]),
    ],
)
def test_wrong_arguments_are_one_line(capsys, arguments, facts):
    with pytest.raises(SystemExit) as left:
        zoo.main(arguments)
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(fact in line for fact in facts)
