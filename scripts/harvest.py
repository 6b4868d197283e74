#!/usr/bin/env python3
"""Activations of a Hugging Face model on text, as a store that `sae train` reads.

The text is tokenised, cut into windows of --context tokens (special tokens included, the way the
model's tokenizer adds them), and run through the model up to the wanted layer. The rows of special
and unknown tokens are dropped unless --keep-special says otherwise.

Layers count from 0: "--layer 1 --site resid_post" is the residual stream after block 1, which
transformers calls hidden_states[2] (hidden_states[0] is the embedding). The last layer is taken
before the model's final norm.

Its few packages are pinned. They live in a virtual environment of their own:

    python3 -m venv ~/.cache/sae.cpp/harvest
    ~/.cache/sae.cpp/harvest/bin/pip install -r scripts/requirements-harvest.txt
    ~/.cache/sae.cpp/harvest/bin/python scripts/harvest.py \\
        --model google/gemma-2-2b --layer 12 --text wiki.train.raw --text-form wikitext \\
        --tokens 5000000 --dtype bf16 --device cuda --out acts/gemma-2-2b-12

HF_HUB_OFFLINE=1 keeps the hub out of it when --model is a folder.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from pathlib import Path

FORMAT, VERSION = "sae-activations", 1
DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


class HarvestError(Exception):
    """What the user can put right; printed as one line."""


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="harvest.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, help="folder or hub name, for AutoModel")
    add("--model-name", help="name to record (default: the hub name, or the folder's)")
    add("--layer", type=int, required=True, help="block whose output is taken, from 0")
    add("--site", choices=sorted(SITES), default="resid_post", help="default: %(default)s")
    add("--text", nargs="+", type=Path, required=True, help="UTF-8 files, each one document")
    add(
        "--text-form",
        choices=sorted(TEXT_FORMS),
        default="plain",
        help="wikitext: <unk> becomes the tokenizer's unknown token, ' @-@ ' becomes ' - '",
    )
    add("--out", type=Path, required=True, help="folder to create")
    add("--context", type=int, default=128, help="tokens a window, specials included (%(default)s)")
    add("--tokens", type=int, help="stop when this many are stored (default: all of the text)")
    add("--keep-special", action="store_true", help="store special and unknown tokens' rows too")
    add("--dtype", choices=sorted(DTYPES), default="bf16", help="as stored (%(default)s)")
    add("--model-dtype", choices=sorted(DTYPES), default="f32", help="as computed (%(default)s)")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ... (%(default)s)")
    add("--batch", type=int, default=32, help="windows a forward pass (%(default)s)")
    add("--shard-tokens", type=int, default=65536, help="rows a shard (%(default)s)")
    add("--seed", type=int, help="take the windows in an order shuffled by it (default: text order)")
    arguments = parser.parse_args(argv)
    for name in ("context", "tokens", "batch", "shard_tokens"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if arguments.layer < 0:
        parser.error(f"--layer counts from 0, got {arguments.layer}")
    return arguments


# --- text to windows ---------------------------------------------------------------------------


def wikitext(text, unknown):
    return re.sub(r" @([-,.])@ ", r" \1 ", text.replace("<unk>", unknown or "<unk>"))


TEXT_FORMS = {"plain": lambda text, unknown: text, "wikitext": wikitext}


def read_text(path):
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise HarvestError(f"{path}: cannot read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise HarvestError(f"{path}: not UTF-8 at byte {error.start}") from None


def special_frame(tokenizer):
    """The special tokens that the tokenizer puts before and after a text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed = tokenizer("a")["input_ids"]
    for start in range(len(framed) - len(bare) + 1):
        if framed[start : start + len(bare)] == bare:
            return framed[:start], framed[start + len(bare) :]
    raise HarvestError("the tokenizer changes a text when it adds special tokens to it")


def make_windows(tokenizer, arguments):
    """Windows of exactly --context ids; what is left at a document's end is dropped."""
    before, after = special_frame(tokenizer)
    inner = arguments.context - len(before) - len(after)
    if inner < 1:
        raise HarvestError(f"--context {arguments.context} leaves no room beside special tokens")
    windows = []
    for path in arguments.text:
        text = TEXT_FORMS[arguments.text_form](read_text(path), tokenizer.unk_token)
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        for start in range(0, len(ids) - inner + 1, inner):
            windows.append(before + ids[start : start + inner] + after)
    if not windows:
        raise HarvestError(f"the text is shorter than one window of {arguments.context} tokens")
    if arguments.seed is not None:
        random.Random(arguments.seed).shuffle(windows)
    return windows


# --- model to activations ----------------------------------------------------------------------


