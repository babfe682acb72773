import pytest
from pictured import refused
from PIL import Image

from kdgan_jax.pictures import folders


def test_images_are_found_at_any_depth_in_order_and_other_files_are_not(tmp_path):
    refused(tmp_path, "no image", by=[folders.find])
    refused(tmp_path / "none", "no such folder", by=[folders.find])
    for name in ("b.png", "a/c.JPG", "a/d/e.webp", "notes.txt", "a/.f.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    paths = [str(p.relative_to(tmp_path)) for p in folders.find(tmp_path)]
    assert paths == ["a/c.JPG", "a/d/e.webp", "b.png"]


def test_a_survey_counts_what_is_no_image_and_enters_where_it_may(tmp_path):
    for name in ("a.png", "b.txt", "sub/c.png", "sub/d", "not/e.png", ".hidden/f.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "g.png").symlink_to("nowhere")
    (tmp_path / "again").symlink_to(tmp_path / "sub")
    found = folders.survey(tmp_path, folders.is_read, lambda folder: folder.name != "not")
    assert [str(path.relative_to(tmp_path)) for path in found.images] == ["a.png", "sub/c.png"]
    assert found.left_out == {".txt": 1, "without a suffix": 1, "broken link": 1}


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("a.png", "", True),  # which reading it will tell
        ("a.txt", "", False),
        ("a.txt", "PNG", True),
        ("a", "WEBP", True),
        ("a.b", "TIFF", True),
    ],
)
def test_what_is_read_is_an_image_whatever_its_name(tmp_path, name, form, expected):
    (tmp_path / name).write_text("BM, as bitmaps begin")
    if form:
        Image.new("RGB", (4, 4)).save(tmp_path / name, form)
    assert folders.is_read(tmp_path / name) == expected
