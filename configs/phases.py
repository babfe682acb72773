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
    attention, affinity, contrastive, wavelet, consistency, zoom_in, several, early, own_average,
    regularized   methods of docs/distillation.md
    study         the base of configs/sweeps/study.py; as it is, a control with all other losses at
                  weight 0
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
    return default(networks(smoke), {"distill": learner("clean_x4", smoke=smoke)})


def taught(smoke: bool, losses, teachers=("teacher",), **changes):
    """Trains teachers, then a student, half on HR and half as `losses` say."""
    teaching = {"teacher": "teacher", "second": "assistant"}  # networks by phase
    pixel = {"pixel": loss("l1", 1.0)}
    phases = {name: phase(teaching[name], losses=pixel, **steps(1500, smoke)) for name in teachers}
    phases["distill"] = phase(
        losses={"pixel": loss("l1", 0.5), **losses},
        teachers={name: teacher(name) for name in teachers},
        **steps(3000, smoke, learning_rate=2e-3, **changes),
    )
    return default(networks(smoke), phases)


def beside_outputs(smoke: bool, label: str, kind: str, weight: float, schedule: str = "constant"):
    """Trains a student on HR, on its teacher's outputs, and with one loss more."""
    more = loss(kind, weight, target="teacher", schedule=schedule)
    return taught(smoke, {"distill": loss("l1", 0.5, target="teacher"), label: more})


def pairs(smoke: bool):
    """Returns the option that names the student's middle and last features, and the teacher's."""
    return "pairs=((conv1,conv1),(conv2,conv3))" if smoke else "pairs=((conv3,conv4),(conv5,conv7))"


def hints(smoke: bool):
    """Trains a student whose middle and last features follow the teacher's."""
    kind = f"fitnet:{pairs(smoke)}"
    return beside_outputs(smoke, "hints", kind, 1e-2, schedule="cosine:end=2000")


def attention(smoke: bool):
    """Trains a student whose features are strong where the teacher's are."""
    return beside_outputs(smoke, "attention", f"attention_transfer:{pairs(smoke)}", 1e-2)


def affinity(smoke: bool):
    """Trains a student whose features are alike where the teacher's are."""
    return beside_outputs(smoke, "affinity", f"affinity:{pairs(smoke)}", 1e-2)


def contrastive(smoke: bool):
    """Trains a student that is near the teacher's image and far from enlarged LR."""
    few = ":layers=(conv1_1,conv2_1),weights=(0.5,1.0)" if smoke else ""
    return beside_outputs(smoke, "contrastive", f"contrastive{few}", 2e-3)


def wavelet(smoke: bool):
    """Trains a student on all bands of the teacher's image, each size on its own."""
    return taught(smoke, {"wavelet": loss("haar:levels=3,low=True", 0.5, target="teacher")})


def consistency(smoke: bool):
    """Trains a student that follows the teacher on mirrored and inverted LR, too."""
    return beside_outputs(smoke, "consistency", "consistency", 0.5)


def zoom_in(smoke: bool):
    """Trains a student that follows the teacher on parts of HR, too, which have no truth."""
    return beside_outputs(smoke, "zoom_in", "zoom_in", 0.5)


def several(smoke: bool):
    """Trains a student of what is best in the images of two teachers."""
    best = loss("several:others=(second,),choose=best", 0.5, target="teacher")
    return taught(smoke, {"best": best}, ("teacher", "second"))


def early(smoke: bool):
    """Trains a student on its teacher for a quarter of the steps, then on HR alone."""
    schedule = f"between:end={1 if smoke else 750}"
    return taught(smoke, {"distill": loss("l1", 0.5, target="teacher", schedule=schedule)})


def own_average(smoke: bool):
    """Trains a student that agrees with its own average on changed LR, without a teacher."""
    return taught(smoke, {"own": loss("consistency", 0.5, target="ema")}, ())


def regularized(smoke: bool):
    """Trains a student on HR with weight decay, clipping, mixup and dropout."""
    size = steps(3000, smoke, learning_rate=2e-3)
    regularization = {"weight_decay": 1e-4, "clip_norm": 1.0, "mixup": 0.2}
    regularization["dropout"] = f"{'conv2' if smoke else 'conv5'}:rate=0.1"
    alone = phase(losses={"pixel": loss("l1", 1.0)}, **regularization, **size)
    return default(networks(smoke), {"control": alone})


def study(smoke: bool):
    """Trains a teacher, then a student on HR; a sweep's variants raise the weights that are 0."""
    losses = {
        "pixel": loss("l1", 1.0),
        "output": loss("l1", 0.0, target="teacher"),
        "published": loss("l1", 0.0, target="published"),
        "hints": loss(f"fitnet:{pairs(smoke)}", 0.0, target="teacher"),
        "attention": loss(f"attention_transfer:{pairs(smoke)}", 0.0, target="teacher"),
        "affinity": loss(f"affinity:{pairs(smoke)}", 0.0, target="teacher"),
        "wavelet": loss("haar:levels=3,low=True", 0.0, target="teacher"),
        "detail": loss("haar:levels=3", 0.0, target="teacher"),
        "zoom_in": loss("zoom_in", 0.0, target="teacher"),
    }
    phases = {
        "teacher": teach(**steps(12_000, smoke)),
        "distill": phase(
            losses=losses,
            teachers={name: teacher(name) for name in ("teacher", "published")},
            **steps(6000, smoke, learning_rate=2e-3),
        ),
    }
    return default(networks(smoke), phases)


def finetune(smoke: bool):
    """Trains a model that the command line names for some more steps on HR."""
    size = steps(1000, smoke, learning_rate=2e-4)
    tuned = phase(start="clean_x4", losses={"pixel": loss("l1", 1.0)}, **size)
    return default(networks(smoke), {"student": tuned})


def refine(smoke: bool):
    """Refines a model adversarially, without a teacher."""
    small = "channels=(8,16),hidden=16," if smoke else ""
    refined = phase(
        start="clean_x4",
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
    "attention": attention,
    "affinity": affinity,
    "contrastive": contrastive,
    "wavelet": wavelet,
    "consistency": consistency,
    "zoom_in": zoom_in,
    "several": several,
    "early": early,
    "own_average": own_average,
    "regularized": regularized,
    "study": study,
    "finetune": finetune,
    "refine": refine,
}
