"""Records outputs of PyTorch for small random networks whose published files we do not have.

For developers, in an environment of its own (Python 3.11): `pip install torch==2.13.0 torchvision`
and `pip install --no-deps spandrel==0.4.2 einops safetensors`; then
`python tests/golden/record_spandrel.py`. Each `spandrel_NAME.npz` next to it holds `input`,
`output` (NHWC) and every entry of the state as `state/KEY`, in numbers that float16 can represent.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

# Some wheels of torchvision lack operators without CUDA; these declarations let it import.
_library = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from spandrel import ModelLoader  # noqa: E402
from spandrel.architectures import ESRGAN, RCAN, Compact  # noqa: E402
from spandrel.architectures.ESRGAN.__arch import RRDB  # noqa: E402

GROWTH = 4
MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).reshape(1, 3, 1, 1)
_block = RRDB.B.RRDB
RRDB.B.RRDB = lambda **kwargs: _block(**{**kwargs, "gc": GROWTH})  # spandrel always uses 32

State = dict[str, torch.Tensor]


def random(shapes: dict[str, tuple[int, ...]]) -> State:
    """Returns a random state that roughly preserves the magnitude of features."""
    rng = np.random.default_rng(0)
    state = {}
    for key, shape in shapes.items():
        std = np.sqrt(2 / np.prod(shape[1:])) if len(shape) == 4 else 0.1
        state[key] = torch.from_numpy(rng.normal(0, std, shape).astype(np.float16)).float()
    return state


def randomised(module: torch.nn.Module) -> State:
    """Returns a random state for `module`; mean shifts keep their values."""
    old = module.state_dict()
    fixed = {k: v.half().float() for k, v in old.items() if k.startswith(("sub_", "add_"))}
    return random({k: tuple(v.shape) for k, v in old.items()}) | fixed


def later_names(state: State, up: int, modern: bool) -> State:
    """Returns an ESRGAN's state with the modern names, or else those of the second naming."""
    blocks = max(int(k.split(".")[3]) for k in state if k.startswith("model.1.sub."))
    names = {"model.0": "conv_first"}
    names[f"model.1.sub.{blocks}"] = "conv_body" if modern else "trunk_conv"
    for i in range(1, up + 1):
        names[f"model.{3 * i}"] = f"conv_up{i}" if modern else f"upconv{i}"
    names[f"model.{3 * up + 2}"] = "conv_hr" if modern else "HRconv"
    names[f"model.{3 * up + 4}"] = "conv_last"
    for i in range(blocks):
        for k in (1, 2, 3):
            for c in range(1, 6):
                new = f"body.{i}.rdb{k}.conv{c}" if modern else f"RRDB_trunk.{i}.RDB{k}.conv{c}"
                names[f"model.1.sub.{i}.RDB{k}.conv{c}.0"] = new
    return {
        f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value
        for key, value in state.items()
    }


def save(name: str, state: State, lr: torch.Tensor, sr: torch.Tensor) -> None:
    """Writes `spandrel_NAME.npz`."""
    arrays = {f"state/{key}": value.numpy().astype(np.float16) for key, value in state.items()}
    for key, image in ("input", lr), ("output", sr):
        arrays[key] = image.numpy().transpose(0, 2, 3, 1)
    path = Path(__file__).with_name(f"spandrel_{name}.npz")
    np.savez_compressed(path, **arrays)
    print(path.name, path.stat().st_size, tuple(sr.shape), float(sr.std()))


def record(name: str, state: State) -> None:
    """Records the output of the network that spandrel makes of `state`."""
    lr = torch.rand((1, 3, 9, 11), generator=torch.Generator().manual_seed(0))
    model = ModelLoader().load_from_state_dict(dict(state)).model.eval()
    with torch.no_grad():
        save(name, state, lr, model(lr.clone()))


def edsr(state: State, lr: torch.Tensor, blocks: int, residual_scale: float) -> torch.Tensor:
    """Returns the output of BasicSR's EDSR at x4, which spandrel lacks."""

    def conv(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    head = x = conv("conv_first", (lr - MEAN) * 255)
    for i in range(blocks):
        y = conv(f"body.{i}.conv2", functional.relu(conv(f"body.{i}.conv1", x)))
        x = x + residual_scale * y
    x = head + conv("conv_after_body", x)
    for step in (0, 2):
        x = functional.pixel_shuffle(conv(f"upsample.{step}", x), 2)
    return conv("conv_last", x) / 255 + MEAN


def record_edsr(channels: int, blocks: int) -> None:
    """Records the output of `edsr`."""
    places = {"conv_first": (channels, 3), "conv_after_body": (channels, channels)}
    places |= {f"upsample.{step}": (4 * channels, channels) for step in (0, 2)}
    places |= {f"body.{i}.conv{k}": (channels,) * 2 for i in range(blocks) for k in (1, 2)}
    places |= {"conv_last": (3, channels)}
    shapes: dict[str, tuple[int, ...]] = {f"{k}.weight": (*v, 3, 3) for k, v in places.items()}
    shapes |= {f"{k}.bias": v[:1] for k, v in places.items()}
    state = random(shapes)
    lr = torch.rand((1, 3, 9, 11), generator=torch.Generator().manual_seed(0))
    save("edsr_x4", state, lr, edsr(state, lr, blocks, 1.0))


def main() -> None:
    """Writes the files."""
    small = {"num_filters": 8, "num_blocks": 2}
    record("rrdb_x4", randomised(ESRGAN.ESRGAN(**small)))  # the first naming
    unshuffled = ESRGAN.ESRGAN(**small, in_nc=12, shuffle_factor=2)
    record("rrdb_x2", later_names(randomised(unshuffled), up=2, modern=True))
    plain = ESRGAN.ESRGAN(**small, scale=2)
    record("rrdb_x2_plain", later_names(randomised(plain), up=1, modern=False))
    small = {"n_feats": 8, "n_resgroups": 2, "n_resblocks": 3, "reduction": 4}
    record("rcan_x4", randomised(RCAN.RCAN(**small)))
    record("rcan_x3", randomised(RCAN.RCAN(**small, scale=3, norm=False)))
    compact = Compact.Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=3)
    record("compact_x4", randomised(compact))
    record_edsr(channels=8, blocks=2)


if __name__ == "__main__":
    main()
