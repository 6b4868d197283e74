#!/usr/bin/env python3
"""Activations of a Hugging Face model on text, as a store that `sae train` reads.

The text is tokenised, cut into windows of --context tokens (special tokens included, the way the
model's tokenizer adds them), and run through the model up to the wanted layer. The rows of special
and unknown tokens are dropped unless --keep-special says otherwise.

Layers count from 0: "--layer 12 --site resid_post" is the residual stream after block 12, which
transformers calls hidden_states[13] (hidden_states[0] is the embedding). The last layer is taken
before the model's final norm. attn_out and mlp_out are what a block adds to the stream.

Interrupted or killed, the same command goes on where it was, with the same bytes as a result.

Its few packages are pinned. They live in a virtual environment of their own:

    python3 -m venv ~/.cache/sae.cpp/harvest
    ~/.cache/sae.cpp/harvest/bin/pip install -r scripts/requirements-harvest.txt
    ~/.cache/sae.cpp/harvest/bin/python scripts/harvest.py \\
        --model google/gemma-2-2b --layer 12 --text wiki.train.raw --text-form wikitext \\
        --tokens 5000000 --dtype bf16 --device cuda --out activations/gemma-2-2b-layer12

A data set of the hub in place of files (needs the package datasets too):

        --dataset Salesforce/wikitext --dataset-config wikitext-103-raw-v1 \\
        --text-form wikitext --document article

HF_HUB_OFFLINE=1 keeps the hub out of it when --model is a folder.
"""

import argparse
import shutil
import sys
from pathlib import Path

from harvesting import HarvestError
from harvesting import arguments as shared
from harvesting import model as models
from harvesting import store as stores
from harvesting import text as texts
from harvesting.program import Progress, run_program


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


def harvest(arguments, harvester, windows, dropped, writer):
    """Runs the windows that `writer` has not yet stored."""
    import torch

    start, skip = writer.start
    progress, done = Progress(writer.tokens), start
    for number, batch in windows.batches(arguments.batch, start):
        ids = torch.stack([torch.from_numpy(window.ids) for window in batch]).long()
        if number == start:
            harvester.check(ids)
        kept = ~torch.isin(ids, dropped)
        for row, window in enumerate(batch):
            kept[row, window.seen] = False
        kept = kept.flatten().nonzero()[skip:, 0]
        if arguments.tokens is not None:
            kept = kept[: arguments.tokens - writer.tokens]
        context = (torch.arange(len(ids)) + number).repeat_interleave(ids.shape[1])
        activations = harvester(ids).flatten(0, 1).cpu()
        writer.append(activations[kept], ids.flatten()[kept], context[kept], number, skip)
        skip, done = 0, number + len(batch)
        share = done / windows.count if windows.count else None
        if arguments.tokens is not None:
            share = max(share or 0, writer.tokens / arguments.tokens)
        if writer.tokens == arguments.tokens:
            break
        progress.show(writer.tokens, share)
    if arguments.tokens is not None and writer.tokens < arguments.tokens:
        raise HarvestError(f"--tokens {arguments.tokens}: the text holds only {writer.tokens}")
    progress.show(writer.tokens, 1, last=True)


def run(arguments):
    import torch

    stores.refuse_existing(arguments.out)
    sources = texts.Texts(arguments)
    tokenizer, model = models.load_model(arguments)
    harvester = models.Harvester(model, arguments.layer, arguments.site, arguments.device)
    windows = texts.Windows(sources, tokenizer, arguments)
    drop = [] if arguments.keep_special else sorted(set(tokenizer.all_special_ids))
    names = ", ".join(tokenizer.convert_ids_to_tokens(drop)) or "none"
    print(f"{harvester.place}\n{windows.describe()}; dropped: {names}", file=sys.stderr)
    check_room(arguments, models.text_config(model.config).hidden_size)
    source = describe_source(arguments, windows, harvester, drop)
    recipe = recipe_of(arguments, source)
    writer = stores.StoreWriter(arguments.out, arguments.dtype, arguments.shard_tokens, recipe)
    try:
        if writer.tokens:
            print(f"going on after {writer.tokens} tokens", file=sys.stderr)
        if arguments.tokens is not None and writer.tokens > arguments.tokens:
            raise HarvestError(
                f"--tokens {arguments.tokens}: {writer.partial} holds {writer.tokens} already"
            )
        dropped = torch.tensor(drop, dtype=torch.long)
        harvest(arguments, harvester, windows, dropped, writer)
        writer.finish(source, texts.vocabulary(tokenizer))
    finally:
        if writer.close():
            print(
                f"harvest.py: {writer.stored} tokens are kept in {writer.partial}; "
                "the same command goes on from there",
                file=sys.stderr,
            )
    print(f"{arguments.out}: {writer.tokens} tokens of {writer.width}", file=sys.stderr)


def main(argv=None):
    return run_program("harvest.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
