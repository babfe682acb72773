import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from kdgan_jax.config.settings import DataConfig
from kdgan_jax.data import embedded, photos
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError


def settings(source, holdout=1, **changes):
    return DataConfig(str(source), holdout, **changes)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def ten(tmp_path, photo):
    """A folder of ten photos of 64x64, named 0.png to 9.png."""
    for i in range(10):
        save(tmp_path / "ten" / f"{i}.png", photo[8 * i : 8 * i + 64, :64])
    return tmp_path / "ten"


def names(found):
    return [p.name for p in found]


# The embedded photos.


def test_embedded_photos_are_there_and_held_out_ones_are_others():
    train, holdout = photos.gather(settings("embedded"), 4, 96)
    assert len(train) == len(embedded.TRAIN)
    assert len(holdout) == len(embedded.HOLDOUT)
    assert all(p.hr.is_file() for p in train + holdout)
    assert not {p.hr for p in train} & {p.hr for p in holdout}


def test_both_views_of_the_motorcycle_are_on_one_side():
    sides = [
        sum("motorcycle" in path for path in side) for side in (embedded.TRAIN, embedded.HOLDOUT)
    ]
    assert sorted(sides) == [0, 2]


def test_embedded_without_the_package_says_what_to_install():
    with pytest.raises(UserError, match="scikit-image"):
        photos.installed(["no_such_package/photo.png"], 4)


# Folders.


def test_folder_is_searched_at_any_depth(tmp_path, photo):
    save(tmp_path / "a.png", photo)
    save(tmp_path / "one/two/b.JPG", photo)
    (tmp_path / "one/notes.txt").write_text("no image")
    found, bad = photos.folder(tmp_path, 4)
    assert names(found) == ["a", "one/two/b"]
    assert bad == []


def test_names_are_told_apart_where_only_the_suffix_differs(tmp_path, photo):
    for name in ("a.png", "a.bmp", "b.png"):
        Image.fromarray(photo[:16, :16]).save(tmp_path / name)
    found, bad = photos.folder(tmp_path, 4)
    assert [one.name for one in found] == ["a.bmp", "a.png", "b"]
    assert bad == []


def test_lr_of_a_folder_of_hr_is_matlab_bicubic(tmp_path, photo):
    save(tmp_path / "a.png", photo)
    ((found,), _) = photos.folder(tmp_path, 4)
    assert found.size == (300, 448)
    hr, lr = photos.load(found, 4)
    np.testing.assert_array_equal(hr, photo[:, :448])
    np.testing.assert_array_equal(lr, bicubic.downscale(photo, 4))


@pytest.mark.parametrize("lr_name", ["sub/ax4.png", "sub/a.png"])
def test_pairs_take_lr_from_the_file_of_the_same_name(tmp_path, photo, lr_name):
    lr = np.full((75, 112, 3), 7, np.uint8)  # nothing that bicubic would give
    save(tmp_path / "HR/sub/a.png", photo)
    save(tmp_path / "LRx4" / lr_name, lr)
    found, bad = photos.folder(tmp_path, 4)
    assert (names(found), bad) == (["sub/a"], [])
    np.testing.assert_array_equal(photos.load(found[0], 4)[1], lr)


def test_hr_of_a_pair_without_lr_is_named(tmp_path, photo):
    save(tmp_path / "HR/a.png", photo)
    save(tmp_path / "HR/b.png", photo)
    save(tmp_path / "LRx4/ax4.png", bicubic.downscale(photo, 4))
    found, (line,) = photos.folder(tmp_path, 4)
    assert names(found) == ["a"]
    assert str(tmp_path / "HR/b.png") in line
    assert "bx4.png" in line


def test_lr_of_another_size_is_named_with_both_sizes(tmp_path, photo):
    save(tmp_path / "HR/a.png", photo)
    save(tmp_path / "LRx4/ax4.png", photo[:150, :225])
    found, (line,) = photos.folder(tmp_path, 4)
    assert found == []
    assert str(tmp_path / "LRx4/ax4.png") in line
    assert "225x150" in line
    assert "451x300" in line


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}/nowhere: no such folder"):
        photos.gather(settings(tmp_path / "nowhere"), 4, 32)


