"""Our SAEs in SAEBench: through its own loaders and its core evaluation, on a tiny random model.

No network and no published model: SAEBench evaluates whatever hooked transformer it is given. Run
as check_convert.py is.
"""

import contextlib
import hashlib
import io
import json
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import save_file

import check_convert

D, F, CONTEXT, LAYER = 16, 40, 12, 1
HOOK = f"blocks.{LAYER}.hook_resid_post"
MODELS = ["standard", "topk", "batch_topk", "matryoshka", "jumprelu", "atm"]
TRAINERS = {
    "standard": "relu_sae",
    "topk": "topk_sae",
    "batch_topk": "batch_topk_sae",
    "matryoshka": "batch_topk_sae",
    "jumprelu": "jumprelu_sae",
    "atm": "relu_sae",
}


def tiny_model():
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    torch.manual_seed(0)
    return HookedTransformer(
        HookedTransformerConfig(
            n_layers=2, d_model=D, n_ctx=CONTEXT, d_head=8, n_heads=2, d_mlp=32, d_vocab=50,
            act_fn="gelu", seed=0, device="cpu",
        )  # fmt: skip
    )


class Tokens:
    """As much of an activation store as the evaluation asks for."""

    context_size = CONTEXT
    store_batch_size_prompts = 8

    def __init__(self):
        self.reset_input_dataset()

    def reset_input_dataset(self):
        self.generator = torch.Generator().manual_seed(1)

    def get_batch_tokens(self, batch_size):
        return torch.randint(0, 50, (batch_size, CONTEXT), generator=self.generator)


