import shutil

import numpy as np
import pytest
from PIL import Image

from kdgan_jax.config.settings import DataConfig
from kdgan_jax.data import embedded, photos
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError


def gather(source, holdout=1, patch=32, **changes):
    return photos.gather(DataConfig(str(source), holdout, **changes), 4, patch)


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
    monkeypatch.setattr(photos.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"data\.source='embedded'.*scikit-learn.*pip install"):
        photos.installed(["sklearn/photo.png"], 4)


# Folders.


def test_folder_is_searched_at_any_depth_without_hidden_files(tmp_path, small):
    for name in ("a.png", "a.bmp", "b.png", "one/two/c.JPG"):
        save(tmp_path / name, small)
    (tmp_path / "one/notes.txt").write_text("no image")
    (tmp_path / "._d.png").write_bytes(b"a macOS resource fork")
    found, unusable = photos.folder(tmp_path, 4)
    assert names(found) == ["a.bmp", "a.png", "b", "one/two/c"]  # a suffix tells files apart
    assert unusable == []


def test_lr_of_a_folder_of_hr_is_matlab_bicubic(tmp_path, small):
    save(tmp_path / "a.png", small)
    ((found,), _) = photos.folder(tmp_path, 4)
    assert found.size == (48, 60)
    hr, lr = photos.load_pair(found, 4)
    np.testing.assert_array_equal(hr, small[:48, :60])
    np.testing.assert_array_equal(lr, bicubic.downscale(small, 4))


@pytest.mark.parametrize("lr_name", ["sub/ax4.png", "sub/a.png"])
def test_pairs_take_lr_from_the_file_of_the_same_name(tmp_path, small, lr_name):
    lr = np.full((12, 15, 3), 7, np.uint8)  # bicubic gives something else
    save(tmp_path / "HR/sub/a.png", small)
    save(tmp_path / "LRx4" / lr_name, lr)
    found, unusable = photos.folder(tmp_path, 4)
    assert (names(found), unusable) == (["sub/a"], [])
    np.testing.assert_array_equal(photos.load_pair(found[0], 4)[1], lr)


def test_pairs_without_lr_or_with_lr_of_another_size_are_named(tmp_path, small):
    for name in "abc":
        save(tmp_path / f"HR/{name}.png", small)
    save(tmp_path / "LRx4/ax4.png", bicubic.downscale(small, 4))
    save(tmp_path / "LRx4/cx4.png", small[:25, :31])
    found, (lacking, wrong) = photos.folder(tmp_path, 4)
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
    for name in ("a", "b", "c"):
        save(tmp_path / name / f"{name}.png", small)
    train, holdout = gather(f"{tmp_path}/a, {tmp_path}/b,{tmp_path}/c,{tmp_path}/c/../a")
    assert sorted(names(train + holdout)) == ["a", "b", "c"]


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


def test_truncated_file_is_found_when_decoded(ten, caplog):
    content = (ten / "3.png").read_bytes()
    (ten / "3.png").write_bytes(content[: len(content) // 2])  # the header is whole
    found, unusable = photos.folder(ten, 4)
    assert (len(found), unusable) == (10, [])
    decoded = list(photos.decode(found, lambda p: photos.load_pair(p, 4), 0.2, "these"))
    assert names(p for p, _ in decoded) == list("012456789")
    assert all(hr.shape[0] == 4 * lr.shape[0] for _, (hr, lr) in decoded)
    assert f"{ten}/3.png" in caplog.text


# Held-out photos.


def test_a_photo_stays_on_its_side_when_others_come_or_the_patch_changes(ten, photo):
    train, holdout = gather(ten, holdout=3)
    assert len(holdout) == 3
    assert sorted(names(train + holdout)) == list("0123456789")
    assert gather(ten, holdout=3, patch=64).holdout == holdout
    for i in range(10, 20):
        save(ten / f"{i}.png", photo[:64, :64])
    train, _ = gather(ten, holdout=8)
    assert not set(names(holdout)) & set(names(train))


@pytest.mark.parametrize("number", [0, 10])
def test_holdout_must_leave_photos_on_both_sides(ten, number):
    with pytest.raises(UserError, match=f"config.data.holdout={number} .* 10 "):
        gather(ten, holdout=number)


# Files that change after their headers were read.


def test_load_checks_sizes_again(tmp_path, small):
    save(tmp_path / "HR/a.png", small)
    save(tmp_path / "LRx4/ax4.png", bicubic.downscale(small, 4))
    ((found,), _) = photos.folder(tmp_path, 4)
    shutil.copy(tmp_path / "HR/a.png", tmp_path / "LRx4/ax4.png")
    with pytest.raises(UserError, match=r"ax4\.png: .*63x50 .* scale 4"):
        photos.load_pair(found, 4)
    save(tmp_path / "HR/a.png", small[:20])
    with pytest.raises(UserError, match=r"a\.png: .*60x20.*60x48"):
        photos.load_pair(found, 4)


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
    with testing.mock_data(num_examples=2):
        train, holdout = gather("tfds:div2k/bicubic_x4", patch=8)
    found = train + holdout
    assert sorted(names(found)) == [f"div2k/bicubic_x4/{i}" for i in range(2)]
    for p in found:
        hr, lr = photos.load_pair(p, 4)
        assert hr.shape[:2] == p.size == (4 * lr.shape[0], 4 * lr.shape[1])


def test_tfds_lr_is_used_only_at_the_scale_of_the_run(tfds_examples, small):
    lr = np.full((12, 15, 3), 7, np.uint8)
    tfds_examples += [{"hr": small, "lr": lr}, {"hr": small, "lr": lr[:5]}, {"hr": small}]
    bicubic_lr = bicubic.downscale(small, 4)
    train, holdout = gather("tfds:div2k")
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
