"""An autoencoder of `sae` in Python: what its folder holds, and what it computes at inference."""

import json
from pathlib import Path

from harvesting import HarvestError


def find_folder(path):
    """The folder of an autoencoder, also by that of its run."""
    path = Path(path)
    for folder in (path / "sae", path):
        if (folder / "config.json").is_file():
            return folder
    raise HarvestError(f"--sae {path}: no config.json, expected the folder of an autoencoder or a run")


def importance(options, state):
    """Of the latents, from the averages that training kept (F64)."""
    unbias = 1 / (1 - options["decay"] ** state["updates"].item())
    names = ("magnitude", "frequency", "contribution")
    signals = {name: state[name].double() * unbias for name in names}
    rule = options["importance"]
    if rule == "product":
        return signals["magnitude"] * signals["frequency"] * signals["contribution"]
    if rule in signals:
        return signals[rule]
    weights = [1 / 3] * 3 if rule == "mean" else options["weights"]
    return sum(w * s / s.mean().clamp(min=1e-30) for w, s in zip(weights, signals.values()))


def inference_factor(options, state):
    """What the temporal mask multiplies each latent with at inference, [F], or None."""
    import torch

    if options["inference"] == "none" or state["updates"] == 0:
        return None
    value = importance(options, state)
    pruning = options["active_fraction"] > 0  # as in the first step of a cycle
    c = options["threshold"] if pruning else options["relaxed_threshold"]
    theta = value.mean() + c * value.std(unbiased=False)
    if options["inference"] == "hard":
        return (value >= theta).float()
    if theta <= 0:
        return torch.ones(len(value))
    return torch.exp(-options["rate"] * ((theta - value) / theta).clamp(min=0)).float()


class Autoencoder:
    """h = (x - b_dec) W_enc^T + b_enc;  f = what the architecture keeps of h;  x_hat = f W_dec + b_dec."""

    def __init__(self, path, device="cpu"):
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = find_folder(path)
        try:
            self.config = json.loads((folder / "config.json").read_text())
            self.options = self.config["model"]
            self.architecture = self.options["architecture"]
            self.state = load_file(folder / "sae.safetensors", device=device)
            self.W_enc, self.b_enc, self.W_dec, self.b_dec = (
                self.state[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")
            )
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise HarvestError(f"{folder}: not an autoencoder: {error}") from None
        if self.config.get("format") != "sae" or self.config.get("version") != 1:
            raise HarvestError(f"{folder}/config.json: expected format 'sae' version 1")
        if self.architecture not in RULES:
            raise HarvestError(f"{folder}: unknown architecture '{self.architecture}'")
        mask = self.options.get("mask")
        state = {n.removeprefix("mask."): t for n, t in self.state.items() if n.startswith("mask.")}
        self.factor = inference_factor(mask, state) if mask else None
        if self.factor is not None:
            self.factor = self.factor.to(device)

    @property
    def width(self):
        return self.W_dec.shape[1]

    def encode(self, x):
        """x [..., D] -> f [..., F], in float32."""
        h = (x.float() - self.b_dec) @ self.W_enc.T + self.b_enc
        f = RULES[self.architecture](self, h)
        return f if self.factor is None else f * self.factor

    def decode(self, f):
        return f @ self.W_dec + self.b_dec


def keep_positive(sae, h):
    return h.relu()


def keep_largest(sae, h):
    values, latents = h.topk(min(sae.options["k"], h.shape[-1]), dim=-1)
    return h.new_zeros(h.shape).scatter(-1, latents, values.relu())


def keep_above_one_threshold(sae, h):
    """Training left it behind; one below zero has never been set."""
    return h * (h > sae.state["threshold"].clamp(min=0))


def keep_above_thresholds(sae, h):
    log = sae.state.get("log_threshold")
    return h * (h > (sae.state["threshold"].relu() if log is None else log.exp()))


RULES = {
    "standard": keep_positive,
    "atm": keep_positive,
    "topk": keep_largest,
    "batch_topk": keep_above_one_threshold,
    "matryoshka": keep_above_one_threshold,
    "jumprelu": keep_above_thresholds,
}
