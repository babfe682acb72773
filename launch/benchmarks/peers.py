"""Runs a network in another engine, for launch/benchmarks/speed.py, and needs nothing of kdgan_jax.

    python launch/benchmarks/peers.py ENGINE NETWORK FILE.onnx
    python launch/benchmarks/peers.py loop NETWORK WEIGHTS.npz PICTURES OUT

ENGINE is torch, torch_channels_last, onnxruntime or openvino. PyTorch builds the network itself,
with random weights, as its authors wrote it; the others read the file. Every line "HEIGHT WIDTH
CALLS" on standard input is answered by the seconds of one call, from uint8 to uint8, the median of
the calls; the first answer is the number of parameters. torch_step and torch_channels_last_step
train for one step instead.

The second form enlarges the pictures of a folder one after another, as a plain script does: Pillow
decodes, PyTorch runs the network on all cores, Pillow encodes PNG as it does by default.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

BATCH = 16  # of a training step

Run = Callable[[np.ndarray], np.ndarray]  # LR (h, w, 3) uint8 to SR (h * 4, w * 4, 3) uint8


def around(call: Run) -> Run:
    """Returns a call from uint8 to uint8 around one of float32 (1, 3, h, w), as by hand."""

    def run(lr: np.ndarray) -> np.ndarray:
        sr = call(np.ascontiguousarray(lr.transpose(2, 0, 1)[None], np.float32) / 255)
        np.clip(sr, 0, 1, out=sr)
        sr *= 255
        sr += 0.5
        return np.ascontiguousarray(sr[0].astype(np.uint8).transpose(1, 2, 0))

    return run


def onnxruntime(network: str, path: str) -> tuple[Run, int]:
    """Returns a call by ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return around(lambda lr: session.run(None, {"input": lr})[0]), 0


def openvino(network: str, path: str) -> tuple[Run, int]:
    """Returns a call by OpenVINO, compiled for each size."""
    import openvino

    core, compiled = openvino.Core(), {}

    def call(lr: np.ndarray) -> np.ndarray:
        if lr.shape not in compiled:
            model = core.read_model(path)
            model.reshape(list(lr.shape))
            # By default it computes in bfloat16 where the CPU can.
            hint = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
            compiled[lr.shape] = core.compile_model(model, "CPU", hint).create_infer_request()
        return compiled[lr.shape].infer([lr])[0].copy()

    return around(call), 0


