"""What is known about each architecture: one entry of `KNOWN` per entry of `GENERATORS`.

Arguments include the scale, which is 4 if absent.
"""

from dataclasses import dataclass, field
from typing import Any

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Architecture:
    """What tests expect of an architecture.

    Attributes:
      parameters: published numbers of parameters, with the arguments.
      states: changes to the arguments in `conftest.TINY`, for networks that are written with
        PyTorch's names and must be recognised; none if the architecture has no such names.
      files: published files by the stem of their golden outputs, with the arguments.
      recorded: the same for files in tests/golden, written by spandrel.
      error: largest difference from golden outputs, in their range: what float32 and float64 differ
        by in PyTorch, with some room.
      image_range: range of golden inputs and outputs.
      border: pixels at each side that golden outputs lack.
      constant: layers that are never trained.
      unsaid: arguments that a file does not store.
    """

    parameters: dict[int, Arguments]
    states: tuple[Arguments, ...] = ()
    files: dict[str, Arguments] = field(default_factory=dict)
    recorded: dict[str, Arguments] = field(default_factory=dict)
    error: float = 1e-5
    image_range: tuple[int, int] = (0, 1)
    border: int = 0
    constant: frozenset[str] = frozenset()
    unsaid: frozenset[str] = frozenset()


KERAS = {"kernels": (9, 3, 5), "keep_border": True, "rounded": True}
RGB_KERAS = {"scale": 2, "kernels": (5, 1, 3), "channels": (4, 6), "luma_only": False}
PLUS = {"channels": 48, "blocks": 12}  # SMFANet+
NTIRE = {"channels": 46, "inner": 48, "blocks": 4}
BSRN_S = {"channels": 48, "blocks": 5, "small": True}
FSRCNN_S = {"channels": 32, "narrow": 5, "depth": 1}
VAPSR_S = {"channels": 32, "blocks": 11, "groups": 2}
PLAINUSR_U = {"channels": (16, 8), "depth": 2, "attention": 0}
RCAN = {"channels": 8, "groups": 2, "blocks": 3, "reduction": 4}
RRDB = {"channels": 8, "blocks": 2, "growth": 4}

