import stat
import zipfile

import pytest

from kdgan_jax.runtime.errors import UserError
from kdgan_jax.workdir import archive

CHECKPOINT = "checkpoints/distill/8"


def packed(path, *names, sizes=1):
    """Writes a zip archive with files of those names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name in names:
            made.writestr(name, bytes(sizes))
    return path


def checkpoint(folder):
    return [f"{folder}/meta.json", f"{folder}/sha256.json", f"{folder}/items/ema/d"]


@pytest.mark.parametrize(
    ("names", "root", "place"),
    [
        (checkpoint(CHECKPOINT), "run", CHECKPOINT),
        (checkpoint(f"runs/kd/{CHECKPOINT}"), "kd", CHECKPOINT),
        (checkpoint("checkpoints/a/8") + checkpoint("checkpoints/b/9"), "run", "checkpoints/b/9"),
        (checkpoint("distill/8"), "distill", "8"),
        (checkpoint("8") + checkpoint("9"), "run", "9"),
        (checkpoint("kept"), "kept", ""),
        (checkpoint("."), "run", ""),
    ],
)
def test_a_run_is_found_at_any_depth(tmp_path, names, root, place):
    names = [name.removeprefix("./") for name in names]
    path = packed(tmp_path / "run.zip", "__MACOSX/x", *names)
    assert archive.is_run(path)
    run = archive.extract(path, tmp_path / "out")
    assert run == tmp_path / "out" / root
    assert (run / place / "items/ema/d").read_bytes() == b"\0"
    with archive.unpacked(path) as folder:
        assert (folder / place / "meta.json").is_file()
    assert not folder.exists()


def test_only_the_whole_run_has_what_is_no_checkpoint(tmp_path):
    path = packed(tmp_path / "run.zip", "labels/a", "metrics.jsonl", *checkpoint(CHECKPOINT))
    run = archive.extract(path, tmp_path / "out")
    assert (run / "labels/a").is_file()
    with archive.unpacked(path) as run:
        assert [p.name for p in run.iterdir()] == ["checkpoints"]


@pytest.mark.parametrize("name", ["a.pth", "folder", "nothing.zip", "one.zip"])
def test_other_files_are_no_run(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.pth").write_bytes(b"PK\x03\x04 damaged")
    packed(tmp_path / "one.zip", "archive/data.pkl", "meta.json")
    assert not archive.is_run(tmp_path / name)


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil"])
def test_paths_that_lead_out_are_refused(tmp_path, name):
    path = packed(tmp_path / "run.zip", *checkpoint(CHECKPOINT), name)
    with pytest.raises(UserError, match=r"run\.zip.*evil"), archive.unpacked(path):
        pass
    assert [p.name for p in tmp_path.rglob("*")] == ["run.zip"]


def test_links_are_not_followed(tmp_path):
    path = packed(tmp_path / "run.zip", *checkpoint(CHECKPOINT))
    with zipfile.ZipFile(path, "a") as made:
        link = zipfile.ZipInfo(f"{CHECKPOINT}/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(link, "/etc")
        made.writestr(f"{CHECKPOINT}/link2", "x")
    run = archive.extract(path, tmp_path / "out")
    assert not any(p.is_symlink() for p in run.rglob("*"))


def test_what_is_too_large_is_refused_before_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("kdgan_jax.runtime.limits.SLACK", 1000)
    path = packed(tmp_path / "run.zip", *checkpoint(CHECKPOINT), sizes=10**7)
    with pytest.raises(UserError, match=r"run\.zip.*30,000,000 bytes"):
        archive.extract(path, tmp_path / "out")
    path = packed(tmp_path / "run.zip", *checkpoint(CHECKPOINT))
    monkeypatch.setattr(archive, "MOST_ENTRIES", 2)
    with pytest.raises(UserError, match=r"run\.zip.* 3 files"):
        archive.extract(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_several_runs_are_named(tmp_path):
    path = packed(tmp_path / "a.zip", *checkpoint(f"x/{CHECKPOINT}"), *checkpoint("y/8"))
    with pytest.raises(UserError, match=r"a\.zip.* 2 runs .*x, y"):
        archive.extract(path, tmp_path / "out")


def test_damaged_archives_are_refused_in_a_sentence(tmp_path):
    path = packed(tmp_path / "run.zip", *checkpoint(CHECKPOINT), sizes=1000)
    whole = bytearray(path.read_bytes())
    path.write_bytes(whole[:-30])
    with pytest.raises(UserError, match=r"run\.zip"):
        archive.is_run(path)
    whole[60] ^= 255  # in the first file
    path.write_bytes(whole)
    with pytest.raises(UserError, match=r"run\.zip"):
        archive.extract(path, tmp_path / "out")
    for place in range(0, len(whole), 11):  # wherever it is
        changed = bytearray(whole)
        changed[place] ^= 0xA5
        path.write_bytes(changed)
        try:
            if archive.is_run(path):
                with archive.unpacked(path):
                    pass
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017
