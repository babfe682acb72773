import json
import re
import runpy

import pytest
from absl import flags
from conftest import ROOT
from ml_collections import ConfigDict, config_flags

from kdgan_jax import losses, models
from kdgan_jax.config import (
    RENAMED,
    command,
    default,
    discriminator,
    loss,
    network,
    new_name,
    phase,
    teacher,
    to_json,
)
from kdgan_jax.config.settings import (
    BatchConfig,
    DataConfig,
    LoopConfig,
    LossConfig,
    RunConfig,
    Spec,
    TeacherConfig,
)
from kdgan_jax.runtime import files
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import checks, earlier, phase_checks

CONFIGS = ROOT / "configs"
PHASES = (
    *("control", "assistant", "two_teachers", "published", "hints", "finetune", "refine"),
    *("attention", "affinity", "contrastive", "wavelet", "consistency", "zoom_in", "several"),
    *("early", "own_average", "regularized", "study"),
)
VARIANTS = {
    "clean_gan": ("", "smoke"),
    "kd": ("", "smoke", "scratch", "scratch,smoke", "full", "full_real"),
    "own": ("", "drawings", "smoke"),
    "photo": ("", "hr", "smoke"),
    "photo_soft": ("", "settle", "smoke"),
    "students": ("", "tiny", "clean", "origin", "trial", "tiny,smoke"),
    "teacher": ("", "srcnn", "smoke", "full"),
    "seed": ("", "smoke"),
    "phases": ("", *PHASES, *(f"{name},smoke" for name in PHASES)),
}
TEACHERS = "config.train.distill.teachers"


def get_config(name, variant=""):
    return runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"](variant)


@pytest.fixture
def config():
    return default()


def put(config, field, value):
    """Sets a field, which may be a new label."""
    part, _, last = field.rpartition(".")
    inner = config[part] if part else config
    with inner.unlocked():
        inner[last] = value


def refused(config, *facts):
    """Checks that a config is refused with a message that has these facts."""
    with pytest.raises(UserError) as caught:
        checks.checked(config)
    for fact in facts:
        assert fact in str(caught.value)


# The files of configs/.


def test_every_config_file_is_covered_here():
    elsewhere = {"forest"}  # in tests/test_forest.py
    assert {p.stem for p in CONFIGS.glob("*.py")} == set(VARIANTS) | elsewhere


@pytest.mark.parametrize(
    ("name", "variant"), [(name, variant) for name in VARIANTS for variant in VARIANTS[name]]
)
def test_every_variant_is_valid_and_survives_json(name, variant):
    config = get_config(name, variant)
    if not config.data.source:
        refused(config, "config.data.source")
        config.data.source = "DIV2K"
    if "teacher" in config and not (config.teacher.network or config.teacher.checkpoint):
        refused(config, "config.teacher.checkpoint")
        config.teacher.checkpoint = "clean_x4"
    run = checks.checked(config)
    refines = {name for name, part in config.train.items() if "adversarial" in part.losses}
    left_out = set() if config.refine else refines
    assert [p.name for p in run.phases] == [name for name in config.phases if name not in left_out]
    assert set(config.phases) == set(config.train)
    saved = json.loads(json.dumps(to_json(config)))
    assert checks.checked(ConfigDict(saved)) == run

    networks = {key for key, part in config.items() if hasattr(part, "keys") and "network" in part}
    assert set(config) - networks == set(default()) - {"teacher", "student"}
    for key in networks:
        assert config[key].keys() == network("compact").keys()
    for described in config.train.values():
        assert described.keys() == phase(losses={}).keys()
        assert described.discriminator.keys() == discriminator().keys()
        entries = [*described.losses.values(), *described.discriminator.regularizers.values()]
        assert all(entry.keys() == loss("l1", 1.0).keys() for entry in entries)
        assert all(entry.keys() == teacher("a").keys() for entry in described.teachers.values())


def test_a_field_changes_in_one_of_two_phases_with_the_same_losses_and_teachers():
    shared = {"losses": {"pixel": loss("l1", 1.0)}, "teachers": {"teacher": teacher("a")}}
    config = default(phases={"student": phase(**shared), "late": phase(**shared)})
    config.train.student.losses.pixel.kind = "l2"
    config.train.student.teachers.teacher.model = "b"
    assert config.train.late.losses.pixel.kind == "l1"
    assert config.train.late.teachers.teacher.model == "a"


