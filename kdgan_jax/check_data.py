"""Reports what is wrong with folders of photos before anyone trains or tests on them.

python -m kdgan_jax.check_data SOURCE [SOURCE ...]
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from kdgan_jax.audit import check
from kdgan_jax.audit.pairs import by
from kdgan_jax.layouts.places import printable
from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import UserError, leave

_SHOWN = 20  # lines of a group, without --all

_DESCRIPTION = """\
Check folders of photos before training or testing on them. Every file is decoded. The report has

  problems  files that cannot be read or are truncated; LR and HR that do not match, and which of
            them is wrong; the same picture twice, in one folder or in two (such as training and
            test photos), even if resized, recompressed, mirrored or turned; photos smaller than a
            patch; photos that were enlarged from smaller ones
  notes     photos that are or were JPEG; LR that matches but is not MATLAB's bicubic of its HR

Folders are named as for --config.data.source: hr:DIR holds HR images at any depth, lr:DIR LR images
that have no HR, pairs:DIR both, and pairs:HR_DIR:LR_DIR are the pairs of two folders. Of DIR alone,
names tell: HR/ with LRx4/ or LR_bicubic/X4/, DIV2K's own, a_HR.png with a_LR.png. Where they say
nothing, it holds HR images.
"""
_EPILOG = """\
Exit code: 0 nothing found, or notes only; 1 problems found; 2 nothing was checked (a missing
folder, a folder without images, wrong arguments).
"""


def summary(folder: check.Folder, facts: Sequence[check.Facts]) -> list[str]:
    """Returns the lines that describe a folder and its readable photos."""
    lr, is_pairs = folder.layout.lr, folder.has_hr and folder.layout.lr_root
    pairs = f", {len(lr)} LR in {folder.layout.lr_root}" if is_pairs else ""
    lines = [f"{folder.name}: {console.counted(folder.photos, 'image')}{pairs}"]
    lines += [f"  note   {note}" for note in folder.notes]
    if facts:
        by_area = sorted(facts, key=lambda file: file.size[0] * file.size[1])
        smallest, median, largest = by_area[0], by_area[len(by_area) // 2], by_area[-1]
        lines.append(
            f"  sizes  smallest {by(smallest.size)} ({smallest.path.name}), median"
            f" {by(median.size)}, largest {by(largest.size)} ({largest.path.name})"
        )
        modes = Counter(file.mode for file in facts).most_common()
        lines.append("  modes  " + ", ".join(f"{mode} {number}" for mode, number in modes))
    return lines


def report(result: check.Result, everything: bool = False) -> list[str]:
    """Returns the lines of the report: the folders, then the findings, group by group.

    Args:
      result: of the check.
      everything: whether to show all lines of a group, not just the first 20.
    """
    lines = [line for folder, facts in result.facts for line in summary(folder, facts)]
    folders = [folder for folder, _ in result.facts]
    number, with_hr = sum(f.photos for f in folders), sum(f.photos for f in folders if f.has_hr)
    lines.append(f"with HR: {with_hr} of {console.counted(number, 'image')}")
    for group, title in (check.PROBLEMS | check.NOTES).items():
        texts = [finding.text for finding in result.findings if finding.group == group]
        if texts:
            shown = texts if everything else texts[:_SHOWN]
            lines += ["", f"{title}: {len(texts)}", *(f"  {text}" for text in shown)]
            if len(shown) < len(texts):
                lines.append(f"  ... and {len(texts) - len(shown)} more; --all shows all")
    problems = sum(finding.group in check.PROBLEMS for finding in result.findings)
    notes = len(result.findings) - problems
    lines += ["", f"{console.counted(problems, 'problem')}, {console.counted(notes, 'note')}"]
    return [printable(line) for line in lines]


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Checks the sources that the arguments name; returns 1 if there are problems, else 0."""
    parser = argparse.ArgumentParser(
        prog="kdgan check_data",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="DIR, hr:DIR, lr:DIR, pairs:DIR or embedded"
    )
    parser.add_argument("--lr", metavar="DIR", help="folder of the LR images of a single SOURCE")
    parser.add_argument("--scale", type=_positive, default=4, help="HR size over LR size (4)")
    parser.add_argument("--patch", type=_positive, default=128, help="side of HR patches (128)")
    parser.add_argument("--all", action="store_true", help="show all lines of each group")
    arguments = parser.parse_args(console.arguments(argv))
    console.setup()
    try:
        folders = check.plan(arguments.sources, arguments.lr, arguments.scale)
    except UserError as error:
        leave(error)
    work = check.jobs(folders, arguments.scale)
    with console.progress("checking", len(work)) as bar:
        result = check.check(folders, work, arguments.scale, arguments.patch, bar.advance)
    print("\n".join(report(result, arguments.all)))
    return int(any(finding.group in check.PROBLEMS for finding in result.findings))


if __name__ == "__main__":
    sys.exit(main())
