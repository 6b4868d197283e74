#!/usr/bin/env python3
"""Activations of a Hugging Face model on text, as a store that `sae train` reads.

The text is tokenised, cut into windows of --context tokens (special tokens included, the way the
model's tokenizer adds them), and run through the model up to the wanted layer. The rows of special
and unknown tokens are dropped unless --keep-special says otherwise.

Layers count from 0: "--layer 12 --site resid_post" is the residual stream after block 12, which
transformers calls hidden_states[13] (hidden_states[0] is the embedding). The last layer is taken
before the model's final norm. attn_out and mlp_out are what a block adds to the stream.

What is left out of the text is said: documents shorter than a window, ends that fill none, unknown
tokens, whatever --tokens does not reach. --pack uses short documents too.

Interrupted or killed, the same command goes on where it was, with the same bytes as a result. While it
runs, a second one of the same --out is refused and names the first: on the same machine, and between
machines as far as their shared file system has locks (NFS has, unless it is mounted with nolock).

Its few packages are pinned. They live in a virtual environment of their own:

    python3 -m venv ~/.cache/sae.cpp/harvest
    ~/.cache/sae.cpp/harvest/bin/pip install -r scripts/requirements-harvest.txt
    ~/.cache/sae.cpp/harvest/bin/python scripts/harvest.py \\
        --model google/gemma-2-2b --layer 12 --text wiki.train.raw --text-form wikitext \\
        --tokens 5000000 --dtype bf16 --device cuda --out activations/gemma-2-2b-layer12

A data set of the hub in place of files (needs the package datasets too):

        --dataset Salesforce/wikitext --dataset-config wikitext-103-raw-v1 --text-form wikitext

HF_HUB_OFFLINE=1 keeps the hub out of it when --model is a folder.
"""

import argparse
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from harvesting import HarvestError
from harvesting import arguments as shared
from harvesting import model as models
from harvesting import store as stores
from harvesting import text as texts
from harvesting.program import Progress, run_program, say
from harvesting.vocabulary import vocabulary_of
from harvesting.windows import Windows, sample_of


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="harvest.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_argument_group("what is harvested").add_argument
    models.add_options(what)
    what("--tokens", type=int, help="stop when this many are stored (default: all of the text)")
    what("--keep-special", action="store_true", help="store special and unknown tokens' rows too")
    what("--out", type=Path, required=True, help="folder to create")

    shared.add_text(parser)
    window = shared.add_windows(parser)
    window(
        "--stride",
        type=int,
        help="tokens from one window's start to the next's (default: no overlap); a token in two "
        "windows is stored once, from the first, so that it has context before it",
    )
    window("--seed", type=int, help="take the windows in an order shuffled by it (default: text order)")

    how = parser.add_argument_group("how").add_argument
    models.add_how_options(how, "windows", dtype="bf16")
    how("--shard-tokens", type=int, default=65536, help="rows a shard (%(default)s)")

    arguments = parser.parse_args(argv)
    shared.check(parser, arguments, ("context", "stride", "tokens", "batch", "shard_tokens"))
    return arguments


