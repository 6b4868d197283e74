#!/usr/bin/env python3
"""Writes tests/golden/architectures.json: what each architecture must compute on small inputs.

Everything here is dense float64 PyTorch written from the published formulas, with no code in common
with the library: latents, reconstruction, every loss, every gradient, and the statistics after the
step. Needs torch (any 2.x, CPU):

    python3 -m venv gold && gold/bin/pip install torch && gold/bin/python scripts/make_goldens.py

The file is only to be made again when a formula changes; review the difference by hand.
"""

import json
import math
import pathlib

import torch

torch.set_default_dtype(torch.float64)
D, F, B = 4, 8, 6
M32 = 0xFFFFFFFF


class Philox:
    """Philox4x32-10: words for key `seed` and counter (block, stream, index)."""

    def __init__(self, seed, stream, index):
        self.key = (seed & M32, seed >> 32)
        self.tail = (stream, index & M32, index >> 32)
        self.block, self.words = 0, []

    def word(self):
        if not self.words:
            c, k = [self.block, *self.tail], list(self.key)
            for _ in range(10):
                a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
                c = [(b >> 32) ^ c[1] ^ k[0], b & M32, (a >> 32) ^ c[3] ^ k[1], a & M32]
                k = [(k[0] + 0x9E3779B9) & M32, (k[1] + 0xBB67AE85) & M32]
            self.block, self.words = self.block + 1, c
        return self.words.pop(0)

    def uniform(self):
        high, low = self.word() >> 6, self.word() >> 6
        return (high * 2**26 + low + 0.5) / 2**52


class Step(torch.autograd.Function):
    """H(z - theta); JumpReLU paper, eq. 10 and 11."""

    @staticmethod
    def forward(ctx, z, theta, eps):
        ctx.save_for_backward(z, theta)
        ctx.eps = eps
        return (z > theta).to(z)

    @staticmethod
    def backward(ctx, grad):
        z, theta = ctx.saved_tensors
        rectangle = (((z - theta) / ctx.eps).abs() < 0.5).to(z)
        return None, (-rectangle / ctx.eps * grad).sum(0), None


class JumpReLU(torch.autograd.Function):
    """z H(z - theta); JumpReLU paper, eq. 8 and 9."""

    @staticmethod
    def forward(ctx, z, theta, eps):
        ctx.save_for_backward(z, theta)
        ctx.eps = eps
        return z * (z > theta)

    @staticmethod
    def backward(ctx, grad):
        z, theta = ctx.saved_tensors
        rectangle = (((z - theta) / ctx.eps).abs() < 0.5).to(z)
        return grad * (z > theta), (-theta / ctx.eps * rectangle * grad).sum(0), None


def importance(o, state):
    unbias = 1 / (1 - o["decay"] ** state["updates"])
    m, q, c = (torch.tensor(state[n]) * unbias for n in ("magnitude", "frequency", "contribution"))
    single = {"magnitude": m, "frequency": q, "contribution": c}
    if o["importance"] in single:
        return single[o["importance"]]
    if o["importance"] == "product":
        return m * q * c
    weights = [1 / 3] * 3 if o["importance"] == "mean" else o["weights"]
    return sum(w * s / s.mean() for w, s in zip(weights, (m, q, c)))


def draw_mask(o, state, step):
    value = importance(o, state)
    rng = Philox(step["seed"], 4, step["index"])
    at_least = math.ceil(o["min_keep"] * F)
    order = sorted(range(F), key=lambda i: (-value[i].item(), i))
    if o["draw"] == "nested":
        keep = max(math.floor(F ** rng.uniform()), at_least)
        return torch.tensor([1.0 if i in order[:keep] else 0.0 for i in range(F)])
    pruning = step["index"] % o["cycle"] < o["active_fraction"] * o["cycle"]
    c = o["threshold"] if pruning else o["relaxed_threshold"]
    theta = value.mean() + c * value.std(unbiased=False)
    p = torch.zeros(F)
    if theta > 0:
        below = value < theta
        p[below] = 1 - torch.exp(-o["rate"] * (theta - value[below]) / theta)
    mask = torch.tensor([1.0 if rng.uniform() >= p[i] else 0.0 for i in range(F)])
    for i in order:
        if mask.sum() >= at_least:
            break
        mask[i] = 1
    return mask


def keep_largest(z, count):
    """1 at the `count` largest entries of each row of z that are positive."""
    top = z.detach().topk(count, dim=-1).indices
    return torch.zeros_like(z).scatter(-1, top, 1.0) * (z.detach() > 0)


