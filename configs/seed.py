"""The origin's own recipe, read so that it runs.

    python -m kdgan_jax.main --config=configs/seed.py --workdir=runs/seed

The origin is the notebook Distilled_GAN.ipynb of Ghaayathri Devi K., Image-Super-Resolution. Taken
from it as they are: the SRCNN teacher (9-3-5 with 128 and 64 channels), the student, the
discriminator, the blend (1 - a) RMSE(truth) + a RMSE(teacher), the adversarial weight 1e-3. From
its README: Adam at 0.005, 100 epochs. What in the notebook cannot run, and how it is read here:

- The networks are first made without their loss argument; the generator's loss takes four
  arguments where Keras supplies two. Here the losses are computed in one train step.
- `high_res_images2` is an empty array and `append` is named, not called. Here batches are of
  aligned patches, LR made by MATLAB's bicubic; the notebook's two unsorted globs need not pair.
- The teacher expects one channel and gets three, and its "valid" convolutions give an image 12
  pixels smaller than LR, so no x4 target could come of it. Here it enlarges by bicubic, works on Y,
  keeps the size, and takes chroma from bicubic, as SRCNN is meant. The notebook loads a file made
  for x2; here it is trained first, as long as the student, by MSE and Adam from 3e-4 to 0 (cosine).
  The LeakyReLU after each ReLU changes nothing and is left out.
- Only the teacher's images are passed as targets, so the blend is never computed. Here it is, on
  RGB, with a = 0.5: the notebook gives no value.
- The discriminator ends in a sigmoid under RMSE or cross-entropy (the notebook has both). Here it
  is binary cross-entropy on the logit.
- There, all pictures are one batch, so 100 epochs are 100 updates, and Adam runs at its default
  1e-3. Here an epoch is the area of the origin's 100 pictures of 384 x 384 in batches of 16 patches
  of 96 x 96: 100 updates.
"""

from kdgan_jax import config as base
from kdgan_jax.config import discriminator, loss, network, phase, teacher

EPOCHS = 100
UPDATES_PER_EPOCH = 100 * 384**2 // (16 * 96**2)


def get_config(variant: str = ""):
    """Returns the config; `variant` is "" or "smoke" (seconds; for tests)."""
    base.refuse_unknown(variant, ("smoke",))
    size = {"steps": EPOCHS * UPDATES_PER_EPOCH, "batch": 16, "hr_patch": 96}
    if variant == "smoke":
        size = {"steps": 2, "batch": 4, "hr_patch": 32}
    size["betas"] = (0.9, 0.999)
    return base.default(
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
                teachers={"teacher": teacher("teacher")},
                discriminator=discriminator("origin", learning_rate=5e-3),
                learning_rate=5e-3,
                schedule="constant",
                **size,
            ),
        },
    )