def test_empty_folder_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{tmp_path}/empty: holds no image"):
        photos.gather(settings(tmp_path / "empty"), 4, 32)


def test_folders_separated_by_commas_are_joined(tmp_path, photo):
    for name in ("a", "b", "c"):
        save(tmp_path / name / f"{name}.png", photo)
    train, holdout = photos.gather(settings(f"{tmp_path}/a, {tmp_path}/b,{tmp_path}/c"), 4, 32)
    assert sorted(names(train + holdout)) == ["a", "b", "c"]


# Bad files.


def test_one_broken_file_is_named_skipped_and_counted(ten, caplog):
    (ten / "3.png").write_bytes(b"no image at all")
    with caplog.at_level(logging.WARNING, logger="kdgan_jax"):
        train, holdout = photos.gather(settings(ten), 4, 32)
    assert "3" not in names(train + holdout)
    assert len(train + holdout) == 9
    assert f"{ten}/3.png" in caplog.text
    assert "skipped 1 of 10 files" in caplog.text


def test_more_broken_files_than_allowed_stop_the_run(ten):
    for i in range(3):
        (ten / f"{i}.png").write_bytes(b"no image at all")
    with pytest.raises(UserError, match=r"0\.png.*3 of 10 files.*max_bad_fraction=0\.2"):
        photos.gather(settings(ten), 4, 32)


