"""How HR and LR lie in folders: which HR goes with which LR, and what is refused."""

import pytest
from PIL import Image

from kdgan_jax.config.settings import DataConfig
from kdgan_jax.data import photos, sources
from kdgan_jax.runtime.errors import UserError

NUMBER = 5  # of photos
SIDE = 24  # of HR images


def save(path, colour, side=SIDE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), colour).save(path)
    return path


def hr(root, *names):
    """Makes HR images 0 to 4, whose red tells them apart; "#" is the number in each name."""
    for name in names:
        for i in range(NUMBER):
            save(root / name.replace("#", f"{i:04}"), (50 * i, 0, 0))


def lr(root, *names, scales=(2, 3, 4)):
    """Makes the LR images of HR, in colours of their own, with "@" for each scale in the name."""
    for name in names:
        for scale in scales:
            for i in range(NUMBER):
                path = root / name.replace("#", f"{i:04}").replace("@", str(scale))
                save(path, (255, 50 * i, 255), SIDE // scale)


def right_pairs(found, scale):
    """Checks that every HR image is there with its own LR image; returns the names."""
    for photo in found:
        high, low = photos.load_pair(photo, scale)
        assert low.shape == (SIDE // scale, SIDE // scale, 3)
        assert tuple(low[0, 0]) == (255, high[0, 0, 0], 255)
    return [photo.name for photo in found]


PLAIN = [f"{i:04}" for i in range(NUMBER)]
LAYOUTS = {
    "LR": ("HR/#.png", "LR/#.png"),
    "LRx4": ("HR/#.png", "LRx@/#x@.png"),
    "LR_x4": ("HR/#.png", "LR_x@/#.png"),
    "LRX4": ("HR/#.png", "LRX@/#.png"),
    "lrx4": ("hr/#.png", "lrx@/#.png"),
    "bicubic": ("HR/#.png", "LR_bicubic/X@/#x@.png"),
    "unknown": ("HR/#.png", "LR_unknown/X@/#x@.png"),
    "inside": ("HR/#.png", "LR/bicubic/x@/#.png"),
    "div2k": ("DIV2K_train_HR/#.png", "DIV2K_train_LR_bicubic/X@/#x@.png"),
    "valid": ("DIV2K_valid_HR/#.png", "DIV2K_valid_LR_unknown/X@/#x@.png"),
    "mild": ("DIV2K_train_HR/#.png", "DIV2K_train_LR_mild/#x@m.png"),
    "wild": ("DIV2K_train_HR/#.png", "DIV2K_train_LR_wild/#x@w1.png"),
    "archives": (
        "DIV2K_train_HR/DIV2K_train_HR/#.png",
        "DIV2K_train_LR_bicubic_X@/DIV2K_train_LR_bicubic/X@/#x@.png",
    ),
    "GT": ("GT/#.png", "LQ/#.png"),
    "gt": ("gt/#.png", "lq/#_lq.png"),
    "hr": ("hr/#.png", "lr/#.bmp"),
    "BasicSR": ("GTmod12/#.png", "LRbicx@/#.png"),
    "bicLR": ("HR/#.png", "LRx@/#_bicLRx@.png"),
    "_LR": ("HR/#_HR.png", "LR/#_LR.png"),
    "first": ("HR/hr_#.png", "LR/lr_#.png"),
    "RCAN": ("HR/x@/#_HR_x@.png", "LRBI/x@/#_LRBI_x@.png"),
    "scale first": ("x@/HR/#.png", "x@/LR/#.png"),
    "train": ("train_HR/#.png", "train_LR/#.png"),
    "HR_train": ("HR_train/#.png", "LR_train_x@/#.png"),
    "trainHR": ("trainHR/#.png", "trainLR/#.png"),
    "words": ("high_res/#.png", "low res/#.png"),
    "4x": ("gt/#.png", "lq_@x/#_@x.png"),
    "LR in it": ("#.png", "LRx@/#x@.png"),
    "LR in HR": ("HR/#.png", "HR/LRx@/#x@.png"),
}


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("high", "low"), LAYOUTS.values(), ids=LAYOUTS)
def test_each_layout_gives_its_pairs(tmp_path, high, low, scale):
    every = scale, *(s for s in (2, 3, 4) if s != scale and "@" in low)
    for each in every if "@" in high else [scale]:
        hr(tmp_path, high.replace("@", str(each)))
    lr(tmp_path, low, scales=every)
    found, unusable = sources.folder(tmp_path, scale)
    assert unusable == []
    assert len(right_pairs(found, scale)) == NUMBER


def test_files_beside_each_other_are_pairs_by_their_names(tmp_path):
    for scale in (2, 3, 4):
        for number, (high, low) in enumerate(
            [
                ("#_HR.png", "#_LR.png"),
                ("#.png", "#x@.png"),
                ("#_SRF_@_HR.png", "#_SRF_@_LR.png"),
                ("#_HR.png", "#_LR@.png"),
                ("#_GT.png", "#_lq.png"),
            ]
        ):
            root = tmp_path / f"{scale} {number}"
            hr(root, high.replace("@", str(scale)))
            lr(root, low, scales=(scale, 3) if "@" in low and "@" not in high else [scale])
            found, unusable = sources.folder(root, scale)
            assert (len(right_pairs(found, scale)), unusable) == (NUMBER, [])
    results = tmp_path / "results"
    hr(results, "#.png", "#_bicubic.png")
    for i in range(NUMBER):
        save(results / f"{i:04}_x4.png", (9, 9, 9), 4 * SIDE)  # larger: not LR
    assert len(sources.folder(results, 4)[0]) == 3 * NUMBER


def test_every_lr_image_of_one_hr_image_makes_a_pair(tmp_path):
    hr(tmp_path, "DIV2K_train_HR/#.png")
    lr(tmp_path, *(f"DIV2K_train_LR_wild/#x4w{i}.png" for i in (1, 2, 3, 4)), scales=[4])
    found, _ = sources.of_source(str(tmp_path), 4)
    names = right_pairs(found, 4)
    assert names[:5] == ["0000x4w1", "0000x4w2", "0000x4w3", "0000x4w4", "0001x4w1"]
    assert len(names) == 4 * NUMBER
    train, holdout = sources.gather(DataConfig(str(tmp_path), 1), 4, 16)
    assert len(holdout) == 4
    assert not {photo.hr for photo in train} & {photo.hr for photo in holdout}


def test_several_sets_in_one_folder_are_all_taken(tmp_path):
    sets = tmp_path / "sets"
    for part in "train", "valid":
        hr(sets, f"DIV2K_{part}_HR/#.png")
        lr(sets, f"DIV2K_{part}_LR_bicubic/X@/#x@.png")
    found, unusable = sources.folder(sets, 2)
    assert unusable == []
    assert right_pairs(found, 2) == [
        f"DIV2K_{part}_HR/{name}" for part in ("train", "valid") for name in PLAIN
    ]
    hr(tmp_path, "a/Set5/HR/#.png", "a/Urban100/HR/#.png", "a/own/#.png", "a/.trash/#.png")
    lr(tmp_path, "a/Set5/LRx@/#x@.png")
    found, unusable = sources.folder(tmp_path / "a", 4)
    assert unusable == []
    assert [photo.name for photo in found if photo.lr] == [f"Set5/HR/{name}" for name in PLAIN]
    assert [photo.name for photo in found if not photo.lr] == [
        f"{place}/{name}" for place in ("Urban100/HR", "own") for name in PLAIN
    ]


def test_a_name_that_may_mean_lr_means_it_beside_hr_alone(tmp_path):
    hr(tmp_path, "bsds500/#.jpg", "div2k_test_lr/#.webp")  # as they came to be HR of a larger set
    for path in tmp_path, tmp_path / "div2k_test_lr":
        found, _ = sources.folder(path, 4)
        assert {(photo.hr is None, photo.lr is None) for photo in found} == {(False, True)}
    assert len(sources.folder(tmp_path, 4)[0]) == 2 * NUMBER
    assert len(sources.folder(tmp_path, 4, "lr")[0]) == 2 * NUMBER


@pytest.mark.parametrize(
    ("kind", "place", "has_hr", "has_lr"),
    [
        ("hr", "", True, False),
        ("lr", "", False, True),
        ("pairs", "", True, True),
        ("pairs", "HR", True, True),
        ("", "HR", True, False),
        ("", "LR_bicubic", False, True),
        ("", "LR_bicubic/X4", False, True),
        ("lr", "LR_bicubic", False, True),
        ("hr", "LR_bicubic/X4", True, False),
        ("lr", "HR", False, True),
    ],
)
def test_kinds_and_folders_that_are_named_themselves(tmp_path, kind, place, has_hr, has_lr):
    hr(tmp_path, "HR/#.png")
    lr(tmp_path, "LR_bicubic/X@/#x@.png")
    found, unusable = sources.folder(tmp_path / place, 4, kind)
    assert (len(found), unusable) == (NUMBER, [])
    for photo in found:
        assert (photo.hr is not None, photo.lr is not None) == (has_hr, has_lr)


@pytest.mark.parametrize("name", ["0001x4.png", "*.png"])
def test_files_in_a_folder_of_lr_need_a_kind(tmp_path, name):
    lr(tmp_path, "LR_bicubic/X@/#x@.png")
    path = tmp_path / "LR_bicubic/X4" / name
    with pytest.raises(UserError) as caught:
        sources.folder(path, 4)
    for fact in tmp_path / "LR_bicubic/X4/000", "lr:", "hr:":
        assert str(fact) in str(caught.value)
    assert {photo.hr for photo in sources.folder(path, 4, "lr")[0]} == {None}
    assert {photo.lr for photo in sources.folder(path, 4, "hr")[0]} == {None}


def test_two_folders_of_any_names_are_pairs(tmp_path, monkeypatch):
    hr(tmp_path, "sharp: all/#.png", "data/HR/#.png")
    lr(tmp_path, "blurred/#.png", "LR_a/X@/#x@.png", "LR_b/X@/#x@.png", scales=[4, 2])
    (tmp_path / "blurred").rename(tmp_path / "a, b")
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in (
        f"pairs:{tmp_path}/sharp: all:{tmp_path}/a, b",
        f"pairs:{tmp_path}/data:{tmp_path}/LR_b",
        f"pairs:{tmp_path}/data/HR:{tmp_path}/LR_a/X2",
        "pairs:~/data/HR:~/LR_b",
    ):
        found, unusable = sources.of_source(source, 2)
        assert unusable == []
        assert right_pairs(found, 2) == PLAIN


REFUSED = {
    "bicubic and unknown": (
        ["HR/#.png"],
        ["LR_bicubic/X@/#x@.png", "LR_unknown/X@/#x@.png"],
        ["ROOT/LR_bicubic/X4", "ROOT/LR_unknown/X4", "pairs:ROOT/HR:ROOT/LR_bicubic/X4"],
    ),
    "div2k, two": (
        ["DIV2K_train_HR/#.png"],
        ["DIV2K_train_LR_bicubic/X@/#x@.png", "DIV2K_train_LR_mild/#x@m.png"],
        ["DIV2K_train_LR_bicubic/X4 and ROOT/DIV2K_train_LR_mild", "pairs:ROOT/DIV2K_train_HR:"],
    ),
    "LR and LRx4": (
        ["HR/#.png"],
        ["LR/#.png", "LRx@/#.png"],
        ["ROOT/LR and ROOT/LRx4", "pairs:ROOT/HR:ROOT/LR"],
    ),
    "two HR": (["HR/#.png", "GT/#.png"], ["LR/#.png"], ["ROOT/GT and ROOT/HR", "pairs:ROOT/GT:"]),
    "other names": (
        ["HR/#.png"],
        ["LR/photo_#.png"],
        ["ROOT/LR/photo_0000.png", "0000x4.png for 0000.png", "hr:ROOT/HR"],
    ),
    "another folder's LR": (
        ["DIV2K_train_HR/#.png", "HR_b/#.png"],
        ["Flickr2K_LR_bicubic/X@/#x@.png"],
        ["ROOT/Flickr2K_LR_bicubic/X4/0000x4.png", "hr:ROOT"],
    ),
    "LR beside others": (
        ["photos/#.png"],
        ["LRx@/#_low.png"],
        ["ROOT/LRx4/0000_low.png", "hr:ROOT"],
    ),
    "LR alone by files": ([], ["photos/#x@.png"], ["ROOT/photos/0000x4.png", "lr:ROOT", "hr:ROOT"]),
    "scales alone": ([], ["x@/#.png"], ["ROOT/x4", "lr:ROOT/x4", "hr:ROOT/x4"]),
    "unknown names": (
        ["target/#.png"],
        ["input/#.png"],
        ["ROOT/input/0000.png", "pairs:ROOT/target:ROOT/input", "hr:"],
    ),
    "bicubic beside HR": (
        ["HR/#.png"],
        ["bicubic/X@/#x@.png"],
        ["ROOT/bicubic/X4/0000x4.png", "pairs:ROOT/HR:ROOT/bicubic/X4"],
    ),
    "two LR alone": (
        [],
        ["LR_a/#.png", "LR_b/#.png"],
        ["ROOT/LR_a and ROOT/LR_b", "lr:ROOT/LR_a"],
    ),
}


@pytest.mark.parametrize(("high", "low", "facts"), REFUSED.values(), ids=REFUSED)
def test_what_could_be_read_in_two_ways_is_refused(tmp_path, high, low, facts):
    hr(tmp_path, *high)
    lr(tmp_path, *low, scales=[4])
    with pytest.raises(UserError) as caught:
        sources.folder(tmp_path, 4)
    for fact in facts:
        assert fact.replace("ROOT", str(tmp_path)) in str(caught.value)


@pytest.mark.parametrize(
    ("low", "there"),
    [
        ("LRx2/#.png", "LRx2/0004.png"),
        ("LRX2/#.png", "LRX2/0004.png"),
        ("LR/#x2.png", "LR/0004x2.png"),
        ("LR_bicubic/X2/#x2.png", "LR_bicubic/X2/0004x2.png"),
        ("HR/#_LR2.png", "HR/0000_LR2.png"),
    ],
)
def test_lr_of_other_scales_alone_is_refused_with_what_is_there(tmp_path, low, there):
    hr(tmp_path, "HR/#.png")
    lr(tmp_path, low, scales=[2])
    for kind, place in ("", tmp_path), ("pairs", tmp_path):
        with pytest.raises(UserError) as caught:
            sources.folder(place, 4, kind)
        for fact in tmp_path / there, "x4", f"hr:{tmp_path}/HR":
            assert str(fact) in str(caught.value)
    assert {photo.lr for photo in sources.folder(tmp_path, 4, "hr")[0]} == {None}


def test_lr_of_another_size_is_named_with_its_scale(tmp_path):
    hr(tmp_path, "HR/#.png")
    lr(tmp_path, "LR/#.png", scales=[3])
    found, unusable = sources.folder(tmp_path, 4)
    assert found == []
    assert len(unusable) == NUMBER
    for fact in tmp_path / "LR/0000.png", "8x8", "24x24", "at scale 4, but at scale 3":
        assert str(fact) in unusable[0]


def test_an_empty_folder_of_lr_is_refused(tmp_path):
    hr(tmp_path, "HR/#.png")
    (tmp_path / "LRx4").mkdir()
    with pytest.raises(UserError, match=f"{tmp_path}/LRx4: holds no image"):
        sources.folder(tmp_path, 4)


def test_an_hr_image_without_lr_is_named_with_the_nearest_file(tmp_path):
    hr(tmp_path, "HR/#.png")
    lr(tmp_path, "LRx@/#_bicLRx@.png")
    (tmp_path / "LRx4/0002_bicLRx4.png").rename(tmp_path / "LRx4/002_bicLRx4.png")
    found, (message,) = sources.folder(tmp_path, 4)
    assert right_pairs(found, 4) == [name for name in PLAIN if name != "0002"]
    for fact in tmp_path / "HR/0002.png", tmp_path / "LRx4,", "0002x4.png", " 002_bicLRx4.png":
        assert str(fact) in message