def run(case):
    o, step, state = case["model"], case["step"], case["state"]
    kind = o["architecture"]
    p = {n: torch.tensor(v).requires_grad_() for n, v in case["parameters"].items()}
    x = torch.tensor(case["x"])
    dead = torch.tensor(state["silent_tokens"]) >= o["dead_after_tokens"]
    z = (x - p["b_dec"]) @ p["W_enc"].T + p["b_enc"]
    norm = p["W_dec"].norm(dim=1) if o["decoder_norm"] == "free" else torch.ones(F)

    theta = None
    if kind == "jumprelu":
        theta = p["log_threshold"].exp() if "log_threshold" in p else p["threshold"]
        f = JumpReLU.apply(z, theta, o["bandwidth"])
    elif kind in ("standard", "atm"):
        f = torch.relu(z)
    elif kind == "topk":
        f = z * keep_largest(z, o["k"])
    else:
        f = (z.reshape(1, -1) * keep_largest(z.reshape(1, -1), int(o["k"] * B))).reshape(B, F)

    masking = o.get("mask")
    mask = draw_mask(masking, state, step) if masking else torch.ones(F)
    kept = f * mask
    through = kept.clone()  # a node of its own: its gradient comes from the reconstruction alone
    through.retain_grad()

    def decode(values):
        return [values[:, :w] @ p["W_dec"][:w] + p["b_dec"] for w in o.get("widths", [F])]

    parts = decode(through)
    if masking and masking["paths"] == "both":
        parts += decode(f)
    x_hat = parts[-1]
    losses = {"reconstruction": sum(((x - r) ** 2).sum(1).mean() for r in parts) / len(parts)}

    if "sparsity" in o:
        warm = min(1.0, step["index"] / max(1, o["sparsity_warmup_steps"]))
        form = o.get("sparsity_loss", "l1")
        if form == "l1":
            value = (kept * norm).sum(1).mean()
        elif form == "tanh":
            value = torch.tanh(o["tanh_scale"] * kept * norm).sum(1).mean()
        else:
            value = (Step.apply(z, theta, o["bandwidth"]) * mask).sum(1).mean()
            if form == "target":
                value = (value / o["target_l0"] - 1) ** 2
        losses["sparsity"] = o["sparsity"] * warm * value
    if o.get("preact_coefficient") and dead.any():
        missing = torch.relu(theta - z) * norm
        losses["preact"] = o["preact_coefficient"] * missing[:, dead].sum(1).mean()
    if o.get("aux_coefficient") and dead.any():
        e = (x - x_hat).detach()
        candidates = torch.where(dead, z, torch.full_like(z, -1.0))
        g = z * keep_largest(candidates, min(o["aux_k"], int(dead.sum())))
        error = ((e - g @ p["W_dec"]) ** 2).sum(1).mean()
        if o["aux_normalize"]:
            scale = 1 / ((e - e.mean(0)) ** 2).sum(1).mean()
        else:
            scale = min(1.0, int(dead.sum()) / o["aux_k"])
        losses["aux_k"] = o["aux_coefficient"] * scale * error

    sum(losses.values()).backward()
    fired = f.detach() > 0
    after = {"silent_tokens": torch.where(fired.any(0), 0, torch.tensor(state["silent_tokens"]) + B)}
    if masking:
        beta = masking["decay"]
        seen = {
            "magnitude": f.mean(0),
            "frequency": fired.double().mean(0),
            "contribution": (B * through.grad * f).abs().mean(0),
        }
        for name, now in seen.items():
            after["mask." + name] = beta * torch.tensor(state[name]) + (1 - beta) * now
    if kind in ("batch_topk", "matryoshka"):
        beta, smallest = o["threshold_decay"], f.detach()[fired].min()
        old = state["threshold"]
        after["threshold"] = smallest if old < 0 else beta * old + (1 - beta) * smallest
    return {
        "mask": mask,
        "f": f,
        "x_hat": x_hat,
        "losses": losses,
        "gradients": {n: torch.zeros_like(v) if v.grad is None else v.grad for n, v in p.items()},
        "after": after,
    }


COMMON = {"d_in": D, "d_sae": F, "decoder_norm": "unit", "dead_after_tokens": 1000}
L1 = {"sparsity": 0.25, "sparsity_warmup_steps": 0}
TOP = {"k": 2, "aux_coefficient": 0.03125, "aux_k": 2, "aux_normalize": True}
BATCH = {**TOP, "k": 1.75, "threshold_decay": 0.9}
NESTED = {**BATCH, "widths": [2, 5, 8]}
JUMP = {**L1, "sparsity_loss": "l0", "threshold_init": 0.25, "threshold_as": "value",
        "bandwidth": 0.75, "tanh_scale": 2, "preact_coefficient": 0}
