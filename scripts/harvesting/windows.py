"""Documents to windows of token ids."""

from typing import NamedTuple

from harvesting import HarvestError
from harvesting.program import Progress
from harvesting.text import TEXT_FORMS, blocks, whole_lines


class Window(NamedTuple):
    ids: object  # [context] int32
    seen: range  # positions that an earlier window has stored already


# --- special tokens ----------------------------------------------------------------------------


def unknown_token(tokenizer):
    """What the tokenizer makes of what it does not know, as text; None if it knows everything. Byte-level
    tokenizers do, and yet state an unknown token: the one that ends a text, which has no place in it, nor
    has any other token that says something else too."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    others = ("bos_token", "eos_token", "sep_token", "cls_token", "pad_token", "mask_token")
    if tokenizer.unk_token in (None, *(getattr(tokenizer, name, None) for name in others)):
        return None
    if backend is not None and hasattr(backend.model, "unk_token") and backend.model.unk_token is None:
        return None
    return tokenizer.unk_token


# Not every vocabulary has a letter, and what a tokenizer does not know it may leave out.
SAMPLES = ("a", "the", "0", ".", "\u3042", "\u4e00", "\u0430", "!")


def sample_of(tokenizer):
    """A text that is at least one token, and its ids."""

    def texts():
        yield from SAMPLES
        vocabulary = tokenizer.get_vocab()
        yield from sorted(vocabulary, key=vocabulary.get)

    for text in texts():
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if ids:
            return text, ids
    raise HarvestError("the tokenizer makes no token of any text")


def special_frame(tokenizer, bos=False):
    """The special tokens before and after each window: what the tokenizer puts around a text, and
    with `bos` its token for the beginning in front if it puts nothing there."""
    sample, bare = sample_of(tokenizer)
    framed = tokenizer(sample)["input_ids"]
    for start in range(len(framed) - len(bare) + 1):
        if framed[start : start + len(bare)] == bare:
            before, after = framed[:start], framed[start + len(bare) :]
            break
    else:
        raise HarvestError("the tokenizer changes a text when it adds special tokens to it")
    if bos and not before:
        first = [tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id]
        before = [token for token in first if token is not None][:1]
        if not before:
            raise HarvestError("--bos: the tokenizer has no token for the beginning of a text")
    return before, after


def whole_frame(tokenizer):
    """The special tokens around a text that is run by itself: the tokenizer's, and one for the
    beginning if it knows any."""
    known = (tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id)
    return special_frame(tokenizer, bos=any(token is not None for token in known))


# --- windows -----------------------------------------------------------------------------------


class Tally:
    """What becomes of the text's tokens: those of windows, and those that no window holds."""

    def __init__(self):
        self.documents = self.tokens = 0
        self.short = self.short_tokens = 0  # documents that are shorter than a window
        self.between = 0  # tokens between windows that are further apart than they are long
        self.tail = 0  # tokens at the ends of documents
        self.longest = 0
        self.whole = False  # whether all of the text has been read

    def add(self, length, windows, inner, stride):
        """A run of `length` tokens, from which so many windows came."""
        self.tokens += length
        self.longest = max(self.longest, length)
        if windows == 0:
            self.short += length > 0
            self.short_tokens += length
            return
        self.between += (windows - 1) * max(0, stride - inner)
        self.tail += length - ((windows - 1) * stride + inner)

    @property
    def left_out(self):
        return self.short_tokens + self.between + self.tail

    def describe(self, pack):
        """What was left out, in a line; nothing if nothing was."""
        if self.left_out == 0:
            return ""
        parts = []
        if self.short:
            parts.append(
                f"{self.short:,} of {self.documents:,} documents, which are shorter than a window "
                f"({self.short_tokens:,} tokens)"
            )
        if self.tail:
            parts.append(f"{self.tail:,} tokens at ends of documents, which fill no window")
        if self.between:
            parts.append(f"{self.between:,} tokens between windows")
        of = "the text's" if self.whole else "the first"
        share = f"{100 * self.left_out / self.tokens:.2g} % of {of} {self.tokens:,} tokens"
        hint = "" if pack or self.left_out == self.between else (
            "; --pack lets windows run on over the ends of documents"
        )  # fmt: skip
        return f"left out: {'; '.join(parts)}: {share}{hint}"

    def record(self):
        """For a manifest."""
        return {
            "text_tokens": self.tokens,
            "documents": self.documents,
            "short_documents": self.short,
            "left_out_tokens": self.left_out,
        }