def describe_source(arguments, windows, harvester, dropped):
    import torch
    import transformers

    names = windows.tokenizer.convert_ids_to_tokens
    return models.describe(arguments, harvester) | {
        "dataset": windows.texts.source,
        "text_form": arguments.text_form,
        "document": arguments.document,
        "pack": arguments.pack,
        "context": arguments.context,
        "stride": windows.stride,
        "special_tokens": [names(windows.before), names(windows.after)],
        "dropped": names(dropped),
        "seed": arguments.seed,
        "model_dtype": arguments.model_dtype,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def check_room(arguments, width):
    if arguments.tokens is None:
        return
    size = {"f32": 4, "f16": 2, "bf16": 2}[arguments.dtype]
    needed = arguments.tokens * (width * size + 8)
    folder = next(p for p in arguments.out.absolute().parents if p.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise HarvestError(f"{arguments.out}: needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free")


def recipe_of(arguments, source):
    """All that decides the bytes of a full shard."""
    how = ("dtype", "device", "batch", "shard_tokens", "keep_special")
    return source | {name: getattr(arguments, name) for name in how}


class Done(NamedTuple):
    windows: int
    tokens: int  # of the text, in these windows
    dropped: Counter  # of those, by id


def fresh_tokens(windows, window):
    """The text's tokens in a window, without those that an earlier one has had."""
    begin = max(len(windows.before), window.seen.stop)
    return window.ids[begin : len(windows.before) + windows.inner]


def harvest(arguments, harvester, windows, dropped, writer):
    """Runs the windows that `writer` has not yet stored; what it returns is of all of them."""
    import numpy

    start, skip = writer.start
    progress, done, tokens, gone = Progress(writer.tokens), 0, 0, Counter()
    for number, batch in windows.batches(arguments.batch):
        done = number + len(batch)
        if number >= start:
            if number == start:
                harvester.check(ids_of(batch))
            done = number + store(arguments, harvester, writer, dropped, batch, number, skip)
            skip = 0
        for fresh in (fresh_tokens(windows, window) for window in batch[: done - number]):
            tokens += len(fresh)
            gone.update(fresh[numpy.isin(fresh, dropped)].tolist())
        if number < start:
            continue
        if writer.tokens == arguments.tokens:
            break
        share = done / windows.count if windows.count else None
        if arguments.tokens is not None:
            share = max(share or 0, writer.tokens / arguments.tokens)
        progress.show(writer.tokens, share)
    if arguments.tokens is not None and writer.tokens < arguments.tokens:
        raise HarvestError(f"--tokens {arguments.tokens}: the text holds only {writer.tokens}")
    progress.show(writer.tokens, 1, last=True)
    return Done(done, tokens, gone)


def ids_of(batch):
    import torch

    return torch.stack([torch.from_numpy(window.ids) for window in batch]).long()


def store(arguments, harvester, writer, dropped, batch, number, skip):
    """Runs a batch and stores its rows from `skip` on, as many as are wanted. Returns how many of its
    windows that takes."""
    import torch

    ids = ids_of(batch)
    kept = ~torch.isin(ids, torch.tensor(dropped, dtype=torch.long))
    for row, window in enumerate(batch):
        kept[row, window.seen] = False
    rows = kept.flatten().nonzero()[:, 0]
    if arguments.tokens is not None:
        rows = rows[: skip + arguments.tokens - writer.tokens]
    used = rows[skip:]
    context = (torch.arange(len(ids)) + number).repeat_interleave(ids.shape[1])
    activations = harvester(ids).flatten(0, 1).cpu()
    writer.append(activations[used], ids.flatten()[used], context[used], number, skip)
    if writer.tokens == arguments.tokens and len(rows):
        return int(rows[-1]) // ids.shape[1] + 1
    return len(batch)


def say_what_is_left_out(arguments, windows, done):
    """Of the text, once the last window has been run."""
    dropped = done.dropped.total()
    if dropped:
        names = windows.tokenizer.convert_ids_to_tokens
        most = ", ".join(f"{names(token)} {count:,}" for token, count in done.dropped.most_common(5))
        say(
            f"left out: {dropped:,} of {done.tokens:,} tokens in windows, which are special or unknown "
            f"({100 * dropped / done.tokens:.2g} %): {most}"
        )
    limit = f"for --tokens {arguments.tokens}"
    if windows.count is None:
        say(windows.tally.describe(windows.pack))
        if not windows.tally.whole:
            say(f"left out: what follows the first {done.windows:,} windows, {limit}")
    elif done.windows < windows.count:
        say(f"left out: {windows.count - done.windows:,} of {windows.count:,} windows, {limit}")


def run(arguments):
    writer = stores.StoreWriter(arguments.out)
    try:
        run_with(arguments, writer)
    finally:
        if writer.close():
            say(
                f"harvest.py: {writer.stored} tokens are kept in {writer.partial}; "
                "the same command goes on from there"
            )
    say(f"{arguments.out}: {writer.tokens} tokens of {writer.width}")


def run_with(arguments, writer):
    sources = texts.Texts(arguments)
    tokenizer, model = models.load_model(arguments)
    harvester = models.Harvester(model, arguments.layer, arguments.site, arguments.device)
    windows = Windows(sources, tokenizer, arguments)
    drop = [] if arguments.keep_special else sorted(set(tokenizer.all_special_ids))
    names = ", ".join(tokenizer.convert_ids_to_tokens(drop)) or "none"
    say(harvester.place, f"{windows.describe()}; dropped: {names}")
    for group in sources.repeated():
        say(f"used more than once: {', '.join(group)} hold the same text")
    if windows.count is not None:
        say(windows.tally.describe(windows.pack))
    check_room(arguments, models.text_config(model.config).hidden_size)
    source = describe_source(arguments, windows, harvester, drop)
    writer.begin(arguments.dtype, arguments.shard_tokens, recipe_of(arguments, source))
    if writer.tokens:
        say(f"going on after {writer.tokens} tokens")
    if arguments.tokens is not None and writer.tokens > arguments.tokens:
        raise HarvestError(f"--tokens {arguments.tokens}: {writer.partial} holds {writer.tokens} already")
    done = harvest(arguments, harvester, windows, drop, writer)
    say_what_is_left_out(arguments, windows, done)
    text = windows.tally.record() | {"windows": done.windows, "dropped_tokens": done.dropped.total()}
    vocabulary = vocabulary_of(tokenizer, sample_of(tokenizer)[1], models.vocabulary_size(model))
    writer.finish(source | {"text": text}, vocabulary)


def main(argv=None):
    return run_program("harvest.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