@pytest.mark.parametrize(
    ("name", "variant", "meant"),
    [
        ("kd", "smok", "smoke"),
        ("teacher", "srcn", "srcnn"),
        ("seed", "smok", "smoke"),
        ("phases", "asistant", "assistant"),
        ("phases", "control,smok", "smoke"),
    ],
)
def test_unknown_variant_is_refused_with_a_suggestion(name, variant, meant):
    with pytest.raises(UserError) as caught:
        get_config(name, variant)
    assert repr(variant.rpartition(",")[2]) in str(caught.value)
    assert repr(meant) in str(caught.value)


@pytest.mark.parametrize(
    ("field", "meant"),
    [("sede", "seed"), ("data.sorce", "source"), ("train.distill.losses.pixl", "pixel")],
)
def test_unknown_field_is_refused_with_a_suggestion(config, field, meant):
    part, _, last = field.rpartition(".")
    with pytest.raises(AttributeError, match=f'"{meant}"'):
        setattr(config[part] if part else config, last, 1)


def test_refinement_can_be_left_out():
    config = get_config("kd", "scratch")
    config.refine = False
    assert [phase.name for phase in checks.checked(config).phases] == ["teacher", "distill"]
    config = get_config("clean_gan", "smoke")
    config.refine = False
    refused(config, "config.refine", "True")


def test_phase_refuses_unknown_fields_and_translates_old_ones():
    with pytest.raises(KeyError, match="learning_rate"):
        phase(losses={}, learning_rat=1e-3)
    for field in RENAMED:
        if "." not in field:
            with pytest.raises(UserError, match=re.escape(RENAMED[field])):
                phase(losses={}, **{field: 1})


@pytest.mark.parametrize(
    ("changes", "reference"),
    [({}, 16), ({"batch": 64}, 64), ({"batch": 64, "reference_batch": 16}, 16)],
)
def test_learning_rates_are_for_the_batch_that_a_phase_is_written_with(changes, reference):
    assert phase(losses={}, **changes).reference_batch == reference


# The typed parts.


def test_a_checked_config_has_typed_parts():
    config = get_config("kd", "scratch")
    run = checks.checked(config)
    constant = Spec("constant", {})
    first, second, last = run.phases
    assert run == RunConfig(
        seed=0,
        scale=4,
        devices=0,
        phases=run.phases,
        data=DataConfig(),
        loop=LoopConfig(evaluate_every=100, checkpoint_every=300),
        saved=to_json(config),
    )
    assert (run.batches, run.largest_patch) == ((16, 16, 8), 96)
    assert [p.number for p in run.phases] == [0, 1, 2]
    assert [p.network for p in run.phases] == ["teacher", "student", "student"]
    assert first.spec == ("compact", {"channels": 64, "depth": 6})
    assert second.spec == last.spec == ("compact", {"channels": 32, "depth": 4})
    assert [p.steps for p in run.phases] == [1500, 3000, 300]
    assert last.batches == BatchConfig(steps=300, batch=8, hr_patch=64)
    assert [p.start for p in run.phases] == ["", "", "distill"]
    assert [p.optimizer.learning_rate for p in run.phases] == [1e-3, 2e-3, 2e-4]
    assert [p.optimizer.schedule for p in run.phases] == ["cosine", "cosine", "constant"]
    assert second.losses == {
        "pixel": LossConfig(Spec("l1", {}), 0.5, constant, "hr"),
        "distill": LossConfig(Spec("l1", {}), 0.5, constant, "teacher"),
    }
    assert last.losses["perceptual"].kind == ("perceptual", {"layers": ("conv2_2", "conv3_3")})
    assert (first.teachers, second.teachers) == ({}, {"teacher": TeacherConfig("teacher", "lr")})
    assert first.discriminator is second.discriminator is None
    judge = last.discriminator
    assert (judge.network, judge.adversarial_loss, judge.warmup_steps) == (
        ("origin", {}),
        "adversarial",
        20,
    )
    assert (judge.optimizer, judge.regularizers) == (last.optimizer, {})


