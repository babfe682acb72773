"""Records what PyTorch gives for small random networks, of architectures without a file here.

For developers, in an environment of its own (Python 3.11): `pip install torch==2.13.0 torchvision`
and `pip install --no-deps spandrel==0.4.2 einops safetensors`; then
`python tests/golden/record_spandrel.py`. Each `spandrel_NAME.npz` beside it holds `input`, `output`
(NHWC) and every entry of the state as `state/KEY`, in numbers that float16 holds exactly.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

# torchvision's operators need CUDA in some wheels; declared here, it imports without them.
_library = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from spandrel import ModelLoader  # noqa: E402
from spandrel.architectures import ESRGAN, RCAN, Compact  # noqa: E402
from spandrel.architectures.ESRGAN.__arch import RRDB  # noqa: E402

GROWTH = 4
MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).reshape(1, 3, 1, 1)
_block = RRDB.B.RRDB
RRDB.B.RRDB = lambda **kwargs: _block(**{**kwargs, "gc": GROWTH})  # 32 is fixed in spandrel

State = dict[str, torch.Tensor]


def random(shapes: dict[str, tuple[int, ...]]) -> State:
    """Returns a state that keeps the size of what passes; means stay as they are."""
    rng = np.random.default_rng(0)
    state = {}
    for key, shape in shapes.items():
        std = np.sqrt(2 / np.prod(shape[1:])) if len(shape) == 4 else 0.1
        state[key] = torch.from_numpy(rng.normal(0, std, shape).astype(np.float16)).float()
    return state


def randomised(module: torch.nn.Module) -> State:
    """Returns a random state for `module`, all but the mean shifts."""
    old = module.state_dict()
    fixed = {k: v.half().float() for k, v in old.items() if k.startswith(("sub_", "add_"))}
    return random({k: tuple(v.shape) for k, v in old.items()}) | fixed


def later_names(state: State, up: int, modern: bool) -> State:
    """Returns an ESRGAN's state under the names of its second or third definition, by place."""
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
    """Lets spandrel recognise `state` and apply the network."""
    lr = torch.rand((1, 3, 9, 11), generator=torch.Generator().manual_seed(0))
    found = ModelLoader().load_from_state_dict(dict(state)).model.eval()
    with torch.no_grad():
        save(name, state, lr, found(lr.clone()))


def edsr(state: State, lr: torch.Tensor, blocks: int, residual_scale: float) -> torch.Tensor:
    """Returns what BasicSR's EDSR gives at x4; spandrel has none."""

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


def record_edsr(features: int, blocks: int) -> None:
    """Records `edsr`."""
    places = {"conv_first": (features, 3), "conv_after_body": (features, features)}
    places |= {f"upsample.{step}": (4 * features, features) for step in (0, 2)}
    places |= {f"body.{i}.conv{k}": (features,) * 2 for i in range(blocks) for k in (1, 2)}
    places |= {"conv_last": (3, features)}
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
