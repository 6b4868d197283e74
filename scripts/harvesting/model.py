"""Model to activations: where a site is, and a forward pass that ends there."""

import os
from contextlib import ExitStack
from pathlib import Path

from harvesting import HarvestError
from harvesting.sites import BRANCHES, HOOKS, SITES, TAKERS, Point
from harvesting.sites import find_blocks, find_branch, find_place, first, text_config

CHECKED = 4  # sequences; a whole model is run on them
DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


def add_options(add, several=False, sites=SITES):
    """The options that say what is read, on a parser's or a group's add_argument. With `several`,
    --layer and --site are lists."""
    add("--model", required=True, help="folder or hub name")
    add("--revision", help="branch, tag or commit of a hub model")
    add("--model-name", help="name to record (default: the hub name, or the folder's)")
    if several:
        add(
            "--layer",
            type=int,
            nargs="+",
            required=True,
            help="block, from 0; several are read in one pass, into an --out each: its {layer} is the number",
        )
        add(
            "--site",
            choices=sites,
            nargs="+",
            default=["resid_post"],
            help="by TransformerLens' names, default: resid_post; several are read in the same pass, of each "
            "layer, into an --out each: its {site} is the name. hook_z is the outputs of the heads before "
            "W_O, one after the other, mlp_post the hidden layer of the MLP, mlp.hook_post there",
        )
    else:
        add("--layer", type=int, required=True, help="block, from 0")
        add("--site", choices=sites, default="resid_post", help="default: %(default)s")


def add_how_options(add, items, dtype):
    add("--dtype", choices=sorted(DTYPES), default=dtype, help="as stored (%(default)s)")
    add("--model-dtype", choices=sorted(DTYPES), default="f32", help="as computed (%(default)s)")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ... (%(default)s)")
    add("--batch", type=int, default=32, help=f"{items} a forward pass (%(default)s)")
    add_threads(add)


def add_threads(add):
    add(
        "--threads",
        type=int,
        help="on a CPU (default: OMP_NUM_THREADS, or the cores that are idle at the start: threads that "
        "wait for a core which another job has make all of them 5 to 10 times slower)",
    )


def idle_cores():
    """That this process may use and nobody else does, at least 1."""
    return max(1, round(len(os.sched_getaffinity(0)) - os.getloadavg()[0]))


def describe(arguments, harvester):
    """What a store or a labelled file records about where its activations are from."""
    # A folder's name says which model it is; where it lies on this machine is nobody's business.
    name = Path(arguments.model).name if Path(arguments.model).is_dir() else arguments.model
    return {
        "model": arguments.model_name or name,
        "revision": getattr(harvester.model.config, "_commit_hash", None) or arguments.revision,
        "architecture": type(harvester.model).__name__,
        "layer": harvester.layer,
        "site": harvester.site,
        "hook_name": f"blocks.{harvester.layer}.{HOOKS[harvester.site]}",
        "module": harvester.module,
        "hidden_states": harvester.index,
    }


def vocabulary_size(model):
    """How many ids the model has an embedding for; 0 if nobody knows."""
    try:
        embedding = model.get_input_embeddings()
    except NotImplementedError:
        embedding = None
    stated = getattr(text_config(model.config), "vocab_size", None)
    return getattr(embedding, "num_embeddings", None) or stated or 0


class Reached(Exception):
    """Leaves the forward pass once the wanted activation is there."""


class Harvester:
    """Activations of one site, `width` numbers a token. `place` says in words which; `index` is the entry
    of transformers' hidden_states that equals it, None if there is none (the last one is after the final
    norm)."""

    def __init__(self, model, layer, site, device):
        self.model, self.layer, self.site, self.device = model, layer, site, device
        self.checked = False
        name, blocks = find_blocks(model)
        self.point, self.index, self.width, self.place = find_place(model, layer, site)
        self.block, self.block_name = blocks[layer], f"{name}.{layer}"

    @property
    def label(self):
        return f"layer {self.layer}" + ("" if self.site == "resid_post" else f" {self.site}")

    @property
    def module(self):
        """The name of the module, and whether its input is meant where both might be."""
        return self.point.name + (".input" if self.site in TAKERS else "")

    def __call__(self, ids):
        """ids [n, context] -> activations [n, context, D] in the model's type."""
        return self.watch(ids, [self.point], stop=True)[0]

    def watch(self, ids, points, stop=False, **more):
        """The values at `points`, in their order; `stop` ends the pass as soon as all are there, with
        their bytes as they were before anything else ran. The model is given `more` beside the ids."""
        import torch

        self.refuse_unknown(ids)
        caught = [None] * len(points)

        def keep(i, value):
            value = first(value)
            value = value.unflatten(0, ids.shape) if value.dim() == 2 else value  # OPT's MLP
            caught[i] = value.clone() if len(points) > 1 else value  # a later block may add to it in place
            if stop and all(c is not None for c in caught):
                raise Reached

        def before(i):
            def hook(module, inputs, named):
                keep(i, inputs if inputs else named["hidden_states"])

            return hook

        def after(i):
            return lambda module, inputs, output: keep(i, output)

        with ExitStack() as hooks:
            for i, point in enumerate(points):
                hooks.enter_context(
                    point.module.register_forward_pre_hook(before(i), with_kwargs=True)
                    if point.is_input
                    else point.module.register_forward_hook(after(i))
                )
            try:
                with torch.no_grad():
                    self.model(input_ids=ids.to(self.device), **more)
            except Reached:
                pass
        if any(c is None for c in caught):
            raise HarvestError(f"the forward pass never reached {self.point.name}")
        return caught

    def refuse_unknown(self, ids):
        known, largest = vocabulary_size(self.model), int(ids.max())
        if known and largest >= known:
            raise HarvestError(
                f"the tokenizer makes token {largest}, the model knows {known}, from 0; "
                "are they of the same model?"
            )

    def check(self, ids):
        check_layers([self], ids)

    def check_sum(self, ids):
        """Compares what the branches add to the stream with the difference of the stream after and
        before the block, or between attention and MLP and before the block."""
        import torch

        if self.site == "resid_mid":
            added, after = ["attn_out"], self.point
            wrong = f"do not add up to the input of {self.point.name}: this model has no resid_mid"
        elif self.site in BRANCHES and ".output.dense" not in f".{self.point.name}":
            added, after = list(BRANCHES), Point("", self.block)
            wrong = "do not add up to its output; only resid_pre and resid_post are known for this model"
        else:
            return
        points = [find_branch(self.block, self.block_name, site) for site in added]
        names = " and ".join(["a block's input", *(point.name for point in points)])
        points += [Point("", self.block, is_input=True), after]
        values = [value.double() for value in self.watch(ids, points)]
        rounding = torch.finfo(next(self.model.parameters()).dtype).eps
        allowed = 8 * rounding * sum(value.norm() for value in values)
        if (sum(values[:-1]) - values[-1]).norm() > allowed:
            raise HarvestError(f"{type(self.model).__name__}: {names} {wrong}")


