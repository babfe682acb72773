import importlib.util
import json
from pathlib import Path

import pytest

from kdgan_jax import checks
from kdgan_jax import config as configuration
from kdgan_jax.errors import UserError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
VARIANTS = {
    "kd": ("", "smoke", "full"),
    "teacher": ("", "srcnn", "smoke", "full"),
    "seed": ("", "smoke"),
}


def get_config(name, variant=""):
    spec = importlib.util.spec_from_file_location(f"configs_{name}", CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


@pytest.fixture
def config():
    return configuration.default()


# The files of configs/.


def test_every_config_file_is_covered_here():
    elsewhere = {"forest"}  # no network's; tests/test_forest_training.py has it
    assert {p.stem for p in CONFIGS.glob("*.py")} == set(VARIANTS) | elsewhere


@pytest.mark.parametrize(("name", "variant"), [(n, v) for n in VARIANTS for v in VARIANTS[n]])
def test_every_variant_passes_the_check(name, variant):
    config = get_config(name, variant)
    if variant == "full":
        with pytest.raises(UserError, match=r"config\.data\.source is empty"):
            checks.check(config)
        config.data.source = "DIV2K"
    checks.check(config)


@pytest.mark.parametrize("name", VARIANTS)
def test_unknown_variant_is_refused_with_a_suggestion(name):
    with pytest.raises(UserError, match="'smok' is unknown; did you mean 'smoke'"):
        get_config(name, "smok")


@pytest.mark.parametrize(("name", "variant"), [(n, v) for n in VARIANTS for v in VARIANTS[n]])
def test_variants_only_change_fields_that_there_are(name, variant):
    ours, default = get_config(name, variant), configuration.default()
    assert ours.keys() == default.keys()
    for phase in configuration.PHASES:
        assert ours.train[phase].keys() == default.train[phase].keys()


# Unknown fields.


@pytest.mark.parametrize(
    ("field", "meant"),
    [("sede", "seed"), ("data.sorce", "source"), ("train.distill.stesp", "steps")],
)
def test_unknown_field_is_refused_with_a_suggestion(config, field, meant):
    part, _, last = field.rpartition(".")
    with pytest.raises(AttributeError, match=f'Did you mean "{meant}"'):
        setattr(config[part] if part else config, last, 1)


def test_phase_refuses_unknown_fields():
    with pytest.raises(KeyError, match="learning_rate"):
        configuration.phase(learning_rat=1e-3)


# What `check` refuses: field, value, words of the message.


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("scale", 5, r"config\.scale=5 is not supported; choose one of \(2, 3, 4\)"),
        ("phases", (), r"config\.phases is empty"),
        ("phases", ("techer",), r"config\.phases='techer' is unknown; did you mean 'teacher'"),
        ("phases", ("distill", "teacher"), r"out of order.*'teacher', 'distill', 'adversarial'"),
        ("phases", ("distill",), r"train\.distill\.distill_weight needs a teacher; add 'teacher'"),
        ("data.source", "", r"config\.data\.source is empty"),
        ("log_every", 0, r"config\.log_every=0 must be at least 1"),
        ("evaluate_every", 0, r"config\.evaluate_every=0 must be at least 1"),
        ("checkpoint_every", 0, r"config\.checkpoint_every=0 must be at least 1"),
        ("teacher.name", "edrs", r"config\.teacher\.name='edrs' is unknown; did you mean 'edsr'"),
        ("student.name", "cmpact", r"config\.student\.name='cmpact' is.*did you mean 'compact'"),
        ("discriminator.name", "vg", r"discriminator\.name='vg' is unknown; did you mean 'vgg'"),
        ("train.teacher.hr_patch", 30, r"teacher\.hr_patch=30 is not divisible by.*scale=4"),
        ("train.distill.steps", 0, r"config\.train\.distill\.steps=0 must be at least 1"),
        ("train.teacher.learning_rate", 0.0, r"teacher\.learning_rate=0\.0 must be above 0"),
        ("train.teacher.final_fraction", 1.5, r"final_fraction=1\.5 must be from 0 to 1"),
        ("train.teacher.clip_norm", -1.0, r"clip_norm=-1\.0 must be from 0"),
        ("train.teacher.warmup_steps", 10**6, r"warmup_steps=1000000 must be from 0 to"),
        ("train.adversarial.discriminator_warmup_steps", 10**6, r"warmup_steps=1000000 must be"),
        ("train.teacher.betas", (0.9,), r"betas=\(0\.9,\) must be 2 numbers"),
        ("train.teacher.milestones", (3.0,), r"milestones=\(3\.0,\) must be 1 numbers"),
        ("train.adversarial.perceptual_layers", (), r"perceptual_layers=\(\) must name layers"),
        ("train.adversarial.batch", -4, r"config\.train\.adversarial\.batch=-4 must be at least"),
        ("train.distill.pixel", "l3", r"config\.train\.distill\.pixel='l3' is unknown"),
        ("train.distill.distill", "rms", r"distill\.distill='rms' is.*did you mean 'rmse'"),
        ("train.adversarial.adversarial", "hing", r"adversarial='hing' is.*mean 'hinge'"),
        ("train.teacher.schedule", "cosin", r"schedule='cosin' is unknown; did you mean 'cosine'"),
        (
            "train.adversarial.perceptual_layers",
            ("conv3_3", "conv9_9"),
            r"adversarial\.perceptual_layers='conv9_9' is unknown",
        ),
        ("train.teacher.pixel_weight", 0.0, r"config\.train\.teacher: every loss weight is 0"),
        ("train.distill.pixel_weight", -0.5, r"config\.train\.distill: a loss weight is negative"),
        ("train.teacher.distill_weight", 0.5, r"config\.train\.teacher: a teacher has no teacher"),
        ("train.teacher.blend_weight", 0.5, r"config\.train\.teacher: a teacher has no teacher"),
    ],
)
def test_check_names_the_field_and_the_way_out(config, field, value, message):
    part, _, last = field.rpartition(".")
    setattr(config[part] if part else config, last, value)
    with pytest.raises(UserError, match=message):
        checks.check(config)


