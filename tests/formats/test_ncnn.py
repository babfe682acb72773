import jax
import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.formats import foreign, ncnn
from kdgan_jax.runtime.errors import UserError

# Odd numbers of weights, so that halves are padded.
NETWORKS = {
    "compact": ("compact", {"scale": 4, "channels": 3, "depth": 2}),
    "compact x3": ("compact", {"scale": 3, "channels": 5, "depth": 1}),
    "rrdb": ("rrdb", {"scale": 4, "channels": 5, "blocks": 2, "growth": 3, "unshuffle": 1}),
    "rrdb x2": ("rrdb", {"scale": 2, "channels": 3, "blocks": 1, "growth": 1, "unshuffle": 1}),
    "rrdb unshuffled": (
        "rrdb",
        {"scale": 2, "channels": 3, "blocks": 1, "growth": 1, "unshuffle": 2},
    ),
}
FLOATS, SCALED, HALVES = b"\0\0\0\0", b"\x56\xc0\x02\0", b"\x47\x6b\x30\x01"
INT8, TABLE = b"\x38\x4b\x0d\0", b"\x01\0\0\0"


class Writer:
    """Writes a network as ncnn's tools do: `fused` as ncnnoptimize, else as pnnx."""

    def __init__(self, state, flag=FLOATS, fused=True):
        self.state, self.flag, self.fused = state, flag, fused
        self.lines, self.data, self.blobs = [], b"", 1

    def layer(self, kind, settings, *inputs):
        given = f"{self.blobs}"
        name = f"{kind}_{self.blobs}"
        self.lines.append(f"{kind:16} {name} {len(inputs)} 1 {' '.join(inputs)} {given} {settings}")
        self.blobs += 1
        return given

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


def entries(network):
    """Returns random entries of the network, numbers that half precision has."""
    name, kwargs = NETWORKS[network]
    module = models.generator(
        name, {k: v for k, v in kwargs.items() if k != "scale"}, kwargs["scale"]
    )
    random = np.random.default_rng(0)
    draw = lambda leaf: random.normal(size=leaf.shape).astype(np.float16)  # noqa: E731
    return foreign.to_state(module, jax.tree.map(draw, foreign.shapes(module)))


def written(path, network="compact", flag=FLOATS, fused=True):
    """Writes the network to `path` and the .bin beside it; returns its path and its entries."""
    state = entries(network)
    name, kwargs = NETWORKS[network]
    writer = Writer(state, flag, fused)
    getattr(writer, name)(**kwargs)
    return writer.save(path), state


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("flag", [FLOATS, SCALED, HALVES])
@pytest.mark.parametrize("network", NETWORKS)
def test_networks_come_under_pytorchs_keys(tmp_path, network, flag, fused):
    path, state = written(tmp_path / "a.param", network, flag, fused)
    found = ncnn.read(path)
    assert found.keys() == state.keys()
    for key, array in found.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, state[key])
    assert foreign.detect(found) == NETWORKS[network]


def refused(path, message):
    with pytest.raises(UserError, match=message) as error:
        ncnn.read(path)
    assert str(error.value).startswith(str(path.parent))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700


def test_a_missing_file_is_named(tmp_path):
    refused(tmp_path / "a.param", r"a\.param: no such file")
    written(tmp_path / "a.param")[0].with_suffix(".bin").unlink()
    refused(tmp_path / "a.param", r"a\.bin: no such file")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "UTF-8 text that starts with 7767517"),
        (b"\x1d\x88\x76\0\x28\0\0\0", "UTF-8 text that starts with 7767517"),  # a .param.bin
        (b"7767518\n1 1\nInput a 0 1 a\n", "UTF-8 text that starts with 7767517"),
        (b"7767517\n1 1\nInput \xff 0 1 a\n", "UTF-8 text that starts with 7767517"),
        (b"7767517\n", "UTF-8 text that starts with 7767517"),
        (b"7767517\n999999999 1\nInput a 0 1 a\n", "announces 999999999 layers and has 1"),
        (b"7767517\n0 0\n", "no SRVGGNetCompact and no RRDBNet"),
        (b"7767517\n" + b"9" * 5000 + b" 1\nInput a 0 1 a\n", "line 2 has"),
        (b"7767517\n-1 1\nInput a 0 1 a\n", "line 2 has '-1'"),
        (b"7767517\n1 1\nInput a 0\n", "line 3 is no layer"),
        (b"7767517\n1 1\nInput a -1 1 a\n", "line 3 has '-1'"),
        (b"7767517\n1 1\nInput a 0 x a\n", "line 3 has 'x'"),
        (b"7767517\n1 1\nInput a 0 999999999 a\n", "line 3 has fewer inputs and outputs"),
        (b"7767517\n1 1\nInput " + b"a" * 300 + b" 0 1 a\n", "line 3 is no layer"),
        (b"7767517\n2 1\nInput a 0 1 a\nSplit b 1 1 c d\n", "layer 'b' .* takes 'c'"),
        (b"7767517\n" + b" " * 2**22, "more than 4,194,304 bytes"),
    ],
)
def test_a_damaged_text_is_refused_in_one_sentence(tmp_path, text, message):
    path, _ = written(tmp_path / "a.param")
    path.write_bytes(text)
    refused(path, message)


