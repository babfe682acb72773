"""Checks folders of photos before anyone trains or tests on them.

Each file is decoded once, by one worker, which keeps a thumbnail and a few facts of it.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from kdgan_jax import layouts
from kdgan_jax.audit import pairs, similar, traces
from kdgan_jax.data import sources
from kdgan_jax.layouts.sets import Layout, no_partner
from kdgan_jax.pictures import bicubic, codec, colour
from kdgan_jax.runtime.errors import UserError

# Groups of findings and their titles, in the order of the report.
PROBLEMS = {
    "unreadable": "Files that cannot be read",
    "pair": "HR and LR that do not match",
    "duplicate": "The same picture more than once",
    "small": "Too small for a patch",
    "upscaled": "Enlarged photos: no detail at the finest scale",
}
NOTES = {
    "jpeg": "JPEG-compressed photos (a note: networks learn the blocks of HR too)",
    "degradation": "LR that is not MATLAB's bicubic of its HR (a note)",
}


class Finding(NamedTuple):
    """One line of the report: its group, and a sentence with the file and what to do."""

    group: str  # a key of PROBLEMS or NOTES
    text: str


@dataclass(frozen=True)
class Folder:
    """A set of images to check.

    Attributes:
      name: for the report.
      layout: its HR files, its LR files, or both if it has pairs.
      notes: sentences about images that are there and not looked at.
    """

    name: str
    layout: Layout
    notes: tuple[str, ...] = ()

    @property
    def has_hr(self) -> bool:
        """Whether it has HR images, and LR images are those of pairs."""
        return self.layout.hr_root is not None

    @property
    def photos(self) -> int:
        """Number of files, without LR files that belong to pairs."""
        return len(self.layout.hr if self.has_hr else self.layout.lr)


@dataclass(frozen=True)
class Facts:
    """What is kept of a decoded file."""

    path: Path
    size: tuple[int, int]  # (height, width)
    mode: str  # Pillow's name of the file's pixel format
    jpeg: bool  # the file is a JPEG
    digest: str  # of size and pixels
    thumb: np.ndarray  # (similar.SIDE, similar.SIDE) uint8
    blocks: bool = False  # the pixels show JPEG's blocks
    enlarged: bool = False


@dataclass(frozen=True)
class Job:
    """What one worker reads: an HR file, an LR file, or both files of a pair.

    Attributes:
      folder: which set they are from.
      hr: the HR file, if any.
      lr: the LR file, if any.
      missing: the message about an HR file without LR.
      again: whether an earlier job has the HR file, with another LR file.
    """

    folder: Folder
    hr: Path | None
    lr: Path | None
    missing: str = ""
    again: bool = False


@dataclass(frozen=True)
class Done:
    """A job's results."""

    job: Job
    findings: list[Finding]
    hr: Facts | None = None
    lr: Facts | None = None
    verdict: pairs.Verdict | None = None
    reduced: np.ndarray | None = None  # thumbnail of the LR that belongs to HR

    @property
    def photo(self) -> Facts | None:
        """The facts of HR, or of LR that is not to have HR; None if an earlier job has them."""
        return None if self.job.again else self.hr if self.job.folder.has_hr else self.lr


@dataclass(frozen=True)
class Result:
    """What a check found: the facts of each folder's readable photos, and the findings."""

    facts: list[tuple[Folder, list[Facts]]]
    findings: list[Finding]


def plan(names: Sequence[str], lr: str | None, scale: int) -> list[Folder]:
    """Returns the named folders with their files.

    Args:
      names: sources of photos, as in `config.data.source`.
      lr: folder of the LR images of a single folder of HR images.
      scale: HR size over LR size.

    Raises:
      UserError: a folder is missing or holds no image, has no files, or could be read in two ways;
        `lr` is given for several folders, or for one without HR.
    """
    entries = [entry for name in names for entry in sources.entries(name)]
    if lr and len(entries) > 1:
        raise UserError(
            f"--lr={lr} belongs to one folder, but {len(entries)} are given; check them one by one"
        )
    return [folder for entry in dict.fromkeys(entries) for folder in _folders(entry, lr, scale)]


def _folders(entry: str, lr: str | None, scale: int) -> list[Folder]:
    if entry in sources.PACKAGED:
        found = sources.installed(sources.PACKAGED[entry], scale)
        files = [photo.hr for photo in found if isinstance(photo.hr, Path)]
        return [Folder(entry, Layout(files[0].parent, files))]
    if entry.startswith(sources.TFDS):
        raise UserError(f"{entry}: has no files to check; name folders")
    kind, path = sources.split_kind(entry)
    if lr and kind == "lr":
        raise UserError(f"--lr={lr}: {entry} holds LR images itself; give the folder of their HR")
    if lr:
        there = layouts.of_two(Path(path), Path(os.path.expanduser(lr)), scale)
    else:
        there = layouts.at(path, scale, kind)
    notes = tuple(sources.unused(there, scale, lr_strays=False))
    if len(there.layouts) == 1:
        return [Folder(entry, there.layouts[0], notes)]
    names = [str(layout.hr_root or layout.lr_root) for layout in there.layouts]
    return [
        Folder(name, layout, () if number else notes)
        for number, (name, layout) in enumerate(zip(names, there.layouts, strict=True))
    ]


