"""Text to documents, the same whatever system the text is from."""

import hashlib
import io
import re
from pathlib import Path

from harvesting import HarvestError

BLOCK = 1 << 20  # characters that are tokenised at once; a tokenizer needs 100 bytes for each


def wikitext(text, unknown):
    return re.sub(r" @([-,.])@ ", r" \1 ", text.replace("<unk>", unknown or "<unk>"))


TEXT_FORMS = {"plain": lambda text, unknown: text, "wikitext": wikitext}


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


def read_bytes(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise HarvestError(f"{path}: cannot read: {error.strerror}") from None


def read_text(path):
    try:
        return plain(read_bytes(path).decode("utf-8"))
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
            self.source = []
            for file, name in self.files:
                read_text(file)  # whether it is text is known before anything is run
                digest = hashlib.sha256(read_bytes(file)).hexdigest()
                self.source.append({"file": name, "sha256": digest})

    def repeated(self):
        """Groups of names of files that hold the same bytes."""
        names = {}
        for entry in self.source if self.rows is None else []:
            names.setdefault(entry["sha256"], []).append(entry["file"])
        return [group for group in names.values() if len(group) > 1]

    def documents(self):
        if self.form == "whole":
            yield from self.texts()
        elif self.form == "line":
            yield from (line for text in self.texts() for line in lines_of(text) if line.strip())
        elif self.rows is not None:
            yield from articles(self.row_lines())
        else:
            for text in self.texts():
                yield from articles(lines_of(text))

    def texts(self):
        if self.rows is None:
            yield from (read_text(file) for file, _ in self.files)
        else:
            yield from (plain(str(row[self.column] or "")) for row in self.rows)

    def row_lines(self):
        """The rows of a data set as the lines of one text, which is how WikiText is kept there."""
        for text in self.texts():
            yield from (line if line.endswith("\n") else line + "\n" for line in lines_of(text))


def lines_of(text):
    """After newlines alone, unlike splitlines."""
    return io.StringIO(text)


def articles(lines):
    """Texts from one heading of level 1 to the next."""
    article = []
    for line in lines:
        if heading(line)[0] == 1 and any(map(str.strip, article)):
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
