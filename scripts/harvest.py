#!/usr/bin/env python3
"""Activations of a Hugging Face model on text, as a store that `sae train` reads.

The text is tokenised, cut into windows of --context tokens (special tokens included, the way the
model's tokenizer adds them), and run through the model up to the wanted layer. The rows of special
and unknown tokens are dropped unless --keep-special says otherwise.

Layers count from 0: "--layer 12 --site resid_post" is the residual stream after block 12, which
transformers calls hidden_states[13] (hidden_states[0] is the embedding). The last layer is taken
before the model's final norm. attn_out and mlp_out are what a block adds to the stream.

Several layers are read in one pass, each into a store of its own, in the bytes of a run of its own:

    --layer 5 8 17 --out activations/smollm2-135m-layer{layer}

What is left out of the text is said: documents shorter than a window, ends that fill none, unknown
tokens, whatever --tokens does not reach. --pack uses short documents too. Many models mark the first
position of a text by an activation hundreds of times as large as the others; such rows are counted
and said. --bos puts a token of its own there, --max-norm-ratio leaves out what is left.

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

With --stream in place of --out nothing is stored: a run that is trained on the activations meanwhile
starts this command and reads what it passes on, in memory ({"data": {"kind": "stream", "command": ...}}).

HF_HUB_OFFLINE=1 keeps the hub out of it when --model is a folder.
"""

import argparse
import copy
import shutil
import sys
from collections import Counter
from pathlib import Path

from harvesting import HarvestError
from harvesting import arguments as shared
from harvesting import model as models
from harvesting import store as stores
from harvesting import stream as streams
from harvesting import text as texts
from harvesting.program import Progress, run_program, say
from harvesting.vocabulary import vocabulary_of
from harvesting.windows import Windows, sample_of, unknown_token


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="harvest.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_argument_group("what is harvested").add_argument
    models.add_options(what, several=True)
    what("--tokens", type=int, help="stop when this many are stored (default: all of the text)")
    what("--keep-special", action="store_true", help="store special and unknown tokens' rows too")
    what(
        "--max-norm-ratio",
        type=float,
        help="leave out rows whose norm is above this many times the median of the first batch's",
    )
    what("--out", type=Path, help="folder to create; {layer} in it is the layer")
    what("--stream", action="store_true", help="pass them on to the run that has started this, instead")

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
    how("--shard-tokens", type=int, help=f"rows a shard (65536; with --stream {streams.SHARD_TOKENS})")

    arguments = parser.parse_args(argv)
    if arguments.stream:
        check_stream(parser, arguments)
    elif arguments.out is None:
        parser.error("one of --out and --stream is needed")
    if arguments.shard_tokens is None:
        arguments.shard_tokens = streams.SHARD_TOKENS if arguments.stream else 65536
    shared.check(parser, arguments, ("context", "stride", "tokens", "batch", "shard_tokens", "threads"))
    shared.check_layers(parser, arguments.layer, arguments.out or Path("{layer}"))
    if arguments.max_norm_ratio is not None and not arguments.max_norm_ratio > 1:
        parser.error(f"--max-norm-ratio must be above 1, got {arguments.max_norm_ratio:g}")
    return arguments


def check_stream(parser, arguments):
    for name in ("out", "tokens", "max_norm_ratio"):
        if getattr(arguments, name) is not None:
            parser.error(f"--{name.replace('_', '-')} means nothing with --stream")
    if len(arguments.layer) != 1:
        parser.error(f"--stream passes on one --layer, got {len(arguments.layer)}")


def describe_source(arguments, windows, harvester, dropped):
    import torch
    import transformers

    names = windows.tokenizer.convert_ids_to_tokens
    ratio = arguments.max_norm_ratio
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
    } | ({} if ratio is None else {"max_norm_ratio": ratio})


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


