"""Token ids that were made beforehand, in place of a text: rows of ids, with the special tokens that are
in them and no others.

    NAME.npy                        integers [n, length], or [length], which is one row
    NAME.pt, NAME.safetensors       the same as a tensor
    NAME.jsonl                      a row a line, of any length: [5, 3, ...] or {"input_ids": [5, 3, ...]}
    NAME.parquet, NAME.arrow        a row a row; these two and the next need the package datasets
    folder                          what its save_to_disk has made, or one with files of these kinds

Of what has names, input_ids is read, or else tokens, or else what is there alone.
"""

import json
import warnings
from functools import partial

from harvesting import HarvestError
from harvesting import text as texts

NAMES = ("input_ids", "tokens")
CHUNK = 4096  # rows whose ids are looked at at once


def chosen(names, place):
    """Which of the names is read."""
    for name in NAMES:
        if name in names:
            return name
    if len(names) == 1:
        return names[0]
    raise HarvestError(f"{place}: holds {', '.join(names) or 'nothing'}, expected {' or '.join(NAMES)}")


def as_ids(values, place, dimensions):
    """An array of integers."""
    import numpy

    try:
        ids = numpy.asarray(values)
    except ValueError:  # rows of different lengths
        ids = numpy.empty(0, dtype=object)
    if ids.shape == (0,) and isinstance(values, list):
        return ids.astype(numpy.int64)
    if ids.dtype.kind not in "iu" or ids.ndim not in dimensions:
        got = f"{ids.dtype.name} of {ids.ndim} dimensions" if ids.ndim else type(values).__name__
        expected = " or ".join(map(str, dimensions))
        raise HarvestError(f"{place}: {got}, expected integers of {expected}, the ids of tokens")
    return ids


# --- files: pairs of a place and an array, [n, length] or, of one long row, [length] ------------


def read_npy(path):
    import numpy

    yield path, as_ids(numpy.load(path, mmap_mode="r", allow_pickle=False), path, (1, 2))


def read_pt(path):
    import torch

    with warnings.catch_warnings(action="ignore"):  # of damaged files, which are refused
        found = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(found, dict):
        found = found[chosen(list(found), path)]
    yield path, as_ids(found, path, (1, 2))


def read_safetensors(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        yield path, as_ids(file.get_tensor(chosen(list(file.keys()), path)), path, (1, 2))


def read_jsonl(path):
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            place = f"{path}: line {number}"
            row = json.loads(line)
            if isinstance(row, dict):
                row = row[chosen(list(row), place)]
            yield place, as_ids(row, place, (1,))[None]


def read_table(path):
    datasets = texts.need_datasets(path)
    table = datasets.Dataset.from_file if path.suffix == ".arrow" else datasets.Dataset.from_parquet
    return read_dataset(table(str(path)), None, path)


def read_dataset(dataset, column, place):
    column = column or chosen(list(dataset.column_names or next(iter(dataset))), place)
    for number, row in enumerate(dataset.with_format("numpy")):
        yield f"{place}: row {number}", as_ids(row[column], f"{place}: row {number}", (1,))[None]


READERS = {
    ".npy": read_npy, ".pt": read_pt, ".safetensors": read_safetensors, ".jsonl": read_jsonl,
    ".parquet": read_table, ".arrow": read_table,
}  # fmt: skip


def guarded(read, path):
    """What a reader yields; its packages' errors have no common class."""
    try:
        yield from read(path)
    except HarvestError:
        raise
    except Exception as error:
        raise HarvestError(f"{path}: cannot read: {' '.join(str(error).split())[:200]}") from None


def files_in(path):
    """Pairs of file and the name to record: what of a folder holds ids."""
    files = texts.text_files([path])
    if path.is_dir():
        files = [(file, name) for file, name in files if file.suffix in READERS]
    for file, _ in files:
        if file.suffix not in READERS:
            raise HarvestError(f"{file}: ids are read from {', '.join(READERS)}, or from a data set's folder")
    if not files:
        raise HarvestError(f"{path}: the folder holds no file of ids: {', '.join(READERS)}")
    return files


# --- all ---------------------------------------------------------------------------------------


class IdRows:
    """Rows of ids, as harvesting.text.Texts are documents; `known` is how many ids the model knows, 0 if
    nobody knows."""

    are_ids = True
    share = None  # of the rows that have been read, which nobody knows

    def __init__(self, parts, source):
        self.parts, self.source, self.known = parts, source, 0
        begin = next((ids for part in parts for _, ids in part() if ids.size), None)
        if begin is None:
            raise HarvestError("there is no id in what is to be read")
        self.first = int(begin.flat[0])
        self.length = begin.shape[1] if begin.ndim == 2 else None  # of the first row

    @staticmethod
    def of_files(paths, split):
        parts, source = [], []
        for path in paths:
            files = files_in(path)
            source += [{"file": name, "sha256": texts.sha256_of(file)} for file, name in files]
            if texts.is_saved_dataset(path):
                rows = texts.load_saved_dataset(path, split)
                parts.append(partial(read_dataset, rows, None, path))
            else:
                parts += [partial(guarded, READERS[file.suffix], file) for file, _ in files]
        return IdRows(parts, source)

    @staticmethod
    def of_dataset(dataset, arguments):
        place = f"--dataset {arguments.dataset}"
        read = partial(read_dataset, dataset, arguments.dataset_column, place)
        return IdRows([read], texts.describe_dataset(arguments))

    def repeated(self):
        return texts.same_bytes(self.source)

    def rows(self):
        """Arrays of ids that the model knows."""
        for part in self.parts:
            for place, ids in part():
                for start in range(0, len(ids), CHUNK):
                    self.check(ids[start : start + CHUNK], place)
                yield from ids if ids.ndim == 2 else [ids]

    def check(self, ids, place):
        wrong = ids[(ids < 0) | (ids >= self.known)] if self.known else ids[ids < 0]
        if wrong.size:
            raise HarvestError(
                f"{place}: token {wrong.flat[0]}, expected ids from 0 to {self.known - 1}, which the model "
                "knows; are they of its tokenizer?"
            )


def open_texts(arguments, recorded=True):
    """What is harvested: a text, or rows of ids."""
    if arguments.token_ids:
        return IdRows.of_files(arguments.token_ids, arguments.dataset_split)
    documents = texts.Texts(arguments, recorded)
    if documents.rows is not None and texts.holds_lists(documents.rows, documents.column):
        refused = [name for name, given in options_of_text(arguments) if given]
        if refused:
            raise HarvestError(f"{refused[0]}: means nothing for ids, which {documents.column} holds")
        return IdRows.of_dataset(documents.rows, arguments)
    return documents


def options_of_text(arguments):
    """Options that mean nothing for ids, and whether they are given."""
    yield "--bos", arguments.bos
    yield "--pack", arguments.pack
    yield "--text-form", arguments.text_form != "plain"
    yield "--document", arguments.document not in (None, "whole")
