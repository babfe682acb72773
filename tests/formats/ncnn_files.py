"""Writers of ncnn's files."""

import functools

import jax
import numpy as np

from kdgan_jax import models
from kdgan_jax.formats import foreign

# The numbers of weights are odd, so that halves need padding.
NETWORKS = {
    "compact": ("compact", {"scale": 4, "channels": 3, "depth": 2}),
    "compact x3": ("compact", {"scale": 3, "channels": 5, "depth": 1}),
    "rrdb": ("rrdb", {"scale": 4, "channels": 5, "blocks": 2, "growth": 3, "unshuffle": 1}),
    "rrdb x2": ("rrdb", {"scale": 2, "channels": 3, "blocks": 1, "growth": 1, "unshuffle": 1}),
    "unshuffled": ("rrdb", {"scale": 2, "channels": 3, "blocks": 1, "growth": 1, "unshuffle": 2}),
}
FLOATS, SCALED, HALVES = b"\0\0\0\0", b"\x56\xc0\x02\0", b"\x47\x6b\x30\x01"
INT8, TABLE = b"\x38\x4b\x0d\0", b"\x01\0\0\0"


class Writer:
    """Writes a network as ncnn's tools do: ncnnoptimize if `fused`, else pnnx."""

    def __init__(self, state, flag=FLOATS, fused=True):
        self.state, self.flag, self.fused = state, flag, fused
        self.lines, self.data, self.blobs = [], b"", 1

    def layer(self, kind, settings, *inputs):
        output = f"{self.blobs}"
        name = f"{kind}_{output}"
        names = " ".join([*inputs, output])
        self.lines.append(f"{kind:16} {name} {len(inputs)} 1 {names} {settings}")
        self.blobs += 1
        return output

    def split(self, x):
        self.lines.append(f"Split            split_{x} 1 2 {x} {x}_0 {x}_1")
        return f"{x}_0", f"{x}_1"

    def conv(self, name, x, leaky=False):
        weight = self.state[f"{name}.weight"]
        numbers = weight.astype("<f2" if self.flag == HALVES else "<f4").tobytes()
        self.data += self.flag + numbers + bytes(-len(numbers) % 4)
        self.data += self.state[f"{name}.bias"].astype("<f4").tobytes()
        settings = f"0={len(weight)} 1=3 4=1 5=1 6={weight.size}"
        if self.fused:
            more = " 9=2 -23310=1,2.000000e-01" if leaky else ""
            return self.layer("Convolution", settings + more, x)
        settings += " 11=3 2=1 12=1 3=1 13=1 14=1 15=1 16=1 -23330=4,3,8,8,3"
        x = self.layer("Convolution", settings, x)
        return self.layer("ReLU", "0=2.000000e-01", x) if leaky else x

    def prelu(self, name, x):
        slope = self.state[f"{name}.weight"]
        self.data += slope.astype("<f4").tobytes()
        return self.layer("PReLU", f"0={len(slope)}", x)

    def add(self, x, y, scaled=False):
        if not scaled:
            return self.layer("BinaryOp", "" if self.fused else "0=0", x, y)
        if self.fused:
            return self.layer("Eltwise", "0=1 -23301=2,2.000000e-01,1.000000e+00", x, y)
        x = self.layer("BinaryOp", "0=2 1=1 2=2.000000e-01", x)
        return self.layer("BinaryOp", "0=0", x, y)

    def nearest(self, factor, x):
        return self.layer("Interp", f"0=1 1={factor:e} 2={factor:e}", x)

    def compact(self, scale, depth, **_):
        x, image = self.split(self.layer("Input", ""))
        if not self.fused:
            near = self.nearest(scale, image)
        for i in range(0, 2 * depth + 2, 2):
            x = self.prelu(f"body.{i + 1}", self.conv(f"body.{i}", x))
        x = self.layer("PixelShuffle", f"0={scale}", self.conv(f"body.{2 * depth + 2}", x))
        self.add(x, self.nearest(scale, image) if self.fused else near)

    def rrdb(self, scale, blocks, unshuffle, **_):
        x = self.layer("Input", "")
        x = self.layer("Reorg", f"0={unshuffle} 1=0", x) if unshuffle > 1 else x
        head, x = self.split(self.conv("conv_first", x))
        for i in range(blocks):
            block = x
            for k in (1, 2, 3):
                seen = [x]
                y = x
                for j in (1, 2, 3, 4):
                    seen.append(self.conv(f"body.{i}.rdb{k}.conv{j}", y, leaky=True))
                    y = self.layer("Concat", "", *seen)
                x = self.add(self.conv(f"body.{i}.rdb{k}.conv5", y), x, scaled=True)
            x = self.add(x, block, scaled=True)
        x = self.add(head, self.conv("conv_body", x))
        for i in range((scale * unshuffle).bit_length() - 1):
            x = self.conv(f"conv_up{i + 1}", self.nearest(2, x), leaky=True)
        self.conv("conv_last", self.conv("conv_hr", x, leaky=True))

    def save(self, path):
        header = f"7767517\n{len(self.lines)} {self.blobs + 1}\n"
        path.write_text(header + "".join(f"{line}\n" for line in self.lines))
        path.with_suffix(".bin").write_bytes(self.data)
        return path


@functools.cache
def entries(network):
    """Returns random weights of the network by PyTorch's keys; half precision can hold them."""
    name, kwargs = NETWORKS[network]
    module = models.generator(
        name, {k: v for k, v in kwargs.items() if k != "scale"}, kwargs["scale"]
    )
    random = np.random.default_rng(0)
    draw = lambda leaf: random.normal(size=leaf.shape).astype(np.float16)  # noqa: E731
    return foreign.to_state(module, jax.tree.map(draw, foreign.shapes(module)))


def write(path, network="compact", flag=FLOATS, fused=True):
    """Writes the network to `path` and the .bin beside it; returns `path` and the weights."""
    state = entries(network)
    name, kwargs = NETWORKS[network]
    writer = Writer(state, flag, fused)
    getattr(writer, name)(**kwargs)
    return writer.save(path), state
