#!/usr/bin/env python3
"""How much worse a language model predicts with an autoencoder's reconstruction in place of a site's
activations: cross entropy and KL divergence as SAEBench 0.6.0 defines them, under its names.

    ce_loss_score = (CE with zeros - CE with the SAE) / (CE with zeros - CE of the model)
    kl_div_score  = (KL with zeros - KL with the SAE) / KL with zeros

Zeros stand at every position. Positions of special tokens (padding, begin, end) do not count, but
their activations are replaced too, unless --keep-special; SAEBench's published numbers were made with
that. SAEBench fills its contexts with documents put together, each after a begin token: --pack --bos.

The environment is that of scripts/harvest.py, and so are the words for text, layer and site:

    scripts/loss_recovered.py --model google/gemma-2-2b --layer 12 --sae runs/topk --keep-special \\
        --text wiki.test.raw --text-form wikitext --pack --bos --device cuda --json
"""

import argparse
import json
import math
import sys

from harvesting import HarvestError
from harvesting import arguments as shared
from harvesting import model as models
from harvesting import text as texts
from harvesting.autoencoder import Autoencoder
from harvesting.program import Progress, run_program, say
from harvesting.recovery import Recovery, add_batch
from harvesting.sites import SPLICED
from harvesting.windows import Windows


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="loss_recovered.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what is measured").add_argument
    models.add_options(what, sites=SPLICED)
    what("--sae", required=True, help="folder of an autoencoder or of a run")
    what("--windows", type=int, default=160, help="contexts that are run (%(default)s)")
    what("--keep-special", action="store_true", help="special tokens keep their own activations")
    what("--json", action="store_true", help="print the result as JSON")
    shared.add_text(parser)
    shared.add_windows(parser)
    how = parser.add_argument_group("how").add_argument
    dtypes = sorted(models.DTYPES)
    how("--model-dtype", choices=dtypes, default="f32", help="as computed (%(default)s)")
    how("--device", default="cpu", help="cpu, cuda, cuda:1, ... (%(default)s)")
    how("--batch", type=int, default=16, help="windows a forward pass (%(default)s)")
    models.add_threads(how)
    arguments = parser.parse_args(argv)
    shared.check(parser, arguments, ("windows", "context", "batch", "threads"))
    if arguments.context < 2:
        parser.error("--context: one token predicts nothing, expected at least 2")
    # For Windows: no overlap, in the order of the text, which is read as far as it is needed.
    arguments.stride = arguments.seed = None
    arguments.tokens = arguments.windows * arguments.context
    return arguments


def check_origin(sae, arguments):
    """Says so if the autoencoder was trained on another place; that may be what is wanted."""
    source = sae.config.get("source") or {}
    source = source.get("store") or source
    for name in ("layer", "site"):
        theirs, ours = source.get(name), getattr(arguments, name)
        if theirs is not None and theirs != ours:
            say(f"loss_recovered.py: the autoencoder was trained on {name} {theirs}, not {ours}")


def measure(arguments, model, harvester, windows, sae, special):
    import torch

    recovery, progress, done = Recovery(special), Progress(0, "windows"), 0
    for _, batch in windows.batches(arguments.batch):
        batch = batch[: arguments.windows - done]
        ids = torch.stack([torch.from_numpy(window.ids) for window in batch]).long()
        if done == 0:
            harvester.check(ids)
        ids = ids.to(arguments.device)
        kept = torch.isin(ids, special) if arguments.keep_special else torch.zeros_like(ids).bool()
        add_batch(recovery, model, harvester.point, sae, ids, kept)
        done += len(batch)
        progress.show(done, done / arguments.windows)
        if done == arguments.windows:
            break
    progress.show(done, 1, last=True)
    return recovery, done


def run(arguments):
    import torch

    sae = Autoencoder(arguments.sae, arguments.device)
    check_origin(sae, arguments)
    sources = texts.Texts(arguments)
    tokenizer, model = models.load_model(arguments, head=True)
    harvester = models.Harvester(model, arguments.layer, arguments.site, arguments.device)
    if harvester.width != sae.width:
        raise HarvestError(f"--sae: the autoencoder takes width {sae.width}, the model has {harvester.width}")
    windows = Windows(sources, tokenizer, arguments)
    tokens = {tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id} - {None}
    special = torch.tensor(sorted(tokens), dtype=torch.long, device=arguments.device)
    names = ", ".join(tokenizer.convert_ids_to_tokens(special.tolist())) or "none"
    say(harvester.place, f"{windows.describe()}; special: {names}")
    for group in sources.repeated():
        say(f"used more than once: {', '.join(group)} hold the same text")
    recovery, done = measure(arguments, model, harvester, windows, sae, special)
    say(windows.tally.describe(windows.pack))
    if done < arguments.windows:
        say(f"--windows {arguments.windows}: the text holds only {done}")
    elif not windows.tally.whole:
        say(f"left out: what follows the first {done:,} windows, for --windows {arguments.windows}")
    metrics = recovery.metrics()
    if arguments.json:
        result = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        print(json.dumps(result | {"tokens": recovery.tokens, "windows": done}, indent=2))
        return
    for name, value in metrics.items():
        print(f"{name:24}{value:.6g}")
    print(f"over {recovery.tokens:,} tokens of {done:,} windows")


def main(argv=None):
    return run_program("loss_recovered.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