def test_the_discriminator_has_its_own_rate_and_the_optimizer_of_the_phase(config):
    config.train.adversarial.discriminator.learning_rate = 3e-5
    config.train.adversarial.betas = (0.0, 0.9)
    last = checks.checked(config).phases[-1]
    assert last.discriminator.optimizer.learning_rate == 3e-5
    assert last.optimizer.learning_rate == 1e-3
    assert last.discriminator.optimizer.betas == last.optimizer.betas == (0.0, 0.9)


@pytest.mark.parametrize(("rule", "factor"), [("none", 1), ("linear", 4), ("sqrt", 2)])
def test_rates_are_scaled_by_batch_over_reference(config, rule, factor):
    config.optim.lr_scaling = rule
    config.train.adversarial.batch = 64
    *others, last = checks.checked(config).phases
    assert {p.optimizer.factor for p in others} == {1}
    assert last.optimizer.factor == last.discriminator.optimizer.factor == factor
    assert {rule, "64", "16"} <= set(last.optimizer.scaling.split())


def test_losses_and_regularizers_of_weight_0_are_left_out(config):
    for label in "perceptual", "adversarial":
        config.train.adversarial.losses[label].weight = 0.0
    last = checks.checked(config).phases[-1]
    assert last.losses.keys() == {"pixel", "distill"}
    assert last.discriminator is None
    refine = get_config("phases", "refine")
    (regularized,) = checks.checked(refine).phases
    assert regularized.discriminator.regularizers["r1"].kind == ("r1", {})
    refine.train.adversarial.discriminator.regularizers.r1.weight = 0.0
    assert checks.checked(refine).phases[0].discriminator.regularizers == {}


def test_teachers_that_no_loss_uses_are_left_out(config):
    config.phases = ("distill",)
    refused(config, f"{TEACHERS}.teacher.model='teacher'")
    config.train.distill.losses.distill.weight = 0.0
    (control,) = checks.checked(config).phases
    assert (control.teachers, control.losses.keys()) == ({}, {"pixel"})


def test_a_start_takes_precedence_over_a_checkpoint(config):
    config.student.checkpoint = "runs/old"
    _, distilled, refined = checks.checked(config).phases
    assert (distilled.checkpoint, refined.checkpoint) == ("runs/old", "")
    assert (distilled.start, refined.start) == ("", "distill")


def test_phases_that_do_not_run_are_not_checked(config):
    config.phases = ("teacher",)
    config.train.distill.hr_patch = 30
    config.train.adversarial.losses.perceptual.kind = "no such"
    config.train.adversarial.hr_patch = 1000
    run = checks.checked(config)
    assert (len(run.phases), run.largest_patch) == (1, 96)


def test_files_may_replace_earlier_phases(config):
    config.phases = ("adversarial",)
    config.train.adversarial.start = "clean_x4"
    config.train.adversarial.teachers.teacher.model = "runs/kd:teacher"
    (last,) = checks.checked(config).phases
    assert (last.start, last.number) == ("clean_x4", 0)
    assert last.teachers["teacher"].model == "runs/kd:teacher"


def test_every_entry_of_the_tables_can_be_named(config):
    pairs, others = ":pairs=((conv1,conv1),)", ":others=(hr,)"
    options = {"fitnet": pairs, "attention_transfer": pairs, "affinity": pairs, "several": others}
    for field, table in ("kind", losses.TERMS), ("schedule", losses.SCHEDULES):
        for name in table:
            config.train.distill.losses.distill[field] = name + options.get(name, "")
            distill = checks.checked(config).phases[1].losses["distill"]
            assert getattr(distill, field).name == name
    for name in models.GENERATORS:
        config.student.network = name
        assert checks.checked(config).phases[1].spec == (name, {})


# What is refused: a field, its value, and what the message says beside the field.

