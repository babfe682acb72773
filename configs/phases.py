"""Runs of other phases than teacher, student and refinement: examples to start from.

    python -m kdgan_jax.main --config=configs/phases.py:assistant --workdir=runs/assistant

Variants, after a colon; with ",smoke" behind one ("assistant,smoke") it takes seconds, for tests:
    control       the student of configs/kd.py on HR alone, without a teacher, at equal updates
    assistant     teacher -> assistant -> student (Mirzadeh et al., "Improved Knowledge Distillation
                  via Teacher Assistant", AAAI 2020)
    two_teachers  one student of two teachers
    published     a published model is the teacher, and nothing else is trained than a student:
                  --config.train.distill.teachers.teacher.model=FILE
    hints         feature distillation with 1x1 adapters (Romero et al. 2015) beside the outputs
    finetune      a student that goes on from any model: --config.train.student.start=FILE
    refine        adversarial refinement of any model, with a regularised discriminator:
                  --config.train.adversarial.start=FILE
"""

from kdgan_jax import config as base
from kdgan_jax.config import discriminator, loss, network, phase, teacher

SMOKE = {"steps": 4, "batch": 4, "hr_patch": 32}


def get_config(variant: str = "control"):
    """Returns the config; `variant` is one of those above."""
    name, _, size = variant.partition(",")
    base.refuse_unknown(name, tuple(RUNS))
    base.refuse_unknown(size, ("smoke",))
    config = RUNS[name or "control"](bool(size))
    config.evaluate_every, config.checkpoint_every, config.log_every = 100, 300, 50
    if size:
        config.evaluate_every, config.checkpoint_every, config.log_every = 4, 2, 2
    return config


def networks(smoke: bool):
    """Returns a teacher, an assistant between, and a student."""
    sizes = {"teacher": (8, 2), "assistant": (8, 1), "student": (4, 1)}
    if not smoke:
        sizes = {"teacher": (64, 6), "assistant": (48, 5), "student": (32, 4)}
    return {name: network(f"compact:channels={f},depth={d}") for name, (f, d) in sizes.items()}


def steps(number: int, smoke: bool, **changes):
    """Returns what phases have in common."""
    return changes | (SMOKE if smoke else {"steps": number})


def learner(model: str, network: str = "student", smoke: bool = False):
    """Returns a phase that learns half from HR and half from the model of a phase."""
    return phase(
        network,
        losses={"pixel": loss("l1", 0.5), "distill": loss("l1", 0.5, target="teacher")},
        teachers={"teacher": teacher(model)},
        **steps(3000, smoke, learning_rate=2e-3),
    )


def control(smoke: bool):
    """The student without a teacher."""
    alone = {"losses": {"pixel": loss("l1", 1.0)}, **steps(3000, smoke, learning_rate=2e-3)}
    return base.default(networks(smoke), {"control": phase(**alone)})


def assistant(smoke: bool):
    """Teacher, assistant, student."""
    phases = {
        "teacher": base.teach(**steps(1500, smoke)),
        "assistant": learner("teacher", "assistant", smoke),
        "distill": learner("assistant", smoke=smoke),
    }
    return base.default(networks(smoke), phases)


def two_teachers(smoke: bool):
    """Two teachers that are trained with other losses."""
    alone = steps(1500, smoke)
    phases = {
        "sharp": phase("teacher", losses={"pixel": loss("l1", 1.0)}, **alone),
        "smooth": phase("assistant", losses={"pixel": loss("l2", 1.0)}, **alone),
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
    return base.default(networks(smoke), phases)


def published(smoke: bool):
    """A student of a model that the command line names."""
    return base.default(networks(smoke), {"distill": learner("student_x4", smoke=smoke)})


def hints(smoke: bool):
    """The middle and the end of the student's body follow those of the teacher's."""
    pairs = "(conv1,conv1),(conv2,conv3)" if smoke else "(conv3,conv4),(conv5,conv7)"
    phases = {
        "teacher": base.teach(**steps(1500, smoke)),
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
    return base.default(networks(smoke), phases)


def finetune(smoke: bool):
    """Some more steps on HR from a model that the command line names."""
    more = steps(1000, smoke, learning_rate=2e-4)
    alone = phase(start="student_x4", losses={"pixel": loss("l1", 1.0)}, **more)
    return base.default(networks(smoke), {"student": alone})


def refine(smoke: bool):
    """Adversarial refinement without a teacher."""
    judge = "origin:spectral_norm=True"
    if smoke:
        judge = "origin:channels=(8,16),hidden=16,spectral_norm=True"
    refined = phase(
        start="student_x4",
        losses={
            "pixel": loss("l1", 1e-1),
            "perceptual": loss("perceptual:layers=(conv1_2,conv2_2)", 1e-1),
            "adversarial": loss("relativistic", 5e-3),
        },
        discriminator=discriminator(
            judge, learning_rate=2e-4, warmup_steps=1, regularizers={"r1": loss("r1", 1e-2)}
        ),
        **steps(300, smoke, learning_rate=2e-4, schedule="constant"),
    )
    return base.default(networks(smoke), {"adversarial": refined})


RUNS = {
    "control": control,
    "assistant": assistant,
    "two_teachers": two_teachers,
    "published": published,
    "hints": hints,
    "finetune": finetune,
    "refine": refine,
}