class Layer:
    """One layer's store while it is made, and what of the text is in it."""

    def __init__(self, harvester, writer):
        self.harvester, self.writer = harvester, writer
        self.start, self.skip = writer.start
        self.windows = self.tokens = 0  # that are done, and the text's tokens in them
        self.special = Counter()  # of those that were dropped, by id
        self.tally = None  # of the text up to the last window
        self.done = False

    def take(self, ids, rows, activations, number):
        """Stores a batch's rows, of which the first ones may be in the store already. Returns how many of
        its windows that takes."""
        skip = self.skip if number == self.start else 0
        used, context = rows[skip:], ids.shape[1]
        values = activations.flatten(0, 1).cpu()[used]
        taken = self.writer.append(values, ids.flatten()[used], number + used // context, number, skip)
        if self.writer.full and len(rows):
            return int(rows[skip + taken - 1]) // context + 1
        return len(ids)

    def count(self, windows, batch, number, dropped):
        """Adds the windows of a batch that are done."""
        import numpy

        self.windows, self.tally = number + len(batch), copy.copy(windows.tally)
        for window in batch:
            begin = max(len(windows.before), window.seen.stop)  # an earlier one has had the rest
            fresh = window.ids[begin : len(windows.before) + windows.inner]
            self.tokens += len(fresh)
            self.special.update(fresh[numpy.isin(fresh, dropped)].tolist())
        self.done = self.writer.full and number >= self.start


def ids_of(batch):
    import torch

    return torch.stack([torch.from_numpy(window.ids) for window in batch]).long()


def rows_of(ids, batch, dropped):
    """Which rows of a batch can be stored."""
    import torch

    kept = ~torch.isin(ids, torch.tensor(dropped, dtype=torch.long))
    for row, window in enumerate(batch):
        kept[row, window.seen] = False
    return kept.flatten().nonzero()[:, 0]


def run_batch(layers, windows, batch, number, dropped):
    """Runs a batch for the layers that do not have it yet. Returns how many of its windows each takes."""
    wanting = [layer for layer in layers if number >= layer.start]
    taken = dict.fromkeys(layers, len(batch))
    if not wanting:
        return taken
    ids = ids_of(batch)
    harvesters = [layer.harvester for layer in wanting]
    models.check_layers(harvesters, ids)
    rows = rows_of(ids, batch, dropped)
    for layer, values in zip(wanting, models.read_layers(harvesters, ids)):
        taken[layer] = layer.take(ids, rows, values, number)
        if number == 0 and not windows.before:
            say(massive_starts(layer, values.flatten(0, 1)[rows[rows % ids.shape[1] == 0]]))
    return taken


def harvest(arguments, layers, windows, dropped):
    """Runs the windows that the stores do not hold yet."""
    progress, start = Progress(least(layers)), min(layer.start for layer in layers)
    for number, batch in windows.batches(arguments.batch):
        open_layers = [layer for layer in layers if not layer.done]
        for layer, taken in run_batch(open_layers, windows, batch, number, dropped).items():
            layer.count(windows, batch[:taken], number, dropped)
        if number < start:
            continue
        if least(layers) == arguments.tokens:
            break
        share = (number + len(batch)) / windows.count if windows.count else None
        if arguments.tokens is not None:
            share = max(share or 0, least(layers) / arguments.tokens)
        progress.show(least(layers), share)
    if arguments.tokens is not None and least(layers) < arguments.tokens:
        raise HarvestError(f"--tokens {arguments.tokens}: the text holds only {least(layers)}")
    progress.show(least(layers), 1, last=True)


def stream(arguments):
    """Runs the windows from the token on that the reader wants, until the text is over or nobody reads."""
    writer = streams.StreamWriter(arguments.dtype, arguments.shard_tokens)
    arguments.tokens = sys.maxsize  # a text need not be tokenised before its first window is run
    _, windows, _, harvesters = prepare(arguments)
    drop = [] if arguments.keep_special else sorted(set(windows.tokenizer.all_special_ids))
    (harvester,) = harvesters.values()
    for _, batch in windows.batches(arguments.batch):
        ids = ids_of(batch)
        rows = rows_of(ids, batch, drop)
        skipped = writer.skip(len(rows))
        if skipped == len(rows):
            continue
        models.check_layers([harvester], ids)
        (values,) = models.read_layers([harvester], ids)
        writer.append(values.flatten(0, 1).cpu()[rows][skipped:])
    writer.finish()


def least(layers):
    """Tokens of the store that holds fewest."""
    return min(layer.writer.tokens for layer in layers)


# --- what is said ------------------------------------------------------------------------------


def say_of(layers, lines_of):
    """What is to be said of each layer, once if it is the same of all."""
    said = {layer.harvester.layer: list(filter(None, lines_of(layer))) for layer in layers}
    if len(set(map(tuple, said.values()))) == 1:
        say(*said.popitem()[1])
        return
    for layer, lines in said.items():
        say(*(f"layer {layer}: {line}" for line in lines))


def massive_starts(layer, rows):
    """A warning, once the first batch is run, of rows at the beginnings of windows."""
    norms, median = rows.double().norm(dim=1), layer.writer.median
    large = int((norms > stores.LARGE * median).sum())
    if large:
        return (
            f"layer {layer.harvester.layer}: warning: {large} of the first {len(norms)} windows begin with a "
            f"norm above {stores.LARGE} times the median, {median:,.4g}, up to {norms.max():,.4g}: this model "
            "marks the first position of a text, whatever stands there. --bos puts a token of its own "
            "there, which is not stored"
        )


def what_is_left_out(arguments, windows, layer):
    """Of the text, once the last window has been run."""
    special, writer = layer.special.total(), layer.writer
    if special:
        names = windows.tokenizer.convert_ids_to_tokens
        most = ", ".join(f"{names(token)} {count:,}" for token, count in layer.special.most_common(5))
        yield (
            f"left out: {special:,} of {layer.tokens:,} tokens in windows, which are special or unknown "
            f"({100 * special / layer.tokens:.2g} %): {most}"
        )
    if arguments.max_norm_ratio is not None:
        yield (
            f"left out: {writer.dropped:,} rows, whose norm is above {arguments.max_norm_ratio:g} times "
            f"the median of the first batch, {writer.median:,.4g}"
        )
    limit = f"for --tokens {arguments.tokens}"
    if windows.count is None:
        yield layer.tally.describe(windows.pack)
        if not layer.tally.whole:
            yield f"left out: what follows the first {layer.windows:,} windows, {limit}"
    elif layer.windows < windows.count:
        yield f"left out: {windows.count - layer.windows:,} of {windows.count:,} windows, {limit}"


def large_rows(windows, layer):
    """That are in a store, since a few of them can be most of its variance."""
    writer = layer.writer
    if writer.state["large"]:
        share = f"{writer.state['large']:,} of {writer.tokens:,} rows"
        norms = f"the median of the first batch, {writer.median:,.4g}, up to {writer.state['largest']:,.4g}"
        bos = "" if windows.before else "--bos puts a token of its own at first positions; "
        yield (
            f"warning: {share} have a norm above {stores.LARGE} times {norms}: {bos}"
            f"--max-norm-ratio {stores.LARGE} leaves such rows out"
        )


# --- all ---------------------------------------------------------------------------------------


def run(arguments):
    if arguments.stream:
        stream(arguments)
        return
    targets = {layer: shared.out_of(arguments.out, layer) for layer in arguments.layer}
    there = {layer: target for layer, target in targets.items() if target.exists()}
    if len(there) == len(targets):
        there = {}  # nothing is left to do, which is refused
    writers = {}
    try:
        for layer in targets:
            if layer not in there:
                writers[layer] = stores.StoreWriter(targets[layer])
        run_with(arguments, writers, there)
    finally:
        for writer in writers.values():
            if writer.close():
                say(
                    f"harvest.py: {writer.stored} tokens are kept in {writer.partial}; "
                    "the same command goes on from there"
                )
    for layer, writer in writers.items():
        say(f"{targets[layer]}: {writer.tokens} tokens of {writer.width}")


def begin(arguments, writer, source):
    """What a harvest of this description has left is gone on with."""
    tokens, ratio = arguments.tokens, arguments.max_norm_ratio
    writer.begin(arguments.dtype, arguments.shard_tokens, recipe_of(arguments, source), tokens, ratio)
    if writer.tokens:
        say(f"going on after {writer.tokens} tokens")
    if tokens is not None and writer.tokens > tokens:
        raise HarvestError(f"--tokens {tokens}: {writer.partial} holds {writer.tokens} already")


def keep_threads(arguments, writers):
    """A harvest that goes on has as many threads as before: their number may decide the last bits."""
    import torch

    before = [writer.state["threads"] for writer in writers if "threads" in writer.state]
    if arguments.threads is None and before:
        torch.set_num_threads(before[0])
    for writer in writers:
        writer.state["threads"] = torch.get_num_threads()


def prepare(arguments):
    """Windows of the text, the model, and its harvester of each layer."""
    sources = texts.Texts(arguments)
    tokenizer, model = models.load_model(arguments)
    harvesters = {
        layer: models.Harvester(model, layer, arguments.site, arguments.device) for layer in arguments.layer
    }
    if arguments.tokens is None or arguments.seed is not None:
        say("all of the text is tokenised first")
    windows = Windows(sources, tokenizer, arguments)
    if arguments.text_form == "wikitext" and unknown_token(tokenizer) is None:
        say("<unk> stays in the text as it is: this tokenizer has no token for what it does not know")
    return sources, windows, model, harvesters


def run_with(arguments, writers, there):
    sources, windows, model, harvesters = prepare(arguments)
    tokenizer = windows.tokenizer
    drop = [] if arguments.keep_special else sorted(set(tokenizer.all_special_ids))
    names = ", ".join(tokenizer.convert_ids_to_tokens(drop)) or "none"
    say(*(harvesters[layer].place for layer in writers), f"{windows.describe()}; dropped: {names}")
    for group in sources.repeated():
        say(f"used more than once: {', '.join(group)} hold the same text")
    if windows.count is not None:
        say(windows.tally.describe(windows.pack))
    check_room(arguments, models.text_config(model.config).hidden_size * len(writers))
    described = {n: describe_source(arguments, windows, h, drop) for n, h in harvesters.items()}
    for layer, target in there.items():
        stores.expect_made_so(target, described[layer], arguments.dtype, arguments.tokens)
        say(f"{target}: is there already")
    for layer, writer in writers.items():
        begin(arguments, writer, described[layer])
    keep_threads(arguments, writers.values())
    layers = [Layer(harvesters[layer], writer) for layer, writer in writers.items()]
    harvest(arguments, layers, windows, drop)
    say_of(layers, lambda layer: what_is_left_out(arguments, windows, layer))
    vocabulary = vocabulary_of(tokenizer, sample_of(tokenizer)[1], models.vocabulary_size(model))
    for layer in layers:
        finish(arguments, layer, described[layer.harvester.layer], vocabulary)
    say_of(layers, lambda layer: large_rows(windows, layer))


def finish(arguments, layer, source, vocabulary):
    writer = layer.writer
    text = layer.tally.record() | {"windows": layer.windows, "dropped_tokens": layer.special.total()}
    if arguments.max_norm_ratio is not None:
        text |= {"large_rows": writer.dropped}
        source = source | {"median_norm": writer.median}
    writer.finish(source | {"text": text}, vocabulary)


def main(argv=None):
    return run_program("harvest.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