REFUSED = [
    ("scale", 5, "=5", "2, 3, 4"),
    ("phases", (), "teacher", "distill"),
    ("phases", ("techer",), "'techer'", "'teacher'"),
    ("phases", (1, 2), "'1'", "adversarial, distill, teacher"),
    ("phases", ("teacher", "teacher"), "('teacher', 'teacher')"),
    ("data.source", "", "embedded"),
    ("data.backend", "host", "='host'", "tfdata"),
    ("data.sampling", "pixel", "='pixel'", "'pixels'"),
    ("data.source", "embedded,", "='embedded,'"),
    ("data.weights", (1, 2), "=(1, 2)", "'embedded'"),
    ("data.weights", (0.0,), "=(0.0,)"),
    ("data.weights", (float("inf"),), "=(inf,)"),
    ("data.weights", ("a",), "=('a',)"),
    ("optim.lr_scaling", "liner", "='liner'", "'linear'"),
    ("dtype", "bfloat", "='bfloat'", "'bfloat16'"),
    ("steps_per_call", -1, "=-1"),
    ("max_bad_steps", 0, "=0"),
    ("log_every", 0, "=0"),
    ("evaluate_every", 0, "=0"),
    ("checkpoint_every", 0, "=0"),
    # Networks.
    ("teacher.network", "edrs", "='edrs'", "'edsr'"),
    ("student.network", "compact:chanels=8", "'compact'", "'chanels'", "'channels'"),
    ("student.network", "compact:depth=", "='compact:depth='", "KEY=VALUE"),
    ("student.network", "edsr:image_range=65535.0", "'edsr:image_range=65535.0'", "4096"),
    ("train.distill.network", "studnt", "='studnt'", "'student'"),
    ("train.adversarial.discriminator.network", "vg", "='vg'", "'vgg'"),
    ("train.adversarial.discriminator.network", "origin:chanels=(8,)", "'chanels'", "'channels'"),
    ("train.adversarial.discriminator.network", "origin:mean=3", "'mean'"),
    # Numbers.
    ("train.teacher.hr_patch", 30, "=30", "config.scale=4"),
    ("train.distill.steps", 0, "=0"),
    ("train.distill.steps", 2**31, "=2147483648", "batch=16"),
    ("train.adversarial.batch", -4, "=-4"),
    ("train.distill.reference_batch", 0, "=0"),
    ("train.teacher.learning_rate", 0.0, "=0.0"),
    ("train.teacher.learning_rate", float("nan"), "=nan", "1e-4"),
    ("train.teacher.learning_rate", float("inf"), "=inf"),
    ("train.adversarial.discriminator.learning_rate", -1.0, "=-1.0"),
    ("train.teacher.final_fraction", 1.5, "=1.5", "0 to 1"),
    ("train.teacher.ema_decay", 1.0, "=1.0", "0.999"),
    ("train.teacher.clip_norm", -1.0, "=-1.0"),
    ("train.teacher.weight_decay", -1.0, "=-1.0", "0 or more"),
    ("train.teacher.mixup", -0.2, "=-0.2", "0 or more"),
    ("train.teacher.mixup", float("nan"), "=nan"),
    ("train.teacher.dropout", "conv5", "='conv5'", "conv5:rate=0.1"),
    ("train.teacher.dropout", "conv5:rate=1.0", "='conv5:rate=1.0'", "between 0 and 1"),
    ("train.teacher.dropout", "conv5:rat=0.5", "='conv5:rat=0.5'"),
    ("data.max_bad_fraction", float("nan"), "=nan", "0 to 1"),
    ("train.teacher.warmup_steps", 10**6, "=1000000", "999"),
    ("train.adversarial.discriminator.warmup_steps", 1000, "=1000", "999"),
    ("train.teacher.betas", (0.9,), "=(0.9,)", "2"),
    ("train.teacher.betas", (0.9, 1.0), "=(0.9, 1.0)"),
    ("train.teacher.betas", ("a", "b"), "=('a', 'b')"),
    ("train.teacher.milestones", (1000, 2000), "=(1000, 2000)", "0.5,0.75"),
    ("train.teacher.milestones", (0.5, 0.2), "=(0.5, 0.2)", "ascending"),
    ("train.teacher.milestones", ("a",), "=('a',)"),
    ("train.teacher.schedule", "cosin", "='cosin'", "'cosine'"),
    # Losses.
    ("train.distill.losses.pixel.kind", "rms", "='rms'", "'rmse'"),
    ("train.distill.losses.distill.kind", "l3", "='l3'", "charbonnier"),
    ("train.distill.losses.pixel.kind", "l1:alpha=3", "'l1'", "'alpha'"),
    ("train.distill.losses.pixel.kind", "l1:target=teacher", "'target'"),  # a field of its own
    ("train.distill.losses.distill.kind", "blend:alpha=2", "alpha=2"),
    ("train.distill.losses.distill.kind", "fitnet", "pairs=()"),
    ("train.distill.losses.distill.kind", "affinity:pairs=((a,b),),pool=0", "pool=0"),
    ("train.distill.losses.distill.kind", "several", "others=()"),
    ("train.distill.losses.distill.kind", "several:others=(hr,),choose=bst", "'bst'", "'best'"),
    ("train.distill.losses.distill.kind", "several:others=(techer,)", "'techer'", "teacher"),
    ("train.distill.losses.distill.kind", "consistency:probability=0.0", "probability=0.0"),
    ("train.distill.losses.distill.kind", "contrastive:layers=(conv1_1,)", "weights=", "1 layers"),
    ("train.adversarial.losses.adversarial.kind", "bce:smooth=0.5", "smooth=0.5", "0.1"),
    ("train.adversarial.losses.adversarial.kind", "hinge:smooth=0.1", "'hinge'", "'smooth'"),
    ("train.distill.teachers.ema", teacher("teacher"), "'ema'", "label"),
    ("train.adversarial.losses.adversarial.kind", "hing", "='hing'", "'hinge'"),
    ("train.adversarial.losses.perceptual.kind", "perceptual:layers=(conv9_9,)", "'conv9_9'"),
    ("train.adversarial.losses.perceptual.kind", "perceptual:layers=()", "layers=()"),
    ("train.distill.losses.distill.target", "techer", "='techer'", "'teacher'", "hr"),
    ("train.teacher.losses.pixel.target", "teacher", "='teacher'", "hr"),  # not in this phase
    ("train.distill.losses.pixel.schedule", "linaer", "='linaer'", "'linear'"),
    ("train.distill.losses.pixel.schedule", "linear:stop=3", "'linear'", "'stop'"),
    ("train.distill.losses.pixel.weight", -0.5, "=-0.5"),
    ("train.distill.losses.pixel.weight", float("nan"), "=nan"),
    ("train.teacher.losses", ConfigDict(), "none"),
    ("train.adversarial.discriminator.regularizers.r1", loss("r2", 1.0), ".kind='r2'", "r1"),
    ("train.adversarial.discriminator.regularizers.r1", loss("r1", -1.0), ".weight=-1.0"),
    ("train.adversarial.discriminator.regularizers.pixel", loss("r1", 1.0), "label"),
    # Starts and teachers.
    ("train.distill.start", "adversarial", "='adversarial'", "config.phases"),
    ("train.distill.start", "distill", "='distill'", "teacher"),
    ("train.distill.teachers.teacher.model", "adversarial", "='adversarial'", "config.phases"),
    ("train.distill.teachers.teacher.model", "", "empty"),
    ("train.distill.teachers.teacher.reads", "hd", "='hd'", "hr, lr"),
]
# The same where the message names another field than the one that was set.
REFUSED_ELSEWHERE = [
    ("phases", ("distill", "teacher"), f"{TEACHERS}.teacher.model='teacher'"),
    ("phases", ("teacher", "adversarial"), "config.train.adversarial.start='distill'"),
    ("train.teacher.losses.pixel.kind", "blend", "config.train.teacher.losses.pixel.target='hr'"),
    (
        *("train.distill.losses.pixel.kind", "fitnet:pairs=((conv1,conv1),)"),
        *("config.train.distill.losses.pixel.target='hr'", "teacher"),
    ),
    (
        *("train.teacher.losses.pixel.target", "ema"),
        *("config.train.teacher.losses", "'ema'", "another target"),
    ),
    ("train.teacher.losses.pixel.weight", 0.0, "config.train.teacher", "weight", "pixel"),
    (
        *("train.adversarial.losses.second", loss("bce", 1.0)),
        *("config.train.adversarial.losses", "adversarial", "second"),
    ),
    (
        *("train.distill.teachers.teacher.reads", "hr"),  # its image is larger than the student's
        *("config.train.distill.losses.distill.target='teacher'", f"{TEACHERS}.teacher.reads"),
    ),
]


