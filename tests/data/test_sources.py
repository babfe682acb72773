import logging
import os

import numpy as np
import pytest
from PIL import Image

from kdgan_jax.config.settings import DataConfig
from kdgan_jax.data import embedded, photos, sources
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError


def gather(source, holdout=1, patch=32, **changes):
    return sources.gather(DataConfig(str(source), holdout, **changes), 4, patch)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def names(found):
    return [p.name for p in found]


@pytest.fixture(scope="module")
def small(photo):
    """A photo of 63x50, whose sides are not multiples of the scale."""
    return photo[:50, :63]


@pytest.fixture
def ten(tmp_path, photo):
    """A folder of ten photos of 64x64, named 0.png to 9.png."""
    for i in range(10):
        save(tmp_path / "ten" / f"{i}.png", photo[8 * i : 8 * i + 64, :64])
    return tmp_path / "ten"


# The embedded photos.


def test_embedded_photos_are_split_without_a_scene_on_both_sides():
    train, holdout = gather("embedded", patch=96)
    assert len(train) == len(embedded.TRAIN)
    assert len(holdout) == len(embedded.HOLDOUT)
    assert all(p.hr.is_file() for p in train + holdout)
    assert not {p.hr for p in train} & {p.hr for p in holdout}
    assert sum("motorcycle" in p.name for p in train) == 2


def test_embedded_without_the_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"data\.source='embedded'.*scikit-learn.*pip install"):
        sources.installed(["sklearn/photo.png"], 4)


# Folders.


def test_folder_is_searched_at_any_depth_without_hidden_files(tmp_path, small):
    for name in ("a.png", "a.bmp", "b.png", "one/two/c.JPG"):
        save(tmp_path / name, small)
    (tmp_path / "one/notes.txt").write_text("no image")
    (tmp_path / "._d.png").write_bytes(b"a macOS resource fork")
    found, unusable = sources.folder(tmp_path, 4)
    assert names(found) == ["a.bmp", "a.png", "b", "one/two/c"]  # a suffix tells files apart
    assert unusable == []


@pytest.mark.parametrize("lr_name", ["sub/ax4.png", "sub/a.png"])
def test_pairs_take_lr_from_the_file_of_the_same_name(tmp_path, small, lr_name):
    lr = np.full((12, 15, 3), 7, np.uint8)  # bicubic gives something else
    save(tmp_path / "HR/sub/a.png", small)
    save(tmp_path / "LRx4" / lr_name, lr)
    found, unusable = sources.folder(tmp_path, 4)
    assert (names(found), unusable) == (["sub/a"], [])
    np.testing.assert_array_equal(photos.load_pair(found[0], 4)[1], lr)


def test_pairs_without_lr_or_with_lr_of_another_size_are_named(tmp_path, small):
    for name in "abc":
        save(tmp_path / f"HR/{name}.png", small)
    save(tmp_path / "LRx4/ax4.png", bicubic.downscale(small, 4))
    save(tmp_path / "LRx4/cx4.png", small[:25, :31])
    found, (lacking, wrong) = sources.folder(tmp_path, 4)
    assert names(found) == ["a"]
    for fact in (str(tmp_path / "HR/b.png"), "bx4.png"):
        assert fact in lacking
    for fact in (str(tmp_path / "LRx4/cx4.png"), "31x25", "63x50"):
        assert fact in wrong


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}/nowhere: no such folder"):
        gather(tmp_path / "nowhere")
    with pytest.raises(UserError, match=f"{tmp_path}: .*no image"):
        gather(tmp_path)