def find_blocks(model):
    """The model's list of transformer blocks, whatever the architecture calls it."""
    import torch

    count = getattr(model.config, "num_hidden_layers", None)
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == count
    ]
    if len(lists) != 1:
        raise HarvestError(
            f"{type(model).__name__}: found {len(lists)} lists of {count} blocks, expected one"
        )
    return lists[0]


def first(output):
    return output[0] if isinstance(output, tuple) else output


def resid_post(blocks, layer):
    """Module to watch, what to take of its output, and the index in hidden_states that equals it
    (None at the last block, which transformers shows after the final norm)."""
    return blocks[layer], first, layer + 1 if layer + 1 < len(blocks) else None


SITES = {"resid_post": resid_post}


class Reached(Exception):
    """Leaves the forward pass once the wanted activation is there."""


class Harvester:
    def __init__(self, model, arguments):
        self.model = model
        self.device = arguments.device
        name, blocks = find_blocks(model)
        if arguments.layer >= len(blocks):
            raise HarvestError(
                f"--layer {arguments.layer}: the model has blocks 0 to {len(blocks) - 1}"
            )
        self.module, self.take, self.index = SITES[arguments.site](blocks, arguments.layer)
        index = "no entry of hidden_states" if self.index is None else f"hidden_states[{self.index}]"
        self.place = f"{arguments.site} of {name}.{arguments.layer} (of {len(blocks)}) = {index}"

    def __call__(self, ids):
        """ids [n, context] -> activations [n, context, D] in the model's type."""
        import torch

        caught = []

        def hook(module, inputs, output):
            caught.append(self.take(output))
            raise Reached

        handle = self.module.register_forward_hook(hook)
        try:
            with torch.no_grad():
                self.model(input_ids=ids.to(self.device))
        except Reached:
            pass
        finally:
            handle.remove()
        if not caught:
            raise HarvestError("the model's forward pass never reached the wanted layer")
        return caught[0]

    def check(self, ids):
        """Compares one batch with what transformers itself returns."""
        import torch

        if self.index is None:
            return
        with torch.no_grad():
            output = self.model(input_ids=ids.to(self.device), output_hidden_states=True)
        theirs, ours = output.hidden_states[self.index], self(ids)
        if theirs.shape != ours.shape or not torch.equal(theirs, ours):
            raise HarvestError(f"{self.place} differs from what transformers returns")