@pytest.mark.parametrize(
    ("field", "value", "facts"),
    [(field, value, (f"config.{field}", *facts)) for field, value, *facts in REFUSED]
    + [(field, value, facts) for field, value, *facts in REFUSED_ELSEWHERE],
)
def test_a_wrong_value_is_refused_with_field_and_value(config, field, value, facts):
    put(config, field, value)
    refused(config, *facts)


def test_labels_that_are_columns_of_the_log_are_refused(config):
    assert {"total", "phase", "seconds_per_step", "holdout_psnr_y"} <= set(phase_checks.TAKEN)
    for label in phase_checks.TAKEN:
        copy = default()
        put(copy, f"train.distill.losses.{label}", loss("l1", 1.0))
        refused(copy, f"config.train.distill.losses.{label}")


def test_layers_must_survive_the_pooling_of_a_small_patch(config):
    config.train.adversarial.hr_patch = 8
    config.train.adversarial.losses.perceptual.kind = "perceptual:layers=(conv5_3,)"
    refused(config, "config.train.adversarial.losses.perceptual.kind", "conv5_3", "8")


def test_mixup_needs_an_even_batch(config):
    config.train.teacher.mixup, config.train.teacher.batch = 0.2, 5
    refused(config, "config.train.teacher.mixup", "batch=5 is odd", "even")