def test_folders_separated_by_commas_are_joined_and_each_file_taken_once(tmp_path, small):
    for i in range(6):
        save(tmp_path / "abc"[i // 2] / f"{i}.png", small)
    train, holdout = gather(f"{tmp_path}/a, {tmp_path}/b,{tmp_path}/c,{tmp_path}/c/../a")
    assert sorted(names(train + holdout)) == list("012345")


def test_hidden_folders_and_those_of_tools_are_passed_over_below_the_named_one(tmp_path, small):
    root = tmp_path / ".hidden/photos"
    tools = ".ipynb_checkpoints", "@eaDir", "__MACOSX", "#recycle", ".git/deep"
    for place in ("", "one/", *(f"{tool}/" for tool in tools), *(f"one/{tool}/" for tool in tools)):
        save(root / f"{place}a.png", small)
    assert names(sources.folder(root, 4)[0]) == ["a", "one/a"]
    assert names(sources.folder(root / "@eaDir", 4)[0]) == ["a"]


def test_links_are_followed_once(tmp_path, small):
    save(tmp_path / "real/a.png", small)
    save(tmp_path / "set/b.png", small)
    (tmp_path / "set/c").symlink_to(tmp_path / "real")
    (tmp_path / "set/up").symlink_to(tmp_path / "set")
    (tmp_path / "set/d.png").symlink_to("b.png")
    assert names(sources.folder(tmp_path / "set", 4)[0]) == ["b", "c/a", "d"]
    assert names(sources.of_source(str(tmp_path / "set"), 4)[0]) == ["d", "c/a"]
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs/HR").symlink_to(tmp_path / "set")
    assert names(sources.folder(tmp_path / "pairs", 4)[0]) == ["b", "c/a", "d"]


def test_files_patterns_and_the_home_folder_are_entries(tmp_path, small, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("p/a.png", "p/b.jpg", "p/q/c.png", "p/[d].png"):
        save(tmp_path / name, small)
    (tmp_path / "notes.zip").write_text("no image")
    given = {
        "~/p": ["[d]", "a", "b", "q/c"],
        "lr:~/p/q": ["c"],
        "p/a.png": ["a"],
        "p/[d].png": ["[d]"],
        "p/*.png": ["[d]", "a"],
        "hr:p/?.*": ["a", "b"],
        "p/**/*.png, p/b.jpg": ["[d]", "a", "q/c", "b"],
        "*/q": ["p/q/c"],
    }
    for source, expected in given.items():
        assert names(sources.of_source(source, 4)[0]) == expected
    wrong = {"p/*.gif": "p/*.gif", "notes.zip": "unpack", "pair:p": "'pairs'", "p/no.png": "no.png"}
    for source, fact in wrong.items():
        with pytest.raises(UserError) as caught:
            sources.of_source(source, 4)
        assert fact in str(caught.value)


def test_a_path_that_exists_is_one_entry_with_its_commas(tmp_path, small, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in ("a, b,c", "a", "d", "e,f"):
        save(tmp_path / place / "x.png", small)
    given = {
        "a, b,c": ["a, b,c"],
        "a,d": ["a", "d"],
        "d,lr:a, b,c ,a,embedded": ["d", "lr:a, b,c", "a", "embedded"],
        "hr:e,f/*.png,d": ["hr:e,f/*.png", "d"],
        "pairs:d:e,f,no, such": ["pairs:d:e,f", "no", "such"],
    }
    for source, expected in given.items():
        assert sources.entries(source) == expected


def test_names_that_are_not_utf8_are_escaped(tmp_path, small):
    save(tmp_path / "a.png", small)
    os.rename(tmp_path / "a.png", os.fsencode(tmp_path) + b"/caf\xe9.png")
    (found,), _ = sources.folder(tmp_path, 4)
    assert found.name == r"caf\xe9"
    assert photos.load_pair(found, 4)[0].shape == (48, 60, 3)


# What the log says of an entry.


def test_the_log_says_what_is_taken_from_each_entry(tmp_path, photo, caplog):
    caplog.set_level(logging.INFO, "kdgan_jax")
    for i in range(6):
        hr = photo[8 * i : 8 * i + 64, :64]
        for place in ("both/HR", "own", "both"):
            save(tmp_path / place / f"{place[0]}{i}.png", hr)
        for place in ("both/LRx4", "lr"):
            save(tmp_path / place / f"b{i}.png", bicubic.downscale(hr, 4))
    save(tmp_path / "both/LRx4/more.png", hr)
    (tmp_path / "own/o5.png").write_bytes(b"no image at all")
    source = ",".join(f"{tmp_path}/{place}" for place in ("both", "own"))
    gather(f"{source},lr:{tmp_path}/lr,embedded", degradation="none,light")
    gather(f"hr:{tmp_path}/both")
    lines = {text.split(": ")[0]: text for text in caplog.messages if " photos, LR " in text}
    facts = {
        f"{tmp_path}/both": ["6 photos, LR given for all", "both/LRx4;", "light", "7 other images"],
        f"{tmp_path}/own": ["5 photos, LR made by MATLAB's bicubic"],
        f"lr:{tmp_path}/lr": ["6 photos, LR without HR", f"from {tmp_path}/lr"],
        f"hr:{tmp_path}/both": ["LR made", f"{tmp_path}/both/LRx4 is not used; pairs:"],
        "embedded": ["12 photos, LR made"],
    }
    assert lines.keys() == facts.keys()
    for entry, of_entry in facts.items():
        for fact in of_entry:
            assert fact in lines[entry]


# Sources of several entries.


def test_entries_of_all_kinds_are_joined_and_counted(ten, photo):
    for i in range(5):
        save(ten.parent / f"hr/h{i}.png", photo[30 * i : 30 * i + 64, :96])
    found = gather(f"embedded,lr:{ten}, {ten.parent}/hr", holdout=3)
    assert {(p.entry, p.hr is None) for p in found.train} == {(0, False), (1, True), (2, False)}
    assert {p.name for p in found.holdout} >= {"camera", "coffee", "china"}
    assert [p.entry for p in found.holdout] == [0, 0, 0, 1, 1, 2]
    alone = gather("embedded")
    assert [p for p in found.train if p.entry == 0] == alone.train
    assert [p for p in found.holdout if p.entry == 0] == alone.holdout


def test_an_entry_that_is_missing_or_has_a_weight_and_no_photos_is_named(ten):
    for source in (f"{ten},", "", ",embedded"):
        with pytest.raises(UserError, match=r"config\.data\.source='.*comma"):
            gather(source)
    gather(f"embedded,{ten}", weights=(1, 2.5))
    with pytest.raises(UserError, match=r"weights=\(1, 2\.5\).* 2 of embedded,.*/ten "):
        gather(f"embedded,{ten}", patch=96, weights=(1, 2.5), max_bad_fraction=1.0)


# Unusable files.


def test_broken_and_small_files_are_named_skipped_and_counted(ten, photo, caplog):
    (ten / "3.png").write_bytes(b"no image at all")
    save(ten / "4.png", photo[:31, :64])
    save(ten / "5.png", photo[:32, :32])  # just large enough
    train, holdout = gather(ten)
    assert sorted(names(train + holdout)) == list("01256789")
    assert f"{ten}/3.png" in caplog.text
    assert f"{ten}/4.png: 64x28" in caplog.text
    assert "patch 32" in caplog.text
    assert f"2 of 10 files of {ten}" in caplog.text


def test_too_many_broken_files_stop_the_run(ten):
    for i in range(3):
        (ten / f"{i}.png").write_bytes(b"no image at all")
    with pytest.raises(UserError, match=r"0\.png.*3 of 10 files.*max_bad_fraction=0\.2"):
        gather(ten)


def test_photos_all_smaller_than_the_patch_stop_the_run(ten):
    with pytest.raises(UserError, match="64x64 is smaller than the HR patch 96"):
        gather(ten, patch=96)
    with pytest.raises(UserError, match=r"astronaut\.png: .* smaller than the HR patch 5000"):
        gather("embedded", patch=5000)


# Held-out photos.


def test_a_photo_stays_on_its_side_when_others_come_or_the_patch_changes(ten, photo):
    train, holdout = gather(ten, holdout=2)
    assert len(holdout) == 2
    assert sorted(names(train + holdout)) == list("0123456789")
    assert gather(ten, holdout=2, patch=64).holdout == holdout
    for i in range(10, 20):
        save(ten / f"{i}.png", photo[:64, :64])
    train, _ = gather(ten, holdout=8)
    assert not set(names(holdout)) & set(names(train))


def test_at_least_one_and_at_most_a_fifth_are_held_out(ten, caplog):
    caplog.set_level(logging.INFO, "kdgan_jax")
    with pytest.raises(UserError, match=r"config\.data\.holdout=0 "):
        gather(ten, holdout=0)
    gather(ten, holdout=2)
    assert "held out" not in caplog.text
    few = gather(ten, holdout=8)
    assert "held out 2 of 10 photos; config.data.holdout=8" in caplog.text
    assert few == gather(ten, holdout=2)
    for i in range(5):
        (ten / f"{i}.png").unlink()
    assert [len(side) for side in gather(ten, holdout=8)] == [4, 1]


# Fewer than five photos, of which parts are held out.


@pytest.mark.parametrize(
    ("size", "patch", "train", "held_out"),
    [
        ((64, 320), 64, (0, 0, 64, 128), (0, 256, 64, 64)),  # the gap is 32 LR pixels
        ((323, 66), 64, (0, 0, 128, 64), (256, 0, 64, 64)),
        ((200, 200), 40, (0, 0, 40, 200), (160, 0, 40, 200)),  # 30, which is all there is
        ((96, 98), 16, (0, 0, 16, 96), (80, 0, 16, 96)),  # 16, the least
    ],
)
def test_the_last_fifth_of_few_photos_is_held_out(
    tmp_path, photo, caplog, size, patch, train, held_out
):
    caplog.set_level(logging.INFO, "kdgan_jax")
    hr = np.resize(photo, (*size, 3))
    lr = hr[: size[0] // 4, : size[1] // 4]
    save(tmp_path / "hr/a.png", hr)
    save(tmp_path / "lr/b.png", lr)
    split = gather(f"{tmp_path}/hr,lr:{tmp_path}/lr", patch=patch)
    assert "2 of 2 are divided" in caplog.text
    for (of_hr, of_lr), box in zip(split, (train, held_out), strict=True):
        assert of_hr.part == of_lr.part == box
        top, left, height, width = box
        images = photos.load(of_hr, 4)
        np.testing.assert_array_equal(images["hr"], hr[top : top + height, left : left + width])
        np.testing.assert_array_equal(images["lr"], bicubic.downscale(images["hr"], 4))
        top, left, height, width = (side // 4 for side in box)
        expected = lr[top : top + height, left : left + width]
        np.testing.assert_array_equal(photos.load(of_lr, 4)["lr"], expected)


def test_photos_too_small_to_be_divided_serve_training_only(tmp_path, photo, caplog):
    caplog.set_level(logging.INFO, "kdgan_jax")
    save(tmp_path / "small/b.png", photo[:64, :200])
    with pytest.raises(UserError, match=r"small: .* 5 photos \(1\).* 80x16 LR pixels.*lr_patch"):
        gather(tmp_path / "small", patch=64)
    assert [len(side) for side in gather(f"embedded,{tmp_path}/small", patch=64)] == [10, 3]
    save(tmp_path / "large/a.png", photo[:64, :320])
    train, holdout = gather(f"{tmp_path}/small,{tmp_path}/large", patch=64)
    assert [(p.name, p.part is None) for p in train] == [("a", False), ("b", True)]
    assert names(holdout) == ["a"]
    assert "too small for that: b" in caplog.text


def test_a_file_that_is_hr_and_lr_is_divided_in_both_roles_or_in_none(tmp_path, photo):
    save(tmp_path / "a.png", photo[:96, :96])
    split = gather(f"hr:{tmp_path},lr:{tmp_path}", patch=16)
    assert [[p.part.height for p in side] for side in split] == [[16, 180], [16, 76]]
    save(tmp_path / "a.png", photo[:92, :92])  # as LR it could be divided
    with pytest.raises(UserError, match="24x4 LR pixels"):
        gather(f"hr:{tmp_path},lr:{tmp_path}", patch=16)


# TensorFlow Datasets.


@pytest.fixture
def tfds_examples(monkeypatch):
    """A list of the examples that `tfds.load` gives; the test fills it."""
    tensorflow_datasets = pytest.importorskip("tensorflow_datasets")
    examples: list = []
    monkeypatch.setattr(tensorflow_datasets, "load", lambda name, split: examples)
    monkeypatch.setattr(tensorflow_datasets, "as_numpy", lambda dataset: dataset)
    return examples


def test_tfds_photos_come_from_the_data_set():
    testing = pytest.importorskip("tensorflow_datasets").testing
    with testing.mock_data(num_examples=5):
        train, holdout = gather("tfds:div2k/bicubic_x4", patch=8)
    found = train + holdout
    assert sorted(names(found)) == [f"div2k/bicubic_x4/{i}" for i in range(5)]
    for p in found:
        hr, lr = photos.load_pair(p, 4)
        assert hr.shape[:2] == p.size == (4 * lr.shape[0], 4 * lr.shape[1])


def test_tfds_lr_is_used_only_at_the_scale_of_the_run(tfds_examples, small):
    lr = np.full((12, 15, 3), 7, np.uint8)
    tfds_examples += [{"hr": small, "lr": lr}, {"hr": small, "lr": lr[:5]}, *[{"hr": small}] * 3]
    bicubic_lr = bicubic.downscale(small, 4)
    train, holdout = gather("embedded,tfds:div2k")
    train, holdout = ([p for p in side if p.entry == 1] for side in (train, holdout))
    assert (len(train), len(holdout)) == (4, 1)
    for p in train + holdout:
        expected = lr if p.name == "div2k/0" else bicubic_lr
        np.testing.assert_array_equal(photos.load_pair(p, 4)[1], expected)


def test_tfds_beyond_the_memory_budget_is_refused(tfds_examples, photo):
    tfds_examples += [{"hr": photo}] * 3  # 0.4 MB each
    with pytest.raises(UserError, match=r"tfds:div2k'.*config\.data.memory_mb=1;"):
        gather("tfds:div2k", memory_mb=1)


def test_unknown_tfds_name_is_refused():
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(UserError, match=r"tfds:div2kk.*not found"):
        gather("tfds:div2kk")
