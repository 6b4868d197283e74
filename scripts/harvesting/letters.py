"""Words of a tokenizer and prompts about their first letters, as SAEBench makes them.

Its functions draw from Python's global generator; the same calls in the same order on a generator of
our own give the prompts that they give after random.seed(seed).
"""

import random
from typing import NamedTuple

from harvesting import HarvestError

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TEMPLATE = "{word} has the first letter:"
POSITION = -6  # where SAEBench reads, counted from the end of the prompt
TRAIN_SHARE = 0.8
EXAMPLES = 10
ATTEMPTS = 1000


class Word(NamedTuple):
    token: int
    text: str


class Prompt(NamedTuple):
    word: Word
    text: str


def words_of(tokenizer):
    """Tokens of ASCII letters alone, with one blank in front or none, in the order of their ids."""
    found = []
    for name, token in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        text = tokenizer.convert_tokens_to_string([name])
        if name.startswith("\u2581") and not text.startswith(" "):
            text = " " + text  # which some tokenizers lose
        bare = text.removeprefix(" ")
        if bare.isascii() and bare.isalpha():
            found.append(Word(token, text))
    return found


def label(word):
    """0 to 25."""
    return LETTERS.index(word.text.strip()[0].lower())


def answer(word):
    return " " + word.text.strip()[0].upper()


class Prompts:
    """Prompts of `examples` solved words and the word itself; without examples, the word in the
    template and nothing else. With the `same` examples in all prompts, they are not SAEBench's."""

    def __init__(self, template, examples, seed, same=False):
        self.template, self.examples, self.same = template, examples, same
        self.draw = random.Random(seed)

    def split(self, words):
        """Words in a random order: the first four fifths to train on, the others to test on."""
        order = self.draw.sample(words, len(words))
        cut = int(len(words) * TRAIN_SHARE)
        return order[:cut], order[cut:]

    def examples_for(self, word, pool):
        for _ in range(ATTEMPTS):
            drawn = self.draw.sample(pool, self.examples)
            if all(example.text != word.text for example in drawn):
                return drawn
        raise HarvestError(f'no {self.examples} words beside "{word.text}" in {ATTEMPTS} draws')

    def take(self, pool):
        """Examples from `pool`, which loses them."""
        self.refuse_few(pool)
        drawn = self.draw.sample(pool, self.examples)
        pool[:] = [word for word in pool if word not in drawn]
        return drawn

    def refuse_few(self, pool):
        if self.examples > 0 and len(pool) <= self.examples:
            raise HarvestError(
                f"{len(pool)} words are too few for {self.examples} examples beside the word; "
                "raise --limit or lower --examples"
            )

    def __call__(self, words, pool):
        """A prompt for each word, with examples from `pool`, or all of `pool` if they are the same."""
        if not self.same:
            self.refuse_few(pool)
        return [Prompt(word, self.text(word, pool)) for word in words]

    def text(self, word, pool):
        own = self.template.format(word=word.text)
        if self.examples == 0:
            return own
        lines = [
            self.template.format(word=example.text) + answer(example)
            for example in (pool if self.same else self.examples_for(word, pool))
        ]
        return "\n".join(["", *lines, own])


class Reader:
    """Prompts as ids, and which position is read.

    That is the word's token, counted from the prompt's end by the tokens of what the template has
    after the word. SAEBench counts 6 for its own template, which takes a tokenizer to which each
    piece of " has the first letter:" is one token.
    """

    def __init__(self, tokenizer, frame, template, examples):
        self.tokenizer, self.frame, self.template = tokenizer, frame, template
        self.start = "\n" if examples else ""
        self.found = words_of(tokenizer)
        if not self.found:
            raise HarvestError("no token of this tokenizer is a word of ASCII letters alone")
        self.position = self.find_position()

    def ids(self, texts):
        return self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]

    def find_position(self):
        """From how many tokens come after most words, so that no single odd word decides."""
        before, after = (self.start + self.template).split("{word}")
        words = self.found[:: max(1, len(self.found) // 100)]
        cut = self.ids([before + word.text for word in words])
        whole = self.ids([before + word.text + after for word in words])
        rests = [tuple(ids[len(part) :]) for part, ids in zip(cut, whole) if ids[: len(part)] == part]
        if not rests:
            raise HarvestError(f'the tokenizer joins words with what follows them, "{after}"')
        rest = max(sorted(set(rests)), key=rests.count)
        if self.template == TEMPLATE and len(rest) != -1 - POSITION:
            pieces = " ".join(self.tokenizer.convert_ids_to_tokens(list(rest)))
            raise HarvestError(
                f'to this tokenizer "{after}" is {len(rest)} tokens, {pieces}; SAEBench reads token '
                f"{POSITION}, which takes 5. Any other --template is read at its word"
            )
        return -1 - len(rest)

    def words(self):
        """The words that are one token in the template, right where the position says."""
        texts = [self.start + self.template.format(word=word.text) for word in self.found]
        words = [
            word
            for word, ids in zip(self.found, self.ids(texts))
            if len(ids) >= -self.position and ids[self.position] == word.token
        ]
        if not words:
            raise HarvestError(f'no word is one token in "{self.template}"')
        return words

    def sequences(self, prompts):
        """Ids of each prompt between the tokenizer's special tokens. The word is at `at`."""
        before, after = self.frame
        out = []
        for prompt, ids in zip(prompts, self.ids([prompt.text for prompt in prompts])):
            if ids[self.position] != prompt.word.token:
                raise HarvestError(
                    f'"{prompt.word.text}" is not one token in the prompt {prompt.text[-60:]!r}'
                )
            out.append([*before, *ids, *after])
        return out

    @property
    def at(self):
        """The word's position in the sequences, from their end."""
        return self.position - len(self.frame[1])
