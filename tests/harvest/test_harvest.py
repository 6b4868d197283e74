"""Tests of scripts/harvest.py on tiny random models; run in the environment of its --help:

    python -m unittest discover tests/harvest

SAE_WRITE_GOLDEN=1 also rewrites tests/golden/harvested, which the C++ suite reads.
"""

import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import harvest  # noqa: E402

WORDS = "the a cat dog sat on mat ran to of and in".split()
SIZES = dict(vocab_size=16, hidden_size=8, num_hidden_layers=3, num_attention_heads=2)
GATED = dict(SIZES, intermediate_size=16, num_key_value_heads=1, head_dim=4)
MODELS = {
    "bert": transformers.BertConfig(**SIZES, intermediate_size=16),
    "gpt2": transformers.GPT2Config(vocab_size=16, n_embd=8, n_layer=3, n_head=2),
    "neox": transformers.GPTNeoXConfig(**SIZES, intermediate_size=16),
    "llama": transformers.LlamaConfig(**GATED),
    "mistral": transformers.MistralConfig(**GATED),
    "gemma2": transformers.Gemma2Config(**GATED),
}


def tiny_tokenizer():
    vocabulary = {w: i for i, w in enumerate(["[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


class Harvest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.text = self.folder / "text.txt"
        self.text.write_text(" ".join(WORDS[i * i % 11] for i in range(46)) + " zebra " * 4)

    def model(self, name):
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(MODELS[name]).eval()
        path = self.folder / name
        model.save_pretrained(path)
        tiny_tokenizer().save_pretrained(path)
        return path, model

    def run_script(self, *arguments):
        """Exit status and what was printed to stderr."""
        output = io.StringIO()
        with contextlib.redirect_stderr(output):
            try:
                status = harvest.main([str(a) for a in arguments])
            except SystemExit as stop:
                status = stop.code
        return status, output.getvalue()

    def harvest(self, model, *extra):
        out = self.folder / f"store-{len(list(self.folder.iterdir()))}"
        status, output = self.run_script(
            "--model", model, "--text", self.text, "--context", 8, "--batch", 3,
            "--dtype", "f32", "--out", out, *extra)  # fmt: skip
        self.assertEqual(status, 0, output)
        manifest = json.loads((out / "manifest.json").read_text())
        parts = [load_file(out / shard["file"]) for shard in manifest["shards"]]
        return manifest, {name: torch.cat([p[name] for p in parts]) for name in parts[0]}

    def windows(self):
        ids = tiny_tokenizer()(self.text.read_text(), add_special_tokens=False)["input_ids"]
        return torch.tensor([[1, *ids[i : i + 6], 2] for i in range(0, len(ids) - 5, 6)])

    def test_equals_hidden_states_of_every_architecture_and_layer(self):
        for name in MODELS:
            path, model = self.model(name)
            windows = self.windows()
            with torch.no_grad():
                hidden = model(input_ids=windows, output_hidden_states=True).hidden_states
                # The last entry is after the final norm; a hook sees what was before it.
                _, blocks = harvest.find_blocks(model)
                last = []
                blocks[-1].register_forward_hook(lambda m, i, o: last.append(harvest.first(o)))
                model(input_ids=windows)
            expected = [hidden[1], hidden[2], last[0]]
            keep = windows.flatten() > 2
            for layer in range(3):
                with self.subTest(model=name, layer=layer):
                    manifest, store = self.harvest(path, "--layer", layer)
                    wanted = expected[layer].flatten(0, 1)[keep]
                    torch.testing.assert_close(store["activations"], wanted, rtol=0, atol=1e-6)
                    self.assertEqual(store["tokens"].tolist(), windows.flatten()[keep].tolist())
                    self.assertEqual(manifest["source"]["hook_name"], f"blocks.{layer}.hook_resid_post")
                    self.assertEqual(
                        manifest["source"]["hidden_states"], layer + 1 if layer < 2 else None
                    )

    def test_drops_special_and_unknown_rows_unless_told_otherwise(self):
        path, _ = self.model("bert")
        manifest, store = self.harvest(path, "--layer", 1)
        self.assertEqual(manifest["tokens"], 8 * 6 - 2)  # 48 of 50 tokens fill windows, 2 unknown
        self.assertEqual(manifest["source"]["dropped"], ["[UNK]", "[CLS]", "[SEP]"])
        self.assertEqual(store["context"].bincount().tolist(), [6] * 7 + [4])
        manifest, store = self.harvest(path, "--layer", 1, "--keep-special")
        self.assertEqual(manifest["tokens"], 64)
        self.assertEqual(store["tokens"].tolist(), self.windows().flatten().tolist())

    def test_shards_hold_the_wanted_rows(self):
        path, _ = self.model("bert")
        whole, expected = self.harvest(path, "--layer", 1)
        manifest, store = self.harvest(path, "--layer", 1, "--shard-tokens", 10, "--tokens", 35)
        self.assertEqual([s["tokens"] for s in manifest["shards"]], [10, 10, 10, 5])
        for name in expected:
            self.assertTrue(torch.equal(store[name], expected[name][:35]))
        self.assertAlmostEqual(whole["mean_norm"], expected["activations"].norm(dim=1).mean().item(), 5)

    def test_wikitext_form_undoes_its_markers(self):
        text = harvest.wikitext("a @-@ b 1 @,@ 000 <unk> 1 @.@ 5", "[UNK]")
        self.assertEqual(text, "a - b 1 , 000 [UNK] 1 . 5")

    def test_says_in_one_line_what_is_wrong_and_leaves_nothing(self):
        path, _ = self.model("bert")
        (self.folder / "latin1").write_bytes(b"caf\xe9 ")
        (self.folder / "taken").mkdir()
        good = {"--model": path, "--layer": 1, "--text": self.text, "--out": self.folder / "out"}
        cases = [
            ({"--layer": 3}, 3, "--layer 3: the model has blocks 0 to 2"),
            ({"--text": self.folder / "absent"}, 3, "cannot read: No such file or directory"),
            ({"--text": self.folder / "latin1"}, 3, "not UTF-8 at byte 3"),
            ({"--out": self.folder / "taken"}, 3, "exists already"),
            ({"--model": self.folder / "taken"}, 3, "cannot load"),
            ({"--tokens": 1000}, 3, "--tokens 1000: the text holds only"),
            ({"--context": 2}, 3, "--context 2 leaves no room beside special tokens"),
            ({"--context": 512}, 3, "shorter than one window of 512 tokens"),
            ({"--device": "abacus"}, 1, "harvest.py: Expected one of cpu, cuda"),
            ({"--context": 0}, 2, "--context must be at least 1, got 0"),
        ]
        for change, status, message in cases:
            with self.subTest(change):
                arguments = [x for item in (good | {"--context": 8} | change).items() for x in item]
                got, output = self.run_script(*arguments)
                self.assertEqual((got, output.strip().splitlines()[-1].count(message)), (status, 1), output)
                self.assertFalse((self.folder / "out").exists())
                self.assertEqual(list(self.folder.glob(".tmp-*")), [])

    @unittest.skipUnless(os.environ.get("SAE_WRITE_GOLDEN"), "writes tests/golden/harvested")
    def test_writes_the_golden_store(self):
        path, _ = self.model("bert")
        target = ROOT / "tests" / "golden" / "harvested"
        shutil.rmtree(target, ignore_errors=True)
        status, output = self.run_script(
            "--model", path, "--layer", 1, "--text", self.text, "--context", 8, "--dtype", "bf16",
            "--shard-tokens", 30, "--out", target)  # fmt: skip
        self.assertEqual(status, 0, output)


if __name__ == "__main__":
    unittest.main()
