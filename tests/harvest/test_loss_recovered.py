"""Tests of scripts/loss_recovered.py: formulas against SAEBench, replacement in tiny random models,
and autoencoders in Python against those of the library.

tests/golden/inference holds an autoencoder of each kind with what Python computes for it; the C++ suite
reads the same files. SAE_WRITE_GOLDEN=1 rewrites them.
"""

import contextlib
import io
import json
import os
import shutil
import tempfile
import unittest
from pathlib import Path

import common as tiny
from common import ROOT, torch, transformers

import loss_recovered  # noqa: E402
from harvesting import HarvestError, recovery  # noqa: E402
from harvesting import model as models  # noqa: E402
from harvesting.autoencoder import Autoencoder  # noqa: E402
from harvesting.sites import SPLICED  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

INFERENCE = ROOT / "tests" / "golden" / "inference"
D, F = 6, 16
MASK = {
    "decay": 0.9, "importance": "product", "weights": [1, 2, 0.5], "threshold": 1,
    "relaxed_threshold": 0.25, "cycle": 10, "active_fraction": 0.5, "rate": 4,
}  # fmt: skip
KINDS = {
    "standard": ("standard", {}, None),
    "topk": ("topk", {"k": 3}, None),
    "batch_topk": ("batch_topk", {"k": 3, "threshold": 0.75}, None),
    "batch_topk_untrained": ("batch_topk", {"k": 3, "threshold": -1.0}, None),
    "matryoshka": ("matryoshka", {"k": 3, "widths": [4, 16], "threshold": 0.5}, None),
    "jumprelu": ("jumprelu", {"threshold_as": "value"}, None),
    "jumprelu_log": ("jumprelu", {"threshold_as": "log"}, None),
    "atm": ("atm", {}, {"inference": "none"}),
    "atm_untrained": ("atm", {}, {"inference": "hard", "updates": 0}),
    "atm_expected": ("atm", {}, {"inference": "expected"}),
    "atm_relaxed": ("atm", {}, {"inference": "expected", "active_fraction": 0, "importance": "weighted"}),
    "atm_nothing": ("atm", {}, {"inference": "expected", "threshold": -9}),
    "atm_hard": ("atm", {}, {"inference": "hard", "importance": "mean"}),
    "topk_mask": ("topk", {"k": 3}, {"inference": "hard", "importance": "frequency"}),
}


def write_autoencoder(folder, kind, options, mask, width=D, latents=F, seed=0):
    """A folder as `sae` writes it, with random numbers."""
    g = torch.Generator().manual_seed(seed)
    random = lambda *shape: torch.randn(*shape, generator=g)  # noqa: E731
    options = dict(options)
    threshold = options.pop("threshold", None)
    state = {
        "W_enc": random(latents, width) / 2, "b_enc": random(latents) / 2,
        "W_dec": random(latents, width), "b_dec": random(width),
        "silent_tokens": torch.zeros(latents, dtype=torch.int64),
    }  # fmt: skip
    if threshold is not None:
        state["threshold"] = torch.tensor(threshold)
    if kind == "jumprelu":
        theta = random(latents).abs()
        log = options["threshold_as"] == "log"
        state["log_threshold" if log else "threshold"] = theta.log() if log else theta - 0.5
    if kind in ("jumprelu", "standard", "atm"):
        state["sparsity.state"] = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    model = {"architecture": kind, "d_in": width, "d_sae": latents, **options}
    if mask is not None:
        mask = {**MASK, **mask}
        state["mask.updates"] = torch.tensor(mask.pop("updates", 5))
        for name in ("magnitude", "frequency", "contribution"):
            state[f"mask.{name}"] = random(latents).abs()
        model["mask"] = mask
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "sae.safetensors")
    config = {"format": "sae", "version": 1, "model": model}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


