"""What turns a direction of a language model's residual stream into logits, as one matrix."""

from typing import NamedTuple

from harvesting import HarvestError
from harvesting.model import find_blocks, first, text_config

SIZE = 1000.0  # of what a norm is asked with: beside it, the small number that it adds is nothing


class Unembedding(NamedTuple):
    weight: object  # [tokens, D]
    norm: str  # the module whose weight is in it
    over_width: bool  # each token's row has mean 0
    over_tokens: bool  # each column has


class Norm(NamedTuple):
    """y = weight x / |x| sqrt(D) + bias, of x without its mean if it `centres`."""

    weight: object  # [D]
    bias: object  # [D]
    centres: bool


def ask_norm(module, width):
    """Asked of the module itself, whose weight may be stored as w or as 1 + w."""
    import torch

    x = SIZE * (1 - 2 * (torch.arange(width) % 2)).float()
    with torch.no_grad():
        plus, minus, shifted = module(x), module(-x), module(x + SIZE)
    centres = torch.allclose(plus, shifted, rtol=1e-3, atol=1e-3 * plus.abs().max().item())
    unit = x - x.mean() if centres else x
    unit = unit / unit.square().mean().sqrt()
    return Norm((plus - minus) / 2 / unit, (plus + minus) / 2, centres)


def watch(model, modules, ids):
    """{name: (input, output)} of the named modules on `ids`, as they were called."""
    import torch

    seen, hooks = {}, []

    def keep(name):
        def hook(module, inputs, output):
            seen[name] = first(inputs), first(output)

        return hook

    for name, module in modules.items():
        hooks.append(module.register_forward_hook(keep(name)))
    try:
        with torch.no_grad():
            model(input_ids=ids)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def has_weight_a_dimension(module):
    import torch

    weight = getattr(module, "weight", None)
    return isinstance(weight, torch.Tensor) and weight.dim() == 1


def final_norm(model, head, ids):
    """Name, module, input and output of the norm between the last block and the head."""
    import torch

    blocks_name, blocks = find_blocks(model)
    norms = {n: module for n, module in model.named_modules() if has_weight_a_dimension(module)}
    seen = watch(model, norms | {"the head": head, "the last block": blocks[-1]}, ids)
    stream = seen["the last block"][1]
    for name in norms:
        value, output = seen.get(name, (None, None))
        if value is not None and torch.equal(value, stream) and torch.equal(output, seen["the head"][0]):
            return name, norms[name], value, output
    raise HarvestError(
        f"{type(model).__name__}: between {blocks_name}.{len(blocks) - 1} and its head is not one norm "
        "alone; logits are no linear map of the normed stream"
    )


def check_norm(name, norm, value, output):
    """That it does with the model's own activations what `norm` says, up to a scale."""
    import torch

    value = value - value.mean(-1, keepdim=True) if norm.centres else value
    cosine = torch.nn.functional.cosine_similarity(norm.weight * value, output - norm.bias, dim=-1)
    if not (cosine > 0.9999).all():
        raise HarvestError(f"{name}: neither a LayerNorm nor an RMSNorm, so that no weight can be folded")


def unembedding_of(model, ids):
    """As TransformerLens folds them (fold_ln and center_unembed, both its defaults; weight_processing.py):
    the final norm's weight; the mean over the width taken off where that norm takes it off its input; the
    mean over the tokens taken off unless logits are capped, for it changes no probability. The norm's
    scale, which differs from token to token, stays out, and so do biases, which no direction changes."""
    import torch

    head = model.get_output_embeddings()
    if head is None or getattr(head, "weight", None) is None:
        raise HarvestError(f"{type(model).__name__}: has no output embedding, and so no logits")
    name, module, value, output = final_norm(model, head, ids)
    norm = ask_norm(module, output.shape[-1])
    check_norm(name, norm, value, output)
    capped = bool(getattr(text_config(model.config), "final_logit_softcapping", None))
    with torch.no_grad():
        weight = head.weight.float() * norm.weight
        if norm.centres:
            weight -= weight.mean(1, keepdim=True)
        if not capped:
            weight -= weight.mean(0, keepdim=True)
    return Unembedding(weight, name, norm.centres, not capped)
