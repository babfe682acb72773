"""What the names of folders and of files say of the images in them: HR, LR, a scale, or nothing.

Case does not matter, except that it separates words, as in "trainHR".
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

# Folders.

_GAP = r"[-_. ]"
_ROLE = re.compile(
    rf"(?:^|(?<={_GAP})|(?<=[a-z\d])(?=[A-Z]))"
    rf"(?i:(?P<hr>hr|gt|high{_GAP}?res(?:olution)?)|(?P<lr>lr|lq|low{_GAP}?res(?:olution)?))"
    r"(?i:mod\d+|bic(?:ubic)?|b[id]|dn|s|images)?"
    rf"(?=(?i:{_GAP}?x?\d+x?)?(?:$|{_GAP}))"
)
_TIMES = r"(?:[2-9]|1[0-6])"  # a scale
_FOLDER_SCALE = re.compile(rf"(?i:x({_TIMES})|(?<!\d)({_TIMES})x|(?<=l[rq])({_TIMES}))(?=$|{_GAP})")
_LR_ALONE = re.compile(rf"(?i:{_GAP}?(?:bicubic|unknown|mild|difficult|wild|x?{_TIMES}))+")
_ONLY_SCALE = re.compile(rf"(?i:x({_TIMES})|({_TIMES})x)")


class Role(NamedTuple):
    """What a folder's name says.

    Attributes:
      is_hr: whether it holds HR images, or else LR images.
      words: the rest of the name, which it shares with the folder that it belongs to.
      scale: of LR images, if the name says so.
      is_plain: whether the name says nothing else, as in "HR" and "LR".
      is_sure: whether the folder holds LR images whatever is beside it. One named "test_LR" may
        be somebody's HR images, unless HR images are beside it.
    """

    is_hr: bool
    words: frozenset[str]
    scale: int | None
    is_plain: bool
    is_sure: bool


def _number(match: re.Match[str] | None) -> int | None:
    return int(next(group for group in match.groups() if group)) if match else None


def role_of(folder: Path) -> Role | None:
    """Returns what the name of a folder says; None if that is nothing or two things."""
    name = folder.name
    matches = list(_ROLE.finditer(name))
    if len({match["hr"] is None for match in matches}) != 1:
        return None
    match = matches[-1]
    before, after = (
        _FOLDER_SCALE.sub("", part).strip(" -_.")
        for part in (name[: match.start()], name[match.end() :])
    )
    return Role(
        is_hr=match["hr"] is not None,
        words=frozenset(re.findall(r"[a-z]+|\d+", f"{before} {after}".lower())),
        scale=_number(_FOLDER_SCALE.search(name)),
        is_plain=not before and not after,
        is_sure=not before or bool(_LR_ALONE.fullmatch(name[match.end() :])),
    )


def scale_alone(folder: Path) -> int | None:
    """Returns the scale of a folder such as "X4", which has no other name."""
    return _number(_ONLY_SCALE.fullmatch(folder.name))


def named_scale(folder: Path) -> int | None:
    """Returns the scale that the name of a folder of LR images says."""
    role = role_of(folder)
    return scale_alone(folder) or (role.scale if role else None)


def is_lr(folder: Path) -> bool:
    """Returns whether a folder surely holds LR images, by its name and that of the one above."""
    folder = Path(os.path.abspath(folder))
    role = role_of(folder.parent if scale_alone(folder) else folder)
    return role is not None and not role.is_hr and role.is_sure


# Files.

_HR_FILE = re.compile(
    rf"(?i:(?:{_GAP}srf{_GAP}\d+)?(?:{_GAP}|(?<=\d))(?:hr|gt)(?:{_GAP}?x{_TIMES})?$)"
)
# An LR image says so itself, or names its scale.
_LR_FILE = re.compile(
    rf"(?i:(?:{_GAP}srf{_GAP}(?P<srf>\d+))?(?:{_GAP}|(?<=\d))(?:bic(?:ubic)?{_GAP}?)?"
    rf"(?P<word>l[rq])(?:b[id]|dn)?(?:{_GAP}?x(?P<x>{_TIMES})|(?P<n>{_TIMES}))?$)"
    rf"|(?i:(?:{_GAP}bic(?:ubic)?)?{_GAP}?x(?P<alone>{_TIMES})(?:[mdw]\d*)?$)"
    rf"|(?i:{_GAP}(?P<times>{_TIMES})x$)"
)
_HR_FIRST = re.compile(rf"(?i:^(?:hr|gt){_GAP})")
_LR_FIRST = re.compile(rf"(?i:^(?P<word>l[rq])(?:{_GAP}?x(?P<x>{_TIMES}))?{_GAP})")


class Tag(NamedTuple):
    """What the name of an LR file says.

    Attributes:
      base: the name of its HR image.
      scale: None if it does not say.
      says_lr: whether it says LR, or else a scale alone.
    """

    base: str
    scale: int | None
    says_lr: bool


def tag_of(stem: str) -> Tag | None:
    """Returns what a file's name without suffix says if that is LR."""
    if hr_base(stem):
        return None
    for pattern in _LR_FILE, _LR_FIRST:
        if (match := pattern.search(stem)) and (base := pattern.sub("", stem, count=1)):
            groups = match.groupdict()
            is_lr = bool(groups.pop("word"))
            return Tag(base, next((int(n) for n in groups.values() if n), None), is_lr)
    return None


def hr_base(stem: str) -> str | None:
    """Returns the name of an HR file without what says HR; None if nothing does."""
    for pattern in _HR_FILE, _HR_FIRST:
        if pattern.search(stem) and (base := pattern.sub("", stem, count=1)):
            return base
    return None