def torch_network(network: str, depth: int = 4):
    """Returns a network of PyTorch, with random weights; compact has `depth` hidden layers."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    def conv(a: int, b: int, k: int = 3, groups: int = 1, dilation: int = 1) -> nn.Conv2d:
        return nn.Conv2d(a, b, k, 1, dilation * (k // 2), dilation, groups)

    class Compact(nn.Module):
        def __init__(self, channels: int = 32) -> None:
            super().__init__()
            layers: list[nn.Module] = []
            for i in range(depth + 1):
                layers += [conv(channels if i else 3, channels), nn.PReLU(channels)]
            self.body = nn.Sequential(*layers, conv(channels, 48), nn.PixelShuffle(4))

        def forward(self, x):
            return self.body(x) + F.interpolate(x, scale_factor=4, mode="nearest")

    class Distillation(nn.Module):  # IMDN's block
        def __init__(self) -> None:
            super().__init__()
            self.c = nn.ModuleList([conv(64, 64), conv(48, 64), conv(48, 64)])
            self.c4, self.c5 = conv(48, 16), conv(64, 64, 1)
            self.attention = nn.Sequential(conv(64, 4, 1), nn.ReLU(), conv(4, 64, 1), nn.Sigmoid())

        def forward(self, x):
            kept, rest = [], x
            for layer in self.c:
                first, rest = torch.split(F.leaky_relu(layer(rest), 0.05), (16, 48), 1)
                kept.append(first)
            y = torch.cat([*kept, self.c4(rest)], 1)
            mean = y.mean((2, 3), keepdim=True)
            contrast = (y - mean).pow(2).mean((2, 3), keepdim=True).sqrt() + mean
            return x + self.c5(y * self.attention(contrast))

    class IMDN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.blocks = conv(3, 64), nn.ModuleList(Distillation() for _ in range(6))
            self.join = nn.Sequential(conv(384, 64, 1), nn.LeakyReLU(0.05), conv(64, 64))
            self.tail = nn.Sequential(conv(64, 48), nn.PixelShuffle(4))

        def forward(self, x):
            head, outputs = self.head(x), []
            x = head
            for block in self.blocks:
                x = block(x)
                outputs.append(x)
            return self.tail(head + self.join(torch.cat(outputs, 1)))

    class Attention(nn.Module):  # VapSR's block
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last, self.norm = conv(48, 64, 1), conv(64, 48, 1), nn.LayerNorm(48)
            self.weights = nn.Sequential(
                conv(64, 64, 1), conv(64, 64, 5, 64), conv(64, 64, 5, 64, 3)
            )

        def forward(self, x):
            y = F.gelu(self.first(x))
            x = x + self.last(y * self.weights(y))
            return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()

    class VapSR(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.blocks = conv(3, 48), nn.Sequential(*(Attention() for _ in range(21)))
            self.body = conv(48, 48)
            up = [conv(48, 64), nn.PixelShuffle(2), nn.LeakyReLU(0.1)]
            self.up = nn.Sequential(*up, conv(16, 12), nn.PixelShuffle(2))

        def forward(self, x):
            x = self.head(x)
            return self.up(x + self.body(self.blocks(x)))

    class Dense(nn.Module):  # ESRGAN's block
        def __init__(self) -> None:
            super().__init__()
            widths = [(64 + 32 * i, 32) for i in range(4)] + [(192, 64)]
            self.c = nn.ModuleList(conv(a, b) for a, b in widths)

        def forward(self, x):
            seen = x
            for layer in self.c[:4]:
                seen = torch.cat([seen, F.leaky_relu(layer(seen), 0.2)], 1)
            return x + 0.2 * self.c[4](seen)

    class Dense3(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c = nn.Sequential(Dense(), Dense(), Dense())

        def forward(self, x):
            return x + 0.2 * self.c(x)

    class RRDBNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.blocks = conv(3, 64), nn.Sequential(*(Dense3() for _ in range(23)))
            self.body, self.up1, self.up2 = conv(64, 64), conv(64, 64), conv(64, 64)
            self.hr, self.last = conv(64, 64), conv(64, 3)

        def forward(self, x):
            x = self.head(x)
            x = x + self.body(self.blocks(x))
            for up in self.up1, self.up2:
                x = F.leaky_relu(up(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
            return self.last(F.leaky_relu(self.hr(x), 0.2))

    return {"compact": Compact, "imdn": IMDN, "vapsr": VapSR, "rrdb": RRDBNet}[network]()


def torch(network: str, path: str, channels_last: bool = False) -> tuple[Run, int]:
    """Returns a call by PyTorch; `path` is of weights if it is an .npz."""
    import torch

    if path.endswith(".npz"):
        weights = {key: torch.from_numpy(value) for key, value in np.load(path).items()}
        depth = sum(value.ndim == 4 for value in weights.values()) - 2  # without first and last
        module = torch_network(network, depth)
        module.load_state_dict(weights)
    else:
        module = torch_network(network)
    module.eval()
    form = torch.channels_last if channels_last else torch.contiguous_format
    module = module.to(memory_format=form)

    @torch.inference_mode()
    def run(lr: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(lr).permute(2, 0, 1)[None].to(torch.float32, memory_format=form)
        sr = module(x.div_(255)).mul_(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
        return sr[0].permute(1, 2, 0).contiguous().numpy()

    return run, sum(p.numel() for p in module.parameters())


def torch_step(network: str, path: str, channels_last: bool = False) -> tuple[Run, int]:
    """Returns a call that trains for one step, on patches of the array's size, by PyTorch."""
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    form = torch.channels_last if channels_last else torch.contiguous_format
    module = torch_network(network).to(memory_format=form)
    optimizer = torch.optim.Adam(module.parameters(), 1e-3, fused=True)
    average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    batches = {}

    def noise(height: int, width: int):
        pixels = torch.randint(0, 256, (BATCH, height, width, 3), dtype=torch.uint8)
        return pixels.permute(0, 3, 1, 2).contiguous(memory_format=form)

    def run(lr: np.ndarray) -> np.ndarray:
        height, width = lr.shape[:2]
        if (height, width) not in batches:
            batches[height, width] = noise(height, width), noise(4 * height, 4 * width)
        given, hr = (pixels.float().div_(255) for pixels in batches[height, width])
        optimizer.zero_grad()
        (module(given) - hr).abs().mean().backward()
        optimizer.step()
        average.update_parameters(module)
        return lr

    return run, sum(p.numel() for p in module.parameters())


ENGINES = {
    "torch": torch,
    "torch_channels_last": lambda network, path: torch(network, path, channels_last=True),
    "onnxruntime": onnxruntime,
    "openvino": openvino,
}
STEPS = {
    "torch_step": torch_step,
    "torch_channels_last_step": lambda network, path: torch_step(network, path, channels_last=True),
}


def loop(network: str, weights: str, pictures: str, out: str) -> None:
    """Enlarges the pictures of a folder."""
    from PIL import Image

    run, _ = torch(network, weights, channels_last=True)
    for path in sorted(Path(pictures).iterdir()):
        with Image.open(path) as image:
            lr = np.asarray(image.convert("RGB"))
        Image.fromarray(run(lr)).save(Path(out) / f"{path.stem}.png")


def answer(run: Run, parameters: int) -> None:
    """Answers lines of standard input."""
    print(parameters, flush=True)
    random, seen = np.random.default_rng(0), set()
    for line in sys.stdin:
        height, width, calls = map(int, line.split())
        lr = random.integers(0, 256, (height, width, 3), np.uint8)
        if (height, width) not in seen:
            seen.add((height, width))
            run(lr)
        times = []
        for _ in range(calls):
            began = time.perf_counter()
            run(lr)
            times.append(time.perf_counter() - began)
        print(statistics.median(times), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "loop":
        loop(*sys.argv[2:])
    else:
        answer(*(ENGINES | STEPS)[sys.argv[1]](*sys.argv[2:]))
