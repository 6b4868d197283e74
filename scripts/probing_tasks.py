#!/usr/bin/env python3
"""Labelled activations of texts with classes, for `sae eval --suite probing`: a folder, a file a task.

The texts are those of SAEBench (8 data sets, 35 tasks; needs the package datasets, of a version before 4
for github-code), a CSV file with a text and a label a row, or a file in the form of WikiText, whose longest
articles are the classes: which article are these sentences from? No paragraph is in both parts.

    scripts/probing_tasks.py --model google/gemma-2-2b --layer 12 --device cuda --saebench --out tasks
    scripts/probing_tasks.py --model google/gemma-2-2b --layer 12 --csv reviews.csv --out tasks
    scripts/probing_tasks.py --model google/gemma-2-2b --layer 12 --wikitext wiki.test.raw --out tasks
    sae eval runs/topk --data tasks/ --suite probing

Each text is cut to --context tokens, special tokens included, and run through the model by itself: the
tokenizer's own special tokens around it and, as in SAEBench, the one for the beginning of a text even if
the tokenizer adds none. The rows of special and unknown tokens are left out. Means over a text's tokens
are taken by `sae eval`, of activations and of codes. The line ends of a file change nothing; SAEBench's
texts are taken as they are. What is left out is said: texts over a limit, tokens over --context.

A task that is there already is not made again, so that a run that was cut off goes on where it was. A
second process that makes the same task at the same time is refused and names the first: on the same
machine, and between machines as far as their shared file system has locks (NFS has, unless it is
mounted with nolock).
"""

import argparse
import itertools
import sys
from collections import Counter
from pathlib import Path

