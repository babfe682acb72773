"""Short names of models for tables, pictures and folders."""

import re
import textwrap
from collections.abc import Collection, Iterator, Sequence

# Suffixes of files of weights, which tell no two models apart.
SUFFIXES = re.compile(
    r"(\.(safetensors|pth|pt|ckpt|bin|pkl|tar|zip|h5|pb|param))+(?=:|$)", re.IGNORECASE
)


def short(words: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """Returns the shortest name for each word that tells it from the others and those `taken`.

    It is the end of a path: "kd" for "runs/kd", "imdn_x4" for "weights/imdn_x4.pth", "a/net" where
    there is "b/net", too, and "distill/1500" for a checkpoint.
    """
    candidates = {word: list(_candidates(word)) for word in words}
    chosen = dict.fromkeys(candidates, 0)
    while True:
        names = {word: candidates[word][i] for word, i in chosen.items()}
        several = [*names.values(), *taken]
        longer = [
            word
            for word, name in names.items()
            if several.count(name) > 1 and chosen[word] < len(candidates[word]) - 1
        ]
        if not longer:
            return [names[word] for word in words]
        for word in longer:
            chosen[word] += 1


def _candidates(word: str) -> Iterator[str]:
    """Yields names of a word, from the shortest to the word itself."""
    parts = [part for part in word.split("/") if part not in ("", ".")] or [word]
    for number in range(1, len(parts)):
        if parts[-number].isdecimal() or parts[-number] == "..":
            continue  # no name without what comes before it
        name = "/".join(parts[-number:])
        if SUFFIXES.sub("", name):
            yield SUFFIXES.sub("", name)
        yield name
    whole = word.rstrip("/") or word
    if SUFFIXES.sub("", whole):
        yield SUFFIXES.sub("", whole)
    yield whole


def file_name(name: str) -> str:
    """Returns `name` as a name of a folder: without characters that some systems refuse."""
    return re.sub(r"^[. ]|[. ]$", "_", re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name))


def wrapped(name: str, width: int) -> str:
    """Returns `name` in lines of at most `width` characters, for pictures.

    Lines end after signs and between words, where that is possible.
    """
    lines = [""]
    for part in re.findall(r"[\w.+=]+[^\w.+=]*|[^\w.+=]+", name.replace("_", "_\0")):
        if lines[-1] and len((lines[-1] + part).rstrip()) > width:
            lines.append("")
        lines[-1] += part
    text = "\n".join(textwrap.fill(line.replace("\0", ""), width) for line in lines)
    return text.replace("$", r"\$")  # between two of them Matplotlib would set a formula