def test_weights_of_a_prepared_file_are_checked_with_the_file(config):
    config.data.source, config.data.weights = "lr:a, hr:b", (1, 2)
    assert checks.checked(config).data.weights == (1, 2)
    config.data.source, config.data.prepared = "embedded", "photos.bin"
    assert checks.checked(config).data.weights == (1, 2)


def test_several_steps_in_a_call_need_patches_on_the_device(config):
    config.steps_per_call = 4
    checks.checked(config)
    config.data.backend = "tfdata"
    refused(config, "config.steps_per_call=4", "config.data.backend='device'")


def test_networks_that_compute_in_float32_only_are_named(config):
    config.dtype = "bfloat16"
    assert {p.dtype for p in checks.checked(config).phases} == {"bfloat16"}
    plain = next(n for n, module in models.GENERATORS.items() if not hasattr(module, "dtype"))
    config.student.network = plain
    refused(config, "config.student.network", repr(plain), "bfloat16", "compact")


# The command line.


@pytest.fixture
def typed(monkeypatch):
    """Returns a function from arguments to the config that a command would get."""

    def parse(*arguments, file="kd.py:scratch"):
        values, argv = flags.FlagValues(), ["main", f"--config={CONFIGS / file}", *arguments]
        monkeypatch.setattr(flags, "FLAGS", values)
        config_flags.register_flag_parser_for_type(tuple, command._Words())
        config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
        command._parse(argv)
        return values.config

    return parse


@pytest.mark.parametrize(
    ("text", "phases"),
    [
        ("teacher,distill", ("teacher", "distill")),
        ("(teacher,distill)", ("teacher", "distill")),
        ("('teacher', 'distill')", ("teacher", "distill")),
        ("teacher, distill,", ("teacher", "distill")),
        ("teacher", ("teacher",)),
        ("my-own,other", ("my-own", "other")),
        ("", ()),
    ],
)
def test_phases_may_be_typed_as_words(typed, text, phases):
    assert typed(f"--config.phases={text}").phases == phases


def test_tuples_networks_and_losses_may_be_typed(typed):
    config = typed(
        "--config.student.network=edsr:channels=8,blocks=1",
        "--config.train.teacher.betas=(0.9,0.99)",
        "--config.train.distill.betas=0.5,0.9",
        "--config.train.teacher.schedule=halving",
        "--config.train.teacher.milestones=(0.5,)",
        "--config.train.distill.losses.distill.schedule=linear:first=1,last=0,end=500",
        "--config.train.distill.losses.distill.kind=charbonnier",
        "--config.train.distill.losses.distill.weight=2",
        "--config.train.adversarial.losses.perceptual.kind=perceptual:layers=(conv1_2,conv2_2)",
    )
    first, second, last = checks.checked(config).phases
    assert second.spec == ("edsr", {"channels": 8, "blocks": 1})
    assert (first.optimizer.betas, second.optimizer.betas) == ((0.9, 0.99), (0.5, 0.9))
    assert first.optimizer.milestones == (0.5,)
    assert second.losses["distill"] == LossConfig(
        Spec("charbonnier", {}), 2.0, Spec("linear", {"first": 1, "last": 0, "end": 500}), "teacher"
    )
    assert last.losses["perceptual"].kind.options == {"layers": ("conv1_2", "conv2_2")}


