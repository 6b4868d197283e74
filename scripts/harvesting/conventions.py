"""Whether a converted model is right: how well it predicts text, and that every convention which the
conversion has to know makes it worse if it is taken the other way round."""

import copy
import math
from typing import NamedTuple

from harvesting import HarvestError

CONTEXT = 512
WRONG_WINDOWS = 5  # for each convention that is made wrong
LEAST = 0.01  # by which the loss has to rise, in nats a token


def readable(text):
    """WikiText without its markers, as text is written."""
    for marker, sign in ((" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", "."), ("<unk>", "thing")):
        text = text.replace(marker, sign)
    return text


class Wrong(NamedTuple):
    name: str
    config: object = None  # changes a configuration
    weights: object = None  # changes a model


def scale_queries(config):
    config.query_pre_attn_scalar = config.hidden_size // config.num_attention_heads


def attend_everywhere(config):
    config.layer_types = ["full_attention"] * config.num_hidden_layers


def keep_ones(model):
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter += 1


def leave_embedding(model):
    model.model.embed_tokens.embed_scale.fill_(1)


def permute_rows(model):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, parameter in model.named_parameters():
        for part, count in heads.items():
            if part in name:
                halves = parameter.reshape(count, 2, -1, parameter.shape[1])
                parameter.copy_(halves.swapaxes(1, 2).reshape(parameter.shape))


# By model_type: what a conversion can get wrong.
WRONG = {
    "gemma3_text": [
        Wrong("norms as the file has them, 1 + w", weights=keep_ones),
        Wrong("embedding not scaled by sqrt(D)", weights=leave_embedding),
        Wrong("all layers global", config=attend_everywhere),
        Wrong("queries scaled by D / heads", config=scale_queries),
    ],
    "llama": [Wrong("rows of q and k as the file has them, permuted", weights=permute_rows)],
}


def load(folder, dtype, wrong=None):
    """The model, with one thing made wrong or none."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    if wrong and wrong.config:
        config = copy.deepcopy(config)
        wrong.config(config)
    model = AutoModelForCausalLM.from_pretrained(
        folder, config=config, dtype=dtype, attn_implementation="eager"
    ).eval()
    if wrong and wrong.weights:
        with torch.no_grad():
            wrong.weights(model)
    return model


def windows_of(ids, bos, context=CONTEXT):
    """[n, context] ids that begin with `bos`, all of the text but its end."""
    import torch

    inner = context - 1
    count = len(ids) // inner
    if not count:
        raise HarvestError(f"the text has {len(ids)} tokens, expected at least {inner}")
    rows = torch.tensor(ids[: count * inner]).reshape(count, inner)
    return torch.cat([torch.full((count, 1), bos), rows], dim=1)


def loss_of(model, windows, progress=None):
    """Mean cross entropy over the text's tokens, in nats."""
    import torch

    total = 0.0
    for done, row in enumerate(windows, 1):
        with torch.no_grad():
            hidden = model.model(input_ids=row[None]).last_hidden_state[0, :-1]
            for part, target in zip(hidden.split(256), row[1:].split(256)):  # vocabularies are wide
                logits = model.lm_head(part).float()
                total += torch.nn.functional.cross_entropy(logits, target, reduction="sum").item()
        if progress:
            progress.show(done, done / len(windows))
    return total / (windows.shape[0] * (windows.shape[1] - 1))


class Measured(NamedTuple):
    tokens: int
    perplexity: float  # a token
    bits: float  # a byte
    right: float  # loss on the first windows, as converted
    wrong: dict  # the same with a convention made wrong


def measure(folder, text, tokens, dtype, progress=None):
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = readable(text)[: 8 * tokens]
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][:tokens]
    windows = windows_of(ids, tokenizer.bos_token_id)
    dtype = getattr(torch, dtype)
    model = load(folder, dtype)
    loss, some = loss_of(model, windows, progress), windows[:WRONG_WINDOWS]
    right = loss_of(model, some)
    kinds = WRONG[model.config.model_type]
    del model
    wrong = {kind.name: loss_of(load(folder, dtype, kind), some) for kind in kinds}
    size = len(tokenizer.decode(windows[:, 1:].flatten()).encode())
    count = windows[:, 1:].numel()
    return Measured(count, math.exp(loss), loss * count / size / math.log(2), right, wrong)


def refuse_indifferent(measured):
    """A convention that changes nothing has not been tested, and one that helps is the right one."""
    for name, loss in measured.wrong.items():
        if not loss > measured.right + LEAST:
            raise HarvestError(
                f"{name}: loss {loss:.3f}, expected more than the {measured.right:.3f} of the model as converted"
            )
