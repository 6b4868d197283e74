"""Activations to a store, written so that a killed harvest goes on where it was."""

import hashlib
import json
import os
import re
import shutil

from harvesting import HarvestError, lock
from harvesting.model import DTYPES
from harvesting.vocabulary import Vocabulary

FORMAT, VERSION = "sae-activations", 1
LARGE = 10  # times the median norm: what `sae inspect` calls large too
OURS = re.compile(r"(shard-\d+\.safetensors|(progress|manifest|vocabulary)\.json)(\.tmp)?|\.lock")


def sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_in_place(temporary, path):
    """Renames a file whose bytes are complete, after they have reached the disk."""
    temporary.chmod(0o644)
    sync(temporary)
    os.replace(temporary, path)
    sync(path.parent)


def write_json(path, value, **options):
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, **options) + "\n", encoding="utf-8")
    put_in_place(temporary, path)


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_existing(target):
    if target.exists():
        raise HarvestError(f"{target}: exists already; choose another --out or remove it")


class StoreWriter:
    """Writes to TARGET.partial, which becomes TARGET at the end. After each shard progress.json
    there says from which row of which batch to go on; `recipe` is all that decides the bytes, and
    only a harvest of the same recipe goes on with what is there.

    Rows are large against `median`, the median norm of the first batch's: it is the only one that is
    known while rows are written, and of a few thousand rows it moves by a few per cent.

    From construction to close() nobody else writes the target.
    """

    def __init__(self, target):
        self.target, self.begun = target, False
        self.partial = target.with_name(target.name + ".partial")
        refuse_existing(target)
        self.lock = lock.WriteLock(self.partial / lock.NAME, self.partial)
        try:
            refuse_existing(target)  # once more: another process may just have finished it
        except HarvestError:
            self.close()
            raise

    def begin(self, dtype, shard_tokens, recipe, tokens=None, max_norm_ratio=None):
        """Takes over what an interrupted harvest of the same recipe has left. At most `tokens` rows are
        stored, none with a norm above `max_norm_ratio` times the median."""
        self.dtype, self.shard_tokens = dtype, shard_tokens
        self.limit, self.max_norm_ratio = tokens, max_norm_ratio
        self.pending, self.pending_rows = [], 0
        self.state = {"recipe": recipe, "width": None, "window": 0, "skip": 0, "shards": [], "norms": [],
                      "median": None, "large": 0, "largest": 0.0, "dropped": 0}  # fmt: skip
        self.go_on()
        self.begun = True
        self.tokens = self.stored = sum(shard["tokens"] for shard in self.state["shards"])
        self.dropped = self.state["dropped"]

    def go_on(self):
        """Takes over what an interrupted harvest has left, if it is one of this recipe."""
        strange = [path.name for path in self.partial.iterdir() if not OURS.fullmatch(path.name)]
        if strange:
            raise HarvestError(f"{self.partial}: holds {strange[0]}, which no harvest writes; remove it")
        path = self.partial / "progress.json"
        if not path.exists():
            return
        found = json.loads(path.read_text(encoding="utf-8"))
        for name, value in self.state["recipe"].items():
            if found["recipe"].get(name) != json.loads(json.dumps(value)):
                raise HarvestError(
                    f"{self.partial}: was begun with another {name.replace('_', '-')}; "
                    "remove it or choose another --out"
                )
        for shard in found["shards"]:
            file = self.partial / shard["file"]
            if not file.exists() or sha256(file) != shard["sha256"]:
                raise HarvestError(f"{file}: missing or damaged; remove {self.partial}")
        self.state |= found

    @property
    def start(self):
        """Number of the window to begin with, and how many rows of its batch have been taken already."""
        return self.state["window"], self.state["skip"]

    @property
    def width(self):
        return self.state["width"]

    @property
    def full(self):
        return self.tokens == self.limit

    @property
    def median(self):
        return self.state["median"]

    def norms_of(self, stored):
        """In f64; the first ones decide the median."""
        norms = stored.double().norm(dim=1)
        if self.median is None and len(norms):
            self.state["median"] = norms.median().item()
        return norms

    def append(self, activations, tokens, context, window, before):
        """Takes rows of the batch that starts with `window`, of which `before` rows were taken earlier,
        up to the one with which the store is full. Returns how many."""
        import torch

        if self.full:
            return 0
        stored = activations.to("cpu", getattr(torch, DTYPES[self.dtype]))
        bad = ~torch.isfinite(stored.float()).all(dim=1)
        if bad.any():
            row = self.tokens + int(bad.nonzero()[0, 0])
            raise HarvestError(f"activation {row} is not finite in {self.dtype}; try --dtype bf16")
        self.state["width"] = stored.shape[1]
        norms = self.norms_of(stored)
        kept = torch.ones(len(stored), dtype=torch.bool)
        if self.max_norm_ratio is not None and self.median is not None:
            kept = norms <= self.max_norm_ratio * self.median
        rows = kept.nonzero()[:, 0]
        taken = len(stored)
        if self.limit is not None and len(rows) >= self.limit - self.tokens:
            rows = rows[: self.limit - self.tokens]
            taken = int(rows[-1]) + 1
        self.tokens += len(rows)
        self.pending.append((stored[rows], tokens[rows].int(), context[rows].int()))
        self.pending_rows += len(rows)
        while self.pending_rows >= self.shard_tokens:
            # What is left after a shard is the end of this batch.
            own = len(rows) - (self.pending_rows - self.shard_tokens)
            end = int(rows[own - 1]) + 1
            self.write_shard(self.shard_tokens)
            self.state |= {"window": window, "skip": before + end, "dropped": self.dropped + end - own}
            write_json(self.partial / "progress.json", self.state)
        self.dropped += taken - len(rows)
        return taken

    def write_shard(self, rows):
        import torch
        from safetensors.torch import save_file

        columns = [torch.cat(column) for column in zip(*self.pending)]
        names = ("activations", "tokens", "context")
        shard = {name: column[:rows].contiguous() for name, column in zip(names, columns)}
        self.pending = [tuple(column[rows:].clone() for column in columns)]
        self.pending_rows -= rows
        path = self.partial / f"shard-{len(self.state['shards']):05d}.safetensors"
        temporary = path.with_name(path.name + ".tmp")
        save_file(shard, temporary)
        digest = sha256(temporary)
        put_in_place(temporary, path)
        self.state["shards"].append({"file": path.name, "tokens": rows, "sha256": digest})
        norms = shard["activations"].double().norm(dim=1)
        self.state["norms"].append(norms.sum().item())
        self.state["large"] += int((norms > LARGE * self.median).sum())
        self.state["largest"] = max(self.state["largest"], norms.max().item())
        self.stored += rows

    def finish(self, source, vocabulary):
        """Completes the store; `large` and `largest` are then of all of its rows."""
        if self.pending_rows:
            self.write_shard(self.pending_rows)
        if not self.tokens:
            raise HarvestError("no token was left to store")
        write_json(self.partial / "vocabulary.json", vocabulary.as_json(), ensure_ascii=False)
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "d_in": self.width,
            "dtype": self.dtype,
            "tokens": self.tokens,
            "source": source,
            "mean_norm": sum(self.state["norms"]) / self.tokens,
            "shards": self.state["shards"],
        }
        write_json(self.partial / "manifest.json", manifest, indent=2)
        refuse_existing(self.target)
        self.partial.rename(self.target)
        self.lock.path = self.target / lock.NAME
        (self.target / "progress.json").unlink(missing_ok=True)
        sync(self.target.parent)

    def close(self):
        """Leaves what can be gone on with, and nothing else. True if there is something of ours."""
        worth = False
        if self.partial.exists():
            worth = self.begun and bool(self.state["shards"])
            others = [path for path in self.partial.iterdir() if path.name != lock.NAME]
            if not others or (self.begun and not worth):
                shutil.rmtree(self.partial, ignore_errors=True)
        self.lock.release()
        return worth


