"""The known published weight files: their source, licence and published figures.

Only realesr-general-x4v3 comes with the package. A file is identified by its SHA-256, not by its
name.
"""

from typing import NamedTuple

SETS = "Set5", "Set14", "BSD100", "Urban100"


class Published(NamedTuple):
    """One published file.

    Attributes:
      title: the network's name in papers.
      source: repository and commit.
      licence: as stated in the repository.
      figures: published (PSNR in dB, SSIM or None) at x4 on the `SETS`, in that order; may be
        fewer.
      stated_in: the source of the figures.
    """

    title: str
    source: str
    licence: str
    figures: tuple[tuple[float, float | None], ...] = ()
    stated_in: str = ""


def about(digest: str) -> dict[str, str]:
    """Returns facts about the file whose SHA-256 is `digest`, for a model's header."""
    known = FILES.get(digest) or FOR_PHOTOS.get(digest)
    if known is None:
        return {}
    return {"title": known.title, "source": known.source, "licence": known.licence}


FILES = {
    "25b0c9f568b8e5eb7e05f07378a5bdea40a5e495aab345359beea14f6e6dadda": Published(
        "ABPN-M4C28",
        "ECNUSR/ETDS@64ad1b8539",
        "Apache-2.0",
        ((31.32, 0.8833), (28.10, 0.7697), (27.23, 0.7254), (25.12, 0.7511)),
        "its log",
    ),
    "f035e512bcecd2999af21999fdaeb6ed39a4492ac11d214b8164d27e6e958fec": Published(
        "BSRN-S",
        "xiaom233/BSRN@2d63d5239c",
        "MIT",
    ),
    "47518e0f549f5696da0c84ca2d65bf50d789c7ac20e621909f5fd6c8c8d70bcb": Published(
        "BSRN",
        "xiaom233/BSRN@2d63d5239c",
        "MIT",
        ((32.35, 0.8966), (28.73, 0.7847), (27.65, 0.7387), (26.27, 0.7908)),
        "README of LKDN",
    ),
    "d48a759a84509351facb6b7c6d5bd6edec98b98519b8c464ee4ab44d2ba964ff": Published(
        "CARN-M",
        "nmhkahn/CARN-pytorch@40d3514f81",
        "MIT",
        ((31.92, None), (28.42, None), (27.44, None), (25.62, None)),
        "its paper",
    ),
    "04f630699d14ec695384adf21a18d4effe9722c745d4ea34bc3c8e3e2413c3c3": Published(
        "ECBSR-M4C16",
        "ECNUSR/ETDS@64ad1b8539",
        "Apache-2.0",
        ((30.87, 0.8741), (27.80, 0.7626), (27.06, 0.7195), (24.75, 0.7364)),
        "its log",
    ),
    "6d5bb76ac7c6fc30d3236a18ddd20653137fb86efd2e4e1a24ed73441651b38a": Published(
        "ECBSR-M4C32",
        "ECNUSR/ETDS@64ad1b8539",
        "Apache-2.0",
        ((31.24, 0.8815), (28.04, 0.7686), (27.21, 0.7248), (25.07, 0.7494)),
        "its log",
    ),
    "bdd8990bc5cb3e6ff0d1027d570171a76b5879cf8b26dc6d1fdbacebdb5e330a": Published(
        "ECBSR-M6C40",
        "ECNUSR/ETDS@64ad1b8539",
        "Apache-2.0",
        ((31.41, 0.8831), (28.20, 0.7716), (27.33, 0.7280), (25.37, 0.7601)),
        "its log",
    ),
    "e403f06309229cf36009cd8fb0da032ba7643fae9f15cf94fe562e8edf8fef47": Published(
        "ESPCN",
        "fannymonori/TF-ESPCN@5c628eca82",
        "Apache-2.0",
        ((30.52, 0.8697), (27.42, 0.7606), (26.87, 0.7216), (24.39, 0.7241)),
        "table of SAFMN, another training",
    ),
    "c41939ecd25919984083504b527db82bbb27b54c5d1fbc977eae814b2a5ba1c6": Published(
        "Fast-SRGAN",
        "HasnainRaz/Fast-SRGAN@2c09baa662",
        "MIT",
    ),
    "429e4793d049c1ae16ddbbc322fd11c3c08831c0c20137390b4d098976a2b0d9": Published(
        "FSRCNN-small",
        "Saafke/FSRCNN_Tensorflow@6a4812c4ef",
        "Apache-2.0",
    ),
    "58e72d0c4231b8e754180e787d7348f45ae6230ee3c5af7dc12b558467f593f7": Published(
        "FSRCNN-small",
        "Saafke/FSRCNN_Tensorflow@6a4812c4ef",
        "Apache-2.0",
    ),
    "92a9f57c28494813b4dc073b51a300cb909401454d77541bcdc96b4d55901d02": Published(
        "FSRCNN-small",
        "Saafke/FSRCNN_Tensorflow@6a4812c4ef",
        "Apache-2.0",
    ),
    "366b33f0084c7b3f2bf6724f0a2c77bca94fcec9d7b6d72389d330073b380d5c": Published(
        "FSRCNN",
        "Saafke/FSRCNN_Tensorflow@6a4812c4ef",
        "Apache-2.0",
    ),
    "efd38655a815908c6c8954db6052f128e76a735f1de657894c477d0dc0b64481": Published(
        "FSRCNN",
        "Saafke/FSRCNN_Tensorflow@6a4812c4ef",
        "Apache-2.0",
    ),
    "5c68d18db561aed8ead4ffedf1b897ea615baaf60ebf6c35f8e641f8fa4a21bf": Published(
        "FSRCNN",
        "Saafke/FSRCNN_Tensorflow@6a4812c4ef",
        "Apache-2.0",
        ((30.71, 0.8657), (27.59, 0.7535), (26.98, 0.7150), (24.62, 0.7280)),
        "table of SAFMN, another training",
    ),
    "dffb47c5a7e1e28755cde32d9fa4c19f14e965d6c63491da39419bf3699ec456": Published(
        "HiT-SRF (NTIRE 2025)",
        "Amazingren/NTIRE2025_ESR@b69fb668c0",
        "MIT (NTIRE2025_ESR); Apache-2.0 (HiT-SR)",
    ),
    "e660c38221147217a136debeb99eb304d62d9c0f73ac421ed66281b619719714": Published(
        "IMDN",
        "Zheng222/IMDN@8f158e6a5a",
        "none stated",
        ((32.21, 0.8948), (28.58, 0.7811), (27.56, 0.7353), (26.04, 0.7838)),
        "table of Omni-SR",
    ),
    "739fab99ee7b7058dab4d1b84aa2869bb9fc3995a1c08789c20355bee943833c": Published(
        "PAN (DF2K)",
        "zhaohengyuan1/PAN@4d045d1859",
        "none stated",
        ((32.13, 0.8948), (28.61, 0.7822), (27.59, 0.7363), (26.11, 0.7854)),
        "its paper",
    ),
    "050a1d20f2046d01eadab9efd8918a5d9ef705586faab16192d42b897d99ec4e": Published(
        "PlainUSR-L",
        "icandle/PlainUSR@d7ff11afe3",
        "MIT",
    ),
    "874b274f27c0174df744fd22eec9dea907f484014100479f822e609dda86f919": Published(
        "PlainUSR-S",
        "icandle/PlainUSR@d7ff11afe3",
        "MIT",
    ),
    "d64a40ab30019a20a34bb89dd4c6b5d0ab8b16911c65c63ce31b842f4079d15a": Published(
        "PlainUSR-U",
        "icandle/PlainUSR@d7ff11afe3",
        "MIT",
    ),
    "3c9be7b9d7a4bece9b68c83a56a1ffb38010f76413d5f215be6b4be842e18fb2": Published(
        "RLFN (NTIRE 2022)",
        "bytedance/RLFN@bccfde91bf",
        "Apache-2.0",
    ),
    "f769c5a88433786b2db0c2b24da6ca6c92a24c62344b9354a390f8a74388e89d": Published(
        "RLFN-S",
        "bytedance/RLFN@bccfde91bf",
        "Apache-2.0",
    ),
    "8c7edb57dfc89048bafba29d591d4c27d4099964b4a9e22df23d6dc257a637c0": Published(
        "RLFN",
        "bytedance/RLFN@bccfde91bf",
        "Apache-2.0",
        ((32.24, 0.8952), (28.62, 0.7813), (27.60, 0.7364), (26.17, 0.7877)),
        "table of Omni-SR",
    ),
    "a52ba55ccec8f08cc2c354fdccfe0f7647ea70cc5a47a096b70269370a4f5c5c": Published(
        "SMFANet+ (DF2K)",
        "Zheng-MJ/SMFANet@a05e0bb554",
        "Apache-2.0",
    ),
    "509c2af8855e9424d5676956ff5f5911c4e6439c53064e7a4cdbe062ddf2a8d4": Published(
        "SMFANet+ (DF2K)",
        "Zheng-MJ/SMFANet@a05e0bb554",
        "Apache-2.0",
    ),
    "28a807e1ee1f46a990458efd813654ea0ba023148a8423e49847d9b5c4f98ca3": Published(
        "SMFANet+ (DF2K)",
        "Zheng-MJ/SMFANet@a05e0bb554",
        "Apache-2.0",
    ),
    "3141324e9ef6ebdd2338566b30ad034a3bf0c3c34e8030d4086ce4330c319402": Published(
        "SMFANet (DF2K)",
        "Zheng-MJ/SMFANet@a05e0bb554",
        "Apache-2.0",
        ((32.25, 0.8956), (28.67, 0.7825), (27.61, 0.7371), (26.19, 0.7861)),
        "its paper, trained on DIV2K",
    ),
    "fdd2941d89ada0175a72fcaac48271a2e6c56a02cd32a05070ec58ea47ba429f": Published(
        "SRCNN 9-3-5 (trained for x2)",
        "MarkPrecursor/SRCNN-keras@162431e011",
        "none stated",
    ),
    "4ca434fcdd4abb327e281b3f7930fe9802b36d3d6acfbe785843fee5db7e0cfe": Published(
        "VapSR-S",
        "zhoumumu/VapSR@404c584e21",
        "none stated",
        ((32.14, 0.8951), (28.64, 0.7826), (27.60, 0.7373), (26.05, 0.7852)),
        "its README",
    ),
    "fa6b84a174d8994eaaaa38156c9d751109b27c833bceeeb6018523e4d8a48ea0": Published(
        "VapSR",
        "zhoumumu/VapSR@404c584e21",
        "none stated",
        ((32.38, 0.8978), (28.77, 0.7852), (27.68, 0.7398), (26.35, 0.7941)),
        "its README",
    ),
    "eab4d79ae5a6e5acef4c55e46015aed225ade207679bcb6695b07af8fb18e876": Published(
        "VDSR",
        "twtygqyy/pytorch-vdsr@514b021044",
        "MIT",
        ((31.45, None),),
        "its README, measured on Y alone",
    ),
}

_REAL_ESRGAN = "xinntao/Real-ESRGAN, as in upscayl/custom-models", "BSD-3-Clause"
# Teachers for degraded photos and drawings, for which no figures on the `SETS` are published.
FOR_PHOTOS = {
    digest: Published(title, *_REAL_ESRGAN)
    for digest, title in {
        "85ee266b632a765a725425ba6a5620c088c8aa2939a03063b2d83b3462724cc1": "realesr-general-x4v3",
        "74eae91a6230cbe5b931be6c49141faaff0034976933d4da9accb77c329c8a78": (
            "realesr-general-wdn-x4v3"
        ),
        "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d": (
            "realesr-animevideov3-x4"
        ),
    }.items()
}