def read_layers(harvesters, ids):
    """What each of them returns for `ids`, from one pass that ends at the deepest."""
    return harvesters[0].watch(ids, [harvester.point for harvester in harvesters], stop=True)


def check_layers(harvesters, ids):
    """Compares some of the first batch of each with transformers' hidden states, or with what they differ
    by."""
    import torch

    ids = ids[:CHECKED]
    new = [harvester for harvester in harvesters if not harvester.checked]
    for harvester in new:
        harvester.refuse_unknown(ids)
        harvester.checked = True
        if harvester.index is None:
            harvester.check_sum(ids)
    new = [harvester for harvester in new if harvester.index is not None]
    if not new:
        return
    with torch.no_grad():
        states = new[0].model(input_ids=ids.to(new[0].device), output_hidden_states=True).hidden_states
    for harvester, ours in zip(new, read_layers(new, ids)):
        theirs = states[harvester.index]
        if theirs.shape != ours.shape or not torch.equal(theirs, ours):
            raise HarvestError(f"{harvester.place} differs from what transformers returns")


def keep_memory():
    """Has glibc keep what is freed. A pass allocates large tensors again and again, and otherwise each
    of them is made of new pages, which the kernel clears first (a fifth of the CPU time)."""
    import ctypes

    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(parameter, 2_000_000_000)


def be_quiet():
    """Errors alone of what transformers has to say, and no bars but ours."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when transformers imports it
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def set_threads(threads):
    """As many, or as add_threads says if None."""
    import torch

    if threads or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads or idle_cores())


def load_model(arguments, head=False):
    """Tokenizer and model; with `head`, a causal language model that gives logits."""
    import torch
    from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

    be_quiet()
    keep_memory()
    set_threads(arguments.threads)
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        raise HarvestError(f"--device {arguments.device}: this PyTorch sees no CUDA device")
    options = {
        "dtype": getattr(torch, DTYPES[arguments.model_dtype]),
        # Eager attention: fused kernels leave out soft-capping and differ in the last digits.
        "attn_implementation": "eager",
        "revision": arguments.revision,
    }
    try:
        tokenizer = AutoTokenizer.from_pretrained(arguments.model, revision=arguments.revision)
        try:
            loader = AutoModelForCausalLM if head else AutoModel
            model = loader.from_pretrained(arguments.model, **options)
        except ValueError as error:
            if head or "Unrecognized configuration class" not in str(error):
                raise
            model = AutoModelForCausalLM.from_pretrained(arguments.model, **options).base_model
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise HarvestError(f"--model {arguments.model}: cannot load: {reason}") from None
    config = text_config(model.config)
    config.use_cache = False
    context = getattr(arguments, "context", None)
    longest = getattr(config, "max_position_embeddings", None)
    if longest and context and context > longest:
        raise HarvestError(f"--context {context}: the model takes at most {longest}")
    return tokenizer, model.to(arguments.device).eval()


def batches_of(sequences, size):
    """Numbers of id sequences, in lists of one length each, so that there is nothing to pad and nothing
    to mask."""
    of_length = {}
    for number, ids in enumerate(sequences):
        of_length.setdefault(len(ids), []).append(number)
    for numbers in of_length.values():
        for start in range(0, len(numbers), size):
            yield numbers[start : start + size]


def read_batch(harvesters, sequences, numbers, at=slice(None)):
    """Activations of some sequences of one length, [n, length, D] of each harvester, or what is at
    position `at` of them."""
    import torch

    ids = torch.tensor([list(sequences[number]) for number in numbers])
    check_layers(harvesters, ids)
    return [values[:, at].cpu() for values in read_layers(harvesters, ids)]


def read_all(harvester, sequences, batch):
    """Pairs of a sequence's number and its activations, [length, D]."""
    for numbers in batches_of(sequences, batch):
        yield from zip(numbers, *read_batch([harvester], sequences, numbers))


def ignores_what_follows(harvesters, ids, at):
    """Whether the activations at position `at` (from the end) are the same whatever comes after it."""
    import torch

    changed = ids.clone()
    changed[:, at + 1 :] = ids[:, :1]
    if at == -1 or torch.equal(changed, ids):
        return False
    pairs = zip(*(read_layers(harvesters, one) for one in (ids, changed)))
    return all(torch.equal(ours[:, at], other[:, at]) for ours, other in pairs)
