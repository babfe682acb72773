"""Files of this package in spandrel, the library with which chaiNNer and others load models.

Needs the extra `dev` (PyTorch). tests/models reads files that spandrel has made, without it.
"""

import jax
import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.formats import foreign, imported
from kdgan_jax.inference.model import Model
from kdgan_jax.models import init

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[dev]'")
# In some wheels torchvision's operators need CUDA; it imports without them if they are declared.
_library = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
spandrel = pytest.importorskip("spandrel", reason="spandrel is not installed")


@pytest.mark.parametrize(
    ("name", "title", "kwargs", "scale"),
    [
        ("compact", "RealESRGAN Compact", {"channels": 8, "depth": 3}, 4),
        ("compact", "RealESRGAN Compact", {"channels": 24, "depth": 2}, 2),
        ("rrdb", "ESRGAN", {"channels": 8, "blocks": 1}, 4),
        ("rrdb", "ESRGAN", {"channels": 8, "blocks": 1}, 2),
        ("rcan", "RCAN", {"channels": 16, "groups": 2, "blocks": 2, "reduction": 4}, 4),
        ("rcan", "RCAN", {"channels": 16, "groups": 2, "blocks": 2, "reduction": 4}, 3),
    ],
)
def test_spandrel_opens_files_and_gives_the_same_images(tmp_path, name, title, kwargs, scale):
    module = models.generator(name, kwargs, scale)
    model = Model(name, kwargs, scale, init(module, jax.random.key(0), 16))
    path = tmp_path / "student.safetensors"
    foreign.save(path, model)
    opened = spandrel.ModelLoader().load_from_file(path)
    assert (opened.architecture.name, opened.scale) == (title, scale)
    image = np.random.default_rng(0).integers(0, 256, (21, 27, 3), np.uint8)
    lr = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = opened.model.eval()(lr)[0].permute(1, 2, 0).numpy()
    sr = model.predict(image)
    assert expected.std() > 0.01
    np.testing.assert_allclose(sr, expected, atol=5e-6)  # float32 sums in another order
    back = imported.load(path)
    np.testing.assert_array_equal(back.predict(image), sr)