MASK = {"decay": 0.9, "warmup_steps": 2, "importance": "product", "weights": [1, 2, 0.5],
        "threshold": 1, "relaxed_threshold": 0.25, "cycle": 10, "active_fraction": 0.5, "rate": 4,
        "min_keep": 0.2, "draw": "bernoulli", "paths": "masked"}


def variants():
    """(name, options on top of COMMON, options of the mask or None, dead latents)"""
    yield "standard", "unit", L1, None, []
    yield "standard", "free", {**L1, "decoder_norm": "free"}, None, [1]
    yield "standard", "warm-up", {**L1, "sparsity_warmup_steps": 16}, None, []
    for rule in ("product", "mean", "weighted", "magnitude", "frequency", "contribution"):
        yield "atm", rule, L1, {"importance": rule}, []
    yield "atm", "both", {**L1, "decoder_norm": "free"}, {"paths": "both", "cycle": 4}, []
    yield "atm", "floor", L1, {"rate": 50, "min_keep": 0.6}, []
    yield "topk", "living", TOP, None, []
    yield "topk", "dead", TOP, None, [0, 3, 6]
    yield "topk", "few dead", {**TOP, "aux_k": 3, "aux_normalize": False}, None, [5]
    yield "topk", "mask", TOP, {}, [2, 4]
    yield "batch_topk", "living", BATCH, None, []
    yield "batch_topk", "dead", {**BATCH, "aux_normalize": False}, None, [0, 3, 6]
    yield "batch_topk", "nested", BATCH, {"draw": "nested", "paths": "both", "min_keep": 0,
                                          "importance": "contribution"}, [7]
    yield "matryoshka", "living", NESTED, None, []
    yield "matryoshka", "dead", NESTED, None, [1, 2, 7]
    yield "matryoshka", "mask", NESTED, {"paths": "both"}, []
    yield "jumprelu", "l0", JUMP, None, [3]
    yield "jumprelu", "log", {**JUMP, "threshold_as": "log"}, None, []
    yield "jumprelu", "tanh", {**JUMP, "sparsity_loss": "tanh", "decoder_norm": "free"}, None, []
    yield "jumprelu", "target", {**JUMP, "sparsity_loss": "target", "target_l0": 1.5}, None, []
    yield "jumprelu", "preact", {**JUMP, "preact_coefficient": 0.5, "decoder_norm": "free",
                                 "threshold_as": "log"}, None, [0, 6]
    yield "jumprelu", "mask", JUMP, {"paths": "both", "draw": "nested"}, []


def plain(value):
    if isinstance(value, torch.Tensor):
        return value.detach().tolist()
    if isinstance(value, dict):
        return {n: plain(v) for n, v in value.items()}
    return value


def main():
    cases = []
    for number, (kind, name, options, mask, dead) in enumerate(variants()):
        g = torch.Generator().manual_seed(number)
        random = lambda *shape: torch.randn(*shape, generator=g).mul(2**10).round().div(2**10)
        model = {"architecture": kind, **COMMON, **options}
        if mask is not None:
            model["mask"] = {**MASK, **mask}
        parameters = {"W_enc": random(F, D), "b_enc": random(F) / 2, "W_dec": random(F, D),
                      "b_dec": random(D) / 2}
        if kind == "jumprelu":
            log = model["threshold_as"] == "log"
            theta = random(F).abs() / 2 + 0.0625
            parameters["log_threshold" if log else "threshold"] = theta.log() if log else theta
        state = {"silent_tokens": [10**6 if i in dead else 7 * i for i in range(F)]}
        if mask is not None:
            names = ("magnitude", "frequency", "contribution")
            state.update({n: (random(F).abs() + 2**-10).tolist() for n in names}, updates=5)
        if kind in ("batch_topk", "matryoshka"):
            state["threshold"] = -1.0 if number % 2 else 0.5
        case = {"name": f"{kind}, {name}", "model": model, "step": {"index": 8, "seed": 2**40 + number},
                "state": state, "parameters": plain(parameters), "x": plain(random(B, D))}
        case["expected"] = plain(run(case))
        cases.append(case)
    target = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "architectures.json"
    target.parent.mkdir(exist_ok=True)
    rows = ",\n".join(json.dumps(case, allow_nan=False) for case in cases)
    target.write_text(f"[\n{rows}\n]\n")
    print(f"{target}: {len(cases)} cases, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