KNOWN = {
    "srcnn": Architecture(
        # Dong et al. 2016 count 57,184 weights without 97 biases; the last is the notebook's.
        {57_281: {}, 69_251: {"luma_only": False}, 85_889: KERAS | {"channels": (128, 64)}},
        states=(KERAS | {"scale": 2}, KERAS | RGB_KERAS),
        files={"srcnn_keras": KERAS | {"scale": 2, "channels": (128, 64)}},
        border=6,
        unsaid=frozenset({"residual"}),
    ),
    "kdgan_student": Architecture({36_483: {}}),
    # SRGAN's published parts without batch normalization: head, blocks, body, upsampler, tail.
    "srresnet": Architecture(
        {15_616 + 64 + 16 * (2 * 36_928 + 64) + 36_928 + 2 * (147_712 + 64) + 15_555: {}}
    ),
    "edsr": Architecture(
        {1_517_571: {}},  # 1518K in the literature
        states=(
            {"image_range": 255.0, "blocks": 2},
            {"image_range": 255.0, "scale": 3, "channels": 4},
            {"image_range": 255.0, "scale": 2, "channels": 256, "residual_scale": 0.1},
        ),
        recorded={"edsr_x4": {"channels": 8, "blocks": 2, "image_range": 255.0}},
        unsaid=frozenset({"mean"}),
    ),
    "compact": Architecture(
        # realesr-animevideov3 and realesr-general-x4v3
        {621_424: {"channels": 64, "depth": 16}, 1_213_296: {"channels": 64, "depth": 32}},
        states=({"depth": 3}, {"scale": 3, "channels": 4, "depth": 0}, {"scale": 1}),
        recorded={"compact_x4": {"channels": 8, "depth": 3}},
        unsaid=frozenset({"branches", "expansion", "slope"}),
    ),
    "fsrcnn": Architecture(
        {9_169: {}, 2_006: FSRCNN_S},
        states=({}, {"scale": 3} | FSRCNN_S, {"scale": 2}),
        files={f"fsrcnn_x{scale}": {"scale": scale} for scale in (2, 3, 4)}
        | {f"fsrcnn_small_x{scale}": {"scale": scale} | FSRCNN_S for scale in (2, 3, 4)},
    ),
    "espcn": Architecture(
        {24_752: {}},
        states=({}, {"scale": 3}, {"scale": 2, "channels": (6, 10)}),
        files={"espcn_x4": {}},
    ),
    "vdsr": Architecture(
        {664_704: {}}, states=({}, {"channels": 4, "depth": 2}), files={"vdsr": {}}
    ),
    "rrdb": Architecture(
        {16_697_987: {}},
        states=({}, {"scale": 2, "blocks": 2, "unshuffle": 2}, {"scale": 2}),
        recorded={
            "rrdb_x4": RRDB | {"unshuffle": 1},
            "rrdb_x2": RRDB | {"scale": 2, "unshuffle": 2},
            "rrdb_x2_plain": RRDB | {"scale": 2, "unshuffle": 1},
        },
    ),
    "rcan": Architecture(
        {15_592_379: {}},
        states=({}, {"scale": 3, "mean_shift": False}, {"scale": 2, "groups": 2, "blocks": 3}),
        recorded={"rcan_x4": RCAN, "rcan_x3": RCAN | {"scale": 3, "mean_shift": False}},
        constant=frozenset({"add_mean", "sub_mean"}),
    ),
    "imdn": Architecture(
        {715_176: {}},
        states=({}, {"scale": 2}, {"scale": 3, "blocks": 3}),
        files={"imdn_x4": {}},
    ),
    "pan": Architecture(
        {272_419: {}},
        states=({}, {"scale": 2}, {"channels": 6, "blocks": 2}),
        files={"pan_x4": {}},
    ),
    "carn_m": Architecture(
        {294_171: {}},
        states=({"groups": 2, "blocks": 2}, {"scale": 2}, {"scale": 3, "groups": 1}),
        files={f"carn_m_x{scale}": {"scale": scale} for scale in (2, 3, 4)},
        constant=frozenset({"add_mean.shifter", "sub_mean.shifter"}),
    ),
    "rlfn": Architecture(
        {543_740: {}, 470_208: {"channels": 48}, 317_218: NTIRE},
        states=({"inner": 12}, {"scale": 2, "blocks": 2}, {"scale": 3, "channels": 6}),
        files={"rlfn_x4": {}, "rlfn_s_x4": {"channels": 48}, "rlfn_ntire_x4": NTIRE},
        error=3e-3,
        image_range=(0, 255),
    ),
    "bsrn": Architecture(
        {352_400: {}, 156_288: BSRN_S},
        states=({"scale": 2}, {"scale": 3, "small": True}, {"blocks": 2, "small": True}),
        files={"bsrn_x4": {}, "bsrn_s_x4": BSRN_S},
    ),
    "vapsr": Architecture(
        {
            342_220: {},
            154_956: VAPSR_S,
            329_236: {"scale": 2, "blocks": 20},
            336_811: {"scale": 3, "blocks": 20},
        },
        states=({}, {"scale": 2}, {"scale": 3, "blocks": 2, "attention": 4, "groups": 2}),
        files={"vapsr_x4": {}, "vapsr_s_x4": VAPSR_S},
    ),
    "smfanet": Architecture(
        {
            197_328: {},
            480_300: {"scale": 2} | PLUS,
            486_795: {"scale": 3} | PLUS,
            495_888: PLUS,
        },
        states=({}, {"scale": 2}, {"scale": 3, "channels": 4, "blocks": 2, "expansion": 3}),
        files={"smfanet_x4": {}}
        | {f"smfanet_plus_x{scale}": {"scale": scale} | PLUS for scale in (2, 3, 4)},
    ),
    "plainusr": Architecture(
        {
            734_004: {},
            333_108: {"channels": (64, 48, 32), "depth": 2},
            68_612: {"channels": (32, 16, 8), "depth": 2, "attention": 4},
            19_820: PLAINUSR_U,
        },
        states=(
            *({}, {"scale": 2}, {"scale": 3, "channels": (5, 4, 4), "depth": 3}),
            *(PLAINUSR_U, {"channels": (5, 4, 3, 2), "attention": 0}),
        ),
        files={"plainusr_l_x4": {}},
        error=3e-5,
    ),
    "abpn": Architecture(
        {62_048: {}}, states=({}, {"scale": 3, "channels": 4, "depth": 0}, {"scale": 2, "depth": 5})
    ),
    "fast_srgan": Architecture(
        {925_646: {}},
        states=({}, {"scale": 2}, {"scale": 3, "channels": 4, "blocks": 3}),
        files={"fast_srgan": {}},
        image_range=(-1, 1),
    ),
    "hit_srf": Architecture(
        {866_420: {}},
        states=({"scale": 2}, {"scale": 3, "groups": 2, "windows": (16, 8), "expansion": 3}),
        files={"hit_srf_x4": {}},
    ),
}