class Windows:
    """Windows of exactly --context ids, in the order in which they are run."""

    def __init__(self, texts, tokenizer, arguments):
        self.texts, self.tokenizer = texts, tokenizer
        self.form = TEXT_FORMS[arguments.text_form]
        self.before, self.after = [], []  # rows of ids have in them what they begin and end with
        if not texts.are_ids:
            self.before, self.after = special_frame(tokenizer, arguments.bos)
        self.context, self.seed, self.pack = arguments.context, arguments.seed, arguments.pack
        self.inner = arguments.context - len(self.before) - len(self.after)
        if self.inner < 1:
            raise HarvestError(f"--context {arguments.context} leaves no room beside special tokens")
        self.stride = arguments.stride or self.inner
        self.tally = Tally()
        self.all = None  # or every window, without which there is no order drawn from all orders
        if arguments.seed is not None:
            import random

            self.all = list(self.watched())
            random.Random(arguments.seed).shuffle(self.all)
        self.count = None if self.all is None else len(self.all)

    def __iter__(self):
        return iter(self.generate() if self.all is None else self.all)

    def batches(self, size):
        """Lists of `size` windows, the last may be shorter, with their first window's number."""
        batch, number = [], 0
        for number, window in enumerate(self):
            batch.append(window)
            if len(batch) == size:
                yield number + 1 - size, batch
                batch = []
        if batch:
            yield number + 1 - len(batch), batch

    def ids_of(self, document):
        import numpy

        if self.form:
            unknown = unknown_token(self.tokenizer)
            document = (self.form(piece, unknown) for piece in whole_lines(document))
        counted = False
        for block in blocks(document):
            encoded = self.tokenizer(block, add_special_tokens=False, verbose=False)
            if encoded["input_ids"] and not counted:
                self.tally.documents += 1
                counted = True
            yield numpy.asarray(encoded["input_ids"], dtype=numpy.int32)

    def rows(self):
        for ids in self.texts.rows():
            self.tally.documents += len(ids) > 0
            yield [ids]

    def runs(self):
        """Iterators of id arrays; no window reaches from one of them into the next."""
        if self.texts.are_ids:
            yield from self.rows()
            return
        if not self.pack:
            yield from (self.ids_of(document) for document in self.texts.documents())
            return

        def joined():
            ends = [self.tokenizer.eos_token_id, self.tokenizer.sep_token_id]
            end = [token for token in ends if token is not None][:1]
            for document in self.texts.documents():
                yield from self.ids_of(document)
                yield end

        yield joined()

    def watched(self):
        """What generate makes, with a bar."""
        progress, tokens = Progress(0, "tokens of text"), 0
        for window in self.generate():
            yield window
            tokens += self.inner
            progress.show(tokens, None)

    def generate(self):
        import numpy

        self.tally = Tally()
        frame = [numpy.asarray(ids, dtype=numpy.int32) for ids in (self.before, self.after)]
        again = range(len(self.before), len(self.before) + max(0, self.inner - self.stride))
        empty = True
        for run in self.runs():
            held, at, length, windows = numpy.empty(0, dtype=numpy.int32), 0, 0, 0
            for ids in run:
                held = numpy.concatenate([held, numpy.asarray(ids, dtype=numpy.int32)])
                length += len(ids)
                while at + self.inner <= len(held):
                    ids = numpy.concatenate([frame[0], held[at : at + self.inner], frame[1]])
                    yield Window(ids, again if windows else range(0))
                    empty = False
                    windows += 1
                    at += self.stride
                used = min(at, len(held))
                held, at = held[used:], at - used
            self.tally.add(length, windows, self.inner, self.stride)
        self.tally.whole = True
        if empty:
            what, hint = "document", "; --pack lets windows run on over the ends of documents"
            if self.texts.are_ids:
                what, hint = "row", ""
            raise HarvestError(
                f"no {what} is as long as one window of {self.context} tokens, the longest of "
                f"{self.tally.documents:,} has {self.tally.longest:,}{hint}"
            )

    @property
    def begin(self):
        """The special tokens that windows begin with."""
        if self.texts.are_ids:
            known = (self.tokenizer.bos_token_id, self.tokenizer.cls_token_id)
            return [self.texts.first] if self.texts.first in known else []
        return self.before

    def left_out(self, tally):
        return tally.describe(self.pack or self.texts.are_ids)

    def describe(self):
        def names(ids):
            return [self.tokenizer.convert_ids_to_tokens(int(token)) for token in ids]

        parts = [*names(self.before), f"{self.inner} tokens", *names(self.after)]
        return f"windows of {self.context}: {' + '.join(parts)}, one every {self.stride}"