class Formulas(unittest.TestCase):
    def test_of_logits_are_saebenchs(self):
        golden = load_file(ROOT / "tests" / "golden" / "metrics" / "loss_recovered.safetensors")
        nothing = torch.empty(0, dtype=torch.int64)
        for name, special, sae in (
            ("all", nothing, "sae"),
            ("masked", golden["special"], "sae"),
            ("kept", golden["special"], "kept"),
        ):
            total = recovery.Recovery(special)
            for i, tokens in enumerate(golden["tokens"]):
                logits = [golden[f"logits.{run}"][i] for run in ("original", sae, "ablation")]
                total.add(tokens, *logits)
            metrics = total.metrics()
            self.assertEqual(len(metrics), 7)
            for metric, value in metrics.items():
                expected = golden[f"{name}.{metric}"].item()
                self.assertLess(abs(value - expected), 1e-5 * max(1, abs(expected)), f"{name} {metric}")
        self.assertNotEqual(golden["all.ce_loss_with_sae"], golden["masked.ce_loss_with_sae"])
        self.assertNotEqual(golden["kept.ce_loss_with_sae"], golden["masked.ce_loss_with_sae"])

    def test_a_certain_model_has_a_finite_divergence(self):
        certain = torch.tensor([[[200.0, 0.0]]])
        other = torch.tensor([[[0.0, 200.0]]])
        self.assertEqual(recovery.kl_divergence(certain, other).item(), 200)
        self.assertEqual(recovery.kl_divergence(certain, certain).item(), 0)

    def test_nothing_counted_is_not_a_number(self):
        total = recovery.Recovery(torch.tensor([0]))
        logits = torch.zeros(1, 3, 4)
        total.add(torch.zeros(1, 3, dtype=torch.int64), logits, logits, logits)
        self.assertTrue(all(value != value for value in total.metrics().values()))


class Inference(unittest.TestCase):
    """What Python computes is in the golden files; that the library computes it too is tested there."""

    def test_of_every_architecture_is_the_librarys(self):
        self.maxDiff = None
        for seed, (name, (kind, options, mask)) in enumerate(KINDS.items()):
            folder = INFERENCE / name
            if os.environ.get("SAE_WRITE_GOLDEN"):
                write_autoencoder(folder, kind, options, mask, seed=seed)
                x = torch.randn(20, D, generator=torch.Generator().manual_seed(100 + seed))
                sae = Autoencoder(folder)
                f = sae.encode(x)
                save_file({"x": x, "f": f, "x_hat": sae.decode(f)}, folder / "expected.safetensors")
            expected = load_file(folder / "expected.safetensors")
            sae = Autoencoder(folder)
            f = sae.encode(expected["x"])
            torch.testing.assert_close(f, expected["f"], rtol=1e-5, atol=1e-6, msg=name)
            torch.testing.assert_close(sae.decode(f), expected["x_hat"], rtol=1e-5, atol=1e-5, msg=name)
            self.assertGreater(f.count_nonzero(), 10, name)
            self.assertGreater((f == 0).sum(), 10, name)
        self.assertEqual(sorted(f.name for f in INFERENCE.iterdir()), sorted(KINDS))

    def test_masks_change_what_they_should(self):
        self.assertIsNone(Autoencoder(INFERENCE / "atm").factor)
        self.assertIsNone(Autoencoder(INFERENCE / "atm_untrained").factor)
        self.assertEqual(set(Autoencoder(INFERENCE / "atm_hard").factor.tolist()), {0.0, 1.0})
        expected = Autoencoder(INFERENCE / "atm_expected").factor
        self.assertTrue(0 < expected.min() < 0.5 and expected.max() == 1)
        self.assertEqual(Autoencoder(INFERENCE / "atm_nothing").factor.min(), 1)

    def test_a_run_is_found_and_anything_else_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            with self.assertRaisesRegex(HarvestError, "no config.json"):
                Autoencoder(folder)
            shutil.copytree(INFERENCE / "topk", folder / "sae")
            self.assertEqual(Autoencoder(folder).architecture, "topk")
            (folder / "sae" / "sae.safetensors").write_bytes(b"no")
            with self.assertRaisesRegex(HarvestError, "not an autoencoder"):
                Autoencoder(folder)
            (folder / "sae" / "config.json").write_text("{}")
            with self.assertRaisesRegex(HarvestError, "not an autoencoder"):
                Autoencoder(folder)


DECODERS = ["gpt2", "neox", "llama", "gemma2", "qwen2"]