def leaves(capsys, call):
    """Returns the one line with which `call` ends the program, with exit code 2."""
    with pytest.raises(SystemExit) as caught:
        call()
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_wrong_command_line_is_one_line(typed, capsys):
    for argument, file, fact in [
        ("--config.sede=1", "kd.py", '"seed"'),
        ("--config.seed=1", "kd.py:smok", "'smoke'"),
        ("--config.seed=1", "dk.py", "dk.py: no such file"),
        ("--config.seed=1e5", "kd.py", "--config.seed=1e5 must be a whole number, such as 100000"),
        ("--config.seed=one", "kd.py", "--config.seed=one must be a whole number"),
        ("--config=configs/own.py", "kd.py", "--config is given 2 times"),
    ]:
        assert fact in leaves(capsys, lambda a=argument, f=file: typed(a, file=f))


def test_an_hr_patch_that_an_lr_patch_outdoes_is_refused(typed, capsys):
    change = "--config.train.student.hr_patch=192"
    line = leaves(capsys, lambda: typed(change, file="students.py:tiny"))
    assert f"{change} " in line
    assert "config.train.student.lr_patch=48 instead" in line
    typed("--config.train.student.lr_patch=0", change, file="students.py:tiny")
    assert typed("--config.train.teacher.hr_patch=64").train.teacher.hr_patch == 64


def has(config, field):
    for word in field.split("."):
        if not hasattr(config, "keys") or word not in config:
            return False
        config = config[word]
    return True


@pytest.mark.parametrize("field", RENAMED)
def test_old_fields_are_answered_with_their_new_names(field, config, typed, capsys):
    old = field.replace("kwargs", "kwargs.channels")
    if "." not in field:  # a field of a phase
        old = f"train.adversarial.{field}"
    new = new_name(f"config.{old}")
    assert new.endswith(RENAMED[field])
    assert not has(config, old)
    assert has(config, re.match(r"[\w.]+", new)[0]) or "LABEL" in new
    line = leaves(capsys, lambda: typed(f"--config.{old}=1"))
    assert f"--config.{old} " in line
    assert f"--config.{new}" in line


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        ("config.teacher.kwargs = {'channels': 8}", ["'kwargs'", "network"]),
        ("config.train.distill.distill_weight = 0.5", ["'distill_weight'", "losses.distill"]),
        ("config.train.teacher = phase(pixel_weight=1.0, losses={})", ["pixel_weight", "losses."]),
    ],
)
def test_old_config_files_are_answered_in_one_line(tmp_path, typed, capsys, line, facts):
    (tmp_path / "mine.py").write_text(
        "from kdgan_jax.config import default, phase\n"
        f"def get_config():\n    config = default()\n    {line}\n    return config\n"
    )
    answer = leaves(capsys, lambda: typed(file=tmp_path / "mine.py"))
    for fact in facts:
        assert fact in answer


@pytest.mark.parametrize(
    "field",
    [
        *("seed", "teacher.network", "teacher.checkpoint", "data.source", "train.distill.steps"),
        *("train.distill.losses.pixel.weight", "train.adversarial.losses.adversarial.kind"),
        "train.pixel.steps",  # a phase of that name
    ],
)
def test_current_fields_have_no_new_name(field):
    assert new_name(f"config.{field}") == ""


# The copy of the config that a run keeps.


@pytest.fixture
def path(config, tmp_path):
    """The config.json of a run of `config`."""
    files.write_json(tmp_path / "config.json", to_json(config))
    return tmp_path / "config.json"


def check_workdir(config, path):
    earlier.check_workdir(checks.checked(config), path)


def differences(config, path, expected):
    """Checks that a config is refused, with these (saved, current) values and no others."""
    with pytest.raises(UserError) as caught:
        check_workdir(config, path)
    message = str(caught.value)
    for field, (saved, current) in expected.items():
        assert re.search(rf"config\.{field}: .*{saved!r}.*{current!r}", message)
    assert message.count("config.") == len(expected)


