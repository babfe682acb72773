"""What is wrong with folders of photos, found before anyone trains on them.

Each file is decoded once, by one worker; what is kept of it is a thumbnail and a few figures.
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

from kdgan_jax.audit import pairs, similar, traces
from kdgan_jax.data import photos
from kdgan_jax.pictures import bicubic, codec, colour
from kdgan_jax.runtime.errors import UserError

# What is found, in the order of the report: the group's name and its title.
PROBLEMS = {
    "unreadable": "Files that cannot be read",
    "pair": "HR and LR that do not match",
    "duplicate": "The same picture more than once",
    "small": "Too small for a patch",
    "upscaled": "Enlarged, not photographed: no detail at the finest scale",
}
NOTES = {
    "jpeg": "JPEG-compressed HR (a note: networks learn the blocks as well)",
    "degradation": "LR that is not MATLAB's bicubic of its HR (a note)",
}


class Finding(NamedTuple):
    """One line of the report: its group, and a sentence with the file and what to do."""

    group: str  # a key of PROBLEMS or NOTES
    text: str


@dataclass(frozen=True)
class Folder:
    """One folder to check: its HR files, and its LR files where it has pairs."""

    name: str
    hr_root: Path
    hr: list[Path]
    lr_root: Path | None = None
    lr: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What is kept of one decoded file."""

    path: Path
    size: tuple[int, int]  # (height, width)
    mode: str  # Pillow's name of the file's pixel format
    jpeg: bool  # the file's format is JPEG
    digest: str  # of size and pixels
    thumb: np.ndarray  # (similar.SIDE, similar.SIDE) uint8
    blocks: bool = False  # JPEG's blocks are in the pixels
    enlarged: bool = False


@dataclass(frozen=True)
class Job:
    """What one worker reads: an HR file, an LR file, or both of a pair."""

    folder: Folder
    hr: Path | None
    lr: Path | None
    missing: str = ""  # what is to be said of an HR file without LR


@dataclass(frozen=True)
class Done:
    """What one worker found."""

    job: Job
    findings: list[Finding]
    hr: Facts | None = None
    lr: Facts | None = None
    verdict: pairs.Verdict | None = None
    reduced: np.ndarray | None = None  # thumbnail of HR as LR should be: alike to the pixel


@dataclass(frozen=True)
class Result:
    """What a check found: the facts of each folder's readable HR files, and the findings."""

    facts: list[tuple[Folder, list[Facts]]]
    findings: list[Finding]


def plan(names: Sequence[str], lr: str | None, scale: int) -> list[Folder]:
    """Returns the folders that the arguments name, with their files.

    Raises:
      UserError: a folder is missing or holds no image; `lr` is given with several folders.
    """
    if lr and len(names) > 1:
        raise UserError(
            f"--lr={lr} belongs to one folder, {len(names)} are given; check them apart"
        )
    folders = []
    for name in dict.fromkeys(names):
        root = Path(name)
        hr_root = root / "HR" if (root / "HR").is_dir() else root
        lr_root = Path(lr) if lr else photos.lr_folder(root, scale) if hr_root != root else None
        hr = codec.find(hr_root)
        if lr_root and hr_root in lr_root.parents:
            hr = [path for path in hr if lr_root not in path.parents]
        lr_files = tuple(codec.find(lr_root)) if lr_root else ()
        folders.append(Folder(name, hr_root, hr, lr_root, lr_files))
    return folders


def jobs(folders: Sequence[Folder], scale: int) -> list[Job]:
    """Returns what is to be read: each HR file once, with its LR, then LR that no HR claims."""
    work, seen = [], set()
    for folder in folders:
        claimed = set()
        for hr in folder.hr:
            lr, missing = None, ""
            if folder.lr_root:
                try:
                    lr = photos.lr_of(hr, folder.hr_root, folder.lr_root, scale)
                    claimed.add(lr)
                except UserError as error:
                    missing = str(error)
            if hr.resolve() not in seen:
                work.append(Job(folder, hr, lr, missing))
                seen.add(hr.resolve())
        work += [Job(folder, None, lr) for lr in folder.lr if lr not in claimed]
    return work


def facts(path: Path, rgb: np.ndarray, look_for_traces: bool = True) -> Facts:
    """Returns the facts of a file that holds `rgb` (H, W, 3) uint8."""
    with Image.open(path) as image:  # the header alone
        mode, is_jpeg = image.mode, image.format in ("JPEG", "MPO")
    digest = hashlib.sha256(repr(rgb.shape).encode() + rgb.tobytes())
    found = traces.Traces(False, False)
    if look_for_traces:
        found = traces.look(colour.luma(traces.middle(rgb)))
    thumb = similar.thumbnail(rgb)
    return Facts(path, rgb.shape[:2], mode, is_jpeg, digest.hexdigest(), thumb, *found)


def examine(job: Job, scale: int) -> Done:
    """Returns what is found in the files of a job, one of them decoded at a time."""
    hr = lr = reduced = verdict = thumb = None
    findings = []
    if job.hr:
        try:
            rgb = codec.read(job.hr).rgb
            hr = facts(job.hr, rgb)
            if job.folder.lr_root and min(hr.size) >= scale:
                reduced = bicubic.downscale(rgb, scale)
                thumb = similar.thumbnail(reduced)
            del rgb
        except (UserError, MemoryError) as error:
            findings.append(_unreadable(job.hr, error))
    if job.lr:
        try:
            rgb = codec.read(job.lr).rgb
            lr = facts(job.lr, rgb, look_for_traces=False)
            if hr and reduced is not None:
                verdict = pairs.compare(hr.path, lr.path, hr.size, reduced, rgb, scale)
        except (UserError, MemoryError) as error:
            findings.append(_unreadable(job.lr, error))
    return Done(job, findings, hr, lr, verdict, thumb)


