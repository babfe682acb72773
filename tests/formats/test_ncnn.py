import functools

import numpy as np
import pytest
import refusals
from ncnn_files import FLOATS, HALVES, INT8, NETWORKS, SCALED, TABLE, write

from kdgan_jax.formats import foreign, ncnn, search

refused = functools.partial(refusals.refused, ncnn.read)


@pytest.mark.parametrize(
    ("network", "flag", "fused"),
    [
        ("compact", FLOATS, True),
        ("compact", HALVES, False),
        ("compact x3", SCALED, True),
        ("rrdb", HALVES, True),
        ("rrdb x2", FLOATS, False),
        ("unshuffled", SCALED, True),
        ("unshuffled", HALVES, False),
    ],
)
def test_weights_get_pytorchs_keys(tmp_path, network, flag, fused):
    path, state = write(tmp_path / "a.param", network, flag, fused)
    weights = ncnn.read(path)
    assert weights.keys() == state.keys()
    for key, array in weights.items():
        np.testing.assert_array_equal(array, state[key].astype(np.float32), strict=True)
    claims = [claim[1:] for claim in search.claims(foreign.shapes_of(weights))]
    assert claims == [NETWORKS[network]]


def test_a_missing_file_is_named(tmp_path):
    refused(tmp_path / "a.param")
    path, _ = write(tmp_path / "a.param")
    path.with_suffix(".bin").unlink()
    with pytest.raises(ValueError, match=r"a\.bin"):
        ncnn.read(path)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        (b"", "7767517"),
        (b"\x1d\x88\x76\0\x28\0\0\0", "7767517"),  # a .param.bin
        (b"7767518\n1 1\nInput a 0 1 a\n", "7767517"),
        (b"7767517\n1 1\nInput \xff 0 1 a\n", "UTF-8"),
        (b"7767517\n", "7767517"),
        (b"7767517\n999999999 1\nInput a 0 1 a\n", "999999999"),
        (b"7767517\n0 0\n", "SRVGGNetCompact"),
        (b"7767517\n" + b"9" * 5000 + b" 1\nInput a 0 1 a\n", "line 2"),
        (b"7767517\n-1 1\nInput a 0 1 a\n", "'-1'"),
        (b"7767517\n1 1\nInput a 0\n", "line 3"),
        (b"7767517\n1 1\nInput a -1 1 a\n", "line 3 has '-1'"),
        (b"7767517\n1 1\nInput a 0 x a\n", "line 3 has 'x'"),
        (b"7767517\n1 1\nInput a 0 999999999 a\n", "line 3"),
        (b"7767517\n1 1\nInput " + b"a" * 300 + b" 0 1 a\n", "line 3"),
        (b"7767517\n2 1\nInput a 0 1 a\nSplit b 1 1 c d\n", "layer 'b' (Split) takes 'c'"),
        (b"7767517\n" + b" " * 2**22, "4,194,304 bytes"),
    ],
)
def test_a_damaged_text_is_refused(tmp_path, text, fact):
    path, _ = write(tmp_path / "a.param")
    path.write_bytes(text)
    refused(path, fact)