def saved_without(path, *fields):
    """Removes fields from the saved config, as if an older version had written it."""
    saved = files.read_json(path)
    for field in fields:
        *parts, last = field.split(".")
        tree = saved
        for part in parts:
            tree = tree[part]
        del tree[last]
    files.write_json(path, saved)


def test_a_new_workdir_and_the_same_config_are_accepted(config, path, tmp_path):
    check_workdir(config, tmp_path / "none.json")
    check_workdir(config, path)
    config.log_every, config.devices, config.data.source = 7, 1, "moved/photos"
    check_workdir(config, path)  # these do not change the results
    for variant in "two_teachers", "refine":
        named = get_config("phases", variant)
        files.write_json(path, to_json(named))
        check_workdir(named, path)


def test_another_config_is_refused_with_both_values(config, path):
    config.train.distill.steps = 7
    config.train.teacher.losses.pixel.kind = "l2"
    expected = {
        r"train\.distill\.steps": (1000, 7),
        r"train\.teacher\.losses\.pixel\.kind": ("l1", "l2"),
    }
    differences(config, path, expected)


def test_fields_that_an_older_run_did_not_have_had_their_default(config, path):
    config.train.adversarial.update({"batch": 8, "reference_batch": 8})
    files.write_json(path, to_json(config))
    new = "optim", "data.sampling", "train.distill.clip_norm", "train.adversarial.reference_batch"
    saved_without(path, *new)
    check_workdir(config, path)
    config.optim.lr_scaling = "linear"
    config.train.distill.clip_norm = 2.0
    expected = {
        r"optim\.lr_scaling": ("none", "linear"),
        r"train\.distill\.clip_norm": (0.0, 2.0),
    }
    differences(config, path, expected)


def test_fields_that_no_longer_exist_and_new_losses_are_differences(config, path):
    saved = files.read_json(path)
    saved["data"]["sharpen"] = 0.5
    files.write_json(path, saved)
    differences(config, path, {r"data\.sharpen": (0.5, None)})
    files.write_json(path, to_json(config))
    saved_without(path, "train.distill.losses.distill")  # labels have no default
    with pytest.raises(UserError, match=r"losses\.distill\.weight.*0\.5"):
        check_workdir(config, path)


@pytest.mark.parametrize(
    ("started", "raised", "accepted"),
    [
        ((), "teacher", True),
        (("teacher",), "teacher", True),
        (("teacher",), "distill", True),
        (("teacher", "distill"), "distill", True),
        (("teacher", "distill"), "teacher", False),  # the student has learnt from it
        (("teacher", "distill", "adversarial"), "adversarial", True),
        (("teacher", "distill", "adversarial"), "distill", False),
    ],
)
def test_steps_may_rise_until_a_later_phase_has_started(config, path, started, raised, accepted):
    for name in started:
        (path.parent / "checkpoints" / name / "500").mkdir(parents=True)
    field = rf"train\.{raised}\.steps"
    config.train[raised].steps = 1001
    if accepted:
        check_workdir(config, path)
    else:
        differences(config, path, {field: (1000, 1001)})
    config.train[raised].steps = 999
    differences(config, path, {field: (1000, 999)})


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000, '{"a": nul}'])
def test_a_damaged_config_of_a_run_is_refused(config, path, text):
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(str(path))):
        check_workdir(config, path)


@pytest.mark.parametrize(
    ("starts", "version"),
    [
        ([{"versions": {"kdgan_jax": "0.1.7"}}], "kdgan_jax 0.1.7"),
        ([], "before 0.2"),
        (None, "before 0.2"),
    ],
)
def test_runs_of_older_versions_are_not_resumed(config, path, starts, version):
    saved = to_json(config)
    saved["student"] = {"name": "compact", "kwargs": {"channels": 8}}
    files.write_json(path, saved)
    if starts is not None:
        files.write_json(path.with_name("run.json"), {"starts": starts})
    with pytest.raises(UserError) as caught:
        check_workdir(config, path)
    for fact in (str(path.parent), version):
        assert fact in str(caught.value)