def _unreadable(path: Path, error: Exception) -> Finding:
    text = str(error) if isinstance(error, UserError) else f"{path}: does not fit the memory"
    return Finding("unreadable", f"{text}; fetch it anew or remove it")


def alone(facts: Facts, scale: int, patch: int) -> list[Finding]:
    """Returns what is wrong with an HR file by itself, or to be noted of it."""
    findings, path = [], facts.path
    height, width = (side - side % scale for side in facts.size)
    if min(height, width) < patch:
        text = f"{path}: {width}x{height} is smaller than a patch of {patch}"
        findings.append(Finding("small", f"{text}; remove it, or lower --patch"))
    if facts.enlarged:
        text = (
            f"{path}: seems to be enlarged from a smaller picture; find the original or remove it"
        )
        findings.append(Finding("upscaled", text))
    if facts.jpeg or facts.blocks:
        kind = "is a JPEG file" if facts.jpeg else "is no JPEG file, but was one"
        seen = ", its 8x8 blocks are measurable" if facts.blocks else ""
        text = f"{path}: {kind}{seen}; take a lossless original where there is one"
        findings.append(Finding("jpeg", text))
    return findings


def duplicates(found: Sequence[tuple[str, Facts]]) -> list[Finding]:
    """Returns a finding for each picture that is, or nearly is, one before it.

    Args:
      found: (name of the given folder, facts) of every HR file.
    """
    findings = []
    digests, thumbs = [one.digest for _, one in found], [one.thumb for _, one in found]
    for copy in similar.copies(digests, thumbs):
        (folder, one), (other_folder, other) = found[copy.later], found[copy.earlier]
        todo = "remove one of them"
        if folder != other_folder:
            todo = f"if {folder} or {other_folder} is for testing, do not train on it"
        findings.append(Finding("duplicate", f"{one.path}: {copy.how} {other.path}; {todo}"))
    return findings


def mismatches(done: Sequence[Done]) -> list[Finding]:
    """Returns what is wrong with the pairs of one folder, or to be noted of them."""
    findings = [Finding("pair", one.job.missing) for one in done if one.job.missing]
    findings += [
        Finding(one.verdict.kind, one.verdict.text)
        for one in done
        if one.verdict and one.verdict.kind in ("pair", "degradation")
    ]
    lost = [one for one in done if one.lr and (not one.job.hr or _shows_another(one))]
    whole = [(one.hr, one.reduced) for one in done if one.hr and one.reduced is not None]
    best: dict[int, similar.Match] = {}
    if lost and whole:
        thumbs = np.stack([one.lr.thumb for one in lost if one.lr])
        for match in similar.matches(thumbs, np.stack([thumb for _, thumb in whole])):
            if match.first not in best or match.correlation > best[match.first].correlation:
                best[match.first] = match
    for index, one in enumerate(lost):
        shown = whole[best[index].second][0] if index in best else None
        findings.append(_lost(one, shown, best[index].turn if shown else ""))
    return findings


def _shows_another(done: Done) -> bool:
    return done.verdict is not None and done.verdict.kind == "content"


def _lost(done: Done, shown: Facts | None, turn: str) -> Finding:
    """Returns the finding of an LR image without HR, or with one that it does not match.

    Args:
      done: what was read.
      shown: the HR image that LR shows, if any.
      turn: what was done to that; see `similar.Match`.
    """
    lr, hr = done.job.lr, done.job.hr
    shows = f"shows {shown.path}{turn and f' {turn}'}" if shown else "shows no HR image here"
    if not hr:
        todo = "rename it" if shown else "add its HR or remove it"
        return Finding("pair", f"{lr}: has no HR image of its name, and {shows}; {todo}")
    sizes = done.verdict.text if done.verdict else ""
    if not shown:
        return Finding("pair", f"{lr}: {shows}, not even {hr} ({sizes}); make it anew or remove it")
    if shown.path != hr:
        return Finding("pair", f"{lr}: {shows}, not {hr} ({sizes}); rename or swap")
    if sizes == pairs.RIGHT_SIZE and not turn:
        return Finding("degradation", f"{lr}: {shows}, but moved or strongly degraded")
    part = "" if turn else ", in part or stretched"
    return Finding("pair", f"{lr}: {shows}{part} ({sizes}); make it anew from {hr}")


def check(
    folders: Sequence[Folder],
    work: Sequence[Job],
    scale: int,
    patch: int,
    on_done: Callable[[str], None] = lambda name: None,
) -> Result:
    """Returns what is wrong with folders, or to be noted of them.

    Args:
      folders: as by `plan`.
      work: as by `jobs`.
      scale: HR size over LR size.
      patch: side of the largest HR patch that training will cut.
      on_done: is told the name of each file, or pair, that was read.
    """
    done = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for one in pool.map(lambda job: examine(job, scale), work):
            done.append(one)
            on_done(str((one.job.hr or one.job.lr or Path()).name))
    findings = [finding for one in done for finding in one.findings]
    for folder in folders:
        findings += mismatches([one for one in done if one.job.folder is folder])
    readable = [(one.job.folder, one.hr) for one in done if one.hr]
    findings += duplicates([(folder.name, facts) for folder, facts in readable])
    findings += [finding for _, facts in readable for finding in alone(facts, scale, patch)]
    by_folder = [(f, [facts for folder, facts in readable if folder is f]) for f in folders]
    return Result(by_folder, findings)
