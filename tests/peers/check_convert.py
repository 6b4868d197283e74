"""What `sae convert` writes, opened by the tools it is for, and what they save, opened by `sae`.

scripts/test --peers runs this, or, with the packages of requirements.txt:

    SAE_COMMAND=build/sae python -m unittest discover --pattern 'check_*.py' tests/peers
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # its kernels need a GPU
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import numpy  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

import make_convert_goldens  # noqa: E402

SAE = os.environ.get("SAE_COMMAND", str(ROOT / "build" / "sae"))
TOLERANCE = 1e-5  # of the largest value
MASK = {"warmup_steps": 20, "importance": "mean", "threshold": 0.0}
MODELS = {
    "standard": {"architecture": "standard", "sparsity": 0.1},
    "standard_free": {"architecture": "standard", "sparsity": 0.1, "decoder_norm": "free"},
    "topk": {"architecture": "topk", "k": 3},
    "topk_free": {"architecture": "topk", "k": 3, "decoder_norm": "free"},
    "batch_topk": {"architecture": "batch_topk", "k": 2.5},
    "matryoshka": {"architecture": "matryoshka", "k": 3, "widths": [8, 16, 40]},
    "jumprelu": {"architecture": "jumprelu", "sparsity": 0.05},
    "atm": {"architecture": "atm", "sparsity": 0.05, "mask": MASK},
    "atm_expected": {"architecture": "atm", "sparsity": 0.05, "mask": MASK | {"inference": "expected"}},
    "atm_hard": {"architecture": "atm", "sparsity": 0.05, "mask": MASK | {"inference": "hard"}},
}


def sae(*arguments):
    done = subprocess.run([SAE, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"sae {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def mask_factor(options, weights):
    """What ATM multiplies latents with at inference, for importance 'mean'."""
    unbias = 1 / (1 - options["decay"] ** weights["mask.updates"].item())
    signals = [weights[f"mask.{name}"] * unbias for name in ["magnitude", "frequency", "contribution"]]
    importance = sum(signal / signal.mean() for signal in signals) / 3
    theta = importance.mean() + options["threshold"] * importance.std(unbiased=False)
    if options["inference"] == "hard":
        return (importance >= theta).float()
    return torch.exp(-options["rate"] * ((theta - importance) / theta).clamp(min=0))


def compute(folder, x):
    """Latents and reconstruction of an SAE folder of ours, from the formulas."""
    model = json.loads((folder / "config.json").read_text())["model"]
    weights = load_file(folder / "sae.safetensors")
    h = (x - weights["b_dec"]) @ weights["W_enc"].T + weights["b_enc"]
    if model["architecture"] == "topk":
        top = h.topk(model["k"], dim=1)
        f = torch.zeros_like(h).scatter_(1, top.indices, top.values.relu())
    elif model["architecture"] in ["batch_topk", "matryoshka", "jumprelu"]:
        f = h * (h > weights["threshold"].clamp(min=0))
    else:
        f = h.relu()
    if model["mask"] is not None and model["mask"]["inference"] != "none":
        f = f * mask_factor(model["mask"], weights)
    return f, f @ weights["W_dec"] + weights["b_dec"]


class Check(unittest.TestCase):
    def assert_close(self, got, expected):
        self.assertEqual(got.shape, expected.shape)
        difference = (got.detach() - expected).abs().max().item()
        self.assertLessEqual(difference, TOLERANCE * expected.abs().max().item())

    def assert_computes(self, got, expected):
        """(latents, reconstruction) twice; the same latents are active."""
        self.assertTrue(torch.equal(got[0] > 0, expected[0] > 0))
        for a, b in zip(got, expected):
            self.assert_close(a, b)


class OfOurs(Check):
    """Short runs of every architecture on a store, so that there is something to carry."""

    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name)
        sae("synth", "--preset", "tiny", "--tokens", 4000, "--out", cls.folder / "store")
        cls.add_source(cls.folder / "store" / "manifest.json")
        cls.x = load_file(cls.folder / "store" / "shard-00000.safetensors")["activations"][:500]
        for name, model in MODELS.items():
            config = {
                "device": "cpu",
                "threads": 1,
                "model": model | {"d_sae": 40},
                "data": {"kind": "store", "path": str(cls.folder / "store")},
                "train": {"steps": 200, "batch": 128, "lr": 5e-3},
                "eval": {"tokens": 200},
            }
            (cls.folder / f"{name}.json").write_text(json.dumps(config))
            sae("train", "--quiet", cls.folder / f"{name}.json", "--out", cls.folder / name)

    @staticmethod
    def add_source(manifest):
        content = json.loads(manifest.read_text())
        content["source"] = {
            "model": "gpt2",
            "layer": 5,
            "site": "resid_post",
            "hook_name": "blocks.5.hook_resid_post",
            "dataset": [{"file": "text.txt"}],
            "context": 128,
            "special_tokens": [["<|endoftext|>"], []],
            "dropped": ["<|endoftext|>"],
        }
        manifest.write_text(json.dumps(content))

    def converted(self, name, to):
        """The folder written for `to`, and what ours computes."""
        out = self.folder / f"{name}-{to}"
        if not out.exists():
            arguments = ["--to", to, "--verify", self.folder / "store", "--json"]
            report = json.loads(sae("convert", self.folder / name, out, *arguments))["verification"]
            self.assertLess(report["latents"]["relative"], TOLERANCE)
            self.assertLess(report["reconstruction"]["relative"], TOLERANCE)
            self.assertEqual(report["active_on_one_side"], 0)
        return out, compute(self.folder / name / "sae", self.x)

    def test_the_models_differ_in_what_is_to_be_carried(self):
        for name in MODELS:
            latents, _ = compute(self.folder / name / "sae", self.x)
            active = (latents > 0).float().sum(1).mean().item()
            self.assertTrue(0.5 < active < 20, (name, active))
        for name in ["atm_expected", "atm_hard"]:
            options = json.loads((self.folder / name / "sae" / "config.json").read_text())["model"]
            weights = load_file(self.folder / name / "sae" / "sae.safetensors")
            self.assertLess(mask_factor(options["mask"], weights).min().item(), 0.9, name)

    def test_saelens(self):
        import sae_lens

        for name in MODELS:
            with self.subTest(name):
                out, expected = self.converted(name, "saelens")
                loaded = sae_lens.SAE.load_from_disk(out)
                latents = loaded.encode(self.x)
                self.assert_computes((latents, loaded.decode(latents)), expected)
                metadata = loaded.cfg.metadata
                self.assertEqual(metadata.model_name, "gpt2")
                self.assertEqual(metadata.hook_name, "blocks.5.hook_resid_post")
                self.assertEqual(metadata.context_size, 128)
                self.assertEqual(metadata.dataset_path, "text.txt")
                self.assertTrue(metadata.prepend_bos)
                self.assertEqual(metadata.sae_cpp["training"]["train"]["steps"], 200)
                if name != "topk_free":  # there SAELens refuses
                    loaded.fold_W_dec_norm()
                    folded = loaded.encode(self.x)
                    self.assert_close(loaded.decode(folded), expected[1])

    def test_saelens_from_a_repository_of_the_hub(self):
        """As `hf upload USER/REPOSITORY FOLDER NAME` puts it there; what is downloaded comes from here."""
        import sae_lens
        from huggingface_hub import ModelCard
        from huggingface_hub.utils import EntryNotFoundError
        from sae_lens.loading import pretrained_sae_loaders

        out, expected = self.converted("topk", "saelens")

        def download(repo_id, filename, force_download=False):
            folder, name = filename.split("/")
            self.assertEqual((repo_id, folder), ("user/repository", "layer_5"))
            if not (out / name).exists():
                raise EntryNotFoundError(name)
            return str(out / name)

        with mock.patch.object(pretrained_sae_loaders, "hf_hub_download", download):
            loaded = sae_lens.SAE.from_pretrained("user/repository", "layer_5")
        latents = loaded.encode(self.x)
        self.assert_computes((latents, loaded.decode(latents)), expected)
        card = ModelCard.load(out / "README.md")
        self.assertEqual(card.data.library_name, "saelens")
        self.assertEqual(card.data.tags, ["saelens", "sparse-autoencoder", "mechanistic-interpretability"])
        self.assertIn("# Sparse autoencoder of `blocks.5.hook_resid_post` in `gpt2`", card.text)
        self.assertNotIn(str(self.folder), card.text)

    def test_dictionary_learning(self):
        from dictionary_learning.dictionary import AutoEncoder
        from dictionary_learning.utils import load_dictionary

        for name in MODELS:
            with self.subTest(name):
                out, expected = self.converted(name, "dictionary_learning")
                loaded, config = load_dictionary(str(out), "cpu")
                self.assert_close(loaded(self.x), expected[1])
                if isinstance(loaded, AutoEncoder):  # that loader gave rows the norm 1
                    loaded = AutoEncoder.from_pretrained(out / "ae.pt", normalize_decoder=False)
                latents = loaded.encode(self.x)
                self.assert_computes((latents, loaded.decode(latents)), expected)
                self.assertEqual(config["trainer"]["lm_name"], "gpt2")
                self.assertEqual(config["trainer"]["layer"], 5)
                self.assertEqual(config["buffer"]["ctx_len"], 128)
                self.assertEqual(config["sae_cpp"]["training"]["train"]["steps"], 200)

    def test_gemma_scope(self):
        for name in MODELS:
            with self.subTest(name):
                if name.startswith("topk"):
                    with self.assertRaisesRegex(RuntimeError, "which knows thresholds only"):
                        self.converted(name, "gemma_scope")
                    continue
                out, expected = self.converted(name, "gemma_scope")
                with numpy.load(out / "params.npz") as arrays:
                    params = {key: torch.from_numpy(value) for key, value in arrays.items()}
                h = self.x @ params["W_enc"] + params["b_enc"]
                latents = h.relu() * (h > params["threshold"])
                reconstruction = latents @ params["W_dec"] + params["b_dec"]
                self.assert_computes((latents, reconstruction), expected)

    def test_sparsify(self):
        from sparsify import SparseCoder

        for name in ["topk", "topk_free"]:
            with self.subTest(name):
                out, expected = self.converted(name, "sparsify")
                loaded = SparseCoder.load_from_disk(out)
                top = loaded.encode(self.x)
                latents = torch.zeros_like(expected[0])
                latents.scatter_(1, top.top_indices, top.top_acts.detach())
                reconstruction = loaded.decode(top.top_acts, top.top_indices)
                self.assert_computes((latents, reconstruction), expected)


OLD_KEYS = {
    "hook_point": "blocks.4.attn.hook_z",
    "hook_point_head_index": 2,
    "model_name": "gpt2-small",
    "dataset_path": "some/dataset",
    "context_size": 64,
    "prepend_bos": False,
    "seqpos_slice": [2, None],
    "model_from_pretrained_kwargs": {"center_writing_weights": True},
    "exclude_special_tokens": True,
    "neuronpedia_id": "gpt2-small/4-att",
}


class HowItIsRun(Check):
    """What SAELens itself makes of an old folder arrives in its metadata, whichever way it takes."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def old_folder(self, keys):
        from safetensors.torch import save_file

        torch.manual_seed(0)
        old = {
            "architecture": "standard",
            "d_in": 6,
            "d_sae": 12,
            "dtype": "float32",
            "device": "cpu",
            "activation_fn_str": "topk",
            "activation_fn_kwargs": {"k": 3},
            "apply_b_dec_to_input": True,
            "normalize_activations": "none",
            "finetuning_scaling_factor": False,
        } | keys
        (self.folder / "old").mkdir()
        (self.folder / "old" / "cfg.json").write_text(json.dumps(old))
        shapes = {"W_enc": (6, 12), "b_enc": (12,), "W_dec": (12, 6), "b_dec": (6,)}
        weights = {name: torch.randn(shape) for name, shape in shapes.items()}
        save_file(weights, self.folder / "old" / "sae_weights.safetensors")
        return old

    def test_old_keys(self):
        import sae_lens
        from sae_lens.loading.pretrained_sae_loaders import handle_pre_6_0_config

        old = self.old_folder(OLD_KEYS)
        expected = handle_pre_6_0_config(old)
        for way in [[], ["sae"], ["sparsify", "sae"], ["dictionary_learning"]]:
            with self.subTest(way):
                place = self.folder / "old"
                for format in [*way, "saelens"]:
                    out = self.folder / "-".join(["to", *way, format])
                    sae("convert", place, out, "--to", format)
                    place = out
                loaded = sae_lens.SAE.load_from_disk(place)
                for key, value in expected["metadata"].items():
                    if not key.startswith("sae_lens"):
                        self.assertEqual(loaded.cfg.metadata[key], value, key)
                self.assertEqual(loaded.cfg.reshape_activations, expected["reshape_activations"])

    def test_what_old_folders_leave_out(self):
        import sae_lens

        self.old_folder({"hook_name": "blocks.1.hook_mlp_out", "model_name": "gpt2"})
        sae("convert", self.folder / "old", self.folder / "new", "--to", "saelens")
        self.assertIs(sae_lens.SAE.load_from_disk(self.folder / "new").cfg.metadata.prepend_bos, True)

    def test_sparsify_finds_its_hook_point(self):
        self.old_folder({"hook_name": "blocks.1.hook_mlp_out", "model_name": "pythia-70m"})
        sae("convert", self.folder / "old", self.folder / "run" / "layers.1.mlp", "--to", "sparsify")
        from sparsify import SparseCoder

        self.assertEqual(list(SparseCoder.load_many(self.folder / "run", local=True)), ["layers.1.mlp"])

    def test_numbers_that_only_python_knows(self):
        import sae_lens

        old = self.old_folder(OLD_KEYS | {"neuronpedia_id": float("inf")})
        self.assertIn("Infinity", json.dumps(old))
        sae("convert", self.folder / "old", self.folder / "new", "--to", "saelens")
        loaded = sae_lens.SAE.load_from_disk(self.folder / "new")
        self.assertEqual(loaded.cfg.metadata.neuronpedia_id, float("inf"))


class OfOthers(Check):
    """What the tools save today, made anew by the script that made tests/golden/convert."""

    def test_ours_computes_the_same(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        make_convert_goldens.FOLDER = Path(temporary.name) / "theirs"
        make_convert_goldens.make_all()
        for golden in sorted(make_convert_goldens.FOLDER.rglob("expected.safetensors")):
            with self.subTest(str(golden.parent.relative_to(make_convert_goldens.FOLDER))):
                expected = load_file(golden)
                out = Path(temporary.name) / "ours"
                sae("convert", golden.parent, out, "--to", "sae")
                got = compute(out, expected["x"])
                self.assert_computes(got, (expected["latents"], expected["reconstruction"]))
                shutil.rmtree(out)


if __name__ == "__main__":
    unittest.main()