# --- reading -----------------------------------------------------------------------------------


def expect_made_so(folder, source, dtype, tokens):
    """Refuses a finished store that was made in another way than `source` says, or not of so many tokens
    unless that is None."""
    manifest = read_json(folder / "manifest.json", "an activation store")
    wanted = {"dtype": dtype} | json.loads(json.dumps(source))
    found = manifest.get("source", {}) | {"dtype": manifest.get("dtype")}
    for name, value in wanted.items():
        if found.get(name) != value:
            raise HarvestError(
                f"{folder}: exists already, made with another {name.replace('_', '-')}; "
                "choose another --out or remove it"
            )
    if tokens not in (None, manifest["tokens"]):
        raise HarvestError(
            f"{folder}: exists already, of {manifest['tokens']} tokens and not {tokens}; "
            "choose another --out or remove it"
        )


def read_json(path, what):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HarvestError(f"{path.parent}: holds no {path.name}; expected {what}") from None
    except ValueError as error:
        raise HarvestError(f"{path}: not JSON: {error}") from None


class Shard:
    """A shard's tensors, mapped; of bfloat16 the bits, as integers."""

    NUMBERS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I32": "<i4", "I64": "<i8"}

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            self.header = json.loads(file.read(length))
        self.begin = 8 + length

    def __getitem__(self, name):
        import numpy

        if name not in self.header:
            raise HarvestError(f"{self.path}: holds no {name}, which a store of harvest.py has")
        entry = self.header[name]
        offset = self.begin + entry["data_offsets"][0]
        kind, shape = self.NUMBERS[entry["dtype"]], tuple(entry["shape"])
        return numpy.memmap(self.path, kind, mode="r", offset=offset, shape=shape)