from harvesting import HarvestError, labelled, tasks
from harvesting import model as models
from harvesting.program import Progress, run_program, say
from harvesting.windows import unknown_token, whole_frame


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="probing_tasks.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("model").add_argument
    models.add_options(what)
    what("--out", type=Path, required=True, help="folder, made if missing")

    source = parser.add_argument_group("texts, one of").add_argument
    source(
        "--saebench",
        nargs="*",
        choices=list(tasks.SAEBENCH),
        metavar="NAME",
        help=f"SAEBench's data sets, or some of them: {', '.join(tasks.SAEBENCH)}",
    )
    source("--csv", type=Path, help="file with a row of column names")
    source("--wikitext", type=Path, help="file in the form of WikiText")

    more = parser.add_argument_group("of files").add_argument
    more("--text", default="text", help="CSV: column of the texts (%(default)s)")
    more("--label", default="label", help="CSV: column of the classes (%(default)s)")
    more("--test-csv", type=Path, help="CSV: the test texts (default: a share of --csv)")
    more("--articles", type=int, default=10, help="WikiText: how many are classes (%(default)s)")
    more("--name", help="name of the task (default: the file's)")
    more("--test-share", type=float, default=0.25, help="share of the test (%(default)s)")
    more("--train-texts", type=int, default=tasks.TRAIN, help="most a class (%(default)s)")
    more("--test-texts", type=int, default=tasks.TEST, help="most a class (%(default)s)")
    more("--seed", type=int, default=0, help="of the division (%(default)s)")

    how = parser.add_argument_group("how").add_argument
    how("--context", type=int, default=128, help="tokens a text, specials included (%(default)s)")
    models.add_how_options(how, "texts", dtype="bf16")

    arguments = parser.parse_args(argv)
    if sum(getattr(arguments, name) is not None for name in ("saebench", "csv", "wikitext")) != 1:
        parser.error("one of --saebench, --csv and --wikitext is needed")
    for name in ("context", "batch", "train_texts", "test_texts", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if arguments.articles < 2:
        parser.error(f"--articles must be at least 2, got {arguments.articles}")
    if not 0 < arguments.test_share < 1:
        parser.error(f"--test-share must lie between 0 and 1, got {arguments.test_share}")
    return arguments


def wanted_tasks(arguments, tokenizer):
    """Name of each task, what is recorded of its texts, and what reads them."""
    if arguments.saebench is not None:
        for name in arguments.saebench or tasks.SAEBENCH:
            yield name, {"saebench": name}, lambda name=name: tasks.saebench(name)
        return
    given = ("test_share", "train_texts", "test_texts", "seed")
    source = {option: getattr(arguments, option) for option in given}
    if arguments.csv:
        files = [file for file in (arguments.csv, arguments.test_csv) if file]
        source |= {"csv": tasks.describe(files), "columns": [arguments.text, arguments.label]}
        yield arguments.name or arguments.csv.stem, source, lambda: tasks.from_csv(arguments)
    else:
        source |= {"wikitext": tasks.describe([arguments.wikitext]), "articles": arguments.articles}
        name = arguments.name or f"{arguments.wikitext.stem}_articles"
        yield name, source, lambda: tasks.from_wikitext(arguments, unknown_token(tokenizer))


class Tokens:
    """Texts as ids with their special tokens, and which of the ids are rows of the file."""

    def __init__(self, tokenizer, context):
        self.tokenizer = tokenizer
        self.before, self.after = whole_frame(tokenizer)
        self.room = context - len(self.before) - len(self.after)
        if self.room < 1:
            raise HarvestError(f"--context {context} leaves no room beside special tokens")
        self.special = set(tokenizer.all_special_ids)

    def part(self, pairs):
        """Ids of each text of [(text, class)] that has a row, their numbers of rows and classes, and a
        count of tokens by what becomes of them."""
        ids, lengths, labels, count = [], [], [], Counter()
        for text, label in pairs:
            one = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            count.update(tokens=len(one), beyond=max(0, len(one) - self.room))
            one = one[: self.room]
            rows = sum(map(self.is_row, one))
            count.update(special=len(one) - rows)
            if rows:
                ids.append([*self.before, *one, *self.after])
                lengths.append(rows)
                labels.append(label)
        return ids, labelled.Split(labels, lengths=lengths), count

    def is_row(self, token):
        return token not in self.special


def write_rows(file, tensor, harvester, ids, lengths, tokens, batch):
    """Runs the texts, and yields for each how many rows it has."""
    import torch

    starts = [0, *itertools.accumulate(lengths)]
    for number, activations in models.read_all(harvester, ids, batch):
        kept = torch.tensor([tokens.is_row(token) for token in ids[number]])
        file.put(tensor, starts[number], labelled.as_array(activations[kept], file.dtype))
        yield lengths[number]


def notes_of(task, splits, count):
    """What is left out of a task, and what is in it twice."""
    number = len(task.train) + len(task.test)
    empty = number - sum(len(split.y) for split in splits)
    return [
        *task.notes,
        *tasks.left_out(empty, number, "texts, of which no token is left"),
        *tasks.left_out(count["beyond"], count["tokens"], "tokens, at ends of texts, for --context"),
        *tasks.left_out(count["special"], count["tokens"], "tokens, which are special or unknown"),
    ]


def write_task(arguments, name, task, harvester, tokens, source):
    """A task's file. Texts of which no token is left are not in it."""
    train, test = tokens.part(task.train), tokens.part(task.test)
    parts = {"train_x": train[:2], "test_x": test[:2]}
    splits = [split for _, split in parts.values()]
    say(*notes_of(task, splits, train[2] + test[2]))
    path = arguments.out / f"{name}.safetensors"
    width = harvester.width
    file = labelled.LabelledWriter(
        path, arguments.dtype, width, name, task.classes, *splits, source=source
    )
    rows, done, progress = sum(split.rows for split in splits), 0, Progress(0)
    with file:
        for tensor, (ids, split) in parts.items():
            for count in write_rows(
                file, tensor, harvester, ids, split.lengths, tokens, arguments.batch
            ):
                done += count
                progress.show(done, done / rows)
    progress.show(rows, 1, last=True)
    train, test = (len(split.y) for split in splits)
    say(
        f"{path}: {len(task.classes)} classes, {train} training and {test} test texts, "
        f"{rows} rows of {width}"
    )


def run(arguments):
    tokenizer, model = models.load_model(arguments)
    harvester = models.Harvester(model, arguments.layer, arguments.site, arguments.device)
    tokens = Tokens(tokenizer, arguments.context)
    say(harvester.place)
    made = {"script": "probing_tasks.py"} | models.describe(arguments, harvester)
    given = ("context", "model_dtype", "dtype")
    made |= {option: getattr(arguments, option) for option in given}
    for name, source, read in wanted_tasks(arguments, tokenizer):
        path = arguments.out / f"{name}.safetensors"
        if path.exists():
            labelled.expect_source(path, made | source)
            say(f"{path}: is there already")
            continue
        with labelled.claimed(path):
            write_task(arguments, name, read(), harvester, tokens, made | source)


def main(argv=None):
    return run_program("probing_tasks.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