@pytest.mark.parametrize("part", ["teacher", "student", "discriminator"])
def test_unknown_argument_of_a_network_is_refused(config, part):
    config[part].kwargs = {"fetures": 8}
    with pytest.raises(UserError, match=rf"config\.{part}\.kwargs\.fetures.*mean 'features'"):
        checks.check(config)


def test_teacher_checkpoint_without_teacher_phase_is_refused(config):
    config.phases = ("distill",)
    config.teacher.checkpoint = "runs/teacher"
    with pytest.raises(UserError, match="checkpoint needs 'teacher' among"):
        checks.check(config)


def test_phases_that_do_not_run_are_not_checked(config):
    config.phases = ("teacher",)
    config.train.distill.hr_patch = 30
    checks.check(config)


def test_students_may_learn_without_a_teacher(config):
    config.phases = ("distill",)
    config.train.distill.distill_weight = 0.0
    checks.check(config)


def test_largest_patch_is_of_the_phases_that_run(config):
    config.train.teacher.hr_patch = 192
    assert configuration.largest_patch(config) == 192
    config.phases = ("distill",)
    assert configuration.largest_patch(config) == 96


# The copy that a run keeps.


def test_json_of_a_config_is_its_values(config):
    saved = json.loads(json.dumps(configuration.to_json(config)))
    assert saved["train"]["teacher"]["betas"] == [0.9, 0.99]
    restored = configuration.default()
    restored.update(saved)
    assert configuration.to_json(restored) == configuration.to_json(config)


def test_workdir_of_the_same_config_is_accepted(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(configuration.to_json(config)))
    checks.check_workdir(config, tmp_path / "config.json")


def test_new_workdir_is_accepted(config, tmp_path):
    checks.check_workdir(config, tmp_path / "config.json")


def test_what_changes_no_figure_may_change_on_a_workdir(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(configuration.to_json(config)))
    config.log_every, config.devices, config.data.source = 7, 1, "moved/photos"
    checks.check_workdir(config, tmp_path / "config.json")


def test_layers_must_survive_the_pooling_of_a_small_patch(config):
    config.train.adversarial.update({"hr_patch": 8, "perceptual_layers": ("conv5_3",)})
    with pytest.raises(UserError, match="a patch of 8 leaves something"):
        checks.check(config)


def test_workdir_of_another_config_is_refused_with_both_values(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(configuration.to_json(config)))
    config.train.distill.steps = 7
    config.train.teacher.pixel = "l2"
    with pytest.raises(UserError) as caught:
        checks.check_workdir(config, tmp_path / "config.json")
    message = str(caught.value)
    assert "config.train.distill.steps: 1000 there, 7 now" in message
    assert "config.train.teacher.pixel: 'l1' there, 'l2' now" in message
    assert message.count(" there, ") == 2
