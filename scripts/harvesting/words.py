"""Rows of a store to words in context, and words to classes."""

import json
import random
import re
from collections import defaultdict
from typing import NamedTuple

from harvesting import HarvestError

# --- words -------------------------------------------------------------------------------------


def whole_words(store):
    """Rows that are a whole word, and their token ids.

    A word's token is letters or digits alone, with a boundary on both sides: a blank or a mark in
    its own text or in a neighbour's. What a tokenizer has cut into pieces ("run" + "##ning",
    " abs" + "orption") is therefore left out, and so are rows at the ends of a context, whose other
    side nobody knows.
    """
    import numpy

    tokens, context, words = store.tokens, store.context, store.vocabulary
    if len(tokens) and (tokens.min() < 0 or tokens.max() >= len(words)):
        raise HarvestError(f"{store.folder}: token ids beyond its vocabulary of {len(words)}")

    def each(test):
        return numpy.fromiter(map(test, words), dtype=bool, count=len(words))[tokens]

    word = each(lambda text: text.strip().isalnum())
    open_left = each(lambda text: text[:1].isspace())
    begins = each(lambda text: text[:1].isalnum())
    ends = each(lambda text: text[-1:].isalnum())
    together = context[1:] == context[:-1]
    no = numpy.zeros(1, dtype=bool)
    left = open_left | numpy.concatenate([no, together & ~ends[:-1]])
    right = numpy.concatenate([together & ~begins[1:], no])
    rows = (word & left & right).nonzero()[0]
    return rows, tokens[rows]


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
        definitions = json.loads(path.read_text(), object_pairs_hook=once)
    except OSError as error:
        raise HarvestError(f"{path}: cannot read: {error.strerror}") from None
    except ValueError as error:
        raise HarvestError(f"{path}: not JSON: {error}") from None
    if not isinstance(definitions, dict):
        raise HarvestError(f'{path}: expected {{"class": ["word", ...], ...}}')
    return Classes(definitions, path)


# --- samples -----------------------------------------------------------------------------------


def occurrences(store, classes):
    """For each class, the rows of each of its word types: {class: {type: [row]}}."""
    rows, tokens = whole_words(store)
    found = {t: classes(store.vocabulary[t].strip()) for t in sorted(set(tokens.tolist()))}
    out = defaultdict(lambda: defaultdict(list))
    for row, token in zip(rows.tolist(), tokens.tolist()):
        if found[token] is not None:
            out[found[token]][store.vocabulary[token].strip().lower()].append(row)
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
    train_types: int
    test_types: int


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
        len(rest),
        len(held_out),
    )