def jobs(folders: Sequence[Folder], scale: int) -> list[Job]:
    """Returns the jobs: each HR file with each LR of its, then the LR files without HR.

    A file that serves as HR and as LR without HR is examined as HR.
    """
    work, seen = [], set()
    for folder in sorted(folders, key=lambda folder: not folder.has_hr):
        layout, claimed = folder.layout, set()
        for hr, lr_files in sources.images_of(layout, scale) if folder.has_hr else ():
            claimed.update(lr_files)
            if hr.resolve() in seen:
                continue
            seen.add(hr.resolve())
            lacks_lr = layout.lr_root and not lr_files
            missing = no_partner(hr, layout, scale) if lacks_lr else ""
            work.append(Job(folder, hr, lr_files[0] if lr_files else None, missing))
            work += [Job(folder, hr, lr, again=True) for lr in lr_files[1:]]
        for lr in layout.lr:
            if lr not in claimed and (folder.has_hr or lr.resolve() not in seen):
                work.append(Job(folder, None, lr))
                seen.add(lr.resolve())
    return work


def facts(path: Path, rgb: np.ndarray, look_for_traces: bool = True) -> Facts:
    """Returns the facts of a file that decodes to `rgb` (H, W, 3) uint8."""
    with Image.open(path) as image:  # reads the header alone
        mode, is_jpeg = image.mode, image.format in ("JPEG", "MPO")
    seen = traces.Traces(False, False)
    if look_for_traces:
        seen = traces.look(colour.luma(traces.middle(rgb)))
    return Facts(path, rgb.shape[:2], mode, is_jpeg, *look(rgb), *seen)


class Look(NamedTuple):
    """What tells a picture from others."""

    digest: str  # of size and pixels
    thumb: np.ndarray  # (similar.SIDE, similar.SIDE) uint8


def look(rgb: np.ndarray) -> Look:
    """Returns a look at an image (H, W, 3) uint8."""
    digest = hashlib.sha256(repr(rgb.shape).encode() + rgb.tobytes())
    return Look(digest.hexdigest(), similar.thumbnail(rgb))


def examine(job: Job, scale: int) -> Done:
    """Returns the results of a job; its two files are never decoded at the same time."""
    hr = lr = reduced = verdict = thumb = None
    findings = []
    if job.hr:
        try:
            rgb = codec.read_rgb(job.hr)
            hr = facts(job.hr, rgb)
            if job.folder.layout.lr_root and min(hr.size) >= scale:
                reduced = bicubic.downscale(rgb, scale)
                thumb = similar.thumbnail(reduced)
            del rgb
        except (UserError, MemoryError) as error:
            findings += [] if job.again else [_unreadable(job.hr, error)]
    if job.lr:
        try:
            rgb = codec.read_rgb(job.lr)
            lr = facts(job.lr, rgb, look_for_traces=not job.folder.has_hr)
            if hr and reduced is not None:
                verdict = pairs.compare(hr.path, lr.path, hr.size, reduced, rgb, scale)
        except (UserError, MemoryError) as error:
            findings.append(_unreadable(job.lr, error))
    return Done(job, findings, hr, lr, verdict, thumb)


def _unreadable(path: Path, error: Exception) -> Finding:
    if isinstance(error, UserError):
        return Finding("unreadable", str(error))
    return Finding("unreadable", f"{path}: does not fit into memory; reduce or remove it")


def alone(facts: Facts, scale: int, patch: int, is_lr: bool = False) -> list[Finding]:
    """Returns the findings about an HR file by itself, or about an LR file that has no HR."""
    findings, path = [], facts.path
    used = tuple(side * scale if is_lr else side - side % scale for side in facts.size)
    if min(used) < patch:
        size = pairs.by(facts.size)
        if used != facts.size:
            how = "enlarged" if is_lr else f"cut to multiples of {scale}"
            size += f" ({pairs.by(used)} when {how})"
        text = f"{path}: {size} is smaller than a patch of {patch}"
        findings.append(Finding("small", f"{text}; remove it, or lower --patch"))
    if facts.enlarged:
        text = f"{path}: looks enlarged from a smaller picture; use the original, or remove it"
        findings.append(Finding("upscaled", text))
    if facts.jpeg or facts.blocks:
        if facts.jpeg:
            text = "is a JPEG file" + (" and shows its 8x8 blocks" if facts.blocks else "")
        else:
            text = "is not a JPEG file, but shows JPEG's 8x8 blocks"
        advice = "use a lossless original if there is one"
        if is_lr:
            advice = "fine as LR, if what is to be enlarged is like it"
        findings.append(Finding("jpeg", f"{path}: {text}; {advice}"))
    return findings


