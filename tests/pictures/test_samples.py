import numpy as np
import pytest

from kdgan_jax.pictures import samples


@pytest.mark.parametrize("bits", [9, 10, 12, 16, 24, 32, 64])
def test_full_scale_half_and_zero(bits):
    full = 2**bits - 1
    values = np.array([0, full // 2, full], np.uint64)
    white, remark = samples.integer_white(values, bits, None)
    deep = samples.scaled(values, white, np.uint16)
    np.testing.assert_allclose(deep, [0, 32767.5, 65535], atol=65535 / full + 1)
    assert remark == ""
    eight = samples.rounded(deep)
    assert abs(int(eight[1]) - 127.5) <= 1 + 255 / full


def test_rounding_to_8_bits_and_scaling_are_those_of_exact_arithmetic():
    deep = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(samples.rounded(deep), np.floor(deep / 257 + 0.5))
    assert samples.scaled(deep, 65535, np.uint16) is not None
    big = deep.astype(">u2")
    np.testing.assert_array_equal(samples.scaled(big, 65535, np.uint16), deep)
    few = np.arange(4096, dtype=np.uint16)
    expected = (few.astype(int) * 2 * 65535 + 4095) // (2 * 4095)
    np.testing.assert_array_equal(samples.scaled(few, 4095, np.uint16), expected)


@pytest.mark.parametrize(
    ("largest", "bits", "stated", "white", "doubt"),
    [
        (4095, 16, None, 4095, True),
        (1000, 16, None, 1023, True),
        (16383, 16, None, 16383, True),
        (12000, 16, None, 65535, False),  # a dark photo
        (255, 32, None, 255, True),
        (65535, 32, None, 65535, True),
        (4095, 15, None, 4095, True),  # signed ones of 16 bits
        (30000, 16, None, 65535, False),
        (4095, 16, 4095, 4095, False),
        (4000, 16, 4095, 4095, False),
        (20000, 16, 4095, 65535, False),  # the statement is wrong
        (10, 8, None, 255, False),
        (0, 16, None, 65535, False),
    ],
)
def test_the_range_of_integers(largest, bits, stated, white, doubt):
    found, remark = samples.integer_white(np.array([0, largest]), bits, stated)
    assert found == white
    assert bool(remark) == doubt
    assert str(largest) in remark or not doubt


@pytest.mark.parametrize(
    ("values", "stated", "white", "doubt"),
    [
        ([0, 0.5, 1], None, 1, False),
        ([-1, np.nan, np.inf, -np.inf, 1], None, 1, False),
        ([0, 0.5, 0.9, 1.1], None, 1, True),
        ([0, 0, 0, 100, 255], None, 255, True),
        ([-3, 0.6, 128, 300], None, 255, True),
        ([0, 500, 4095], None, 4095, True),
        ([0, 30000, 65535], None, 65535, True),
        ([0, 2, 5, 10], None, 1, True),  # high dynamic range
        ([0, 0.1, 0.2, 0.3, 250], None, 1, True),
        ([0, 500, 1e6], None, 1, True),
        ([0, 50, 100], 100, 100, False),
        ([0, 50, 101], 100, 100, False),  # rounded
        ([0, 0.25, 0.5], 0.5, 0.5, False),
        ([0, 0.5, 1], 1e4, 1, False),  # the statement is of something else
        ([0, 500, 16000], None, 16383, True),
    ],
)
def test_the_range_of_floats(values, stated, white, doubt):
    found, remark = samples.float_white(np.array(values, np.float32), stated)
    assert found == white
    assert bool(remark) == doubt


@pytest.mark.parametrize(
    ("values", "said"), [([0, 1], ""), ([-0.1, 1], ""), ([-1, 1], "-1"), ([0, np.nan], "no number")]
)
def test_what_is_below_0_or_no_number_is_said(values, said):
    remark = samples.negative(np.array(values, np.float32), 1)
    assert said in remark
    assert bool(remark) == bool(said)


def test_floats_that_are_no_numbers_and_out_of_range_are_clipped():
    values = np.array([np.nan, -np.inf, np.inf, -2, 3, 0.5])
    assert samples.scaled(values, 1, np.uint16).tolist() == [0, 0, 65535, 0, 65535, 32768]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_that_was_multiplied_in_is_taken_out(dtype):
    full = np.iinfo(dtype).max
    colour = np.random.default_rng(0).integers(0, full, (5, 7, 3), dtype)
    alpha = np.full((5, 7, 1), full // 3, dtype)
    alpha[0, 0], alpha[1, 1] = 0, full
    multiplied = np.floor(colour.astype(float) * alpha / full + 0.5).astype(dtype)
    found = samples.straight(multiplied, alpha).astype(int)
    seen = alpha[..., 0] > 0
    assert np.abs(found - colour)[seen].max() <= 2
    assert (found[0, 0] == multiplied[0, 0]).all()
    assert (found[1, 1] == colour[1, 1]).all()


@pytest.mark.parametrize(("bits", "little"), [(24, True), (24, False), (40, False), (33, False)])
def test_samples_of_unusual_depths_are_cut_out_of_bytes(bits, little):
    values = [0, 1, 2 ** (bits - 1), 2**bits - 1, 123456789 % 2**bits]
    if bits % 8 == 0:
        row = b"".join(v.to_bytes(bits // 8, "little" if little else "big") for v in values)
    else:
        text = "".join(f"{v:0{bits}b}" for v in values)
        row = int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
    rows = np.frombuffer(row * 2, np.uint8).reshape(2, -1)
    assert samples.unpacked(rows, 5, bits, little).tolist() == [values, values]
