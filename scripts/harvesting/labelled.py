"""Labelled activations: the file that `sae eval` takes for absorption and probing.

    train_x [N, D]  train_y [N] i64    test_x [M, D]  test_y [M] i64
    score_x [M, D]  optional: the test words once more, in other prompts
    train_offsets [N + 1], test_offsets [M + 1]  optional, i64: x holds the tokens of texts, text i
        those in rows offsets[i] .. offsets[i + 1] - 1
    __metadata__: task, classes and optionally words, as JSON; source says how it was made
"""

import hashlib
import json
import math
import os
import time
from contextlib import contextmanager
from typing import NamedTuple

from harvesting import HarvestError, lock
from harvesting.store import put_in_place, refuse_existing, write_json

# The bits of bfloat16 are handled as integers, which is all that NumPy has for them.
FORMATS = {"f32": ("F32", "<f4"), "f16": ("F16", "<f2"), "bf16": ("BF16", "<u2")}
BF16_EXPONENT = 0x7F80
SAVE_SECONDS = 20  # between the places from which an interrupted file goes on


class Split(NamedTuple):
    y: list  # class of each sample
    words: list = None  # what each sample is, as text
    lengths: list = None  # rows of each sample; None: one

    @property
    def rows(self):
        return len(self.y) if self.lengths is None else sum(self.lengths)


def as_array(tensor, dtype):
    """A tensor of PyTorch as the array that LabelledWriter takes."""
    import torch

    stored = tensor.to("cpu", {"f32": torch.float32, "f16": torch.float16}.get(dtype, torch.bfloat16))
    return (stored.view(torch.int16).numpy().view("<u2") if dtype == "bf16" else stored.numpy())


def is_finite(rows, dtype):
    import numpy

    good = (rows & BF16_EXPONENT) != BF16_EXPONENT if dtype == "bf16" else numpy.isfinite(rows)
    return good.all(axis=1)


@contextmanager
def claimed(path):
    """Within it, `path` does not exist yet and nobody else writes it."""
    refuse_existing(path)
    with lock.WriteLock(lock.beside(path), path):
        refuse_existing(path)  # once more: another process may just have finished it
        yield