def duplicates(files: Sequence[tuple[str, Facts]]) -> list[Finding]:
    """Returns a finding for each picture that is, or nearly is, an earlier one.

    Args:
      files: (the folder's name, facts) of every photo.
    """
    findings = []
    digests, thumbs = [facts.digest for _, facts in files], [facts.thumb for _, facts in files]
    for copy in similar.copies(digests, thumbs):
        (folder, later), (other_folder, earlier) = files[copy.later], files[copy.earlier]
        advice = "remove one of them"
        if folder != other_folder:
            advice = f"if {folder} or {other_folder} is for testing, do not train on it"
        text = f"{later.path}: {copy.how} {earlier.path}; {advice}"
        findings.append(Finding("duplicate", text))
    return findings


def mismatches(results: Sequence[Done]) -> list[Finding]:
    """Returns the findings about the pairs of one folder."""
    findings = [Finding("pair", done.job.missing) for done in results if done.job.missing]
    findings += [
        Finding(done.verdict.kind, done.verdict.text)
        for done in results
        if done.verdict and done.verdict.kind in ("pair", "degradation")
    ]
    strays = [(done, done.lr) for done in results if done.lr and _is_stray(done)]
    whole = [(done.hr, done.reduced) for done in results if done.hr and done.reduced is not None]
    best: dict[int, similar.Match] = {}
    if strays and whole:
        thumbs = np.stack([lr.thumb for _, lr in strays])
        for match in similar.matches(thumbs, np.stack([thumb for _, thumb in whole])):
            if match.first not in best or match.correlation > best[match.first].correlation:
                best[match.first] = match
    for index, (done, _) in enumerate(strays):
        if index in best:
            shown, turn = whole[best[index].second][0], best[index].turn
            findings.append(_stray(done, shown, turn))
        else:
            findings.append(_stray(done, None, ""))
    return findings


def _is_stray(done: Done) -> bool:
    """Tells whether LR has no HR, or shows another picture than its HR."""
    return not done.job.hr or (done.verdict is not None and done.verdict.kind == "content")


def _stray(done: Done, shown: Facts | None, turn: str) -> Finding:
    """Returns the finding about an LR image without HR, or with an HR that it does not match.

    Args:
      done: the results of its job.
      shown: the HR image that LR shows, if any.
      turn: how LR is turned from it; see `similar.Match`.
    """
    lr, hr = done.job.lr, done.job.hr
    shows = f"shows {shown.path}{turn and f' {turn}'}" if shown else "shows no HR image here"
    if not hr:
        advice = "rename it" if shown else "add its HR or remove it"
        return Finding("pair", f"{lr}: has no HR image of its name and {shows}; {advice}")
    sizes = done.verdict.text if done.verdict else ""
    if not shown:
        text = f"{lr}: {shows}, not even {hr} ({sizes}); recreate it from {hr}, or remove it"
        return Finding("pair", text)
    if shown.path != hr:
        return Finding("pair", f"{lr}: {shows}, not {hr} ({sizes}); rename or swap them")
    if sizes == pairs.RIGHT_SIZE and not turn:
        return Finding("degradation", f"{lr}: {shows}, but shifted or strongly degraded")
    part = "" if turn else ", partly or stretched"
    return Finding("pair", f"{lr}: {shows}{part} ({sizes}); recreate it from {hr}")


def check(
    folders: Sequence[Folder],
    work: Sequence[Job],
    scale: int,
    patch: int,
    on_done: Callable[[str], None] = lambda name: None,
) -> Result:
    """Returns the findings about folders, and the facts of their files.

    Args:
      folders: from `plan`.
      work: from `jobs`.
      scale: HR size over LR size.
      patch: side of the largest HR patch that training will cut.
      on_done: called with the name of each file or pair that has been read.
    """
    results = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(lambda job: examine(job, scale), work):
            results.append(done)
            on_done(str((done.job.hr or done.job.lr or Path()).name))
    findings = [finding for done in results for finding in done.findings]
    for folder in folders:
        if folder.has_hr:
            findings += mismatches([done for done in results if done.job.folder is folder])
    readable = [(done.job.folder, done.photo) for done in results if done.photo]
    findings += duplicates([(folder.name, facts) for folder, facts in readable])
    for folder, facts in readable:
        findings += alone(facts, scale, patch, is_lr=not folder.has_hr)
    by_folder = [(f, [facts for folder, facts in readable if folder is f]) for f in folders]
    return Result(by_folder, findings)
