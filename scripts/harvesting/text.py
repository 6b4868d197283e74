"""Text to documents, the same whatever system the text is from."""

import codecs
import hashlib
import io
import re
from pathlib import Path

from harvesting import HarvestError

BLOCK = 1 << 20  # characters that are tokenised at once; a tokenizer needs 100 bytes for each
READ = 1 << 20  # bytes of a file that are read at once


def wikitext(text, unknown):
    return re.sub(r" @([-,.])@ ", r" \1 ", text.replace("<unk>", unknown or "<unk>"))


TEXT_FORMS = {"plain": None, "wikitext": wikitext}  # what is changed, line by line


def plain(text):
    """Without a byte order mark, and with "\\n" at the end of each line, whatever wrote it."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def heading(line):
    """Level and title of a heading of WikiText: " = Title = " begins an article and is of level 1,
    " = = Part = = " is of level 2. Level 0 is no heading. Blanks may be missing or too many."""
    signs, line = "= \t\u00a0", line.strip()
    title = line.strip(signs)
    if not title:
        return 0, ""
    begin = line.index(title)
    before, after = (part.count("=") for part in (line[:begin], line[begin + len(title) :]))
    return (max(before, after), title) if before and after else (0, "")


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


def read_parts(path):
    """The bytes of a file, some at a time; b"" at its end."""
    try:
        with open(path, "rb") as file:
            while part := file.read(READ):
                yield part
    except OSError as error:
        raise HarvestError(f"{path}: cannot read: {error.strerror}") from None
    yield b""


def read_pieces(path, seen=lambda part: None):
    """The text of a file as plain() has it, in pieces, so that no more than one is in memory. `seen` is
    told of the bytes."""
    decoder, lines = codecs.getincrementaldecoder("utf-8")(), io.IncrementalNewlineDecoder(None, True)
    at, begun = 0, False
    for part in read_parts(path):
        seen(part)
        held = len(decoder.getstate()[0])  # of a character that the part before has begun
        try:
            piece = decoder.decode(part, final=not part)
        except UnicodeDecodeError as error:
            raise HarvestError(f"{path}: not UTF-8 at byte {at - held + error.start}") from None
        at += len(part)
        if piece and not begun:
            piece, begun = piece.removeprefix("\ufeff"), True
        piece = lines.decode(piece, final=not part)
        if piece:
            yield piece


def read_text(path):
    return "".join(read_pieces(path))


def sha256_of(path):
    """Of a file's bytes."""
    digest = hashlib.sha256()
    for part in read_parts(path):
        digest.update(part)
    return digest.hexdigest()


def sha256_of_text(path):
    """Of a file's bytes, which are UTF-8."""
    digest = hashlib.sha256()
    for _ in read_pieces(path, digest.update):
        pass
    return digest.hexdigest()


def same_bytes(source):
    """Groups of names of files that hold the same bytes."""
    names = {}
    for entry in source if isinstance(source, list) else []:
        names.setdefault(entry["sha256"], []).append(entry["file"])
    return [group for group in names.values() if len(group) > 1]


def need_datasets(what):
    try:
        import datasets
    except ImportError:
        raise HarvestError(
            f"{what} needs the package datasets, which the requirements leave out; "
            "install it beside them (pip install datasets), or give files with --text"
        ) from None
    datasets.disable_progress_bars()
    return datasets


def is_saved_dataset(path):
    """Whether it is a folder that datasets' save_to_disk has made."""
    return any((Path(path) / name).is_file() for name in ("state.json", "dataset_dict.json"))


def load_saved_dataset(path, split):
    datasets = need_datasets(path)
    try:
        rows = datasets.load_from_disk(str(path))
        return rows[split] if isinstance(rows, datasets.DatasetDict) else rows
    except Exception as error:  # its errors have no common class
        raise HarvestError(f"{path}: cannot load: {' '.join(str(error).split())[:300]}") from None


def load_dataset(arguments):
    datasets = need_datasets("--dataset")
    if is_saved_dataset(arguments.dataset):
        rows = load_saved_dataset(arguments.dataset, arguments.dataset_split)
    else:
        rows = load_named_dataset(datasets, arguments)
    columns = rows.column_names
    if columns is not None and arguments.dataset_column not in columns:
        raise HarvestError(
            f"--dataset-column {arguments.dataset_column}: the dataset has {', '.join(columns)}"
        )
    return rows