class Replacement(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.text = self.folder / "text.txt"
        self.text.write_text(" ".join(tiny.WORDS[i * i % 11] for i in range(300)))

    def model(self, name):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(
            tiny.MODELS[name], attn_implementation="eager"
        ).eval()
        tiny.randomise(model)
        model.config.use_cache = False
        model.save_pretrained(self.folder / name)
        tokenizer = tiny.tiny_tokenizer()
        tokenizer.bos_token, tokenizer.eos_token = "[CLS]", "[SEP]"
        tokenizer.save_pretrained(self.folder / name)
        return model

    def identity(self, gain=1.0, width=8):
        """x = relu(x) - relu(-x); with no gain everything becomes zero."""
        write_autoencoder(self.folder / "sae", "standard", {}, None, width=width, latents=2 * width)
        state = load_file(self.folder / "sae" / "sae.safetensors")
        eye = torch.eye(width)
        state["W_enc"] = torch.cat([eye, -eye])
        state["W_dec"] = gain * state["W_enc"]
        state["b_enc"], state["b_dec"] = torch.zeros(2 * width), torch.zeros(width)
        save_file(state, self.folder / "sae" / "sae.safetensors")

    def run_script(self, *arguments):
        """Exit status, what was printed, and what was said."""
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                status = loss_recovered.main([str(a) for a in arguments])
            except SystemExit as stop:
                status = stop.code
        return status, output.getvalue(), errors.getvalue()

    def measure(self, name, *extra):
        status, output, errors = self.run_script(
            "--model", self.folder / name, "--sae", self.folder / "sae", "--text", self.text,
            "--context", 10, "--batch", 4, "--windows", 10, "--json", *extra)  # fmt: skip
        self.assertEqual(status, 0, errors)
        return json.loads(output)

    def test_the_identity_loses_nothing_and_zeros_lose_everything(self):
        ids = torch.arange(40).remainder(13).view(4, 10) + 3
        nothing = torch.zeros(4, 10, dtype=torch.bool)
        for name in DECODERS:
            model = self.model(name)
            for site in SPLICED:
                harvester = models.Harvester(model, 1, site, "cpu")
                point = harvester.point
                for gain in (1.0, 0.0):
                    self.identity(gain, harvester.width)
                    total = recovery.Recovery(torch.tensor([], dtype=torch.int64))
                    recovery.add_batch(total, model, point, Autoencoder(self.folder), ids, nothing)
                    metrics = total.metrics()
                    self.assertAlmostEqual(metrics["ce_loss_score"], gain, places=4, msg=f"{name} {site}")
                    self.assertAlmostEqual(metrics["kl_div_score"], gain, places=4, msg=f"{name} {site}")
                    self.assertGreater(metrics["kl_div_with_ablation"], 1e-4)
                    self.assertEqual(total.tokens, 36)

    def test_losses_are_those_of_the_model(self):
        """Against a forward pass without any of our code, its own loss, and a hand-made replacement."""
        model = self.model("llama")
        self.identity(gain=0.5)
        metrics = self.measure("llama", "--layer", 1)
        ids = tiny.tiny_tokenizer()(self.text.read_text(), add_special_tokens=False)["input_ids"]
        windows = torch.tensor([[1, *ids[i : i + 8], 2] for i in range(0, 80, 8)])
        counted = ~torch.isin(windows, torch.tensor([1, 2]))[:, :-1].flatten()

        def loss(change=None):
            hook = lambda m, i, o: (o * change) if torch.is_tensor(o) else (o[0] * change, *o[1:])  # noqa: E731
            handle = model.model.layers[1].register_forward_hook(hook) if change is not None else None
            with torch.no_grad():
                logits = model(input_ids=windows).logits
            if handle:
                handle.remove()
            losses = torch.nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), windows[:, 1:].flatten(), reduction="none")  # fmt: skip
            return losses[counted].mean().item()

        self.assertEqual(metrics["windows"], 10)
        self.assertEqual(metrics["tokens"], 80)
        self.assertAlmostEqual(metrics["ce_loss_without_sae"], loss(), places=5)
        self.assertAlmostEqual(metrics["ce_loss_with_sae"], loss(0.5), places=5)
        self.assertAlmostEqual(metrics["ce_loss_with_ablation"], loss(0.0), places=5)
        # With the special positions (the first and the last) as they are.
        keep = torch.full((10, 10, 1), 0.5)
        keep[:, [0, -1]] = 1
        kept = self.measure("llama", "--layer", 1, "--keep-special")
        self.assertAlmostEqual(kept["ce_loss_with_sae"], loss(keep), places=5)
        self.assertEqual(kept["ce_loss_with_ablation"], metrics["ce_loss_with_ablation"])

    def test_batches_and_repetition_change_nothing(self):
        self.model("gpt2")
        self.identity(gain=0.7)
        first = self.measure("gpt2", "--layer", 2)
        for extra in (["--batch", 3], ["--batch", 10], ["--batch", 1]):
            again = self.measure("gpt2", "--layer", 2, *extra)
            for name, value in first.items():
                self.assertAlmostEqual(again[name], value, places=5)

    def test_prints_a_table(self):
        self.model("gpt2")
        self.identity()
        status, output, errors = self.run_script(
            "--model", self.folder / "gpt2", "--sae", self.folder / "sae", "--text", self.text,
            "--context", 10, "--windows", 2, "--layer", 0)  # fmt: skip
        self.assertEqual(status, 0, errors)
        self.assertIn("ce_loss_score           1\n", output)
        self.assertIn("over 16 tokens of 2 windows", output)
        self.assertIn("special: [CLS], [SEP]", errors)

    def test_says_what_it_leaves_out(self):
        self.model("gpt2")
        self.identity()
        copy = self.folder / "copy.txt"
        copy.write_bytes(b"\xef\xbb\xbf" + self.text.read_bytes().replace(b" ", b"\r\n", 9))
        given = ["--model", self.folder / "gpt2", "--sae", self.folder / "sae", "--layer", 0]
        for text, windows, said in (
            ([self.text], 30, "left out: what follows the first 30 windows, for --windows 30"),
            ([copy], 99, "left out: 4 tokens at ends of documents, which fill no window: 1.3 % of the text's 300"),
            ([copy], 99, "--windows 99: the text holds only 37"),
            ([self.text, self.text], 3, "used more than once: text.txt, text.txt hold the same text"),
        ):
            _, _, errors = self.run_script(*given, "--text", *text, "--windows", windows, "--context", 10)
            self.assertIn(said, errors)

    def test_says_what_is_wrong(self):
        self.model("gpt2")
        write_autoencoder(self.folder / "sae", "topk", {"k": 3}, None, width=6)
        base = ["--model", self.folder / "gpt2", "--text", self.text, "--context", 10]
        sae = ["--sae", self.folder / "sae"]
        for arguments, status, text in (
            ([*base, *sae, "--layer", 0], 3, "the autoencoder takes width 6, the model has 8"),
            ([*base, "--layer", 0, "--sae", self.folder / "nothing"], 3, "no config.json"),
            ([*base, *sae, "--layer", 0, "--context", 1], 2, "one token predicts nothing"),
            ([*base, *sae, "--layer", 0, "--windows", 0], 2, "--windows must be at least 1"),
            ([*base, *sae], 2, "--layer"),
        ):
            got, output, errors = self.run_script(*arguments)
            self.assertEqual(got, status, errors)
            self.assertIn(text, errors)
            self.assertEqual(output, "")

    def test_an_autoencoder_of_another_place_is_pointed_out(self):
        self.model("gpt2")
        self.identity()
        path = self.folder / "sae" / "config.json"
        config = json.loads(path.read_text())
        config["source"] = {"kind": "store", "store": {"layer": 2, "site": "resid_post"}}
        path.write_text(json.dumps(config))
        arguments = [
            "--model", self.folder / "gpt2", "--sae", self.folder / "sae", "--text", self.text,
            "--context", 10, "--windows", 1]  # fmt: skip
        _, _, errors = self.run_script(*arguments, "--layer", 0)
        self.assertIn("trained on layer 2, not 0", errors)
        _, _, errors = self.run_script(*arguments, "--layer", 2)
        self.assertNotIn("trained on", errors)


if __name__ == "__main__":
    unittest.main()
