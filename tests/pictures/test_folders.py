from pictured import refused

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