FIRST = "0=3 1=3 4=1 5=1 6=81"  # the first convolution of NETWORKS["compact"]
CHANGES = [
    ("PReLU ", "Mish ", "is a 'Mish', known are Input, .*PReLU"),
    (FIRST, f"{FIRST} 8=1", "quantised to int8"),
    (FIRST, "0=3 1=5 4=2 5=1 6=225", r"has \{1: 5"),
    (FIRST, "0=3 1=3 4=1 6=81", r"has \{1: 3\.0, 4: 1\.0\}"),  # no bias
    (FIRST, f"{FIRST} 3=2", r"has \{.*3: 2"),
    (FIRST, f"{FIRST} 9=1", r"has \{.*9: 1"),
    (FIRST, f"{FIRST} 77=1", r"has \{.*77: 1"),
    (FIRST, f"{FIRST} 2", "has '2' where"),
    (FIRST, f"{FIRST} 2=x", "has '2=x' where"),
    (FIRST, f"{FIRST} 2=nan", "has '2=nan' where"),
    (FIRST, f"{FIRST} 2=1e999", "has '2=1e999' where"),
    (FIRST, f"{FIRST} 2=", "has '2=' where"),
    (FIRST, f"{FIRST} -23310=9,1", "has '-23310=9,1' where"),
    (FIRST, "0=0 1=3 4=1 5=1 6=81", "0=0.0, not a whole number"),
    (FIRST, "0=-3 1=3 4=1 5=1 6=81", "0=-3.0, not a whole number"),
    (FIRST, "0=3.5 1=3 4=1 5=1 6=81", "0=3.5, not a whole number"),
    (FIRST, "0=1,2 1=3 4=1 5=1 6=81", "not a whole number"),
    (FIRST, "0=3 1=3 4=1 5=1 6=82", "6=82, where 81 is needed"),
    (FIRST, "0=3 1=3 4=1 5=1 6=1e300", "6=1e.300, not a whole number"),
    ("0=4\n", "0=5\n", "0=48, where 75 is needed"),  # PixelShuffle
    ("0=4\n", "0=4 1=1\n", r"has \{1: 1"),
    ("1=4.000000e+00", "1=2.000000e+00", "1=2, where 4 is needed"),
    ("PReLU_3 1 1 2 3 0=3", "PReLU_3 1 1 2 3 0=1", "0=1, where 3 is needed"),
    ("Split  ", "Input  ", "no SRVGGNetCompact and no RRDBNet"),
]


@pytest.mark.parametrize(("old", "new", "message"), CHANGES)
def test_another_network_is_refused_in_one_sentence(tmp_path, old, new, message):
    path, _ = written(tmp_path / "a.param")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    refused(path, message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2.000000e-01\n", "1.000000e-01\n", r"has \{.*0\.1"),  # of a leaky ReLU
        ("2.000000e-01,1.0", "1.000000e+00,1.0", "no SRVGGNetCompact and no RRDBNet"),
        ("1=2.000000e+00 2=2.0", "1=3.000000e+00 2=3.0", "1=3, where 2 is needed"),
        ("0=2 1=0", "0=3 1=0", "6=324, where 729 is needed"),
        ("0=2 1=0", "0=2 1=1", r"Reorg\) has \{1: 1"),
    ],
)
def test_another_dense_network_is_refused_in_one_sentence(tmp_path, old, new, message):
    path, _ = written(tmp_path / "a.param", "rrdb unshuffled")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    refused(path, message)


@pytest.mark.parametrize("network", ["compact", "rrdb"])
def test_a_network_that_shrinks_its_result_is_refused(tmp_path, network):
    # realesr-animevideov3-x2 is the x4 network with such a layer at its end.
    path, _ = written(tmp_path / "a.param", network)
    magic, _, *lines = path.read_text().splitlines()
    last = lines[-1].split(" 0=")[0].split()[-1]
    lines.append(f"Interp shrink 1 1 {last} output 0=3 1=5.000000e-01 2=5.000000e-01")
    path.write_text("\n".join([magic, f"{len(lines)} 99", *lines]))
    refused(path, "resizes the picture at last")


def test_weights_that_are_cut_off_or_too_many_are_refused(tmp_path):
    path, _ = written(tmp_path / "a.param", flag=HALVES)
    data = path.with_suffix(".bin").read_bytes()
    for size in (0, 2, 4, 100, len(data) // 2, len(data) - 1):
        path.with_suffix(".bin").write_bytes(data[:size])
        refused(path, rf"a\.bin of {size:,} bytes ends in body\.")
    path.with_suffix(".bin").write_bytes(data + b"\0\0")
    refused(path, rf"a\.bin has {len(data) + 2:,} bytes, its layers need {len(data):,}")


def test_weights_that_are_announced_are_not_believed(tmp_path):
    path, _ = written(tmp_path / "a.param")
    features, text = 10_000, path.read_text()
    text = text.replace(FIRST, f"0={features} 1=3 4=1 5=1 6={27 * features}", 1)
    text = text.replace(FIRST, f"0={features} 1=3 4=1 5=1 6={9 * features**2}")
    text = text.replace("0=48 1=3 4=1 5=1 6=1296", f"0=48 1=3 4=1 5=1 6={9 * 48 * features}")
    path.write_text(text.replace(" 0=3\n", f" 0={features}\n"))
    refused(path, r"a\.bin of [\d,]+ bytes ends in body\.0\.weight, which needs 1,080,004")


def test_a_table_of_settings_is_not_repeated(tmp_path):
    path, _ = written(tmp_path / "a.param")
    path.write_text(path.read_text().replace(FIRST, " ".join(f"{k}=7" for k in range(40, 9999))))
    refused(path, r"has \{40: 7\.0, ")


@pytest.mark.parametrize(("flag", "how"), [(INT8, "as int8"), (TABLE, "by a table of 256 numbers")])
def test_quantised_weights_are_refused_by_name(tmp_path, flag, how):
    path, _ = written(tmp_path / "a.param", flag=flag)
    refused(path, rf"a\.bin holds body\.0\.weight {how}; take the model of floats")
