"""Photos from TensorFlow Datasets, e.g. "div2k/bicubic_x4", which are downloaded on first use."""

import numpy as np

from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError, missing


def pairs(name: str, scale: int, memory_mb: int) -> list[tuple[str, np.ndarray, np.ndarray | None]]:
    """Returns (name, HR, LR) of the training photos of the TFDS data set `name`, uint8.

    HR is cropped to a multiple of `scale`; LR is None unless the data set has it at this scale.

    Raises:
      UserError: the data set is unknown, its photos need more than `memory_mb` of memory, or a
        package is missing.
    """
    field = f"config.data.source='tfds:{name}'"
    try:  # first, since it hides GPUs from TensorFlow
        from kdgan_jax.data.tensorflow import tf  # noqa: F401
    except ImportError:
        raise missing("tensorflow", field) from None
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise missing("tensorflow-datasets", field) from None

    try:
        dataset = tfds.load(name, split="train")
    except tfds.core.registered.DatasetNotFoundError as error:
        raise UserError(f"{field}: {str(error).splitlines()[0]}; check its name") from None
    except (OSError, tfds.download.DownloadError) as error:
        raise UserError(
            f"{field} could not be downloaded ({error}); connect to a network on first use"
        ) from None
    photos: list[tuple[str, np.ndarray, np.ndarray | None]] = []
    used = 0  # bytes
    for i, example in enumerate(tfds.as_numpy(dataset)):
        hr = bicubic.crop_to_multiple(example["hr"], scale)
        lr = example.get("lr")
        if lr is not None and (lr.shape[0] * scale, lr.shape[1] * scale) != hr.shape[:2]:
            lr = None
        used += hr.nbytes + (0 if lr is None else lr.nbytes)
        if used > memory_mb * 2**20:
            raise UserError(
                f"{field} needs more than config.data.memory_mb={memory_mb}; raise it, or set"
                " config.data.source to the folder of the extracted images"
            )
        photos.append((f"{name}/{i}", hr, lr))
    return photos
