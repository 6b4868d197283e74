"""Texts with classes, for probing: SAEBench's data sets, CSV files, articles of a WikiText file."""

import csv
import random
import re
import sys
from typing import NamedTuple

from harvesting import HarvestError
from harvesting import text as texts
from harvesting.store import sha256


class Task(NamedTuple):
    classes: list  # [C] names
    train: list  # pairs of text and class
    test: list
    notes: list  # of what was left out, and what was used twice


def task_of(train, test, notes=()):
    """From {class: [text]} of both parts, in the order of the training part's classes."""
    classes = list(train)
    parts = [
        [(text, number) for number, label in enumerate(classes) for text in part[label]]
        for part in (train, test)
    ]
    known = {text for text, _ in parts[0]}
    both = sum(text in known for text, _ in parts[1])
    if both:
        notes = [*notes, f"used twice: {both:,} of {len(parts[1]):,} test texts are training texts too"]
    return Task(classes, *parts, list(notes))


def left_out(count, of, why):
    """A note, or none if nothing was."""
    return [f"left out: {count:,} of {of:,} {why}"] if count else []


# --- SAEBench's data sets ----------------------------------------------------------------------

# As in sae-bench 0.6.0, evals/sparse_probing: which classes of which columns, and how they are drawn.
SEED = 42
TRAIN, TEST = 2000, 500  # texts a class
BIOS, AMAZON = "LabHC/bias_in_bios", "canrager/amazon_reviews_mcauley_1and5"


def professions(numbers):
    names = {
        0: "accountant", 1: "architect", 2: "attorney", 6: "dentist", 9: "filmmaker",
        11: "journalist", 13: "nurse", 14: "painter", 18: "photographer", 19: "physician",
        20: "poet", 21: "professor", 22: "psychologist", 25: "surgeon", 26: "teacher",
    }  # fmt: skip
    return {number: names[number] for number in numbers}


AMAZON_CATEGORIES = {
    1: "Toys_and_Games", 2: "Cell_Phones_and_Accessories", 3: "Industrial_and_Scientific",
    5: "Musical_Instruments", 6: "Electronics",
}  # fmt: skip
AG_NEWS = {0: "World", 1: "Sports", 2: "Business", 3: "Sci/Tech"}
LANGUAGES = ["C", "Python", "HTML", "Java", "PHP"]
EUROPARL = {"en": "en-fr", "fr": "fr-it", "de": "de-en", "es": "es-fr", "nl": "nl-pt"}


def load(name, *configuration, **options):
    try:
        import datasets
    except ImportError:
        raise HarvestError(
            "--saebench needs the package datasets, which the requirements leave out; "
            "install it beside them (pip install datasets)"
        ) from None
    try:
        return datasets.load_dataset(name, *configuration, **options)
    except Exception as error:  # its errors have no common class
        reason = " ".join(str(error).split())[:300]
        raise HarvestError(f"{name}: cannot load: {reason}") from None


def sample(rows, count, place):
    """What DataFrame.sample(n=count, random_state=SEED) takes, which is what sae-bench calls."""
    import numpy

    if len(rows) < count:
        raise HarvestError(f"{place}: {len(rows)} texts, sae-bench draws {count}")
    return [rows[i] for i in numpy.random.RandomState(SEED).choice(len(rows), count, replace=False)]


def by_column(data, columns, text):
    """{values of the columns: [text]} of one split."""
    found = {}
    values = zip(*(data[column] for column in columns))
    for key, value in zip(values, data[text]):
        found.setdefault(key, []).append(value)
    return found


def columns_of(name, column, classes, text):
    """A class is a value of one column."""
    data, parts = load(name), []
    for split, count in (("train", TRAIN), ("test", TEST)):
        found = by_column(data[split], [column], text)
        parts.append(
            {
                label: sample(found.get((value,), []), count, f"{name}, {split}, {label}")
                for value, label in classes.items()
            }
        )
    return parts


