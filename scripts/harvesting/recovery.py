"""What a language model loses when an autoencoder stands in for a site's activations: the metrics of
SAEBench 0.6.0 (sae_bench/evals/core), as functions of logits [B, T, V] and tokens [B, T]."""

from contextlib import contextmanager

from harvesting.model import first


def cross_entropy(logits, tokens):
    """Of each token given those before it: [B, T - 1], at the position that predicts."""
    log_probabilities = logits.float().log_softmax(-1)[:, :-1]
    return -log_probabilities.gather(-1, tokens[:, 1:, None])[..., 0]


def kl_divergence(original, other):
    """KL(original || other), [B, T]. SAEBench takes the logarithm of a softmax, which can be NaN."""
    p, q = (logits.float().log_softmax(-1) for logits in (original, other))
    return (p.exp() * (p - q)).sum(-1)


class Recovery:
    """Means over all positions of all batches whose token is none of `special` [n]."""

    def __init__(self, special):
        self.special = special
        self.sums, self.counts = {}, {}

    def add(self, tokens, original, sae, ablation):
        """Logits without replacement, with the autoencoder's reconstruction and with zeros."""
        import torch

        counted = ~torch.isin(tokens, self.special)
        self._add("ce_loss_without_sae", cross_entropy(original, tokens), counted[:, :-1])
        for name, logits in (("sae", sae), ("ablation", ablation)):
            self._add(f"ce_loss_with_{name}", cross_entropy(logits, tokens), counted[:, :-1])
            self._add(f"kl_div_with_{name}", kl_divergence(original, logits), counted)

    def _add(self, name, values, counted):
        self.sums[name] = self.sums.get(name, 0.0) + values[counted].double().sum().item()
        self.counts[name] = self.counts.get(name, 0) + int(counted.sum())

    def metrics(self):
        """By SAEBench's names. The scores are 1 where the autoencoder changes nothing and 0 where it is
        no better than zeros; NaN where zeros change nothing."""
        nan = float("nan")
        mean = {n: self.sums[n] / self.counts[n] if self.counts[n] else nan for n in self.sums}
        ce, kl = mean["ce_loss_with_ablation"], mean["kl_div_with_ablation"]
        harm = ce - mean["ce_loss_without_sae"]
        mean["ce_loss_score"] = (ce - mean["ce_loss_with_sae"]) / harm if harm else nan
        mean["kl_div_score"] = (kl - mean["kl_div_with_sae"]) / kl if kl else nan
        return {name: mean[name] for name in METRICS}

    @property
    def tokens(self):
        return self.counts.get("ce_loss_without_sae", 0)


METRICS = [
    "ce_loss_without_sae", "ce_loss_with_sae", "ce_loss_with_ablation", "ce_loss_score",
    "kl_div_with_sae", "kl_div_with_ablation", "kl_div_score",
]  # fmt: skip


@contextmanager
def replaced(point, change):
    """Within it, the model goes on with change(activation) at a point (harvesting.model.Point)."""

    def before(module, inputs, named):
        if inputs:
            return (change(inputs[0]), *inputs[1:]), named
        return inputs, named | {"hidden_states": change(named["hidden_states"])}

    def after(module, inputs, output):
        new = change(first(output))
        return type(output)((new, *output[1:])) if isinstance(output, (tuple, list)) else new

    hook = (
        point.module.register_forward_pre_hook(before, with_kwargs=True)
        if point.is_input
        else point.module.register_forward_hook(after)
    )
    try:
        yield
    finally:
        hook.remove()


def add_batch(recovery, model, point, sae, ids, kept):
    """Three forward passes. Positions `kept` [B, T] keep their own activation beside the
    reconstruction of the others; zeros are everywhere."""
    import torch

    def reconstruct(value):
        x = value.reshape(*ids.shape, -1)  # OPT's MLP has its tokens in one row
        x_hat = sae.decode(sae.encode(x)).to(x.dtype)
        return torch.where(kept[..., None], x, x_hat).reshape(value.shape)

    def logits(change=None):
        if change is None:
            return model(input_ids=ids).logits
        with replaced(point, change):
            return model(input_ids=ids).logits

    with torch.no_grad():
        recovery.add(ids, logits(), logits(reconstruct), logits(torch.zeros_like))