def test_file_cut_short_is_found_when_decoded(ten, caplog):
    content = (ten / "3.png").read_bytes()
    (ten / "3.png").write_bytes(content[: len(content) // 2])  # the header is whole
    found, bad = photos.folder(ten, 4)
    assert (len(found), bad) == (10, [])
    with caplog.at_level(logging.WARNING, logger="kdgan_jax"):
        decoded = list(photos.decode(found, lambda p: photos.load(p, 4), 0.2, "these"))
    assert names(p for p, _ in decoded) == list("012456789")
    assert all(hr.shape[0] == 4 * lr.shape[0] for _, (hr, lr) in decoded)
    assert f"{ten}/3.png" in caplog.text


def test_photo_smaller_than_the_patch_is_named_and_skipped(ten, photo, caplog):
    save(ten / "3.png", photo[:31, :64])
    with caplog.at_level(logging.WARNING, logger="kdgan_jax"):
        train, holdout = photos.gather(settings(ten), 4, 32)
    assert "3" not in names(train + holdout)
    assert f"{ten}/3.png: 64x28 is smaller than the HR patch 32" in caplog.text


def test_photo_of_just_the_patch_is_kept(ten, photo):
    save(ten / "3.png", photo[:32, :32])
    train, holdout = photos.gather(settings(ten), 4, 32)
    assert len(train + holdout) == 10


def test_no_photo_as_large_as_the_patch_stops_the_run(ten):
    with pytest.raises(UserError, match="64x64 is smaller than the HR patch 96"):
        photos.gather(settings(ten), 4, 96)


def test_embedded_photos_all_smaller_than_the_patch_stop_the_run():
    with pytest.raises(UserError, match=r"astronaut\.png: .* smaller than the HR patch 5000"):
        photos.gather(settings("embedded"), 4, 5000)


# Held-out photos.


def test_held_out_photos_are_disjoint_from_the_others(ten):
    train, holdout = photos.gather(settings(ten, holdout=3), 4, 32)
    assert sorted(names(train) + names(holdout)) == list("0123456789")
    assert len(holdout) == 3


def test_a_photo_stays_on_its_side_when_others_come_or_the_patch_changes(ten, photo):
    before = photos.gather(settings(ten, holdout=3), 4, 32).holdout
    assert photos.gather(settings(ten, holdout=3), 4, 64).holdout == before
    for i in range(10, 20):
        save(ten / f"{i}.png", photo)
    train, _ = photos.gather(settings(ten, holdout=8), 4, 32)
    assert not set(names(before)) & set(names(train))


def test_a_file_named_twice_is_one_photo(ten):
    train, holdout = photos.gather(settings(f"{ten},{ten}/../{ten.name}", holdout=3), 4, 32)
    assert sorted(names(train + holdout)) == list("0123456789")


def test_hidden_files_are_left_out(ten):
    (ten / "._0.png").write_bytes(b"a macOS resource fork")
    assert len(photos.folder(ten, 4)[0]) == 10


@pytest.mark.parametrize("number", [0, 10])
def test_holdout_must_leave_photos_on_both_sides(ten, number):
    with pytest.raises(UserError, match=f"holdout={number} must be"):
        photos.gather(settings(ten, holdout=number), 4, 32)


# Files that change after they were looked at.


def test_load_checks_that_lr_matches_hr(tmp_path, photo):
    save(tmp_path / "HR/a.png", photo)
    save(tmp_path / "LRx4/ax4.png", bicubic.downscale(photo, 4))
    ((found,), _) = photos.folder(tmp_path, 4)
    shutil.copy(tmp_path / "HR/a.png", tmp_path / "LRx4/ax4.png")
    with pytest.raises(UserError, match=r"ax4\.png: LR of 451x300 does not match"):
        photos.load(found, 4)


def test_photo_that_changed_its_size_is_named(tmp_path, photo):
    save(tmp_path / "a.png", photo)
    ((found,), _) = photos.folder(tmp_path, 4)
    save(tmp_path / "a.png", photo[:100])
    with pytest.raises(
        UserError, match=r"a\.png: decodes to 448x100 where its header said 448x300"
    ):
        photos.load(found, 4)


# TensorFlow Datasets.


@pytest.fixture
def tfds_examples(monkeypatch):
    """Makes `tfds.load` give the examples that the test puts in the list."""
    tensorflow_datasets = pytest.importorskip("tensorflow_datasets")
    examples: list = []
    monkeypatch.setattr(tensorflow_datasets, "load", lambda name, split: examples)
    monkeypatch.setattr(tensorflow_datasets, "as_numpy", lambda dataset: dataset)
    return examples


def test_tfds_photos_come_from_the_data_set():
    testing = pytest.importorskip("tensorflow_datasets").testing
    with testing.mock_data(num_examples=3):
        train, holdout = photos.gather(settings("tfds:div2k/bicubic_x4"), 4, 8)
    found = train + holdout
    assert sorted(names(found)) == [f"div2k/bicubic_x4/{i}" for i in range(3)]
    for p in found:
        hr, lr = photos.load(p, 4)
        assert hr.shape[:2] == p.size == (4 * lr.shape[0], 4 * lr.shape[1])


def test_tfds_lr_is_used_where_its_scale_is_ours(tfds_examples, photo):
    lr = np.full((75, 112, 3), 7, np.uint8)
    tfds_examples += [{"hr": photo, "lr": lr}, {"hr": photo, "lr": lr[:5]}, {"hr": photo}]
    train, holdout = photos.gather(settings("tfds:div2k"), 4, 32)
    made = bicubic.downscale(photo, 4)
    for p in train + holdout:
        np.testing.assert_array_equal(photos.load(p, 4)[1], lr if p.name == "div2k/0" else made)


def test_tfds_beyond_the_memory_budget_is_refused(tfds_examples, photo):
    tfds_examples += [{"hr": photo}] * 3  # 0.4 MB each
    with pytest.raises(UserError, match=r"more than config\.data.memory_mb=1;"):
        photos.gather(settings("tfds:div2k", memory_mb=1), 4, 32)


def test_unknown_tfds_name_is_refused():
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(UserError, match=r"tfds:div2kk.*not found"):
        photos.gather(settings("tfds:div2kk"), 4, 32)
