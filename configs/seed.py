"""The origin's recipe, completed so that it runs.

    python -m kdgan_jax.main --config=configs/seed.py --workdir=runs/seed

The origin is the notebook Distilled_GAN.ipynb of Ghaayathri Devi K., Image-Super-Resolution. From
the notebook, unchanged: the SRCNN teacher (9-3-5 with 128 and 64 channels), the student, the
discriminator, the blend (1 - a) RMSE(HR) + a RMSE(teacher), the adversarial weight 1e-3. From its
README: Adam at 0.005, 100 epochs. Parts of the notebook cannot run; here they are changed:

- The notebook first builds the networks without their loss argument, and its generator loss takes
  four arguments where Keras passes two. Here one train step computes the losses.
- In the notebook `high_res_images2` is an empty array, since `append` is named but not called, and
  two unsorted globs need not pair LR with HR. Here batches hold aligned patches, with LR made by
  MATLAB's bicubic.
- The notebook's teacher expects one channel and gets three, and its "valid" convolutions return an
  image 12 pixels smaller than LR, which cannot be a x4 target. Here, as in SRCNN, it works on the
  bicubic enlargement of Y, keeps the size, and takes chroma from bicubic. The notebook loads a file
  trained for x2. Here the teacher is trained first, as long as the student, with MSE and Adam from
  3e-4 to 0 (cosine). The LeakyReLU after each ReLU has no effect and is left out.
- The notebook passes only the teacher's images as targets, so it never computes the blend. Here the
  blend is computed, on RGB, with a = 0.5; the notebook gives no value. As there, the teacher's
  images of whole pictures are computed once.
- The notebook's discriminator ends in a sigmoid, with RMSE in one place and cross-entropy in
  another. Here the loss is binary cross-entropy on the logit.
- In the notebook all pictures form one batch, so 100 epochs are 100 updates, and Adam runs at its
  default 1e-3. Here an epoch is 100 updates: the area of the origin's 100 pictures of 384 x 384, in
  batches of 16 patches of 96 x 96.

At a rate of 0.005 most channels of the student die: docs/students.md has the figures.
"""

from kdgan_jax.config import (
    check_variant,
    default,
    discriminator,
    loss,
    network,
    phase,
    teacher,
)

EPOCHS = 100
UPDATES_PER_EPOCH = 100 * 384**2 // (16 * 96**2)


def get_config(variant: str = ""):
    """Returns the config; `variant` is "" or "smoke", which runs in seconds, for tests."""
    check_variant(variant, ("smoke",))
    size = {"steps": EPOCHS * UPDATES_PER_EPOCH, "batch": 16, "hr_patch": 96}
    if variant == "smoke":
        size = {"steps": 2, "batch": 4, "hr_patch": 32}
    size["betas"] = (0.9, 0.999)
    return default(
        networks={
            "teacher": network("srcnn:kernels=(9,3,5),channels=(128,64)"),
            "student": network("kdgan_student"),
        },
        phases={
            "teacher": phase(
                "teacher", losses={"pixel": loss("l2", 1.0)}, learning_rate=3e-4, **size
            ),
            "adversarial": phase(
                losses={
                    "blend": loss("blend:alpha=0.5", 1.0, target="teacher"),
                    "adversarial": loss("bce", 1e-3),
                },
                teachers={"teacher": teacher("teacher", stored="float16")},
                discriminator=discriminator("origin", learning_rate=5e-3),
                learning_rate=5e-3,
                schedule="constant",
                **size,
            ),
        },
    )
