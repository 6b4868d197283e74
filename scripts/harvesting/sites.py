"""Where a site is in a model, by TransformerLens' names and meaning.

    resid_pre   what comes into a block
    hook_z      what each head of its attention has collected, before W_O, the heads one after the other
    attn_out    what the attention adds to the stream
    resid_mid   the stream between attention and MLP
    mlp_post    the MLP's hidden layer, after the nonlinearity and, where there is one, the gate
    mlp_out     what the MLP adds to the stream
    resid_post  what leaves the block

BERT and its like norm what they have added up: attn_out, resid_mid and mlp_out are what comes before such a
norm, as in HookedEncoder, resid_post what comes after it, which is the next block's resid_pre.
"""

from typing import NamedTuple

from harvesting import HarvestError

HOOKS = {
    "resid_post": "hook_resid_post",
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
    "hook_z": "attn.hook_z",
    "mlp_post": "mlp.hook_post",
}
SITES = list(HOOKS)
# Where the model goes on with what stands there and with nothing else. Between attention and MLP the
# norm and the sum both have it.
SPLICED = [site for site in SITES if site != "resid_mid"]


def text_config(config):
    """The part of a multimodal model's configuration that is about its language model."""
    return config.get_text_config()


def find_blocks(model):
    """Name and list of the model's transformer blocks, whatever the architecture calls them."""
    import torch

    count = getattr(text_config(model.config), "num_hidden_layers", None)
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == count
    ]
    if len(lists) != 1:
        names = ": " + ", ".join(name for name, _ in lists) if lists else ""
        raise HarvestError(
            f"{type(model).__name__}: found {len(lists)} lists of {count} blocks, expected one{names}"
        )
    return lists[0]


def first(output):
    return output[0] if isinstance(output, (tuple, list)) else output


class Point(NamedTuple):
    """A place in the model: the input or output of a module."""

    name: str
    module: object
    is_input: bool = False


# What a block adds to the residual stream, by architecture: paths inside a block, the first that
# exists counts. Gemma and OLMo-2 norm a branch's output before they add it; in Llama the same
# name, post_attention_layernorm, is the norm before the MLP, hence the second condition.
BRANCHES = {
    "attn_out": [
        ("post_self_attn_layernorm", None),  # GLM-4
        ("post_attention_layernorm", "post_feedforward_layernorm"),  # Gemma-2 and 3, OLMo-2
        ("attention.output.dense", None),  # BERT and its like
        ("self_attn", None),
        ("attn", None),  # GPT-2
        ("attention", None),  # GPT-NeoX
        ("self_attention", None),
    ],
    "mlp_out": [
        ("post_mlp_layernorm", None),
        ("post_feedforward_layernorm", None),
        ("output.dense", None),
        ("mlp", None),
        ("feed_forward", None),
        ("block_sparse_moe", None),
        ("fc2", None),  # OPT
    ],
}
# What takes a site as its input, likewise.
TAKERS = {
    "resid_mid": [
        ("pre_feedforward_layernorm", None),  # Gemma-2 and 3
        ("mlp", "post_feedforward_layernorm"),  # OLMo-2, which norms what its branches give alone
        ("attention.output.LayerNorm", None),  # BERT and its like, which norm the sum
        ("ln_2", None),  # GPT-2
        ("post_attention_layernorm", None),
        ("final_layer_norm", None),  # OPT
    ],
    "hook_z": [
        ("self_attn.o_proj", None),
        ("self_attn.out_proj", None),  # OPT
        ("self_attn.dense", None),  # Phi
        ("attn.c_proj", None),  # GPT-2
        ("attn.out_proj", None),  # GPT-J
        ("attn.attention.out_proj", None),  # GPT-Neo
        ("attention.dense", None),  # GPT-NeoX
        ("attention.output.dense", None),
        ("self_attention.dense", None),  # Falcon, BLOOM
    ],
    "mlp_post": [
        ("mlp.down_proj", None),
        ("mlp.c_proj", None),
        ("mlp.dense_4h_to_h", None),
        ("mlp.fc2", None),  # Phi
        ("mlp.fc_out", None),  # GPT-J
        ("output.dense", None),
        ("fc2", None),
    ],
}


def find_in(block, block_name, paths):
    modules = dict(block.named_modules())
    for path, companion in paths:
        if path in modules and (companion is None or companion in modules):
            return f"{block_name}.{path}", modules[path]
    known = ", ".join(sorted({path for path, _ in paths}))
    raise HarvestError(f"{block_name} ({type(block).__name__}) has none of {known}")


def find_branch(block, block_name, site):
    return Point(*find_in(block, block_name, BRANCHES[site]))


def find_taker(block, block_name, site):
    point = Point(*find_in(block, block_name, TAKERS[site]), is_input=True)
    if site != "resid_mid":
        refuse_changed(block, point, site)
    return point


def refuse_changed(block, point, site):
    """A projection that takes something else than what heads or gates give."""
    for name, module in beside(block, point.module):
        gate = name == "q_proj" and getattr(module, "out_features", 0) == 2 * width_of(point.module)
        if gate or name.endswith("sub_norm"):  # Qwen3-Next, BitNet
            raise HarvestError(
                f"{point.name}: what it takes is not {site} alone, {name} changes it; "
                f"{site} is not known for this model"
            )


def beside(block, module):
    """Names and modules of the part of a block that a module is in."""
    for parent in block.modules():
        children = list(parent.named_children())
        if any(child is module for _, child in children):
            return children
    return []


def width_of(projection):
    """What a projection takes, in numbers a token; GPT-2's have their matrix the other way round."""
    return getattr(projection, "in_features", None) or projection.weight.shape[0]


class Place(NamedTuple):
    """A site of a layer, in a model."""

    point: Point
    index: int | None  # the entry of hidden_states that equals it; the last one is after the final norm
    width: int
    words: str  # what and where it is


def find_place(model, layer, site):
    name, blocks = find_blocks(model)
    if layer >= len(blocks):
        raise HarvestError(f"--layer {layer}: the model has blocks 0 to {len(blocks) - 1}")
    block, block_name = blocks[layer], f"{name}.{layer}"
    index, width = None, text_config(model.config).hidden_size
    if site == "resid_post":
        point = Point(block_name, block)
        what, last = f"output of block {layer}", layer + 1 == len(blocks)
        index = None if last else layer + 1
        where = "before any final norm" if last else f"hidden_states[{index}]"
    elif site == "resid_pre":
        point, index = Point(block_name, block, is_input=True), layer
        what, where = f"input of block {layer}", f"hidden_states[{layer}]"
    elif site in BRANCHES:
        point = find_branch(block, block_name, site)
        branch = "attention" if site == "attn_out" else "MLP"
        what = f"what the {branch} of block {layer} adds to the stream"
        where = f"output of {point.name}"
    else:
        point = find_taker(block, block_name, site)
        width = width if site == "resid_mid" else width_of(point.module)
        what = {
            "resid_mid": f"the stream between attention and MLP of block {layer}",
            "hook_z": f"what the heads of block {layer} give, before W_O",
            "mlp_post": f"hidden layer of the MLP of block {layer}",
        }[site]
        where = f"input of {point.name}"
    words = f"layer {layer} {site} = {what} = {where} (of {len(blocks)} blocks)"
    return Place(point, index, width, words)