class LabelledWriter:
    """Writes activations as they come; the file appears when all are there, or not at all. The path is
    to be claimed before.

    with LabelledWriter(path, "f32", 384, "letters", ["a", "b"], train, test) as file:
        file.append("train_x", rows)
        file.append("test_x", rows)

    With a `recipe`, all beside the header that decides the bytes, what is written is kept if it is cut
    off, and the same file goes on from there: from `position`, which is what was last given to reached().
    """

    def __init__(self, path, dtype, width, task, classes, train, test, score=False, source=None,
                 recipe=None):  # fmt: skip
        self.path, self.dtype, self.width, self.recipe = path, dtype, width, recipe
        self.temporary = path.with_name(path.name + ".partial")
        self.progress = path.with_name(path.name + ".partial.json")
        self.position, self.saved = 0, time.monotonic()
        check(path, classes, train, test)
        metadata = {"task": task, "classes": dump(classes)}
        if train.words is not None:
            metadata["words"] = dump({"train": train.words, "test": test.words})
        if source is not None:
            metadata["source"] = dump(source)
        self.labels = dict(labels({"train": train, "test": test}))
        self.rows = {"train_x": train.rows, "test_x": test.rows}
        if score:
            self.rows["score_x"] = test.rows
        self.done = dict.fromkeys(self.rows, 0)
        self.header, self.begin, self.size = self.layout(metadata)

    def layout(self, metadata):
        """Header, where each tensor begins in the file, and the file's size."""
        entries, begin, at = {"__metadata__": metadata}, {}, 0
        name, number = FORMATS[self.dtype]
        size = int(number[-1])
        # Eight bytes come first, so that each tensor is aligned.
        shapes = [(tensor, "I64", [len(values)], 8) for tensor, values in self.labels.items()]
        shapes += [(tensor, name, [rows, self.width], size) for tensor, rows in self.rows.items()]
        for tensor, dtype, shape, bytes_each in shapes:
            begin[tensor] = at
            at += math.prod(shape) * bytes_each
            entries[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [begin[tensor], at]}
        header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)
        header = len(header).to_bytes(8, "little") + header
        return header, {t: len(header) + b for t, b in begin.items()}, len(header) + at

    def state(self):
        """What says from where to go on, and with which file."""
        made = hashlib.sha256(self.header + dump(self.recipe).encode()).hexdigest()
        return {"made": made, "position": self.position, "done": self.done}

    def go_on(self):
        """Opens what an interrupted process has left, if it was to be the same file."""
        try:
            found = json.loads(self.progress.read_text(encoding="utf-8"))
            if self.recipe is None or found["made"] != self.state()["made"]:
                return False
            self.file = open(self.temporary, "r+b")
        except (OSError, ValueError):
            return False
        self.position, self.done = found["position"], found["done"]
        return True

    def reached(self, position):
        """All up to there is written; once in a while it is made to last."""
        self.position = position
        if self.recipe is not None and time.monotonic() - self.saved >= SAVE_SECONDS:
            self.save()

    def save(self):
        os.fsync(self.file.fileno())
        write_json(self.progress, self.state())
        self.saved = time.monotonic()

    def __enter__(self):
        import numpy

        if self.go_on():
            return self
        self.progress.unlink(missing_ok=True)
        self.file = open(self.temporary, "wb")
        try:
            self.reserve()
            self.write(0, self.header)
            for tensor, values in self.labels.items():
                self.write(self.begin[tensor], numpy.asarray(values, dtype="<i8"))
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def reserve(self):
        try:
            os.posix_fallocate(self.file.fileno(), 0, self.size)
        except OSError as error:
            raise HarvestError(f"{self.path}: needs {self.size / 1e9:.1f} GB: {error.strerror}") from None

    def write(self, at, data):
        view = memoryview(data).cast("B")
        while view:
            written = os.pwrite(self.file.fileno(), view, at)
            view, at = view[written:], at + written

    def append(self, tensor, rows):
        """The next rows [n, D] of a tensor, as as_array and StoreReader.rows return them."""
        self.put(tensor, self.done[tensor], rows)

    def put(self, tensor, at, rows):
        """Rows [n, D] from row `at` on; each row is written once, in any order."""
        import numpy

        rows = numpy.ascontiguousarray(rows, dtype=FORMATS[self.dtype][1])
        if rows.shape[1] != self.width or at + len(rows) > self.rows[tensor]:
            raise ValueError(f"{tensor}: {rows.shape} at {at} does not fit")
        good = is_finite(rows, self.dtype)
        if not good.all():
            row = at + int(good.argmin())
            raise HarvestError(f"{tensor}: row {row} is not finite in {self.dtype}; try --dtype bf16")
        self.write(self.begin[tensor] + at * rows.itemsize * self.width, rows)
        self.done[tensor] += len(rows)

    def __exit__(self, kind, error, trace):
        if self.file.closed:
            return
        try:
            if kind is None and self.done != self.rows:
                raise ValueError(f"rows are missing: {self.done} of {self.rows}")
            if kind is None:
                put_in_place(self.temporary, self.path)
            elif self.is_kept(kind):
                self.save()
        finally:
            if not self.is_kept(kind):
                self.temporary.unlink(missing_ok=True)
                self.progress.unlink(missing_ok=True)
            self.file.close()

    def is_kept(self, kind):
        """Of a file that was cut off, unless it was for what is in it."""
        cut_off = kind is not None and not issubclass(kind, (HarvestError, ValueError))
        return cut_off and self.recipe is not None and self.position > 0


def write_tensors(path, tensors, metadata):
    """A file of arrays, {name: ("F16", array)}, with the same bytes each time, which those of safetensors' own writer
    are not: the order of its metadata changes."""
    entries, at = {"__metadata__": metadata}, 0
    for name, (dtype, array) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    temporary = path.with_name(path.name + ".partial")
    try:
        with open(temporary, "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for _, array in tensors.values():
                file.write(array.tobytes())
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def expect_source(path, source):
    """Refuses a file that was made in another way than `source` says."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    found = json.loads(header.get("__metadata__", {}).get("source", "{}"))
    for name, value in json.loads(dump(source)).items():
        if found.get(name) != value:
            raise HarvestError(
                f"{path}: was made with another {name.replace('_', '-')}; "
                "remove it or choose another --out"
            )


def dump(value):
    return json.dumps(value, ensure_ascii=False)


def labels(splits):
    """Name and values of the tensors that are not activations."""
    for name, split in splits.items():
        yield f"{name}_y", split.y
    for name, split in splits.items():
        if split.lengths is not None:
            offsets = [0]
            for length in split.lengths:
                offsets.append(offsets[-1] + length)
            yield f"{name}_offsets", offsets


def check(path, classes, train, test):
    if len(classes) < 2:
        raise HarvestError(f"{path}: got {len(classes)} classes, expected at least 2")
    for name, split in (("train", train), ("test", test)):
        missing = sorted(set(range(len(classes))) - set(split.y))
        if missing:
            raise HarvestError(
                f'{path}: no {name} sample of class "{classes[missing[0]]}"; '
                "give it more data or leave the class out"
            )
