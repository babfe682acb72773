import json

import pytest
from evaluation.tiny import model

from kdgan_jax import models, zoo
from kdgan_jax.formats import native
from kdgan_jax.inference import catalogue

# Of the models of the package, and one more; costs of all would take time.
FEW = "srcnn", "compact", "kdgan_student"


def test_models_of_the_package_come_first_then_files_then_what_could_be_fetched(
    capsys, monkeypatch, tmp_path
):
    monkeypatch.setattr(models, "GENERATORS", {k: models.GENERATORS[k] for k in FEW})
    native.save(tmp_path / "mine.safetensors", model())
    (tmp_path / "page.pth").write_text("<html>")
    assert zoo.main([str(tmp_path)]) == 0
    found = catalogue.files(catalogue.candidates([tmp_path]))
    tables = [catalogue.shipped(), found.models, found.others, catalogue.to_fetch([])]
    rest = capsys.readouterr().out
    for table in (*tables, catalogue.architectures()):
        before, text, rest = rest.partition(f"{catalogue.markdown(table)}\n")
        assert text
        assert before.strip()  # a title
        assert "|" not in before
    assert not rest.strip()


def test_no_folder_or_one_without_files_has_no_tables(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(models, "GENERATORS", {k: models.GENERATORS[k] for k in FEW})
    assert zoo.main([]) == 0
    assert zoo.main([str(tmp_path)]) == 0
    plain, _, named = capsys.readouterr().out.rpartition("With the package:")
    assert f"In {tmp_path}: no file of weights" in named
    assert "| file |" not in plain + named


def test_results_are_printed_instead(capsys, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"rows": []}))
    assert zoo.main(["--results", str(tmp_path), "--seconds"]) == 0
    (titles, _) = capsys.readouterr().out.splitlines()
    assert "| seconds per frame |" in titles


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
