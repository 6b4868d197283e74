#!/usr/bin/env python3
"""Activations of a Hugging Face model on text, as a store that `sae train` reads.

The text is tokenised, cut into windows of --context tokens (special tokens included, the way the
model's tokenizer adds them), and run through the model up to the wanted layer. The rows of special
and unknown tokens are dropped unless --keep-special says otherwise.

Layers count from 0: "--layer 12 --site resid_post" is the residual stream after block 12, which
transformers calls hidden_states[13] (hidden_states[0] is the embedding). The last layer is taken
before the model's final norm. attn_out and mlp_out are what a block adds to the stream, resid_mid is the
stream between the two, hook_z what the heads give before W_O, mlp_post the hidden layer of the MLP.

Several layers and sites are read in one pass, each into a store of its own, in the bytes of a run of its
own:

    --layer 5 8 17 --site resid_post mlp_post --out activations/smollm2-135m-{site}{layer}

In place of text, ids that were made elsewhere: --token-ids, or a --dataset whose column holds lists of ids,
as SAELens writes them. Rows are cut into windows as they are, with no special token but those in them.

What is left out of the text is said: documents shorter than a window, ends that fill none, unknown
tokens, whatever --tokens does not reach. --pack uses short documents too. Many models mark the first
position of a text by an activation hundreds of times as large as the others; such rows are counted
and said. --bos puts a token of its own there, --skip-positions 1 leaves the first position out,
--max-norm-ratio all rows of such norms.

Text is tokenised while it is run, so that the first window does not wait for the last; with --seed, which
draws an order from all orders, it is tokenised first.

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

from harvesting import HarvestError, said
from harvesting import arguments as shared
from harvesting import ids as id_rows
from harvesting import model as models
from harvesting import store as stores
from harvesting import stream as streams
from harvesting.mask import Mask, mask_token
from harvesting.program import Progress, run_program, say
from harvesting.rows import Rows
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
    what(
        "--skip-positions",
        type=int,
        default=0,
        help="leave out the rows of this many positions at the beginning of each window, special tokens "
        "included (default: none)",
    )
    what("--out", type=Path, help="folder to create; {layer} and {site} in it are the layer and the site")
    what("--stream", action="store_true", help="pass them on to the run that has started this, instead")

    shared.add_text(parser, ids=True)
    window = shared.add_windows(parser, ids=True)
    window(
        "--stride",
        type=int,
        help="tokens from one window's start to the next's (default: no overlap); a token in two "
        "windows is stored once, from the first, so that it has context before it",
    )
    window("--seed", type=int, help="take the windows in an order shuffled by it (default: text order)")
    window(
        "--mask-share",
        type=float,
        help="replace each token of the text with this probability by a mask token before the model reads it, "
        "which is how arXiv 2604.06495 trains against what tokens give because they are seen together. Ours, "
        "which the paper does not settle: tokens are drawn by themselves, from --seed (0 without), the "
        "window's number and the position; special tokens stay; rows of replaced tokens are left out, "
        "unless --keep-special",
    )
    window("--mask-token", help="by name or text, one token (default: the tokenizer's own for that)")

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
    shared.check_places(parser, arguments, arguments.out or Path("{layer}{site}"))
    check_rows(parser, arguments)
    return arguments


def check_rows(parser, arguments):
    ratio, share = arguments.max_norm_ratio, arguments.mask_share
    if ratio is not None and not ratio > 1:
        parser.error(f"--max-norm-ratio must be above 1, got {ratio:g}")
    if arguments.skip_positions < 0:
        parser.error(f"--skip-positions must be at least 0, got {arguments.skip_positions}")
    if share is not None and not 0 < share < 1:
        parser.error(f"--mask-share must be above 0 and below 1, got {share:g}")
    if share is None and arguments.mask_token is not None:
        parser.error("--mask-token means nothing without --mask-share")


def check_stream(parser, arguments):
    for name in ("out", "tokens", "max_norm_ratio"):
        if getattr(arguments, name) is not None:
            parser.error(f"--{name.replace('_', '-')} means nothing with --stream")
    for name in ("layer", "site"):
        if len(getattr(arguments, name)) != 1:
            parser.error(f"--stream passes on one --{name}, got {len(getattr(arguments, name))}")


def describe_source(arguments, windows, harvester, choice):
    import torch
    import transformers

    names, rows = windows.tokenizer.convert_ids_to_tokens, windows.texts.are_ids
    source = models.describe(arguments, harvester) | {
        "dataset": windows.texts.source,
        "text_form": "ids" if rows else arguments.text_form,
        "document": "row" if rows else arguments.document,
        "pack": arguments.pack,
        "context": arguments.context,
        "stride": windows.stride,
        "special_tokens": [names(windows.begin), names(windows.after)],
        "dropped": names(choice.dropped),
        "seed": arguments.seed,
        "model_dtype": arguments.model_dtype,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    if arguments.max_norm_ratio is not None:
        source |= {"max_norm_ratio": arguments.max_norm_ratio}
    if choice.skip:
        source |= {"skip_positions": choice.skip}
    if choice.mask:
        source |= {"mask_share": choice.mask.share, "mask_token": names(choice.mask.token)}
    return source


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
    """The store of one site of a layer while it is made, and what of the text is in it."""

    def __init__(self, harvester, writer):
        self.harvester, self.writer = harvester, writer
        self.start, self.skip = writer.start
        self.windows = self.tokens = 0  # that are done, and the text's tokens in them
        self.special = Counter()  # of those that were dropped, by id
        self.skipped = self.masked = 0
        self.tally = None  # of the text up to the last window
        self.done = False

    def take(self, batch, context, activations, number):
        """Stores a batch's rows, of which the first ones may be in the store already. Returns how many of
        its windows that takes."""
        skip = self.skip if number == self.start else 0
        used = batch.rows[skip:]
        values = activations.flatten(0, 1).cpu()[used]
        taken = self.writer.append(
            values, batch.ids.flatten()[used], number + used // context, number, skip
        )
        if self.writer.full and len(batch.rows):
            return int(batch.rows[skip + taken - 1]) // context + 1
        return len(batch.ids)

    def count(self, fates, tally, number):
        """Adds the windows that are done, from `number` on."""
        self.windows, self.tally = number + len(fates), copy.copy(tally)
        for fate in fates:
            self.tokens += fate.tokens
            self.special.update(fate.special)
            self.skipped += fate.skipped
            self.masked += fate.masked
        self.done = self.writer.full and number >= self.start


def run_batch(layers, windows, batch, number):
    """Runs a batch for the layers that do not have it yet. Returns how many of its windows each takes."""
    wanting = [layer for layer in layers if number >= layer.start]
    taken = dict.fromkeys(layers, len(batch.ids))
    if not wanting:
        return taken
    harvesters = [layer.harvester for layer in wanting]
    models.check_layers(harvesters, batch.ids)
    for layer, values in zip(wanting, models.read_layers(harvesters, batch.ids)):
        taken[layer] = layer.take(batch, windows.context, values, number)
        if number == 0:
            say(said.massive_starts(windows, layer.harvester.label, batch, values, layer.writer.median))
    return taken


def harvest(arguments, layers, windows, choice):
    """Runs the windows that the stores do not hold yet."""
    progress, start = Progress(least(layers)), min(layer.start for layer in layers)
    for number, part in windows.batches(arguments.batch):
        batch, open_layers = choice(part, number), [layer for layer in layers if not layer.done]
        for layer, taken in run_batch(open_layers, windows, batch, number).items():
            layer.count(batch.fates[:taken], windows.tally, number)
        if number < start:
            continue
        if least(layers) == arguments.tokens:
            break
        share = (number + len(part)) / windows.count if windows.count else windows.texts.share
        if arguments.tokens is not None:
            share = max(share or 0, least(layers) / arguments.tokens)
        progress.show(least(layers), share)
    if arguments.tokens is not None and least(layers) < arguments.tokens:
        raise HarvestError(f"--tokens {arguments.tokens}: the text holds only {least(layers)}")
    for layer in layers if arguments.tokens is None else []:
        layer.tally = windows.tally  # the end of the text is known only after its last window
    progress.show(least(layers), 1, last=True)


def stream(arguments):
    """Runs the windows from the token on that the reader wants, until the text is over or nobody reads."""
    writer = streams.StreamWriter(arguments.dtype, arguments.shard_tokens)
    windows, _, harvesters = prepare(arguments)
    choice = choice_of(arguments, windows)
    (harvester,) = harvesters.values()
    for number, part in windows.batches(arguments.batch):
        batch = choice(part, number)
        skipped = writer.skip(len(batch.rows))
        if skipped == len(batch.rows):
            continue
        models.check_layers([harvester], batch.ids)
        (values,) = models.read_layers([harvester], batch.ids)
        kept = values.flatten(0, 1).cpu()[batch.rows]
        if number == 0:
            median = kept.double().norm(dim=1).median()
            say(said.massive_starts(windows, harvester.label, batch, values, median))
        writer.append(kept[skipped:])
    writer.finish()


def least(layers):
    """Tokens of the store that holds fewest."""
    return min(layer.writer.tokens for layer in layers)


# --- all ---------------------------------------------------------------------------------------


def run(arguments):
    if arguments.stream:
        stream(arguments)
        return
    targets = {place: shared.out_of(arguments.out, *place) for place in shared.places_of(arguments)}
    there = {place: target for place, target in targets.items() if target.exists()}
    if len(there) == len(targets):
        there = {}  # nothing is left to do, which is refused
    writers = {}
    try:
        for place in targets:
            if place not in there:
                writers[place] = stores.StoreWriter(targets[place])
        run_with(arguments, writers, there)
    finally:
        for writer in writers.values():
            if writer.close():
                say(
                    f"harvest.py: {writer.stored} tokens are kept in {writer.partial}; "
                    "the same command goes on from there"
                )
    for place, writer in writers.items():
        say(f"{targets[place]}: {writer.tokens} tokens of {writer.width}")


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
    """Windows of the text, the model, and its harvester of each layer and site."""
    sources = id_rows.open_texts(arguments, recorded=not arguments.stream)
    if arguments.context is None:
        arguments.context = (sources.are_ids and sources.length) or shared.CONTEXT
    tokenizer, model = models.load_model(arguments)
    if sources.are_ids:
        sources.known = models.vocabulary_size(model)
    harvesters = {
        place: models.Harvester(model, *place, arguments.device) for place in shared.places_of(arguments)
    }
    if arguments.seed is not None:
        say("all of the text is tokenised first")
    windows = Windows(sources, tokenizer, arguments)
    if arguments.text_form == "wikitext" and unknown_token(tokenizer) is None:
        say("<unk> stays in the text as it is: this tokenizer has no token for what it does not know")
    return windows, model, harvesters


def choice_of(arguments, windows):
    """Which rows are stored."""
    tokenizer, skip = windows.tokenizer, arguments.skip_positions
    if skip >= len(windows.before) + windows.inner:
        raise HarvestError(f"--skip-positions {skip}: leaves nothing of windows of {windows.context}")
    special, mask = sorted(set(tokenizer.all_special_ids)), None
    if arguments.mask_share is not None:
        token = mask_token(tokenizer, arguments.mask_token)
        mask = Mask(arguments.mask_share, token, special, arguments.seed)
    kept = arguments.keep_special
    return Rows(windows, [] if kept else special, skip, mask, hidden=not kept)


def run_with(arguments, writers, there):
    windows, model, harvesters = prepare(arguments)
    tokenizer, choice = windows.tokenizer, choice_of(arguments, windows)
    names = ", ".join(tokenizer.convert_ids_to_tokens(choice.dropped)) or "none"
    say(*(harvesters[place].place for place in writers), f"{windows.describe()}; dropped: {names}")
    for group in windows.texts.repeated():
        say(f"used more than once: {', '.join(group)} hold the same text")
    if windows.count is not None:
        say(windows.left_out(windows.tally))
    check_room(arguments, sum(harvesters[place].width for place in writers))
    described = {n: describe_source(arguments, windows, h, choice) for n, h in harvesters.items()}
    for place, target in there.items():
        stores.expect_made_so(target, described[place], arguments.dtype, arguments.tokens)
        say(f"{target}: is there already")
    for place, writer in writers.items():
        begin(arguments, writer, described[place])
    keep_threads(arguments, writers.values())
    layers = [Layer(harvesters[place], writer) for place, writer in writers.items()]
    harvest(arguments, layers, windows, choice)
    said.of_each(layers, lambda layer: said.what_is_left_out(arguments, windows, choice, layer))
    vocabulary = vocabulary_of(tokenizer, sample_of(tokenizer)[1], models.vocabulary_size(model))
    for place, layer in zip(writers, layers):
        finish(arguments, layer, described[place], vocabulary)
    said.of_each(layers, lambda layer: said.large_rows(windows, layer))


def finish(arguments, layer, source, vocabulary):
    writer = layer.writer
    text = layer.tally.record() | {"windows": layer.windows, "dropped_tokens": layer.special.total()}
    if arguments.skip_positions:
        text |= {"skipped_tokens": layer.skipped}
    if arguments.mask_share is not None:
        text |= {"masked_tokens": layer.masked}
    if arguments.max_norm_ratio is not None:
        text |= {"large_rows": writer.dropped}
        source = source | {"median_norm": writer.median}
    writer.finish(source | {"text": text}, vocabulary)


def main(argv=None):
    return run_program("harvest.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
