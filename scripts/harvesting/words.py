"""Rows of a store to words in context, and words to classes."""

import json
import random
import re
import unicodedata
from collections import defaultdict
from typing import NamedTuple

from harvesting import HarvestError
from harvesting.text import read_text

# --- words -------------------------------------------------------------------------------------

UNKNOWN = "\ufffd"  # in place of bytes that are no whole character


JOINERS = "\u200c\u200d"  # inside words of Persian and of Indian languages


def in_word(char):
    """Whether a character is part of a word: letters, digits, and what is written onto them. Of bytes
    that are no whole character, nobody knows."""
    return char.isalnum() or char == UNKNOWN or char in JOINERS or unicodedata.category(char)[0] == "M"


def is_word(text):
    return text[:1].isalnum() and all(char != UNKNOWN and in_word(char) for char in text)


def edges(text):
    """Whether a text begins and ends inside a word, and whether it begins with a blank."""
    return bool(text) and in_word(text[0]), bool(text) and in_word(text[-1]), text[:1].isspace()


def whole_words(store):
    """Rows that are a whole word, and their token ids.

    A word's token is letters or digits alone, with a boundary on both sides: a blank or a mark in
    its own text or in a neighbour's. What a tokenizer has cut into pieces ("run" + "##ning",
    " abs" + "orption", " caf" + two tokens of a byte each) is therefore left out, and so are rows at
    the ends of a context, whose other side nobody knows.
    """
    import numpy

    tokens, context, known = store.tokens, store.context, store.vocabulary
    edge = numpy.array([edges(text) for text in known.tokens], dtype=bool).reshape(-1, 3)
    begins, ends, open_left = edge[tokens].T.copy()
    for first, last, text in in_bytes(store):
        begins[first], ends[last], open_left[first] = edges(text)
    words = numpy.array([is_word(text.strip()) for text in known.tokens], dtype=bool)
    words[list(known.bytes)] = False
    together = context[1:] == context[:-1]
    no = numpy.zeros(1, dtype=bool)
    left = open_left | numpy.concatenate([no, together & ~ends[:-1]])
    right = numpy.concatenate([together & ~begins[1:], no])
    rows = (words[tokens] & left & right).nonzero()[0]
    return rows, tokens[rows]


def in_bytes(store):
    """First row, last row and text of each run of tokens that are no whole characters by themselves."""
    import numpy

    rows = numpy.isin(store.tokens, list(store.vocabulary.bytes)).nonzero()[0]
    apart = (numpy.diff(rows) > 1) | (numpy.diff(store.context[rows]) != 0)
    for run in numpy.split(rows, apart.nonzero()[0] + 1):
        if len(run):
            data = b"".join(store.vocabulary.bytes[token] for token in store.tokens[run].tolist())
            yield run[0], run[-1], data.decode("utf-8", "replace")


# --- classes -----------------------------------------------------------------------------------


class Classes:
    """Which class a word is of. A listed word comes before any pattern, and of several patterns the
    first counts. A word listed with a capital is meant with it: "May", not "may"."""

    def __init__(self, definitions, place):
        self.names, self.exact, self.folded, self.patterns = list(definitions), {}, {}, []
        for index, (name, definition) in enumerate(definitions.items()):
            where = f'{place}: class "{name}"'
            if isinstance(definition, dict) and list(definition) == ["pattern"]:
                self.patterns.append((compiled(definition["pattern"], where), index))
            elif isinstance(definition, list) and all(isinstance(w, str) for w in definition):
                self.add(definition, index, where)
            else:
                raise HarvestError(f'{where}: expected a list of words or {{"pattern": "..."}}')

    def add(self, words, index, where):
        for word in words:
            known = self.folded if word == word.lower() else self.exact
            other = known.setdefault(word, index)
            if other != index:
                raise HarvestError(f'{where}: "{word}" is in class "{self.names[other]}" too')

    def __call__(self, word):
        """Index of the word's class, or None."""
        listed = self.folded.get(word.lower())
        if word[:1].isupper():
            listed = self.exact.get(word, self.exact.get(word.capitalize(), listed))
        if listed is not None:
            return listed
        matching = (index for pattern, index in self.patterns if pattern.fullmatch(word.lower()))
        return next(matching, None)


def compiled(pattern, where):
    try:
        return re.compile(pattern)
    except (re.error, TypeError) as error:
        raise HarvestError(f"{where}: not a regular expression: {error}") from None


def read_classes(path):
    def once(pairs):
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                raise HarvestError(f'{path}: "{name}" appears twice')
        return dict(pairs)

    try:
        definitions = json.loads(read_text(path), object_pairs_hook=once)
    except ValueError as error:
        raise HarvestError(f"{path}: not JSON: {error}") from None
    if not isinstance(definitions, dict):
        raise HarvestError(f'{path}: expected {{"class": ["word", ...], ...}}')
    return Classes(definitions, path)


# --- samples -----------------------------------------------------------------------------------


def occurrences(store, classes):
    """For each class, the rows of each of its word types: {class: {type: [row]}}."""
    rows, tokens = whole_words(store)
    texts = store.vocabulary.tokens
    found = {t: classes(texts[t].strip()) for t in sorted(set(tokens.tolist()))}
    out = defaultdict(lambda: defaultdict(list))
    for row, token in zip(rows.tolist(), tokens.tolist()):
        if found[token] is not None:
            out[found[token]][texts[token].strip().lower()].append(row)
    return out


def evenly(rows_of, types, limit, limit_a_type, draw):
    """At most `limit` rows, as evenly from `types` as there are rows, ascending."""
    ranked = []
    for order, word in enumerate(draw.sample(types, len(types))):
        rows = rows_of[word]
        chosen = draw.sample(rows, min(limit_a_type, len(rows)))
        ranked += [(rank, order, row) for rank, row in enumerate(chosen)]
    return sorted(row for _, _, row in sorted(ranked)[:limit])


class Chosen(NamedTuple):
    train: list  # rows of the training store
    test: list  # rows of the test store
    train_types: list  # words they were drawn from
    test_types: list

    def describe(self, train, test):
        """How many rows were taken of how many, from {word: [row]} of both stores."""
        parts = ((self.train, self.train_types, train), (self.test, self.test_types, test))
        return ", test ".join(
            f"{len(rows):5} of {sum(len(found[word]) for word in types):6} rows of {len(types):4} words"
            for rows, types, found in parts
        )


def choose(name, train, test, limits):
    """Rows of one class; no word type is in both parts."""
    draw = random.Random(f"{limits.seed} {name}")
    types = sorted(test)
    draw.shuffle(types)
    held_out = types[: round(limits.test_share * len(types))]
    rest = sorted(set(train) - set(held_out))
    return Chosen(
        evenly(train, rest, limits.rows, limits.type_rows, draw),
        evenly(test, held_out, limits.test_rows, limits.type_rows, draw),
        rest,
        held_out,
    )
