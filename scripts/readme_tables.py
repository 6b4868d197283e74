#!/usr/bin/env python3
"""Puts the tables and pictures of comparisons into a Markdown file, from the folders that `sae compare` wrote.

    scripts/readme_tables.py configs/ablations/README.md --runs runs

Between `<!-- table NAME -->` and `<!-- end -->` comes what RUNS/NAME/results.md says at its middle level of
L0, between `<!-- table NAME every level -->` and `<!-- end -->` at all of them: the main columns as they are in that file, but for those that say the same in every row, which the note
below the table says once, beside how it was made. Each picture that the Markdown file links to as
`pictures/NAME/REST.svg` is copied from RUNS/NAME/axes-REST.svg. What was not run stays as it is, and is named.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

COLUMNS = (
    "L0 on the words",
    "explained variance",
    "full absorption",
    "absorption fraction",
    "MCC",
    "F1",
    "latents that never fired",
)
TABLE = re.compile(r"(<!-- table (\S+)( every level)? -->\n).*?(<!-- end -->)", re.DOTALL)
PICTURE = re.compile(r"\(pictures/([^)/]+)/([^)/]+)\.svg\)")


def cells(row):
    """Of a row of a Markdown table; a bar after a backslash is text."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def middle_block(rows):
    """The rows of the middle level: a level's first row names its L0."""
    starts = [i for i, row in enumerate(rows) if row[0]] + [len(rows)]
    middle = (len(starts) - 1) // 2
    return rows[starts[middle] : starts[middle + 1]]


def table(results, every_level):
    """One block of results.md, or all of them, with a note of its origin below."""
    lines = results.read_text(encoding="utf-8").splitlines()
    rows = [cells(line) for line in lines if line.startswith("|")]
    head, body = rows[0], rows[2:] if every_level else middle_block(rows[2:])
    main = [i for i, name in enumerate(head) if i > 1 and name.startswith(COLUMNS)]
    same = [i for i in main if len({row[i] for row in body}) == 1]
    kept = [0, 1] + [i for i in main if i not in same]
    shown = [head, ["---"] * len(head), *body]
    text = "\n".join("| " + " | ".join(row[i] for i in kept) + " |" for row in shown)
    origin = next(line for line in lines if " of training" in line)
    note = f"{origin}." if every_level else f"L0 {body[0][0]}; {origin}."
    note += "".join(f" {head[i][0].upper()}{head[i][1:]}: {body[0][i]} throughout." for i in same)
    if any("\\*" in row[i] for row in body for i in kept):
        note += " \\* outside the member's own range of L0."
    return f"{text}\n\n{note}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readme", type=Path, help="the Markdown file, changed in place")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the comparisons' folders")
    arguments = parser.parse_args()
    text = arguments.readme.read_text(encoding="utf-8")
    missing = []

    def filled(match):
        results = arguments.runs / match[2] / "results.md"
        if not results.exists():
            missing.append(str(results))
            return match[0]
        return match[1] + table(results, every_level=match[3] is not None) + match[4]

    arguments.readme.write_text(TABLE.sub(filled, text), encoding="utf-8")
    pictures = arguments.readme.parent / "pictures"
    for name, rest in PICTURE.findall(text):
        source, target = arguments.runs / name / f"axes-{rest}.svg", pictures / name / f"{rest}.svg"
        if not source.exists():
            missing.append(str(source))
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    for path in missing:
        print(f"{path}: not there; run the comparison first", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
