"""Labels computed for the photos of a run: their form, several processes, what is refused."""

import logging
import threading
from typing import ClassVar

import jax
import numpy as np
import pytest
from described import phase_config, quick_compilation  # noqa: F401

from kdgan_jax import models
from kdgan_jax.config.settings import DataConfig, TeacherConfig
from kdgan_jax.data import buffers
from kdgan_jax.data.labels import Labels, joined
from kdgan_jax.data.photos import Photo
from kdgan_jax.inference.ensemble import quantise, self_ensemble
from kdgan_jax.inference.model import Model
from kdgan_jax.inference.reduced import at_scale
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import labelling
from kdgan_jax.train.labelling import StoredTeacher, stored_rows
from kdgan_jax.train.phase_setup import PhaseSetup
from kdgan_jax.workdir import lock

SIDES = (8, 24), (16, 20), (40, 36), (24, 12), (8, 8)  # in HR pixels; the fourth is of median size
KWARGS = {"channels": 4, "depth": 1}
forms = pytest.mark.parametrize(
    ("stored", "ensemble", "scale"),
    [("uint8", False, 4), ("float16", False, 4), ("uint8", True, 4), ("float16", True, 2)],
)


def model(scale=4):
    """A network whose images go below black and above white."""
    module = models.generator("compact", KWARGS, scale)
    params = models.init(module, jax.random.key(1), 8)["params"]
    return Model("compact", KWARGS, scale, jax.tree.map(lambda x: 3 * x, params))


def teacher(stored="uint8", ensemble=False, scale=4, of=None):
    """A teacher of scale 4, reduced if `scale` is lower."""
    return StoredTeacher("big", TeacherConfig("file", "lr", stored, ensemble), of or model(), scale)


def decoded(photo, scale=4):
    cut = [photo[10 * i :][:h, :w] for i, (h, w) in enumerate(SIDES)]
    photos = [Photo(str(i), hr, None, hr.shape[:2]) for i, hr in enumerate(cut)]
    return buffers.build(photos, scale, 0.0, with_hr=False)[0]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("big*")}


@forms
def test_every_photo_has_the_teachers_image(photo, tmp_path, stored, ensemble, scale):
    photos, at = decoded(photo, scale), at_scale(model(), scale, "field")
    rows = stored_rows(teacher(stored, ensemble, scale), photos, tmp_path, 1)
    assert isinstance(rows, np.memmap)
    for i in range(len(SIDES)):
        lr = photos.image("lr", i)
        exact = self_ensemble(at.predict, lr) if ensemble else at.predict(lr)
        if ensemble:  # by its definition: the mean over the turned back images
            turned = [
                np.rot90(at.predict(np.ascontiguousarray(np.rot90(image, k)))[:, ::flip], -flip * k)
                for k in range(4)
                for flip, image in ((1, lr), (-1, lr[:, ::-1]))
            ]
            np.testing.assert_allclose(exact, np.mean(turned, axis=0), atol=1e-6)
        expected = quantise(exact) if stored == "uint8" else exact.astype(np.float16)
        assert (exact.min() < 0 and exact.max() > 1) or scale == 2  # reducing clips
        image = joined(photos, {"big": rows}).image("big", i)
        assert image.dtype == stored
        difference = np.abs(image.astype(np.float64) - expected)  # of another engine, perhaps
        assert difference.max() <= (1 if stored == "uint8" else 2e-3)
        assert difference.mean() < 1e-3


def test_a_phase_has_the_labels_of_its_stored_teachers_under_its_workdir(photo, tmp_path):
    forms = {"small": "uint8", "fine": "float16"}
    configs = {name: TeacherConfig("file", "lr", form) for name, form in forms.items()}
    config = phase_config("student", teachers=configs | {"running": TeacherConfig("file")})
    given = dict.fromkeys(config.teachers, model())
    setup = PhaseSetup(config, 0, tmp_path, model(), given, 1)
    labels = labelling.stored_outputs(setup, decoded(photo), DataConfig())
    assert {name: rows.dtype for name, rows in labels.items()} == forms
    assert len(list((tmp_path / "labels").glob("*.rows"))) == 2
    elsewhere = labelling.stored_outputs(
        setup, decoded(photo), DataConfig(labels=str(tmp_path / "there"))
    )
    for name in forms:
        np.testing.assert_array_equal(elsewhere[name], labels[name])
    assert len(list((tmp_path / "there").glob("*.rows"))) == 2


def test_forms_of_one_teacher_lie_side_by_side(photo, tmp_path):
    for form in ("uint8", False), ("uint8", True), ("float16", False):
        stored_rows(teacher(*form), decoded(photo), tmp_path, 1)
    assert len(list(tmp_path.glob("big-*.rows"))) == 3