def load_named_dataset(datasets, arguments):
    try:
        return datasets.load_dataset(
            arguments.dataset,
            arguments.dataset_config,
            split=arguments.dataset_split,
            streaming=arguments.dataset_streaming,
        )
    except Exception as error:  # its errors have no common class
        reason = " ".join(str(error).split())[:300]
        raise HarvestError(f"--dataset {arguments.dataset}: cannot load: {reason}") from None


def holds_lists(rows, column):
    """Whether a data set has lists, such as of ids, where a text might be."""
    return isinstance(next(iter(rows), {}).get(column), list)


def describe_dataset(arguments):
    folder = Path(arguments.dataset)
    return {
        "name": folder.name if folder.is_dir() else arguments.dataset,
        "config": arguments.dataset_config,
        "split": arguments.dataset_split,
        "column": arguments.dataset_column,
    }


class Texts:
    """The documents that --text or --dataset names, and what the manifest says about them. Without
    `recorded` files are not read for that beforehand."""

    are_ids = False

    def __init__(self, arguments, recorded=True):
        self.form = arguments.document
        self.column = arguments.dataset_column
        self.rows = self.files = None
        self.seen = self.size = 0  # bytes of files
        if arguments.dataset:
            self.rows = load_dataset(arguments)
            self.source = describe_dataset(arguments)
        else:
            self.files = text_files(arguments.text)
            self.source = []
            for file, name in self.files:
                next(read_parts(file))  # whether it can be read is known before anything is run
                if recorded:
                    digest = sha256_of_text(file)  # and whether it is text
                    self.size += file.stat().st_size
                    self.source.append({"file": name, "sha256": digest})

    @property
    def share(self):
        """Of the text that has been read, None where nobody knows."""
        return self.seen / self.size if self.size else None

    def repeated(self):
        """Groups of names of files that hold the same bytes."""
        return same_bytes(self.source)

    def documents(self):
        """Each as an iterator of pieces."""
        self.seen = 0
        if self.form == "whole":
            yield from self.texts()
        elif self.form == "line":
            yield from ([line] for text in self.texts() for line in lines_of(text) if line.strip())
        elif self.rows is not None:
            yield from ([article] for article in articles(self.row_lines()))
        else:
            for text in self.texts():
                yield from ([article] for article in articles(lines_of(text)))

    def texts(self):
        if self.rows is None:
            yield from (read_pieces(file, self.count) for file, _ in self.files)
        else:
            yield from ([plain(self.text_of(row))] for row in self.rows)

    def text_of(self, row):
        value = row[self.column]
        if isinstance(value, (list, dict)):
            raise HarvestError(f"--dataset-column {self.column}: holds a {type(value).__name__}, expected text")
        return str(value or "")

    def count(self, part):
        self.seen += len(part)

    def row_lines(self):
        """The rows of a data set as the lines of one text, which is how WikiText is kept there."""
        for text in self.texts():
            yield from (line if line.endswith("\n") else line + "\n" for line in lines_of(text))


def whole_lines(pieces):
    """The same text in pieces that end with a line, but for the last."""
    begun = []
    for piece in pieces:
        end = piece.rfind("\n") + 1
        if end:
            yield "".join([*begun, piece[:end]])
            begun = []
        begun.append(piece[end:])
    yield "".join(begun)


def lines_of(pieces):
    """After newlines alone, unlike splitlines."""
    for piece in whole_lines(pieces):
        yield from io.StringIO(piece)


def articles(lines):
    """Texts from one heading of level 1 to the next."""
    article = []
    for line in lines:
        if heading(line)[0] == 1 and any(map(str.strip, article)):
            yield "".join(article)
            article = []
        article.append(line)
    yield "".join(article)


def blocks(pieces):
    """A text as pieces of at most BLOCK characters that end at the end of a line, if there is one."""
    held, start = "", 0
    for piece in pieces:
        held, start = held[start:] + piece, 0
        while len(held) - start > BLOCK:
            end = start + BLOCK
            cut = held.rfind("\n", start, end)
            if cut < 0:
                cut = held.rfind(" ", start, end) - 1  # most tokenizers want the blank with the word
            end = cut + 1 if cut > start else end
            yield held[start:end]
            start = end
    if start < len(held):
        yield held[start:]