class StoreReader:
    """A store's tokens, contexts and vocabulary, and its activations as they are stored. `vocabulary`
    has an entry for each token of the store, whatever the file states."""

    def __init__(self, folder):
        import numpy

        self.folder = folder
        self.manifest = read_json(folder / "manifest.json", "an activation store")
        if (self.manifest.get("format"), self.manifest.get("version")) != (FORMAT, VERSION):
            raise HarvestError(f"{folder}: expected a manifest of {FORMAT}, version {VERSION}")
        self.dtype, self.width = self.manifest["dtype"], self.manifest["d_in"]
        for shard in self.manifest["shards"]:
            file = folder / shard["file"]
            if not file.exists() or sha256(file) != shard["sha256"]:
                raise HarvestError(f"{file}: missing or damaged; harvest the store again")
        self.shards = [Shard(folder / shard["file"]) for shard in self.manifest["shards"]]
        self.ends = numpy.cumsum([shard["tokens"] for shard in self.manifest["shards"]])
        self.tokens = numpy.concatenate([shard["tokens"] for shard in self.shards])
        self.context = numpy.concatenate([shard["context"] for shard in self.shards])
        wanted = "the text of its tokens, as harvest.py writes it"
        file = folder / "vocabulary.json"
        self.stated_vocabulary = Vocabulary.of_json(read_json(file, wanted), file)
        if len(self.tokens) and self.tokens.min() < 0:
            raise HarvestError(f"{folder}: token {self.tokens.min()} is no id")
        self.vocabulary = self.stated_vocabulary.at_least(int(self.tokens.max(initial=-1)) + 1)

    def rows(self, which):
        """Activations of the rows `which`, ascending, in parts of one shard each."""
        start = 0
        for shard, end in zip(self.shards, self.ends):
            inside = which[(which >= start) & (which < end)] - start
            if len(inside):
                yield shard["activations"][inside]
            start = end