def test_a_stopped_command_continues_where_it_was(photo, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "kdgan_jax")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    stored_rows(teacher(), decoded(photo), whole, 1)
    write, written = Labels.write, []

    def stopping(self, photo, rows):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(photo)
        write(self, photo, rows)

    with monkeypatch.context() as patched:
        patched.setattr(Labels, "write", stopping)
        with pytest.raises(KeyboardInterrupt):
            stored_rows(teacher(), decoded(photo), stopped, 1)
    caplog.clear()
    stored_rows(teacher(), decoded(photo), stopped, 1)
    assert files(stopped) == files(whole)
    assert "3 of 5 photos" in caplog.text


def test_complete_labels_are_read_by_several_at_once(photo, tmp_path, monkeypatch):
    rows = stored_rows(teacher(), decoded(photo), tmp_path, 1)
    monkeypatch.setattr(labelling, "output", None)  # nothing is computed
    with lock.alone(tmp_path):
        np.testing.assert_array_equal(stored_rows(teacher(), decoded(photo), tmp_path, 1), rows)
        with pytest.raises(UserError, match=f"{tmp_path}: is in use"):
            stored_rows(teacher("float16"), decoded(photo), tmp_path, 1)


def test_time_and_space_are_told_from_a_photo_of_median_size(photo, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "kdgan_jax")
    computed, clock, output = [], [0.0], labelling.output

    def slow(model, config, lr):
        computed.append(lr.shape[:2])
        clock[0] += lr.shape[0] * lr.shape[1]  # seconds
        return output(model, config, lr)

    monkeypatch.setattr(labelling, "output", slow)
    monkeypatch.setattr(labelling.time, "perf_counter", lambda: clock[0])
    stored_rows(teacher(), decoded(photo), tmp_path, 1)
    assert computed[:2] == [(6, 3)] * 2
    assert sorted(computed[1:]) == sorted((h // 4, w // 4) for h, w in SIDES)
    assert "5 of 5 photos to compute, about 0:02:24; all take 0 MB" in caplog.text  # 144 pixels


class Processes(threading.local):
    """Stands in for `runtime.processes`: two threads that are processes 0 and 1."""

    place = 0
    meeting = threading.Barrier(2)
    values: ClassVar = [None, None]

    def first(self):
        return self.place == 0

    def barrier(self, name):
        self.meeting.wait(20)

    def share(self, items):
        return items[self.place :: 2]

    def agree(self, value, what):
        self.values[self.place] = value
        self.meeting.wait(20)
        assert self.values[0] == self.values[1], what
        self.meeting.wait(20)


def test_two_processes_share_the_work(photo, tmp_path, monkeypatch):
    stored_rows(teacher(), decoded(photo), tmp_path / "one", 1)
    wrote, write, fake = {0: [], 1: []}, Labels.write, Processes()

    def counting(self, number, rows):
        wrote[fake.place].append(number)
        write(self, number, rows)

    monkeypatch.setattr(Labels, "write", counting)
    monkeypatch.setattr(labelling, "processes", fake)
    results = {}

    def process(place):
        fake.place = place
        results[place] = stored_rows(teacher(), decoded(photo), tmp_path / "two", 1)

    threads = [threading.Thread(target=process, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(map(len, wrote.values())) == [2, 3]
    assert sorted(wrote[0] + wrote[1]) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(results[0], results[1])
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_too_many_bytes_are_refused_before_anything_is_made(tmp_path):
    wide = np.zeros((8, 2**16, 3), np.uint8)
    photos, _ = buffers.build([Photo("wide", wide, None, wide.shape[:2])], 4, 0.0, with_hr=False)
    with pytest.raises(UserError, match=r"'big': .* 1 photos .* 3 MB.*labels_mb=2;"):
        stored_rows(teacher("float16"), photos, tmp_path / "labels", 2)
    assert not (tmp_path / "labels").exists()


@forms
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e5])
def test_an_image_that_is_not_finite_is_refused(
    photo, tmp_path, monkeypatch, stored, ensemble, scale, bad
):
    run = Model._run

    def spoiling(self, image, rounded, on_tile):
        sr = np.array(run(self, image, False, on_tile))
        if SIDES[2][0] // scale in image.shape:
            sr[3, 2, 1] = bad
        return quantise(sr) if rounded else sr

    monkeypatch.setattr(Model, "_run", spoiling)
    photos, names = decoded(photo, scale), [f"photo {i}" for i in range(5)]
    for known, place in (names, "'photo 2'"), ((), "3 of 5"):
        with pytest.raises(UserError, match=f"teacher 'big', photo {place}: "):
            stored_rows(teacher(stored, ensemble, scale), photos, tmp_path, 1, known)
    assert not any("sha256" in file.read_text() for file in tmp_path.glob("*.json"))


def test_photos_too_small_for_the_teacher_are_named(photo, tmp_path, monkeypatch):
    monkeypatch.setattr(models.GENERATORS["compact"], "smallest", 3, raising=False)
    with pytest.raises(UserError, match=r"'big', photo 'a 0': .* 6x2 "):
        stored_rows(teacher(), decoded(photo), tmp_path, 1, [f"a {i}" for i in range(5)])