CONVOLUTION = "0=3 1=3 4=1 5=1 6=81"  # the first one of NETWORKS["compact"]
CHANGES = [
    ("PReLU ", "Mish ", "'Mish'"),
    (CONVOLUTION, f"{CONVOLUTION} 8=1", "int8"),
    (CONVOLUTION, "0=3 1=5 4=2 5=1 6=225", "{1: 5"),
    (CONVOLUTION, "0=3 1=3 4=1 6=81", "{1: 3.0, 4: 1.0}"),  # no bias
    (CONVOLUTION, f"{CONVOLUTION} 77=1", "77: 1"),
    (CONVOLUTION, f"{CONVOLUTION} 2", "'2'"),
    (CONVOLUTION, f"{CONVOLUTION} 2=nan", "'2=nan'"),
    (CONVOLUTION, f"{CONVOLUTION} 2=", "'2='"),
    (CONVOLUTION, f"{CONVOLUTION} -23310=9,1", "'-23310=9,1'"),
    (CONVOLUTION, "0=0 1=3 4=1 5=1 6=81", "0=0.0"),
    (CONVOLUTION, "0=3.5 1=3 4=1 5=1 6=81", "0=3.5"),
    (CONVOLUTION, "0=1,2 1=3 4=1 5=1 6=81", "0=(1.0, 2.0)"),
    (CONVOLUTION, "0=3 1=3 4=1 5=1 6=82", "6=82, needed 81"),
    (CONVOLUTION, "0=3 1=3 4=1 5=1 6=1e300", "6=1e+300"),
    (CONVOLUTION, " ".join(f"{k}=7" for k in range(40, 9999)), "{40: 7.0, "),  # kept short
    ("0=4\n", "0=5\n", "0=48, needed 75"),  # PixelShuffle
    ("0=4\n", "0=4 1=1\n", "{1: 1"),
    ("1=4.000000e+00", "1=2.000000e+00", "1=2, needed 4"),
    ("PReLU_3 1 1 2 3 0=3", "PReLU_3 1 1 2 3 0=1", "0=1, needed 3"),
    ("Split  ", "Input  ", "SRVGGNetCompact"),
]
DENSE_CHANGES = [
    ("2.000000e-01\n", "1.000000e-01\n", "0.1"),  # of a leaky ReLU
    ("2.000000e-01,1.0", "1.000000e+00,1.0", "RRDBNet"),
    ("1=2.000000e+00 2=2.0", "1=3.000000e+00 2=3.0", "1=3, needed 2"),
    ("0=2 1=0", "0=3 1=0", "6=324, needed 729"),
    ("0=2 1=0", "0=2 1=1", "(Reorg)"),
]


@pytest.mark.parametrize(
    ("network", "old", "new", "fact"),
    [("compact", *change) for change in CHANGES]
    + [("unshuffled", *change) for change in DENSE_CHANGES],
)
def test_another_network_is_refused(tmp_path, network, old, new, fact):
    path, _ = write(tmp_path / "a.param", network)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    refused(path, fact)


@pytest.mark.parametrize("network", ["compact", "rrdb"])
def test_a_network_that_shrinks_its_result_is_refused(tmp_path, network):
    # realesr-animevideov3-x2 is the x4 network with such a layer at its end.
    path, _ = write(tmp_path / "a.param", network)
    magic, _, *lines = path.read_text().splitlines()
    last = lines[-1].split(" 0=")[0].split()[-1]
    lines.append(f"Interp shrink 1 1 {last} output 0=3 1=5.000000e-01 2=5.000000e-01")
    path.write_text("\n".join([magic, f"{len(lines)} 99", *lines]))
    refused(path, "resizes", "x4")


def test_weights_that_are_cut_off_or_too_many_are_refused(tmp_path):
    path, _ = write(tmp_path / "a.param", flag=HALVES)
    data = path.with_suffix(".bin").read_bytes()
    for size in (0, 2, 4, 100, len(data) // 2, len(data) - 1):
        path.with_suffix(".bin").write_bytes(data[:size])
        refused(path, f"a.bin of {size:,} bytes", "body.")
    path.with_suffix(".bin").write_bytes(data + b"\0\0")
    refused(path, f"a.bin has {len(data) + 2:,} bytes", f"{len(data):,}")


def test_sizes_that_a_text_announces_are_not_believed(tmp_path):
    path, _ = write(tmp_path / "a.param")
    width, text = 10_000, path.read_text()
    text = text.replace(CONVOLUTION, f"0={width} 1=3 4=1 5=1 6={27 * width}", 1)
    text = text.replace(CONVOLUTION, f"0={width} 1=3 4=1 5=1 6={9 * width**2}")
    text = text.replace("0=48 1=3 4=1 5=1 6=1296", f"0=48 1=3 4=1 5=1 6={9 * 48 * width}")
    path.write_text(text.replace(" 0=3\n", f" 0={width}\n"))
    refused(path, "body.0.weight", "1,080,004")


@pytest.mark.parametrize(("flag", "kind"), [(INT8, "int8"), (TABLE, "table of 256 numbers")])
def test_quantised_weights_are_refused(tmp_path, flag, kind):
    path, _ = write(tmp_path / "a.param", flag=flag)
    refused(path, "a.bin", "body.0.weight", kind)
