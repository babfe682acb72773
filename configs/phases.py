"""Examples of runs with other phases than teacher, student and refinement.

    python -m kdgan_jax.main --config=configs/phases.py:assistant --workdir=runs/assistant

Variants, after a colon; with ",smoke" appended ("assistant,smoke") they run in seconds, for tests:
    control       the student of configs/kd.py:scratch, trained on HR alone with as many updates
    assistant     teacher -> assistant -> student (Mirzadeh et al., "Improved Knowledge Distillation
                  via Teacher Assistant", AAAI 2020)
    two_teachers  a student of two teachers
    published     a student of a published model:
                  --config.train.distill.teachers.teacher.model=FILE
    hints         distillation of features, through 1x1 adapters, as well as of outputs (Romero et
                  al., "FitNets", ICLR 2015)
    finetune      further training of any model: --config.train.student.start=FILE
    refine        adversarial refinement of any model, with a regularised discriminator:
                  --config.train.adversarial.start=FILE
"""

from kdgan_jax.config import (
    check_variant,
    default,
    discriminator,
    loss,
    network,
    phase,
    teach,
    teacher,
)

SMOKE = {"steps": 4, "batch": 4, "hr_patch": 32}


def get_config(variant: str = "control"):
    """Returns the config; `variant` is one of those above, with or without ",smoke"."""
    name, _, size = variant.partition(",")
    check_variant(name, tuple(RUNS))
    check_variant(size, ("smoke",))
    config = RUNS[name or "control"](bool(size))
    config.evaluate_every, config.checkpoint_every, config.log_every = 100, 300, 50
    if size:
        config.evaluate_every, config.checkpoint_every, config.log_every = 4, 2, 2
    return config


def networks(smoke: bool):
    """Returns a teacher, a smaller assistant, and an even smaller student."""
    sizes = {"teacher": (8, 2), "assistant": (8, 1), "student": (4, 1)}
    if not smoke:
        sizes = {"teacher": (64, 6), "assistant": (48, 5), "student": (32, 4)}
    return {name: network(f"compact:channels={c},depth={d}") for name, (c, d) in sizes.items()}


def steps(number: int, smoke: bool, **changes):
    """Returns the fields that phases share: `changes`, and `number` steps or the smoke sizes."""
    return changes | (SMOKE if smoke else {"steps": number})


def learner(model: str, network: str = "student", smoke: bool = False):
    """Returns a phase that learns half from HR, half from `model`, a phase or a file."""
    return phase(
        network,
        losses={"pixel": loss("l1", 0.5), "distill": loss("l1", 0.5, target="teacher")},
        teachers={"teacher": teacher(model)},
        **steps(3000, smoke, learning_rate=2e-3),
    )


def control(smoke: bool):
    """Trains the student without a teacher."""
    alone = phase(losses={"pixel": loss("l1", 1.0)}, **steps(3000, smoke, learning_rate=2e-3))
    return default(networks(smoke), {"control": alone})


def assistant(smoke: bool):
    """Trains a teacher, then an assistant, then the student."""
    phases = {
        "teacher": teach(**steps(1500, smoke)),
        "assistant": learner("teacher", "assistant", smoke),
        "distill": learner("assistant", smoke=smoke),
    }
    return default(networks(smoke), phases)


def two_teachers(smoke: bool):
    """Trains two teachers with different losses, then a student of both."""
    size = steps(1500, smoke)
    phases = {
        "sharp": phase("teacher", losses={"pixel": loss("l1", 1.0)}, **size),
        "smooth": phase("assistant", losses={"pixel": loss("l2", 1.0)}, **size),
        "distill": phase(
            losses={
                "pixel": loss("l1", 0.5),
                "sharp": loss("l1", 0.25, target="sharp"),
                "smooth": loss("l1", 0.25, target="smooth"),
            },
            teachers={"sharp": teacher("sharp"), "smooth": teacher("smooth")},
            **steps(3000, smoke, learning_rate=2e-3),
        ),
    }
    return default(networks(smoke), phases)


def published(smoke: bool):
    """Trains a student of a model that the command line names."""
    return default(networks(smoke), {"distill": learner("student_x4", smoke=smoke)})


def hints(smoke: bool):
    """Trains a student whose middle and last features follow the teacher's."""
    pairs = "(conv1,conv1),(conv2,conv3)" if smoke else "(conv3,conv4),(conv5,conv7)"
    phases = {
        "teacher": teach(**steps(1500, smoke)),
        "distill": phase(
            losses={
                "pixel": loss("l1", 0.5),
                "distill": loss("l1", 0.5, target="teacher"),
                "hints": loss(
                    f"fitnet:pairs=({pairs})", 1e-2, target="teacher", schedule="cosine:end=2000"
                ),
            },
            teachers={"teacher": teacher("teacher")},
            **steps(3000, smoke, learning_rate=2e-3),
        ),
    }
    return default(networks(smoke), phases)


def finetune(smoke: bool):
    """Trains a model that the command line names for some more steps on HR."""
    size = steps(1000, smoke, learning_rate=2e-4)
    tuned = phase(start="student_x4", losses={"pixel": loss("l1", 1.0)}, **size)
    return default(networks(smoke), {"student": tuned})


def refine(smoke: bool):
    """Refines a model adversarially, without a teacher."""
    small = "channels=(8,16),hidden=16," if smoke else ""
    refined = phase(
        start="student_x4",
        losses={
            "pixel": loss("l1", 1e-1),
            "perceptual": loss("perceptual:layers=(conv1_2,conv2_2)", 1e-1),
            "adversarial": loss("relativistic", 5e-3),
        },
        discriminator=discriminator(
            f"origin:{small}spectral_norm=True",
            learning_rate=2e-4,
            warmup_steps=1,
            regularizers={"r1": loss("r1", 1e-2)},
        ),
        **steps(300, smoke, learning_rate=2e-4, schedule="constant"),
    )
    return default(networks(smoke), {"adversarial": refined})


RUNS = {
    "control": control,
    "assistant": assistant,
    "two_teachers": two_teachers,
    "published": published,
    "hints": hints,
    "finetune": finetune,
    "refine": refine,
}
