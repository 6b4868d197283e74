#!/usr/bin/env python3
"""Writes tests/golden/metrics/*.safetensors: what SAEBench itself computes on small inputs.

Every expected number comes from a call into the installed sae-bench (or, where said, from
scikit-learn at a tolerance of 1e-12); language models are replaced by tables of activations.
Inputs and outputs of a case lie in one file, versions in its metadata. Needs sae-bench 0.6.0:

    python3 -m venv gold && gold/bin/pip install sae-bench==0.6.0 safetensors
    gold/bin/python scripts/make_metric_goldens.py            all cases, half an hour
    gold/bin/python scripts/make_metric_goldens.py trainer    one of them

The fraction had another formula before 0.4.1. For word_scores, SAE_BENCH_OLD names a folder with
that code: pip download --no-deps sae-bench==0.3.2, unzipped.

The files are only to be made again when SAEBench changes a formula; review the difference by hand.
"""

import os

os.environ["JAXTYPING_DISABLE"] = "1"  # its checks fail on SAEBench's own sparse probing

import contextlib
import importlib.metadata
import importlib.util
import io
import pathlib
import random
import sys
import types
from unittest import mock

import numpy as np
import pandas as pd
import sae_bench.evals.absorption.feature_absorption as feature_absorption
import sae_bench.evals.absorption.k_sparse_probing as k_sparse
import sae_bench.evals.absorption.main as absorption_main
import sae_bench.evals.absorption.probing as probing
import sae_bench.evals.core.main as core
import sae_bench.evals.sparse_probing.probe_training as probe_training
import torch
from sae_bench.evals.absorption.eval_config import AbsorptionEvalConfig
from sae_bench.evals.absorption.feature_absorption_calculator import FeatureAbsorptionCalculator
from sae_bench.sae_bench_utils import activation_collection
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from transformer_lens.utils import lm_cross_entropy_loss

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "metrics"
SEED = 20240601
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PACKAGES = ["sae-bench", "torch", "scikit-learn", "numpy"]


def save(name, tensors):
    OUT.mkdir(parents=True, exist_ok=True)
    kept = {k: torch.as_tensor(v).contiguous() for k, v in tensors.items()}
    versions = {p: importlib.metadata.version(p) for p in PACKAGES}
    save_file(kept, OUT / f"{name}.safetensors", metadata=versions)


def unit(rows):
    return rows / rows.norm(dim=-1, keepdim=True)


class TableSae:
    """An SAE whose codes are looked up by the bytes of the activation."""

    def __init__(self, x, codes, W_dec):
        self.rows = {row.tobytes(): i for i, row in enumerate(x.numpy())}
        self.codes, self.W_dec, self.W_enc = codes, W_dec, W_dec.T.contiguous()
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.cfg = types.SimpleNamespace(d_sae=W_dec.shape[0])

    def encode(self, x):
        return self.codes[[self.rows[row.tobytes()] for row in x.detach().numpy()]]


class TableModel:
    """A model that gives each word its activation, at the position that is read."""

    def __init__(self, words, x):
        self.x = dict(zip(words, x))
        self.tokenizer = "unused"

    def to_tokens(self, prompt):
        return torch.zeros(1, 80)

    def run_with_cache(self, prompts, names_filter):
        words = [prompt.rsplit("\n", 1)[-1].split(" ")[0] for prompt in prompts]
        acts = torch.zeros(len(words), 8, len(self.x[words[0]]))
        for i, word in enumerate(words):
            acts[i, -6] = self.x[word]
        return None, {names_filter[0]: acts}


def calculator(model, words, make=FeatureAbsorptionCalculator, **thresholds):
    return make(
        model=model, icl_word_list=words, max_icl_examples=min(10, len(words) - 1),
        base_template="{word} has the first letter:", word_token_pos=-6, **thresholds)


