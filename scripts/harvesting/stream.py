"""Activations passed on to a run that is trained on them meanwhile (include/sae/data/stream.h)."""

import os
import time
from pathlib import Path

from harvesting import HarvestError
from harvesting.model import DTYPES

SHARD_TOKENS = 8192
POLL = 0.01  # seconds


class StreamWriter:
    """Shards in the folder that the reader has named, from the token on that it wants first."""

    def __init__(self, dtype, shard_tokens, environment=os.environ):
        try:
            self.folder = Path(environment["SAE_STREAM_FOLDER"])
            self.start, self.ahead, self.reader = (
                int(environment[f"SAE_STREAM_{name}"]) for name in ("START", "AHEAD", "READER")
            )
        except (KeyError, ValueError) as error:
            raise HarvestError(
                f"--stream: {error} in the environment; it is for the command of a configuration's "
                '{"data": {"kind": "stream", "command": ...}}, which sae train starts'
            ) from None
        self.dtype, self.shard_tokens = dtype, shard_tokens
        self.seen = self.shards = self.pending_rows = 0
        self.pending = []

    def skip(self, rows):
        """How many of the next `rows` come before what is wanted."""
        before = min(rows, max(0, self.start - self.seen))
        self.seen += rows
        return before

    def append(self, activations):
        import torch

        rows = activations.to("cpu", getattr(torch, DTYPES[self.dtype]))
        if not torch.isfinite(rows.float()).all():
            raise HarvestError(f"an activation is not finite in {self.dtype}; try --dtype bf16")
        self.pending.append(rows)
        self.pending_rows += len(rows)
        while self.pending_rows >= self.shard_tokens:
            self.write(self.shard_tokens)

    def write(self, count):
        import torch
        from safetensors.torch import save_file

        rows = torch.cat(self.pending)
        self.pending, self.pending_rows = [rows[count:].clone()], len(rows) - count
        self.wait_for_room()
        path = self.folder / f"shard-{self.shards:05d}.safetensors"
        temporary = path.with_name(path.name + ".tmp")
        save_file({"activations": rows[:count].contiguous()}, temporary)
        os.replace(temporary, path)
        self.shards += 1

    def wait_for_room(self):
        while sum(path.suffix == ".safetensors" for path in self.folder.iterdir()) >= self.ahead:
            self.require_reader()
            time.sleep(POLL)
        self.require_reader()

    def require_reader(self):
        try:
            os.kill(self.reader, 0)
        except PermissionError:  # it is there
            pass
        except ProcessLookupError:
            raise HarvestError(f"--stream: the run that reads it, process {self.reader}, is gone") from None

    def finish(self):
        if self.pending_rows:
            self.write(self.pending_rows)
        (self.folder / "end").touch()