def load_model(arguments):
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        raise HarvestError(f"--device {arguments.device}: this PyTorch sees no CUDA device")
    try:
        tokenizer = AutoTokenizer.from_pretrained(arguments.model)
        # Eager attention: the fused kernels leave out soft-capping and differ in the last digits.
        model = AutoModel.from_pretrained(
            arguments.model,
            dtype=getattr(torch, DTYPES[arguments.model_dtype]),
            attn_implementation="eager",
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise HarvestError(f"--model {arguments.model}: cannot load: {reason}") from None
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest and arguments.context > longest:
        raise HarvestError(f"--context {arguments.context}: the model takes at most {longest}")
    return tokenizer, model.to(arguments.device).eval()


# --- activations to a store --------------------------------------------------------------------


def sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class StoreWriter:
    """Writes beside the target and renames at the end: the folder is complete or absent."""

    def __init__(self, target, dtype, shard_tokens):
        self.target, self.dtype, self.shard_tokens = target, dtype, shard_tokens
        if target.exists():
            raise HarvestError(f"{target}: exists already; choose another --out or remove it")
        self.staging = target.parent / f".tmp-{target.name}-{os.getpid()}"
        self.staging.mkdir(parents=True)
        self.pending, self.pending_rows = [], 0
        self.shards, self.tokens, self.norms, self.width = [], 0, 0.0, None

    def append(self, activations, tokens, context):
        import torch

        stored = activations.to("cpu", getattr(torch, DTYPES[self.dtype]))
        bad = ~torch.isfinite(stored.float()).all(dim=1)
        if bad.any():
            row = self.tokens + int(bad.nonzero()[0, 0])
            raise HarvestError(f"activation {row} is not finite in {self.dtype}; try --dtype bf16")
        self.width = stored.shape[1]
        self.norms += stored.double().norm(dim=1).sum().item()
        self.tokens += len(stored)
        self.pending.append((stored, tokens.int(), context.int()))
        self.pending_rows += len(stored)
        while self.pending_rows >= self.shard_tokens:
            self.write_shard(self.shard_tokens)

    def write_shard(self, rows):
        import torch
        from safetensors.torch import save_file

        columns = [torch.cat(column) for column in zip(*self.pending)]
        names = ("activations", "tokens", "context")
        shard = {name: column[:rows].contiguous() for name, column in zip(names, columns)}
        self.pending = [tuple(column[rows:].clone() for column in columns)]
        self.pending_rows -= rows
        path = self.staging / f"shard-{len(self.shards):05d}.safetensors"
        save_file(shard, path)
        path.chmod(0o644)
        sync(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.shards.append({"file": path.name, "tokens": rows, "sha256": digest})

    def finish(self, source):
        if self.pending_rows:
            self.write_shard(self.pending_rows)
        if not self.tokens:
            raise HarvestError("no token was left to store")
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "d_in": self.width,
            "dtype": self.dtype,
            "tokens": self.tokens,
            "source": source,
            "mean_norm": self.norms / self.tokens,
            "shards": self.shards,
        }
        path = self.staging / "manifest.json"
        path.write_text(json.dumps(manifest, indent=2) + "\n")
        sync(path)
        sync(self.staging)
        self.staging.rename(self.target)
        sync(self.target.parent)

    def discard(self):
        shutil.rmtree(self.staging, ignore_errors=True)


def describe_source(arguments, tokenizer, harvester, dropped):
    import torch
    import transformers

    # A folder's name says which model it is; where it lies on this machine is nobody's business.
    name = Path(arguments.model).name if Path(arguments.model).is_dir() else arguments.model
    texts = [
        {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in arguments.text
    ]
    return {
        "model": arguments.model_name or name,
        "architecture": type(harvester.model).__name__,
        "layer": arguments.layer,
        "site": arguments.site,
        "hook_name": f"blocks.{arguments.layer}.hook_{arguments.site}",
        "hidden_states": harvester.index,
        "dataset": texts,
        "text_form": arguments.text_form,
        "context": arguments.context,
        "special_tokens": [tokenizer.convert_ids_to_tokens(ids) for ids in special_frame(tokenizer)],
        "dropped": dropped,
        "seed": arguments.seed,
        "model_dtype": arguments.model_dtype,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


class Progress:
    """One line, rewritten on a terminal and otherwise printed once in a while."""

    def __init__(self, total):
        self.total, self.start, self.shown = total, time.monotonic(), 0.0

    def show(self, windows, tokens, last=False):
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if not last and now - self.shown < (0.5 if terminal else 30):
            return
        self.shown = now
        seconds = now - self.start
        left = seconds / windows * (self.total - windows) if windows else 0
        line = f"{windows}/{self.total} windows, {tokens} tokens, {tokens / seconds:.0f} tokens/s"
        line += f", {seconds:.0f} s" if last else f", {left:.0f} s left"
        end = "\n" if last or not terminal else "\r"
        print(line.ljust(78) if terminal else line, end=end, file=sys.stderr, flush=True)


def run(arguments):
    import torch

    writer = StoreWriter(arguments.out, arguments.dtype, arguments.shard_tokens)
    try:
        tokenizer, model = load_model(arguments)
        harvester = Harvester(model, arguments)
        print(harvester.place, file=sys.stderr)
        windows = make_windows(tokenizer, arguments)
        drop = [] if arguments.keep_special else sorted(set(tokenizer.all_special_ids))
        dropped = torch.tensor(drop, dtype=torch.long)
        progress = Progress(len(windows))
        for start in range(0, len(windows), arguments.batch):
            ids = torch.tensor(windows[start : start + arguments.batch])
            if start == 0:
                harvester.check(ids)
            activations = harvester(ids).flatten(0, 1).cpu()
            tokens = ids.flatten()
            context = (torch.arange(len(ids)) + start).repeat_interleave(ids.shape[1])
            keep = (~torch.isin(tokens, dropped)).nonzero()[:, 0]
            if arguments.tokens is not None:
                keep = keep[: arguments.tokens - writer.tokens]
            writer.append(activations[keep], tokens[keep], context[keep])
            progress.show(start + len(ids), writer.tokens)
            if writer.tokens == arguments.tokens:
                break
        else:
            if arguments.tokens is not None:
                raise HarvestError(
                    f"--tokens {arguments.tokens}: the text holds only {writer.tokens}"
                )
        progress.show(start + len(ids), writer.tokens, last=True)
        names = tokenizer.convert_ids_to_tokens(drop)
        writer.finish(describe_source(arguments, tokenizer, harvester, names))
    finally:
        writer.discard()
    print(f"{arguments.out}: {writer.tokens} tokens of {writer.width}", file=sys.stderr)


def main(argv=None):
    arguments = parse_arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(arguments)
    except HarvestError as error:
        print(f"harvest.py: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"harvest.py: {error}", file=sys.stderr)
        return 1
    except ImportError as error:
        print(f"harvest.py: {error}; --help says how to install what it needs", file=sys.stderr)
        return 1
    except RuntimeError as error:  # PyTorch's: no such device, out of memory, ...
        print(f"harvest.py: {' '.join(str(error).split())[:300]}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("harvest.py: interrupted; nothing was kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