def old_calculator():
    """FeatureAbsorptionCalculator of sae-bench 0.3.2, beside the installed one."""
    path = pathlib.Path(os.environ["SAE_BENCH_OLD"], "sae_bench/evals/absorption")
    spec = importlib.util.spec_from_file_location("old", path / "feature_absorption_calculator.py")
    module = sys.modules["old"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FeatureAbsorptionCalculator


def core_metrics():
    """Core metrics of three batches with special tokens, float32 and float64, plus weights."""
    out = {}
    rng = np.random.default_rng(SEED)
    d, f, batch, context = 32, 64, 4, 16
    mu = rng.normal(size=d)
    x = torch.tensor(3 * mu + rng.normal(size=(3, batch, context, d)))
    tokens = torch.tensor(rng.integers(3, 100, size=(3, batch, context)))
    tokens[:, :, 0] = 2
    for b, i, t in [(0, 1, 7), (1, 2, 9), (2, 0, 3)]:
        tokens[b, i, t] = 1
    tokens[2, 3, 11:] = 0
    W_enc = torch.tensor(rng.normal(size=(d, f))) * 0.3
    W_dec = unit(torch.tensor(rng.normal(size=(f, d))))
    b_enc, b_dec = torch.tensor(rng.normal(size=f)) - 1, torch.tensor(rng.normal(size=d))
    b_enc[3], b_enc[5] = -1e3, 50.0  # one dead, one always on
    keep = ~((tokens == 0) | (tokens == 1) | (tokens == 2))
    out.update(x=x.float(), keep=keep.to(torch.uint8), W_enc=W_enc.T.float(), W_dec=W_dec.float(),
               b_enc=b_enc.float(), b_dec=b_dec.float())
    W_enc, W_dec, b_enc, b_dec, x = (t.float() for t in (W_enc, W_dec, b_enc, b_dec, x))

    def run(dtype, signed, suffix, silent=False):
        """`silent`: the first token of each prompt but the special one is reconstructed as zero."""
        acts = iter(x.to(dtype))
        sae = types.SimpleNamespace(
            device=torch.device("cpu"),
            cfg=types.SimpleNamespace(hook_name="h", hook_layer=0, hook_head_index=None, d_sae=f))

        def encode(a):
            pre = (a - b_dec.to(dtype)) @ W_enc.to(dtype) + b_enc.to(dtype)
            codes = pre if signed else torch.relu(pre)
            if silent:
                codes[:, 1] = 0
            return codes

        def decode(c):
            x_hat = c @ W_dec.to(dtype) + b_dec.to(dtype)
            if silent:
                x_hat[:, 1] = 0
            return x_hat

        sae.encode, sae.decode = encode, decode
        store = types.SimpleNamespace(get_batch_tokens=lambda n, it=iter(tokens): next(it))
        model = types.SimpleNamespace(run_with_cache=lambda *a, **k: (None, {"h": next(acts)}))
        metrics, features = core.get_sparsity_and_variance_metrics(
            sae, model, store, 3, True, True, True, True, batch, {}, ignore_tokens={0, 1, 2})
        for key, value in metrics.items():
            out[f"{suffix}.{key}"] = torch.tensor(value, dtype=torch.float64)
        out[f"{suffix}.feature_density"] = torch.tensor(features["feature_density"])

    run(torch.float32, False, "f32")
    run(torch.float64, False, "f64")
    run(torch.float64, True, "signed")
    run(torch.float64, False, "silent", silent=True)
    weights = core.get_featurewise_weight_based_metrics(types.SimpleNamespace(
        W_enc=W_enc, W_dec=W_dec, b_enc=b_enc,
        cfg=types.SimpleNamespace(architecture_str="standard", d_sae=f)))
    for key, value in weights.items():
        out[f"weights.{key}"] = torch.tensor(value)
    misc = core.calculate_misc_metrics(
        {"feature_density": out["f32.feature_density"].tolist(),
         "max_encoder_cosine_sim": weights["max_encoder_cosine_sim"],
         "max_decoder_cosine_sim": weights["max_decoder_cosine_sim"]})
    for key, value in misc.items():
        out[f"misc.{key}"] = torch.tensor(float(value), dtype=torch.float64)
    save("core", out)


def word_scores():
    """Per-word absorption of random codes, a table of branches and planted words, thresholds varied."""
    out = {}
    rng = torch.Generator().manual_seed(SEED)
    variants = {
        "default": {},
        "old": dict(make=old_calculator()),
        "table8": dict(absorption_fraction_probe_cos_sim_threshold=-1,
                       probe_projection_proportion_threshold=0,
                       absorption_fraction_max_absorbing_latents=10**6),
        "loose": dict(absorption_fraction_probe_cos_sim_threshold=0.05,
                      probe_projection_proportion_threshold=0.1,
                      absorption_fraction_max_absorbing_latents=2,
                      full_absorption_probe_cos_sim_threshold=0.3),
    }

    def run(name, x, codes, W_dec, direction, main):
        words = [f"w{i}" for i in range(len(x))]
        sae = TableSae(x, codes, W_dec)
        out.update({f"{name}.x": x, f"{name}.codes": codes, f"{name}.W_dec": W_dec,
                    f"{name}.direction": direction, f"{name}.main": torch.tensor(main)})
        for variant, thresholds in variants.items():
            result = calculator(TableModel(words, x), words, **thresholds).calculate_absorption(
                sae, words, direction, main, layer=0, show_progress=False).word_results
            column = lambda get: torch.tensor([get(r) for r in result], dtype=torch.float64)
            out[f"{name}.{variant}.fraction"] = column(lambda r: float(r.absorption_fraction))
            out[f"{name}.{variant}.full"] = column(lambda r: float(r.is_full_absorption))
        out[f"{name}.projection"] = column(lambda r: r.probe_projection)
        top = [[s.feature_id for s in r.top_projection_feature_scores[:2]] for r in result]
        out[f"{name}.top"] = torch.tensor(top)

    d, f, n = 16, 48, 160
    direction = torch.randn(d, generator=rng)
    W_dec = unit(torch.randn(f, d, generator=rng) + 0.8 * direction * torch.rand(f, 1, generator=rng))
    codes = torch.randn(n, f, generator=rng).relu() * (torch.rand(n, f, generator=rng) < 0.15)
    codes[:, [4, 9]] *= (torch.rand(n, 1, generator=rng) < 0.5)  # the main latents, often silent
    x = codes @ W_dec + 0.3 * torch.randn(n, d, generator=rng)
    run("random", x, codes, W_dec, direction, [4, 9])

    # Branches: latent j has cosine g_j with the direction e_0, the word's projection is A.
    f = 14
    rows = []

    def word(A, **active):
        rows.append((A, {int(key[1:]): value for key, value in active.items()}))

    cosines = [1.0, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1, 0.0249, 0.0251, -0.5, 0.3, 0.09, 0.2]
    word(2.0, l0=2.1)                            # main explains everything
    word(2.0, l0=2.0)                            # exactly
    word(2.0, l1=0.9)                            # S/A 0.405
    word(2.0, l1=0.87)                           # S/A 0.3915
    word(2.0, l0=0.5, l1=0.9)                    # partial
    word(2.0, l0=0.5, l2=5.0)                    # absorbers carry more than what is missing
    word(2.0)                                    # no code at all
    word(2.0, l10=1.0)                           # only a latent against the direction
    word(2.0, l0=-0.5, l1=1.5)                   # negative main
    word(2.0, l0=1e-9, l1=1.9)                   # below the epsilon
    word(2.0, l0=1e-7, l1=1.9)                   # above it
    word(2.0, l2=0.9)                            # one absorber, too small
    word(2.0, l2=0.9, l3=0.8)                    # two
    word(2.0, l2=0.9, l3=0.8, l4=0.7, l5=0.6, l6=0.5)  # five: the three largest count
    word(0.5, l7=5.0)                            # cosine 0.1, as float32
    word(0.5, l12=9.0)                           # 0.09: full, but no absorber of the fraction
    word(0.1, l8=9.0)                            # 0.0249
    word(0.1, l9=9.0)                            # 0.0251
    word(-1.0, l1=1.0)                           # the probe is off
    word(2.0, l0=1.0, l1=1.0)                    # main is the largest
    word(2.0, l13=4.5, l11=0.1)
    W_dec = torch.zeros(f, f + 1)
    for j, cosine in enumerate(cosines):
        W_dec[j, 0], W_dec[j, j + 1] = cosine, (1 - cosine**2) ** 0.5
    x, codes = torch.zeros(len(rows), f + 1), torch.zeros(len(rows), f)
    for i, (A, active) in enumerate(rows):
        x[i, 0], x[i, 1] = A, 1e-3 * (i + 1)  # all rows differ, for the table
        for j, value in active.items():
            codes[i, j] = value
    direction = torch.zeros(f + 1)
    direction[0] = 3.0
    run("branches", x, codes, W_dec, direction, [0])

    # The test words of one letter of each planted world, under the ideal probe.
    for kind in PLANTED:
        x, codes, y, test, W_dec = planted(kind, torch.Generator().manual_seed(SEED))
        here = test & (y == 0)
        codes = codes[here]
        used = codes.any(0) | (torch.arange(len(W_dec)) < 2)
        direction = torch.eye(x.shape[1])[0]
        run(kind, x[here], codes[:, used].contiguous(), W_dec[used], direction, [0])
    save("word_scores", out)


def letters_world(rng, train, test, f, noise):
    """Codes in which latent c reads letter c, badly enough to need others."""
    labels = torch.arange(26)
    y_train, y_test = labels.repeat_interleave(train), labels.repeat_interleave(test)

    def codes(y):
        n = len(y)
        c = torch.randn(n, f, generator=rng).relu() * (torch.rand(n, f, generator=rng) < noise)
        for i, letter in enumerate(y.tolist()):
            group = int(torch.randint(10, (1,), generator=rng))
            latent = letter if group < 6 or letter % 3 == 0 else 26 + letter
            if group < 9:
                c[i, latent] = 1 + torch.rand(1, generator=rng)
        return c

    return codes(y_train), y_train, codes(y_test), y_test


def selection():
    """k-sparse probes from given L1 weights: latents, scores, F1, main latents."""
    rng = torch.Generator().manual_seed(SEED + 1)
    f, d, ks = 64, 24, range(1, 11)
    train, y_train, test, y_test = letters_world(rng, 14, 8, f, 0.05)
    weights = 0.2 * torch.randn(26, f, generator=rng)
    for c in range(26):
        weights[c, c] += 2
        weights[c, 26 + c] += 1
    x = torch.randn(len(train) + len(test), d, generator=rng)
    W_dec = unit(torch.randn(f, d, generator=rng))
    probe = probing.LinearProbe(d, 26)
    sae = TableSae(x, torch.cat([train, test]), W_dec)
    l1 = probing.LinearProbe(f, 26)
    with torch.no_grad():
        l1.fc.weight.copy_(weights)
        probe.fc.weight.copy_(torch.randn(26, d, generator=rng))
    word = lambda i, y: (f"{LETTERS[y]}{i}", y)
    train_labels = [word(i, y) for i, y in enumerate(y_train.tolist())]
    test_labels = [word(i, y) for i, y in enumerate(y_test.tolist())]
    with mock.patch.object(k_sparse, "train_sparse_multi_probe", lambda *a, **k: l1):
        probes = k_sparse.train_k_sparse_probes(sae, train_labels, x[: len(train)], ks)
    scores = k_sparse.eval_probe_and_sae_k_sparse_raw_scores(
        sae, probe, probes, test_labels, x[len(train):])
    meta = k_sparse.sae_k_sparse_metadata(sae, probe, probes, "golden", 0)
    table = k_sparse.build_metrics_df(scores, meta, 10)
    k_sparse.add_feature_splits_to_metrics_df(table, 10)
    out = dict(train=train, train_y=y_train, test=test, test_y=y_test, weights=weights)
    out["f1"] = torch.tensor([[table[f"f1_sparse_sae_{k}"][c] for k in ks] for c in range(26)])
    out["latents"] = torch.stack([probes[10][c].feature_ids for c in range(26)])
    out["main_count"] = torch.tensor([len(s) for s in table["split_feats"]])
    # SAEBench's own fit stops early; the optimum is the reference.
    exact_w, exact_b = torch.zeros(26, 10, 10).double(), torch.zeros(26, 10).double()
    exact_f1 = torch.zeros(26, 10).double()
    for c in range(26):
        for k in ks:
            ids = probes[k][c].feature_ids
            assert ids.tolist() == out["latents"][c, :k].tolist()
            exact = LogisticRegression(max_iter=10000, class_weight="balanced", tol=1e-13,
                                       solver="newton-cholesky")
            exact.fit(train[:, ids].double().numpy(), (y_train == c).long().numpy())
            exact_w[c, k - 1, :k] = torch.tensor(exact.coef_[0])
            exact_b[c, k - 1] = exact.intercept_[0]
            predicted = exact.predict(test[:, ids].double().numpy())
            exact_f1[c, k - 1] = f1_score((y_test == c).numpy(), predicted)
        for f1 in (out["f1"][c], exact_f1[c]):  # no decision is a close one
            for k in range(1, int(out["main_count"][c]) + 1):
                assert abs(f1[k] - f1[k - 1] - 0.03) > 0.005, (c, k, f1)
    out.update(w=exact_w, b=exact_b, exact_f1=exact_f1)
    save("selection", out)


@contextlib.contextmanager
def fixed_training(W, b, orders):
    """Probes start at W, b and see their samples in the given orders."""

    class Probe(probing.LinearProbe):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            with torch.no_grad():
                self.fc.weight.copy_(W)
                self.fc.bias.copy_(b)

    class Loader:
        def __init__(self, dataset, batch_size, shuffle):
            self.dataset, self.batch_size, self.epoch = dataset, batch_size, 0
            assert shuffle

        def __len__(self):
            return -(-len(self.dataset) // self.batch_size)

        def __iter__(self):
            order = orders[self.epoch]
            self.epoch += 1
            for i in range(0, len(order), self.batch_size):
                yield self.dataset[order[i : i + self.batch_size]]

    with mock.patch.object(probing, "LinearProbe", Probe), \
            mock.patch.object(probing, "DataLoader", Loader):
        yield


def trainer():
    """train_multi_probe from a given start and order: full batch, mini-batches, L1."""
    rng = torch.Generator().manual_seed(SEED + 2)
    n, d = 520, 32
    y = torch.arange(26).repeat(20)
    x = torch.randn(n, d, generator=rng) + 1.5 * torch.randn(26, d, generator=rng)[y]
    x[:, 20:] = x[:, 20:].relu() * (torch.rand(n, 12, generator=rng) < 0.3)
    W = (2 * torch.rand(26, d, generator=rng) - 1) / d**0.5
    b = (2 * torch.rand(26, generator=rng) - 1) / d**0.5
    orders = torch.stack([torch.randperm(n, generator=rng) for _ in range(50)])
    out = dict(x=x, y=y, W=W, b=b, orders=orders[:10].to(torch.int32))
    one_hot = torch.nn.functional.one_hot(y)

    def run(name, dtype, order, l1, **how):
        with fixed_training(W, b, order):
            train = k_sparse.train_sparse_multi_probe if l1 else probing.train_multi_probe
            more = dict(l1_decay=0.01, l2_decay=1e-6) if l1 else dict(weight_decay=1e-4)
            probe = train(x.to(dtype), one_hot, show_progress=False, device=torch.device("cpu"),
                          **more, **how)
        out[f"{name}.W"], out[f"{name}.b"] = probe.weights.detach(), probe.biases.detach()

    same = torch.arange(n).expand(50, n)
    double = torch.float64
    run("full_1", double, same, False, batch_size=n, num_epochs=1)
    run("full_50", double, same, False, batch_size=n, num_epochs=50)
    run("full_50_f32", torch.float32, same, False, batch_size=n, num_epochs=50)
    run("mini", double, orders, False, batch_size=64, num_epochs=10)
    run("l1", double, orders, True, batch_size=100, num_epochs=10)
    save("trainer", out)


def sparse_probing():
    """Pooling, balanced negatives, top-k selection and the probes of four classes."""
    torch.manual_seed(SEED + 3)
    classes, length, d, f, k_values = 4, 8, 16, 64, [1, 2, 5]
    sizes = dict(train=200, test=50)  # texts of a class
    short = lambda t: t.to(torch.int16)
    W_enc, b_enc = torch.randn(d, f) / d**0.5, 0.3 * torch.randn(f)
    b_dec = 0.2 * torch.randn(d)
    centres = 0.6 * torch.randn(classes, d)
    sae = types.SimpleNamespace(dtype=torch.float32,
                                encode=lambda a: torch.relu((a - b_dec) @ W_enc + b_enc))

    def texts(n):
        acts = {}
        for c in range(classes):
            a = (centres[c] + torch.randn(n, length, d)).half().float()  # is kept as float16
            for i in range(n):
                a[i, 1 + i % length:] = 0  # padding
            acts[str(c)] = a
        return acts

    train, test = texts(sizes["train"]), texts(sizes["test"])
    out = dict(W_enc=W_enc.T, b_enc=b_enc, b_dec=b_dec)
    pooled = {}
    for split, acts in (("train", train), ("test", test)):
        out[f"{split}.x"] = torch.stack(list(acts.values())).half()
        raw = activation_collection.create_meaned_model_activations(acts)
        codes = activation_collection.get_sae_meaned_activations(acts, sae, 7)
        pooled[split] = {"llm": raw, "sae": codes}
        out[f"{split}.llm"] = torch.stack(list(raw.values()))
        out[f"{split}.sae"] = torch.stack(list(codes.values()))

    real = torch.randperm
    for kind in ("llm", "sae"):
        for k in k_values:
            draws = []

            def recorded(n, *args, **kwargs):
                draws.append(real(n, *args, **kwargs))
                return draws[-1]

            with mock.patch.object(torch, "randperm", recorded), \
                    contextlib.redirect_stdout(io.StringIO()):
                probes, accuracy = probe_training.train_probe_on_activations(
                    pooled["train"][kind], pooled["test"][kind], select_top_k=k)
            # Five draws a class and split: one for each other class, the subset, the order.
            it = iter(draws)
            for c in range(classes):
                rows = {}
                for split, count in sizes.items():
                    others = [o for o in range(classes) if o != c]
                    take = -(-count // len(others))
                    chosen = torch.cat([o * count + next(it)[:take] for o in others])
                    chosen = chosen[next(it)[:count]]
                    rows[split] = torch.cat([c * count + torch.arange(count), chosen])[next(it)]
                    out[f"{kind}.{k}.{c}.{split}"] = short(rows[split])
                flat = {s: pooled[s][kind] for s in rows}
                acts = torch.cat(list(flat["train"].values()))[rows["train"]]
                label = {split: (rows[split] // count == c).int() for split, count in sizes.items()}
                mask = probe_training.get_top_k_mean_diff_mask(acts, label["train"], k)
                out[f"{kind}.{k}.{c}.latents"] = (~mask).nonzero()[:, 0]
                out[f"{kind}.{k}.{c}.accuracy"] = torch.tensor(accuracy[str(c)])
                held = torch.cat(list(flat["test"].values()))[rows["test"]]
                exact = LogisticRegression(tol=1e-13, max_iter=10000, solver="newton-cholesky")
                exact.fit(acts[:, ~mask].double().numpy(), label["train"].numpy())
                hit = exact.predict(held[:, ~mask].double().numpy()) == label["test"].numpy()
                out[f"{kind}.{k}.{c}.exact"] = torch.tensor(hit.mean())
                out[f"{kind}.{k}.{c}.w"] = torch.tensor(np.append(exact.coef_[0], exact.intercept_[0]))

    # The probe on all features, from a given start and orders.
    rows, held = out["llm.1.0.train"].long(), out["llm.1.0.test"].long()
    acts = torch.cat(list(pooled["train"]["llm"].values()))[rows]
    test_acts = torch.cat(list(pooled["test"]["llm"].values()))[held]
    start = probe_training.Probe(d, torch.float32)
    orders = []

    def ordered(n):
        orders.append(real(n))
        return orders[-1]

    with mock.patch.object(probe_training, "Probe", lambda *a: start), \
            mock.patch.object(torch, "randperm", ordered), \
            contextlib.redirect_stdout(io.StringIO()):
        out["dense.W"], out["dense.b"] = start.net.weight.detach().clone(), start.net.bias.detach().clone()
        probe, accuracy = probe_training.train_probe_gpu(
            acts, (rows // sizes["train"] == 0).int(), test_acts, (held // sizes["test"] == 0).int(),
            dim=d, batch_size=50, epochs=100, lr=1e-2)
    out["dense.orders"] = short(torch.stack(orders))
    out["dense.accuracy"] = torch.tensor(accuracy)
    out["dense.best.W"], out["dense.best.b"] = probe.net.weight.detach(), probe.net.bias.detach()
    save("sparse_probing", out)


PLANTED = ("base", "leak", "none", "partial", "spread")


def planted(kind, rng):
    """Letters and families on axes; for each letter, three of 25 families are absorbed: the letter's
    latent gives way to one of its own (partly in `partial`, almost in `leak`), or to ten others."""
    d, per_family = 64, 10
    u, v = torch.eye(d)[:26], torch.eye(d)[26:51]
    W_dec = unit(torch.randn(420, d, generator=rng))  # those above 129 are silent but for `spread`
    W_dec[:26], W_dec[26:51] = u, v
    absorbed = {(c, (8 * i + c) % 25): 51 + 3 * c + i for c in range(26) for i in range(3)}
    part = 1.5 if kind == "partial" else 3.0
    for (c, w), latent in absorbed.items():
        W_dec[latent] = unit(5 * v[w] + part * u[c])
    for c in range(26):
        W_dec[160 + 10 * c : 170 + 10 * c] = u[c]
    x, codes, y, test = [], [], [], []
    for c in range(26):
        for w in range(25):
            for i in range(per_family):
                x.append(3 * u[c] + 5 * v[w] + 0.1 * torch.randn(d, generator=rng))
                row = torch.zeros(len(W_dec))
                row[c], row[26 + w] = 3, 5
                if (c, w) in absorbed and kind != "none":
                    row[c] = {"base": 0, "partial": 1.5, "leak": 1e-3, "spread": 0}[kind]
                    if kind == "spread":
                        row[160 + 10 * c : 170 + 10 * c] = 0.3
                    else:
                        row[26 + w] = 0
                        row[absorbed[c, w]] = (25 + part**2) ** 0.5
                codes.append(row)
                y.append(c)
                test.append(i >= 8)
    test = torch.tensor(test)
    return torch.stack(x), torch.stack(codes), torch.tensor(y), test, W_dec


def end_to_end():
    """The whole of SAEBench's absorption on planted worlds, five seeds each."""
    out = {}
    for kind in ("base", "leak", "none", "partial"):
        rows = []
        for seed in range(5):
            torch.manual_seed(seed)
            random.seed(seed)
            x, codes, y, test, W_dec = planted(kind, torch.Generator().manual_seed(seed))
            words = [f"{LETTERS[c]}{i}" for i, c in enumerate(y.tolist())]
            pick = lambda mask: [(words[i], int(y[i])) for i in mask.nonzero()[:, 0].tolist()]
            train, held = pick(~test), pick(test)
            sae = TableSae(x, codes, W_dec)
            one_hot = torch.nn.functional.one_hot(y[~test], 26)
            probe = probing.train_multi_probe(
                x[~test], one_hot, num_probes=26, batch_size=64, num_epochs=50, weight_decay=1e-4,
                show_progress=False, device=torch.device("cpu"))
            probes = k_sparse.train_k_sparse_probes(
                sae, train, x[~test], range(1, 11), batch_size=256, precalc_sae_acts=True)
            scores = k_sparse.eval_probe_and_sae_k_sparse_raw_scores(sae, probe, probes, held, x[test])
            meta = k_sparse.sae_k_sparse_metadata(sae, probe, probes, "golden", 0)
            table = k_sparse.build_metrics_df(scores, meta, 10)
            k_sparse.add_feature_splits_to_metrics_df(table, 10)
            with mock.patch.object(feature_absorption, "load_experiment_df", lambda *a: scores):
                stats = feature_absorption.get_stats_and_likely_false_negative_tokens(
                    table, "golden", 0, pathlib.Path())
            model = TableModel(words, x)
            results = feature_absorption.calculate_projection_and_cos_sims(
                calculator(model, words), sae, probe, 0, stats)
            letters = absorption_main._aggregate_results_df(results)
            rows.append([letters["mean_absorption_fraction"].mean(),
                         letters["full_absorption_rate"].mean(), letters["num_split_feats"].mean(),
                         table["f1_sparse_sae_1"].mean(), table["f1_probe"].mean()])
            print(kind, seed, rows[-1], flush=True)
        # [seed, (fraction, full, main latents, F1 at k = 1, F1 of the probe)]
        out[kind] = torch.tensor(rows, dtype=torch.float64)
    save("end_to_end", out)


def aggregation():
    """Means over letters: one below the gate, one without true positives, 24 others; the guard."""
    rng = np.random.default_rng(SEED + 4)
    f1 = rng.uniform(0.7, 1, size=26)
    f1[3] = 0.55
    positives = rng.integers(5, 30, size=26)
    positives[7] = 0
    rows = []
    for c in range(26):
        main = list(range(int(rng.integers(1, 4))))
        for _ in range(positives[c]):
            rows.append(dict(letter=LETTERS[c], num_probe_true_positives=int(positives[c]), split_feats=main,
                             absorption_fraction=float(rng.uniform() * (rng.uniform() < 0.3)),
                             is_full_absorption=bool(rng.uniform() < 0.1)))
    words = pd.DataFrame(rows)

    def run(f1):
        letters = pd.DataFrame(dict(letter=list(LETTERS), f1_probe=f1))
        sae = mock.MagicMock()
        sae.cfg.to_dict = dict
        sae.to = lambda **k: sae
        with mock.patch.object(absorption_main, "HookedTransformer"), \
                mock.patch.object(absorption_main.general_utils, "load_and_format_sae",
                                  lambda *a: ("id", sae, None)), \
                mock.patch.object(absorption_main, "run_k_sparse_probing_experiment",
                                  lambda **k: letters), \
                mock.patch.object(absorption_main, "run_feature_absortion_experiment",
                                  lambda **k: words), \
                mock.patch.object(absorption_main.general_utils, "get_results_filepath",
                                  lambda *a: os.devnull), \
                mock.patch.object(absorption_main.AbsorptionEvalOutput, "to_json_file"), \
                contextlib.chdir(temporary), contextlib.redirect_stdout(io.StringIO()):
            return absorption_main.run_eval(AbsorptionEvalConfig(model_name="golden"),
                                            [("release", sae)], "cpu", ".", force_rerun=True)

    import tempfile
    with tempfile.TemporaryDirectory() as temporary:
        result = next(iter(run(f1).values()))
        at_edge = np.array([0.8] * 20 + [0.6] * 6)  # exactly 0.6 fails
        edge = len(next(iter(run(at_edge).values()))["eval_result_details"])
        assert run(np.array([0.8] * 19 + [0.6] * 7)) == {}
    mean = result["eval_result_metrics"]["mean"]
    letter = words["letter"].map(LETTERS.index)
    out = dict(f1=f1, letter=letter.to_numpy(), fraction=words["absorption_fraction"].to_numpy(),
               full=words["is_full_absorption"].to_numpy().astype(np.uint8),
               main=words["split_feats"].map(len).to_numpy(), edge_letters=torch.tensor(edge))
    for key, value in mean.items():
        out[key] = torch.tensor(value, dtype=torch.float64)
    details = result["eval_result_details"]
    out["detail.letter"] = torch.tensor([LETTERS.index(r["first_letter"]) for r in details])
    for key in ("mean_absorption_fraction", "full_absorption_rate", "num_full_absorption",
                "num_probe_true_positives", "num_split_features"):
        out[f"detail.{key}"] = torch.tensor([float(r[key]) for r in details], dtype=torch.float64)
    # Not SAEBench's: its letters' scores, averaged over those with main latents that read them.
    main_f1 = rng.uniform(0, 0.6, size=26)
    table = pd.DataFrame(details).set_index("first_letter")
    having = table[[main_f1[LETTERS.index(name)] >= 0.2 for name in table.index]]
    assert 0 < len(having) < len(table)
    out |= {"main_f1": main_f1, "classes_with_main": float(len(having)),
            "full_given_main": having["full_absorption_rate"].mean(),
            "fraction_given_main": having["mean_absorption_fraction"].mean()}
    save("aggregation", out)


class ToyModel:
    """Embedding, a hook, a mix of each position with those before it, unembedding."""

    def __init__(self, rng, vocabulary=50, width=32):
        draw = lambda *shape: torch.randn(*shape, generator=rng)
        self.embedding, self.unembedding = draw(vocabulary, width), draw(width, vocabulary) / 3
        self.past = draw(width, width) / width**0.5

    def __call__(self, tokens, **how):
        return self.run_with_hooks(tokens, fwd_hooks=[], **how)

    def run_with_hooks(self, tokens, return_type, fwd_hooks, loss_per_token):
        assert return_type == "both" and loss_per_token
        stream = self.embedding[tokens]
        for _, hook in fwd_hooks:
            stream = hook(stream, hook=None)
        count = torch.arange(1, tokens.shape[1] + 1)[:, None]
        stream = stream + torch.tanh(stream.cumsum(1) / count @ self.past)
        logits = stream @ self.unembedding
        self.logits.append(logits)
        return logits, lm_cross_entropy_loss(logits, tokens, per_token=True)


def loss_recovered():
    """Cross entropy and KL under replacement by an SAE of a toy model's stream: all logits."""
    rng = torch.Generator().manual_seed(SEED + 5)
    model = ToyModel(rng)
    width, latents = 32, 64
    W_enc, W_dec = (torch.randn(*s, generator=rng) / 6 for s in ((width, latents), (latents, width)))
    sae = types.SimpleNamespace(
        device=torch.device("cpu"), encode=lambda a: torch.relu(a @ W_enc), decode=lambda f: f @ W_dec,
        cfg=types.SimpleNamespace(hook_name="hook", hook_head_index=None))
    tokens = torch.randint(3, 50, (2, 3, 12), generator=rng)
    tokens[:, :, 0] = 2  # begin
    tokens[0, 1, 5], tokens[1, 2, 8:] = 1, 0  # end, padding
    out = dict(tokens=tokens, special=torch.tensor([0, 1, 2]))
    for name, ignored, keep in (("all", set(), False), ("masked", {0, 1, 2}, False),
                                ("kept", {0, 1, 2}, True)):
        model.logits = []
        store = types.SimpleNamespace(get_batch_tokens=lambda n, it=iter(tokens): next(it))
        metrics = core.get_downstream_reconstruction_metrics(
            sae, model, store, compute_kl=True, compute_ce_loss=True, n_batches=2,
            eval_batch_size_prompts=3, ignore_tokens=ignored,
            exclude_special_tokens_from_reconstruction=keep)
        for key, value in metrics.items():
            out[f"{name}.{key}"] = torch.tensor(value, dtype=torch.float64)
        runs = [torch.stack(model.logits[i::3]) for i in range(3)]  # as called: batch by batch
        out["logits.original"], out["logits.ablation"] = runs[0], runs[2]
        out["logits.kept" if keep else "logits.sae"] = runs[1]
    save("loss_recovered", out)


CASES = dict(core=core_metrics, word_scores=word_scores, selection=selection, trainer=trainer,
             sparse_probing=sparse_probing, aggregation=aggregation,
             loss_recovered=loss_recovered, end_to_end=end_to_end)

if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        print(case, flush=True)
        CASES[case]()
