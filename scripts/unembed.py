#!/usr/bin/env python3
"""A language model's unembedding as a file, for the logits that `sae features --unembedding` shows.

    unembedding [tokens, D]: the head's weight times the final norm's, as TransformerLens folds them
    (its defaults, with which SAEDashboard shows logits): without its mean over D where the norm is a
    LayerNorm, and without its mean over the tokens unless the model caps its logits.

A latent's logits are unembedding @ its decoder row, up to the scale that the norm gives the stream. The
norm is asked for its weight, and the model whether its head reads what the norm returns, so that no
architecture has to be known.

The environment is that of scripts/harvest.py, and --model-name what the store was made with:

    scripts/unembed.py google/gemma-2-2b gemma-2-2b.unembedding.safetensors
    sae features runs/topk --data acts/heldout --unembedding gemma-2-2b.unembedding.safetensors --out pages
"""

import argparse
import sys
from pathlib import Path

from harvesting import HarvestError
from harvesting import model as models
from harvesting.program import run_program, say
from harvesting.store import put_in_place
from harvesting.unembedding import unembedding_of
from harvesting.vocabulary import size_of


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="unembed.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="folder or hub name of a causal language model")
    add("out", metavar="OUT", type=Path, help="file to make")
    add("--revision", help="branch, tag or commit of a hub model")
    add("--model-name", help="name to record (default: the hub name, or the folder's)")
    add("--dtype", choices=sorted(models.DTYPES), default="f32", help="as stored (%(default)s)")
    models.add_threads(add)
    arguments = parser.parse_args(argv)
    arguments.device, arguments.model_dtype = "cpu", "f32"
    return arguments


def metadata_of(arguments, tokenizer, model, unembedding):
    import torch
    import transformers

    # A folder's name says which model it is; where it lies on this machine is nobody's business.
    name = Path(arguments.model).name if Path(arguments.model).is_dir() else arguments.model
    return {
        "format": "sae-unembedding",
        "version": "1",
        "model": arguments.model_name or name,
        "revision": getattr(model.config, "_commit_hash", None) or arguments.revision or "",
        "architecture": type(model).__name__,
        "vocabulary": str(size_of(tokenizer, models.vocabulary_size(model))),
        "norm": unembedding.norm,
        "centred_over_width": str(unembedding.over_width).lower(),
        "centred_over_tokens": str(unembedding.over_tokens).lower(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def run(arguments):
    import torch
    from safetensors.torch import save_file

    if arguments.out.exists():
        raise HarvestError(f"{arguments.out}: exists already; choose another OUT or remove it")
    tokenizer, model = models.load_model(arguments, head=True)
    ids = torch.arange(min(8, models.vocabulary_size(model)))[None]
    unembedding = unembedding_of(model, ids)
    weight = unembedding.weight.to(getattr(torch, models.DTYPES[arguments.dtype])).contiguous()
    if not weight.isfinite().all():
        raise HarvestError(f"--dtype {arguments.dtype}: a weight is too large for it; try f32")
    temporary = arguments.out.with_name(f".tmp-{arguments.out.name}")
    try:
        metadata = metadata_of(arguments, tokenizer, model, unembedding)
        save_file({"unembedding": weight}, temporary, metadata)
        put_in_place(temporary, arguments.out)
    finally:
        temporary.unlink(missing_ok=True)
    tokens, width = weight.shape
    means = [f"over the {tokens:,} tokens"] * unembedding.over_tokens + [f"over D {width}"] * unembedding.over_width
    say(f"{arguments.out}: {tokens:,} tokens of width {width}, with the weight of {unembedding.norm}, "
        f"{'without its mean ' + ' and '.join(means) if means else 'means as they are'}")  # fmt: skip


def main(argv=None):
    return run_program("unembed.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
