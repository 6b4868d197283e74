"""Text to windows of token ids."""

import hashlib
import io
import re
from pathlib import Path
from typing import NamedTuple

from harvesting import HarvestError

BLOCK = 1 << 20  # characters that are tokenised at once; a tokenizer needs 100 bytes for each


class Window(NamedTuple):
    ids: object  # [context] int32
    seen: range  # positions that an earlier window has stored already


def wikitext(text, unknown):
    return re.sub(r" @([-,.])@ ", r" \1 ", text.replace("<unk>", unknown or "<unk>"))


TEXT_FORMS = {"plain": lambda text, unknown: text, "wikitext": wikitext}


# --- documents ---------------------------------------------------------------------------------


def text_files(paths):
    """Pairs of file and the name to record: files as given, folders with all that is in them."""
    files = []
    for path in paths:
        if not path.is_dir():
            files.append((path, path.name))
            continue
        inside = [(file, file.relative_to(path)) for file in sorted(path.rglob("*")) if file.is_file()]
        inside = [(f, str(n)) for f, n in inside if not any(p.startswith(".") for p in n.parts)]
        if not inside:
            raise HarvestError(f"{path}: the folder holds no file")
        files += inside
    return files


def read_text(path):
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise HarvestError(f"{path}: cannot read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise HarvestError(f"{path}: not UTF-8 at byte {error.start}") from None


def load_dataset(arguments):
    try:
        import datasets
    except ImportError:
        raise HarvestError(
            "--dataset needs the package datasets, which the requirements leave out; "
            "install it beside them (pip install datasets), or give files with --text"
        ) from None
    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(
            arguments.dataset,
            arguments.dataset_config,
            split=arguments.dataset_split,
            streaming=arguments.dataset_streaming,
        )
    except Exception as error:  # its errors have no common class
        reason = " ".join(str(error).split())[:300]
        raise HarvestError(f"--dataset {arguments.dataset}: cannot load: {reason}") from None
    columns = rows.column_names
    if columns is not None and arguments.dataset_column not in columns:
        raise HarvestError(
            f"--dataset-column {arguments.dataset_column}: the dataset has {', '.join(columns)}"
        )
    return rows


class Texts:
    """The documents that --text or --dataset names, and what the manifest says about them."""

    def __init__(self, arguments):
        self.form = arguments.document
        self.column = arguments.dataset_column
        self.rows = self.files = None
        if arguments.dataset:
            self.rows = load_dataset(arguments)
            folder = Path(arguments.dataset)
            self.source = {
                "name": folder.name if folder.is_dir() else arguments.dataset,
                "config": arguments.dataset_config,
                "split": arguments.dataset_split,
                "column": arguments.dataset_column,
            }
        else:
            self.files = text_files(arguments.text)
            self.source = [
                {"file": name, "sha256": hashlib.sha256(read_text(file).encode()).hexdigest()}
                for file, name in self.files
            ]

    def documents(self):
        if self.form == "whole":
            yield from self.texts()
        elif self.form == "line":
            yield from (line for line in self.lines() if line.strip())
        else:
            yield from self.articles()

    def texts(self):
        if self.rows is None:
            yield from (read_text(file) for file, _ in self.files)
        else:
            yield from (str(row[self.column] or "") for row in self.rows)

    def lines(self):
        for text in self.texts():
            yield from io.StringIO(text)  # after newlines alone, unlike splitlines

    def articles(self):
        """WikiText marks the start of an article as ' = Title = ', its sections with more signs."""
        article = []
        for line in self.lines():
            if re.fullmatch(r" = (?!= ).*(?<!=) = \n?", line) and any(map(str.strip, article)):
                yield "".join(article)
                article = []
            article.append(line)
        yield "".join(article)


def blocks(text):
    """Pieces of at most BLOCK characters that end at the end of a line, if there is one."""
    start = 0
    while start < len(text):
        end = start + BLOCK
        if end < len(text):
            cut = text.rfind("\n", start, end)
            if cut < 0:
                cut = text.rfind(" ", start, end) - 1  # most tokenizers want the blank with the word
            end = cut + 1 if cut > start else end
        yield text[start:end]
        start = end


# --- windows -----------------------------------------------------------------------------------


def special_frame(tokenizer, bos=False):
    """The special tokens before and after each window: what the tokenizer puts around a text, and
    with `bos` its token for the beginning in front if it puts nothing there."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed = tokenizer("a")["input_ids"]
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


class Windows:
    """Windows of exactly --context ids, in the order in which they are run."""

    def __init__(self, texts, tokenizer, arguments):
        self.texts, self.tokenizer = texts, tokenizer
        self.form = TEXT_FORMS[arguments.text_form]
        self.before, self.after = special_frame(tokenizer, arguments.bos)
        self.context, self.seed, self.pack = arguments.context, arguments.seed, arguments.pack
        self.inner = arguments.context - len(self.before) - len(self.after)
        if self.inner < 1:
            raise HarvestError(f"--context {arguments.context} leaves no room beside special tokens")
        self.stride = arguments.stride or self.inner
        # Text is tokenised as it is needed if that is known to end before the text does.
        self.all = None
        if arguments.tokens is None or arguments.seed is not None:
            import random

            self.all = list(self.generate())
            if arguments.seed is not None:
                random.Random(arguments.seed).shuffle(self.all)
        self.count = None if self.all is None else len(self.all)

    def __iter__(self):
        return iter(self.generate() if self.all is None else self.all)

    def batches(self, size, start):
        """Lists of `size` windows, from number `start` on, with their first window's number."""
        batch, number = [], 0
        for number, window in enumerate(self):
            if number < start:
                continue
            batch.append(window)
            if len(batch) == size:
                yield number + 1 - size, batch
                batch = []
        if batch:
            yield number + 1 - len(batch), batch

    def ids_of(self, document):
        import numpy

        for block in blocks(self.form(document, self.tokenizer.unk_token)):
            encoded = self.tokenizer(block, add_special_tokens=False, verbose=False)
            yield numpy.asarray(encoded["input_ids"], dtype=numpy.int32)

    def runs(self):
        """Iterators of id arrays; no window reaches from one of them into the next."""
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

    def generate(self):
        import numpy

        frame = [numpy.asarray(ids, dtype=numpy.int32) for ids in (self.before, self.after)]
        again = range(len(self.before), len(self.before) + max(0, self.inner - self.stride))
        empty = True
        for run in self.runs():
            held, at, seen = numpy.empty(0, dtype=numpy.int32), 0, range(0)
            for ids in run:
                held = numpy.concatenate([held, numpy.asarray(ids, dtype=numpy.int32)])
                while at + self.inner <= len(held):
                    ids = numpy.concatenate([frame[0], held[at : at + self.inner], frame[1]])
                    yield Window(ids, seen)
                    empty, seen = False, again
                    at += self.stride
                used = min(at, len(held))
                held, at = held[used:], at - used
        if empty:
            raise HarvestError(
                f"no document is as long as one window of {self.context} tokens; "
                "--pack lets windows run on over the ends of documents"
            )

    def describe(self):
        def names(ids):
            return [self.tokenizer.convert_ids_to_tokens(int(token)) for token in ids]

        parts = [*names(self.before), f"{self.inner} tokens", *names(self.after)]
        return f"windows of {self.context}: {' + '.join(parts)}, one every {self.stride}"


def vocabulary(tokenizer):
    """What each token adds to a text, by id, so that a list of ids can be shown as text."""
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"][-1]
    alone = tokenizer.decode([anchor], clean_up_tokenization_spaces=False)
    pairs = [[anchor, token] for token in range(len(tokenizer))]
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    texts = tokenizer.batch_decode(pairs, clean_up_tokenization_spaces=False)
    return [
        text[len(alone) :] if text.startswith(alone) else str(name)
        for text, name in zip(texts, names)
    ]
