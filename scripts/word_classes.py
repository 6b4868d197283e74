#!/usr/bin/env python3
"""Labelled activations "class of the current word in context", for `sae eval --suite absorption`.

From activation stores with tokens and a vocabulary, as harvest.py writes them. No model is needed, and of
its packages only numpy:

    scripts/word_classes.py --train activations/train --test activations/heldout --out words.safetensors
    sae eval runs/topk --data words.safetensors --suite absorption

A class is a list of words (months, countries, pronouns, ...) or a spelling pattern (-ing, years, ...):
scripts/word_classes.json, or a file of the same form given with --classes:

    {"fruit": ["apple", "pear"], "-ing": {"pattern": "[a-z]{2,}ing"}}

Listed words come before patterns, earlier patterns before later ones; patterns are matched against
the whole word in lower case. A word listed with a capital counts only where it is written with one.

Rows whose token is a whole word are used, none that is a piece of one. No word is in both parts: the
probes are trained on some words of each class and tested on others. Rows are drawn as evenly from a
class's words as there are rows. A class with too few rows is left out, and the table says so.

A second process with the same --out is refused and names the first: on the same machine, and between
machines as far as their shared file system has locks (NFS has, unless it is mounted with nolock).
"""

import argparse
import sys
from pathlib import Path

from harvesting import HarvestError, labelled
from harvesting import store as stores
from harvesting import words
from harvesting.program import run_program, say

CLASSES = Path(__file__).with_name("word_classes.json")


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="word_classes.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--train", type=Path, required=True, help="store that the probes' words are from")
    add("--test", type=Path, help="store that the test words are from (default: the same)")
    add("--classes", type=Path, default=CLASSES, help="default: word_classes.json beside the script")
    add("--out", type=Path, required=True, help="file to create: NAME.safetensors")
    add("--task", default="word_classes", help="name to record (%(default)s)")
    add("--seed", type=int, default=0, help="of the words held out and the rows drawn (%(default)s)")
    add("--rows", type=int, default=200, help="most training rows a class (%(default)s)")
    add("--test-rows", type=int, default=100, help="most test rows a class (%(default)s)")
    add("--type-rows", type=int, default=50, help="most rows a word (%(default)s)")
    add("--min-rows", type=int, default=20, help="least rows a class, in each part (%(default)s)")
    add("--test-share", type=float, default=0.3, help="share of words held out (%(default)s)")
    arguments = parser.parse_args(argv)
    for name in ("rows", "test_rows", "type_rows", "min_rows"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if not 0 < arguments.test_share < 1:
        parser.error(f"--test-share must lie between 0 and 1, got {arguments.test_share}")
    if arguments.out.suffix != ".safetensors":
        parser.error(f"--out must end in .safetensors, got {arguments.out}")
    return arguments


def open_stores(arguments):
    train = stores.StoreReader(arguments.train)
    test = train if arguments.test is None else stores.StoreReader(arguments.test)
    for what in ("dtype", "width", "stated_vocabulary"):
        if getattr(train, what) != getattr(test, what):
            name = what.removeprefix("stated_")
            raise HarvestError(f"{test.folder}: another {name} than in {train.folder}")
    return train, test


def choose_classes(train, test, classes, arguments):
    """Names and rows of the classes that have enough of them."""
    found = words.occurrences(train, classes)
    held_out = found if test is train else words.occurrences(test, classes)
    kept = {}
    for index, name in enumerate(classes.names):
        chosen = words.choose(name, found[index], held_out[index], arguments)
        enough = min(len(chosen.train), len(chosen.test)) >= arguments.min_rows
        counts = chosen.describe(found[index], held_out[index])
        say(f"{name:30} {counts}{'' if enough else '   left out'}")
        if enough:
            kept[name] = chosen
    if len(kept) < 2:
        raise HarvestError(
            f"{train.folder}: {len(kept)} classes have {arguments.min_rows} rows in both parts, "
            "expected at least 2; harvest more text, or lower --min-rows"
        )
    return kept


def split_of(store, part, kept):
    """The rows of one part in the order of the store, and their labels."""
    labelled_rows = sorted(
        (row, index) for index, chosen in enumerate(kept.values()) for row in getattr(chosen, part)
    )
    rows = [row for row, _ in labelled_rows]
    texts = [store.vocabulary.tokens[store.tokens[row]].strip() for row in rows]
    return rows, labelled.Split([index for _, index in labelled_rows], texts)


def run(arguments):
    with labelled.claimed(arguments.out):
        make(arguments)


def make(arguments):
    import numpy

    train, test = open_stores(arguments)
    kept = choose_classes(train, test, words.read_classes(arguments.classes), arguments)
    train_rows, train_split = split_of(train, "train", kept)
    test_rows, test_split = split_of(test, "test", kept)
    source = {"script": "word_classes.py", "seed": arguments.seed}
    source |= {"train": train.manifest["source"], "test": test.manifest["source"]}
    file = labelled.LabelledWriter(
        arguments.out, train.dtype, train.width, arguments.task, list(kept), train_split,
        test_split, source=source)  # fmt: skip
    with file:
        for name, store, rows in (("train_x", train, train_rows), ("test_x", test, test_rows)):
            for part in store.rows(numpy.asarray(rows)):
                file.append(name, part)
    say(
        f"{arguments.out}: {len(kept)} classes, {len(train_rows)} training rows, "
        f"{len(test_rows)} test rows of {train.width}"
    )


def main(argv=None):
    return run_program("word_classes.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