def balanced(name, column, other, classes, text):
    """A class is a value of one column, half of its texts from each value of another."""
    data, parts = load(name), []
    for split, count in (("train", TRAIN), ("test", TEST)):
        found = by_column(data[split], [column, other], text)
        part = {label: [] for label in classes.values()}
        for value, label in classes.items():
            for key in sorted(key for key in found if key[0] == value):
                place = f"{name}, {split}, {label}, {other} {key[1]}"
                part[label] += sample(found[key], count // 2, place)
            if len(part[label]) != count:
                raise HarvestError(f"{name}, {split}, {label}: expected two values of {other}")
        parts.append(part)
    return parts


def shuffled(found, place):
    """Texts that were read in order, to both parts."""
    draw, parts = random.Random(SEED), ({}, {})
    for label, rows in found.items():
        if len(rows) < TRAIN + TEST:
            raise HarvestError(f"{place}, {label}: {len(rows)} texts, sae-bench takes {TRAIN + TEST}")
        draw.shuffle(rows)
        parts[0][label], parts[1][label] = rows[:TRAIN], rows[TRAIN : TRAIN + TEST]
    return parts


def europarl(name):
    found = {}
    for language, pair in EUROPARL.items():
        rows = found.setdefault(language, [])
        for row in load(name, pair, streaming=True, split="train"):
            rows.append(row["translation"][language])
            if len(rows) > TRAIN + TEST:
                break
    return shuffled(found, name)


def github_code(name):
    """The first 150 characters are left out, where licences are."""
    skip, least = 150, 384
    found = {language: [] for language in LANGUAGES}
    rows = load(name, streaming=True, split="train", trust_remote_code=True, languages=LANGUAGES)
    for row in rows:
        if row["language"] in found and len(row["code"]) > skip + least:
            found[row["language"]].append(row["code"][skip:])
            if all(len(codes) > TRAIN + TEST for codes in found.values()):
                break
    return shuffled(found, name)


def bios(numbers):
    return lambda: balanced(BIOS, "profession", "gender", professions(numbers), "hard_text")


SAEBENCH = {
    "bias_in_bios_class_set1": bios([0, 1, 2, 6, 9]),
    "bias_in_bios_class_set2": bios([11, 13, 14, 18, 19]),
    "bias_in_bios_class_set3": bios([20, 21, 22, 25, 26]),
    "amazon_reviews_mcauley_1and5": lambda: balanced(
        AMAZON, "category", "rating", AMAZON_CATEGORIES, "text"
    ),
    "amazon_reviews_mcauley_1and5_sentiment": lambda: columns_of(
        AMAZON, "rating", {1.0: "1.0", 5.0: "5.0"}, "text"
    ),
    "github-code": lambda: github_code("codeparrot/github-code"),
    "ag_news": lambda: columns_of("fancyzhx/ag_news", "label", AG_NEWS, "text"),
    "europarl": lambda: europarl("Helsinki-NLP/europarl"),
}


def saebench(name):
    return task_of(*SAEBENCH[name]())


# --- files -------------------------------------------------------------------------------------


def describe(files):
    try:
        return [{"file": file.name, "sha256": sha256(file)} for file in files]
    except OSError as error:
        raise HarvestError(f"{error.filename}: cannot read: {error.strerror}") from None


def divide(label, groups, limits):
    """Texts of one class to both parts; the texts of a group stay together. The groups are
    shuffled, then those at the end go to the test until it has its share of the texts."""
    draw = random.Random(f"{limits.seed} {label}")
    groups = draw.sample(groups, len(groups))
    wanted = limits.test_share * sum(map(len, groups))
    train, test = [], []
    while groups and len(test) < wanted:
        test += groups.pop()
    train = [text for group in groups for text in group]
    return train[: limits.train_texts], test[: limits.test_texts]


def read_csv(path, columns):
    """Values of two columns, {label: [text]}, and notes."""
    csv.field_size_limit(sys.maxsize)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            for column in columns:
                if column not in (rows.fieldnames or []):
                    names = ", ".join(rows.fieldnames or []) or "none"
                    raise HarvestError(f'{path}: no column "{column}"; its columns: {names}')
            values = []
            for number, row in enumerate(rows, 2):
                if None in row or None in row.values():
                    count = "more" if None in row else "fewer"
                    raise HarvestError(f"{path}: row {number} has {count} columns than the first")
                values.append(tuple(texts.plain(row[column]) for column in columns))
    except OSError as error:
        raise HarvestError(f"{path}: cannot read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise HarvestError(f"{path}: not UTF-8 at byte {error.start}") from None
    except csv.Error as error:
        raise HarvestError(f"{path}: not CSV: {error}") from None
    found, empty = {}, 0
    for text, label in values:
        if text.strip():
            found.setdefault(label.strip(), []).append(text)
        else:
            empty += 1
    return dict(sorted(found.items())), left_out(empty, len(values), f"rows of {path}, without text")


def from_csv(arguments):
    columns = (arguments.text, arguments.label)
    (found, notes), parts = read_csv(arguments.csv, columns), ({}, {})
    if not arguments.test_csv:
        for label, rows in found.items():
            parts[0][label], parts[1][label] = divide(label, [[text] for text in rows], arguments)
        return task_of(*parts, notes + unused(found, *parts))
    test, more = read_csv(arguments.test_csv, columns)
    other = sorted(set(test) - set(found))
    if other:
        raise HarvestError(f'{arguments.test_csv}: label "{other[0]}" is not in {arguments.csv}')
    for label, rows in found.items():
        draw = random.Random(f"{arguments.seed} {label}")
        parts[0][label] = draw.sample(rows, len(rows))[: arguments.train_texts]
        rows = test.get(label, [])
        parts[1][label] = draw.sample(rows, len(rows))[: arguments.test_texts]
    return task_of(*parts, notes + more + unused(found, parts[0]) + unused(test, parts[1]))


def unused(found, *parts):
    """A note on the texts that no part has, from {class: [text]} of all of them and of the parts."""
    number = sum(map(len, found.values()))
    used = sum(len(some) for part in parts for some in part.values())
    return left_out(number - used, number, "texts, for --train-texts and --test-texts")


LEAST_WORDS = 25


def pieces(paragraph):
    """Whole sentences, as many as make LEAST_WORDS; what is left goes with the last of them."""
    out, piece = [], []
    for sentence in re.split(r"(?<= [.!?]) ", paragraph.strip()):
        piece.append(sentence)
        if sum(len(part.split()) for part in piece) >= LEAST_WORDS:
            out.append(" ".join(piece))
            piece = []
    if piece and out:
        out[-1] += " " + " ".join(piece)
    return out


def articles(path):
    """Pairs of title and paragraphs, from text in the form of WikiText."""
    found = []
    for line in texts.read_text(path).split("\n"):
        level, title = texts.heading(line)
        if level == 1:
            found.append((title, []))
        elif found and not level and line.strip() and not line.lstrip().startswith("="):
            found[-1][1].append(line)
    return found


def from_wikitext(arguments, unknown):
    """A class is an article: which of the longest is a piece of a few sentences from?"""
    found = sorted(articles(arguments.wikitext), key=lambda a: -sum(map(len, a[1])))
    if len(found) < arguments.articles:
        raise HarvestError(
            f"{arguments.wikitext}: {len(found)} articles, --articles asks for {arguments.articles}; "
            "an article begins with a line ' = Title = '"
        )
    parts, texts_of, short, number_of = ({}, {}), {}, 0, 0
    for number, (title, paragraphs) in enumerate(found[: arguments.articles], 1):
        label = f"{number}: {texts.wikitext(title, unknown)}"
        groups = [[texts.wikitext(p, unknown) for p in pieces(line)] for line in paragraphs]
        short += groups.count([])
        number_of += len(groups)
        texts_of[label] = [text for group in groups for text in group]
        parts[0][label], parts[1][label] = divide(label, [g for g in groups if g], arguments)
    notes = left_out(len(found) - arguments.articles, len(found), "articles, the shorter ones")
    notes += left_out(short, number_of, f"paragraphs of the others, under {LEAST_WORDS} words")
    return task_of(*parts, notes + unused(texts_of, *parts))
