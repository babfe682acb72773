import logging
import os
from pathlib import Path

import pytest
from PIL import Image

from kdgan_jax.runtime.errors import UserError
from kdgan_jax.upscaling.gathering import gather


@pytest.fixture
def save(tmp_path):
    def save(name, form="PNG"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, form)
        return path

    return save


def found(sources):
    return [str(source.below) for source in sources]


def test_a_folder_gives_what_is_read_when_named_alone_and_counts_the_rest(tmp_path, save, caplog):
    caplog.set_level(logging.INFO, "kdgan_jax")
    pictures = {"a.jfif": "JPEG", "b.APNG": "PNG", "scan 3.5": "WEBP", "sub/noname": "TIFF"}
    for name, form in pictures.items():
        save(f"p/{name}", form)
        assert found(gather([str(tmp_path / "p" / name)], None)) == [Path(name).name]
    for name in ("notes.txt", "more.TXT", "README", "BMW.md", "damaged.png"):
        (tmp_path / "p" / name).write_text("BM, as bitmaps begin")
    (tmp_path / "p/empty.xyz").touch()
    (tmp_path / "p/gone.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "p/pipe.png")
    sources = gather([str(tmp_path / "p")], tmp_path / "out")
    assert found(sources) == sorted([*pictures, "damaged.png"])  # which is named when it is read
    (line,) = caplog.messages
    assert line.startswith(f"{tmp_path}/p: ")
    for fact in ("2 .txt", "1 .xyz", "1 .md", "1 without a suffix", "1 broken link", "1 pipe"):
        assert fact in line


def test_hidden_folders_and_copies_of_tools_are_passed_over(tmp_path, save, caplog):
    caplog.set_level(logging.INFO, "kdgan_jax")
    for name in (".thumbnails/t.png", "@eaDir/a.jpg/T.png", "__MACOSX/m.png", ".h.png", "a.png"):
        save(f"p/{name}")
    assert found(gather([str(tmp_path / "p")], None)) == ["a.png"]
    assert found(gather([str(tmp_path / "p/.thumbnails")], None)) == ["t.png"]  # named itself
    assert caplog.messages == []


@pytest.mark.parametrize("how", ["plain", "dots", "link", "relative"])
def test_nothing_in_the_folder_for_results_is_a_source(tmp_path, save, monkeypatch, how):
    save("p/a.png"), save("p/big/a.png"), save("p/big/deep/b.png")
    out = tmp_path / "p/big"
    if how == "dots":
        out = tmp_path / "p/none/../big"
        (tmp_path / "p/none").mkdir()
    elif how == "link":
        out = tmp_path / "link"
        out.symlink_to(tmp_path / "p/big")
    elif how == "relative":
        monkeypatch.chdir(tmp_path / "p")
        out = Path("big")
    (tmp_path / "p/result.png").symlink_to(tmp_path / "p/big/a.png")
    assert found(gather([str(tmp_path / "p")], out)) == ["a.png"]
    for inside in (tmp_path / "p/big", tmp_path / "p/big/deep"):
        with pytest.raises(UserError, match=f"{inside}: .*{out}"):
            gather([str(inside)], out)


def test_files_with_the_name_of_results_are_no_sources_in_their_folder(tmp_path, save, caplog):
    caplog.set_level(logging.INFO, "kdgan_jax")
    names = [str(save(f"p/{name}.png")) for name in ("a", "a_x4", "b_x4")]
    assert found(gather(names, tmp_path / "p", "x4")) == ["a.png"]
    assert "2 files" in caplog.text
    assert found(gather(names, tmp_path / "out", "x4")) == ["a.png", "a_x4.png", "b_x4.png"]
    assert found(gather(names, tmp_path / "p", "")) == ["a.png", "a_x4.png", "b_x4.png"]
    with pytest.raises(UserError, match=r"a_x4\.png"):
        gather(names[1:], tmp_path / "p", "x4")


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("", ["empty"]),
        ("HERE/phot.png", ["HERE/phot.png: no such file or folder", "'photo.png'"]),
        ("HERE/none/a.png", ["HERE/none/a.png: no such file or folder"]),
        ("HERE/texts", ["HERE/texts: holds no picture"]),
        ("HERE/photo.png/below", ["HERE/photo.png/below: no such file or folder"]),
    ],
)
def test_what_is_no_input_is_named(tmp_path, save, name, facts):
    save("photo.png")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("a")
    with pytest.raises(UserError) as refused:
        gather([str(tmp_path / "photo.png"), name.replace("HERE", str(tmp_path))], None)
    for fact in facts:
        assert fact.replace("HERE", str(tmp_path)) in str(refused.value)