def write_store(folder, activations):
    folder.mkdir()
    shard = folder / "shard-00000.safetensors"
    save_file({"activations": activations}, shard)
    manifest = {
        "format": "sae-activations",
        "version": 1,
        "d_in": D,
        "dtype": "f32",
        "tokens": len(activations),
        "source": {
            "model": "tiny-random",
            "layer": LAYER,
            "site": "resid_post",
            "hook_name": HOOK,
            "context": CONTEXT,
        },
        "mean_norm": activations.norm(dim=1).mean().item(),
        "shards": [
            {
                "file": shard.name,
                "tokens": len(activations),
                "sha256": hashlib.sha256(shard.read_bytes()).hexdigest(),
            }
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


class InSaebench(check_convert.Check):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name)
        cls.model = tiny_model()
        tokens = torch.randint(0, 50, (300, CONTEXT), generator=torch.Generator().manual_seed(2))
        cls.x = cls.activations(tokens)
        write_store(cls.folder / "store", cls.x)
        for name in MODELS:
            config = {
                "device": "cpu",
                "threads": 1,
                "model": check_convert.MODELS[name] | {"d_sae": F},
                "data": {"kind": "store", "path": str(cls.folder / "store")},
                "train": {"steps": 100, "batch": 128, "lr": 5e-3},
                "eval": {"tokens": 200},
            }
            (cls.folder / f"{name}.json").write_text(json.dumps(config))
            out = cls.folder / name
            check_convert.sae("train", "--quiet", cls.folder / f"{name}.json", "--out", out)

    @classmethod
    def activations(cls, tokens):
        with torch.no_grad():
            _, cache = cls.model.run_with_cache(tokens, names_filter=[HOOK])
        return cache[HOOK].flatten(0, 1)

    def converted(self, name, to):
        out = self.folder / f"{name}-{to}"
        if not out.exists():
            check_convert.sae("convert", "--quiet", self.folder / name, out, "--to", to)
        return out

    def evaluated(self, sae):
        """SAEBench's core metrics of an SAE that its formatter has accepted."""
        from sae_bench.evals.core import main as core
        from sae_bench.sae_bench_utils import general_utils

        _, formatted, _ = general_utils.load_and_format_sae("ours", sae, "cpu")
        config = core.CoreEvalConfig(
            model_name="tiny-random",
            batch_size_prompts=8,
            n_eval_reconstruction_batches=2,
            n_eval_sparsity_variance_batches=4,
            compute_kl=True,
            compute_ce_loss=True,
            compute_l2_norms=True,
            compute_sparsity_metrics=True,
            compute_variance_metrics=True,
            compute_featurewise_density_statistics=True,
            context_size=CONTEXT,
            llm_dtype="float32",
        )
        metrics, features = core.run_evals(formatted, Tokens(), self.model, config)
        return metrics, features

    def assert_metrics(self, name, sae):
        """What SAEBench measures is what follows from the formulas with our own weights."""
        metrics, features = self.evaluated(sae)
        tokens = Tokens()
        batches = [self.activations(tokens.get_batch_tokens(8)) for _ in range(4)]
        x = torch.cat(batches)
        latents, reconstruction = check_convert.compute(self.folder / name / "sae", x)
        active = (latents > 0).float()
        self.assertAlmostEqual(metrics["sparsity"]["l0"], active.sum(1).mean().item(), places=4)
        l1 = latents.sum(1).mean().item()
        self.assertAlmostEqual(metrics["sparsity"]["l1"], l1, delta=1e-4 * l1)
        quality = metrics["reconstruction_quality"]
        similarity = torch.cosine_similarity(x, reconstruction, dim=1).mean().item()
        self.assertAlmostEqual(quality["cossim"], similarity, places=4)
        # Its older explained variance: one minus the ratio of each token, on average.
        errors = torch.stack((x - reconstruction).square().sum(1).split(8 * CONTEXT))
        spread = torch.stack([(b - b.mean(0)).square().sum(1) for b in batches])
        ratio = (1 - errors / spread).mean().item()
        self.assertAlmostEqual(quality["explained_variance_legacy"], ratio, places=3)
        self.assertGreater(quality["cossim"], 0.5, "the SAE was trained on this model")
        density = torch.tensor(features["feature_density"])
        self.assert_close(density, active.mean(0))
        self.assertGreater(metrics["model_performance_preservation"]["ce_loss_without_sae"], 0)

    def test_saelens_folders(self):
        import sae_lens

        for name in MODELS:
            with self.subTest(name):
                loaded = sae_lens.SAE.load_from_disk(self.converted(name, "saelens"))
                self.assert_metrics(name, loaded)

    def test_dictionary_learning_folders(self):
        import importlib

        with contextlib.redirect_stdout(io.StringIO()):
            from sae_bench.custom_saes import run_all_evals_dictionary_learning_saes as loaders

        for name in MODELS:
            with self.subTest(name):
                out = self.converted(name, "dictionary_learning")
                module = importlib.import_module(f"sae_bench.custom_saes.{TRAINERS[name]}")
                local = lambda filename, **_: str(out.parent / filename)  # noqa: E731
                with (
                    mock.patch.object(module, "hf_hub_download", local),
                    contextlib.redirect_stdout(io.StringIO()),
                ):
                    loaded = loaders.load_dictionary_learning_sae(
                        repo_id=".",
                        location=out.name,
                        model_name="tiny-random",
                        device="cpu",
                        dtype=torch.float32,
                        layer=LAYER,
                        download_location=str(out.parent),
                    )
                latents, _ = check_convert.compute(self.folder / name / "sae", self.x)
                self.assert_close(loaded.encode(self.x), latents)
                self.assert_metrics(name, loaded)

    def test_gemma_scope_archives(self):
        from sae_bench.custom_saes import jumprelu_sae

        for name in MODELS:
            if name == "topk":
                continue  # has no thresholds
            with self.subTest(name):
                out = self.converted(name, "gemma_scope")
                local = lambda filename, **_: str(out / filename)  # noqa: E731
                with mock.patch.object(jumprelu_sae, "hf_hub_download", local):
                    loaded = jumprelu_sae.load_gemma_scope_jumprelu_sae(
                        ".", "params.npz", LAYER, "tiny-random", "cpu", torch.float32
                    )
                self.assert_metrics(name, loaded)


if __name__ == "__main__":
    unittest.main()
