"""Tests of scripts/harvest.py on tiny random models; scripts/test --harvest runs them, or, in the
environment of the script's --help:

    python -m unittest discover tests/harvest

SAE_WRITE_GOLDEN=1 also rewrites tests/golden/harvested, which the C++ suite reads.
SAE_MINILM=FOLDER SAE_TEXT=FILE adds the check on a real model, see test_real_model.py.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import unittest
from unittest import mock

from common import BLOCKS, ADDED, MODELS, ROOT, SCALED, WORDS, ScriptTest, tiny_tokenizer, torch, transformers

import harvest
from safetensors.torch import load_file


class Harvest(ScriptTest):
    script = harvest

    def setUp(self):
        super().setUp()
        self.text = self.folder / "text.txt"
        self.text.write_text(" ".join(WORDS[i * i % 11] for i in range(46)) + " zebra " * 4)

    def read(self, out):
        manifest = json.loads((out / "manifest.json").read_text())
        parts = [load_file(out / shard["file"]) for shard in manifest["shards"]]
        return manifest, {name: torch.cat([p[name] for p in parts]) for name in parts[0]}

    def harvest(self, model, *extra, text=True):
        out = self.folder / f"store-{len(list(self.folder.iterdir()))}"
        source = ["--text", self.text] if text else []
        status, self.output = self.run_script(
            "--model", model, *source, "--context", 8, "--batch", 3,
            "--dtype", "f32", "--out", out, *extra)  # fmt: skip
        self.assertEqual(status, 0, self.output)
        self.assertFalse(out.with_name(out.name + ".partial").exists())
        self.assertFalse((out / "progress.json").exists())
        return self.read(out)

    def windows(self, stride=6):
        ids = tiny_tokenizer()(self.text.read_text(), add_special_tokens=False)["input_ids"]
        return torch.tensor([[1, *ids[i : i + 6], 2] for i in range(0, len(ids) - 5, stride)])

    def expected(self, name, model, windows):
        """What transformers itself returns at every site and layer: its hidden states, and what the
        modules of ADDED return."""
        values, hooks = {}, []

        def keep(key):
            def hook(module, inputs, output):
                values[key] = output[0] if isinstance(output, tuple) else output

            return hook

        for layer in range(3):
            paths = [*ADDED[name], BLOCKS.get(name, "layers.{}")]
            for site, path in zip(("attn_out", "mlp_out", "block"), paths):
                module = model.get_submodule(path.format(layer))
                hooks.append(module.register_forward_hook(keep((site, layer))))
        with torch.no_grad():
            hidden = model(input_ids=windows, output_hidden_states=True).hidden_states
        for hook in hooks:
            hook.remove()
        for layer in range(3):
            values["resid_pre", layer] = hidden[layer]
            # The last entry of hidden_states is after the final norm.
            values["resid_post", layer] = values["block", 2] if layer == 2 else hidden[layer + 1]
        return values

    def test_equals_transformers_at_every_architecture_site_and_layer(self):
        for name in MODELS:
            path, model = self.model(name)
            windows = self.windows()
            expected = self.expected(name, model, windows)
            keep = windows.flatten() > 2
            for site in ("resid_pre", "attn_out", "mlp_out", "resid_post"):
                for layer in range(3):
                    with self.subTest(model=name, site=site, layer=layer):
                        # transformers reads a Qwen folder's tokenizer as Qwen's, whatever it says.
                        with mock.patch(
                            "transformers.AutoTokenizer.from_pretrained", return_value=tiny_tokenizer()
                        ):
                            manifest, store = self.harvest(path, "--site", site, "--layer", layer)
                        wanted = expected[site, layer].flatten(0, 1)[keep]
                        torch.testing.assert_close(store["activations"], wanted, rtol=0, atol=1e-6)
                        self.assertEqual(store["tokens"].tolist(), windows.flatten()[keep].tolist())
                        source = manifest["source"]
                        self.assertEqual(source["hook_name"], f"blocks.{layer}.hook_{site}")
                        states = {"resid_pre": layer, "resid_post": layer + 1 if layer < 2 else None}
                        self.assertEqual(source["hidden_states"], states.get(site))

    def test_the_sites_of_one_layer_differ_and_add_up(self):
        for name in MODELS:
            _, model = self.model(name)
            values = self.expected(name, model, self.windows())
            if name != "bert":  # which norms after adding
                total = sum(values[site, 1] for site in ("resid_pre", "attn_out", "mlp_out"))
                torch.testing.assert_close(total, values["resid_post", 1])
            for site in ("resid_pre", "attn_out", "mlp_out"):
                self.assertGreater((values[site, 1] - values["resid_post", 1]).norm(), 1, name)

    def test_says_which_point_of_the_model_it_takes(self):
        path, _ = self.model("gemma2")
        for site, layer, expected in [
            ("resid_post", 1, "layer 1 resid_post = output of block 1 = hidden_states[2] (of 3"),
            ("resid_post", 2, "layer 2 resid_post = output of block 2 = before any final norm (of"),
            ("resid_pre", 2, "layer 2 resid_pre = input of block 2 = hidden_states[2] (of 3 blocks)"),
            ("mlp_out", 0, "= output of layers.0.post_feedforward_layernorm (of 3 blocks)"),
        ]:
            self.harvest(path, "--layer", layer, "--site", site)
            self.assertIn(expected, self.output)
            self.assertIn("windows of 8: [CLS] + 6 tokens + [SEP], one every 6; dropped", self.output)

    def test_runs_no_block_beyond_the_wanted_one(self):
        path, _ = self.model("gpt2")
        model = transformers.AutoModel.from_pretrained(path).eval()
        harvester = harvest.models.Harvester(model, 1, "resid_post", "cpu")
        model.h[2].register_forward_hook(lambda *_: self.fail("block 2 ran"))
        self.assertEqual(harvester(self.windows()).shape, (8, 8, 8))

    def test_refuses_modules_that_do_not_add_up_to_the_block(self):
        with mock.patch.dict(MODELS, scaled=SCALED):
            path, _ = self.model("scaled")
        for site in ("attn_out", "mlp_out"):
            status, output = self.run_script(
                "--model", path, "--layer", 1, "--site", site, "--text", self.text,
                "--context", 8, "--out", self.folder / "out")  # fmt: skip
            self.assertEqual(status, 3)
            self.assertIn("do not add up to its output; only resid_pre and resid_post", output)
        self.harvest(path, "--layer", 1)

    def test_takes_a_model_that_only_exists_as_a_causal_one(self):
        path, model = self.model("gpt2")
        refusal = ValueError("Unrecognized configuration class for this kind of AutoModel")
        with mock.patch("transformers.AutoModel.from_pretrained", side_effect=refusal):
            _, store = self.harvest(path, "--layer", 1)
        windows = self.windows()
        wanted = self.expected("gpt2", model, windows)["resid_post", 1].flatten(0, 1)
        wanted = wanted[windows.flatten() > 2]
        torch.testing.assert_close(store["activations"], wanted, rtol=0, atol=1e-6)

    def test_drops_special_and_unknown_rows_unless_told_otherwise(self):
        path, _ = self.model("bert")
        manifest, store = self.harvest(path, "--layer", 1)
        self.assertEqual(manifest["tokens"], 8 * 6 - 2)  # 48 of 50 tokens fill windows, 2 unknown
        self.assertEqual(manifest["source"]["dropped"], ["[UNK]", "[CLS]", "[SEP]"])
        self.assertEqual(store["context"].bincount().tolist(), [6] * 7 + [4])
        manifest, store = self.harvest(path, "--layer", 1, "--keep-special")
        self.assertEqual(manifest["tokens"], 64)
        self.assertEqual(store["tokens"].tolist(), self.windows().flatten().tolist())

    def test_begins_windows_with_a_token_for_that_if_told_to(self):
        path, _ = self.model("gpt2", tiny_tokenizer(framed=False))
        manifest, store = self.harvest(path, "--layer", 1, "--keep-special")
        self.assertEqual(manifest["source"]["special_tokens"], [[], []])
        self.assertEqual(store["tokens"].reshape(-1, 8)[:, 0].tolist().count(1), 0)
        manifest, store = self.harvest(path, "--layer", 1, "--keep-special", "--bos")
        self.assertEqual(manifest["source"]["special_tokens"], [["[CLS]"], []])
        self.assertEqual(store["tokens"].reshape(-1, 8)[:, 0].tolist(), [1] * 7)

    def test_shards_hold_the_wanted_rows(self):
        path, _ = self.model("bert")
        whole, expected = self.harvest(path, "--layer", 1)
        manifest, store = self.harvest(path, "--layer", 1, "--shard-tokens", 10, "--tokens", 35)
        self.assertEqual([s["tokens"] for s in manifest["shards"]], [10, 10, 10, 5])
        for name in expected:
            self.assertTrue(torch.equal(store[name], expected[name][:35]))
        self.assertAlmostEqual(whole["mean_norm"], expected["activations"].norm(dim=1).mean().item(), 5)

    def test_a_stride_stores_each_token_once_with_what_came_before_it(self):
        path, model = self.model("gpt2")
        windows = self.windows(stride=2)
        values = self.expected("gpt2", model, windows)["resid_post", 1]
        rows = [values[0, 1:7]] + [window[5:7] for window in values[1:]]
        _, store = self.harvest(path, "--layer", 1, "--stride", 2)
        kept = [windows[0, 1:7]] + [window[5:7] for window in windows[1:]]
        kept, rows = torch.cat(kept), torch.cat(rows)
        self.assertEqual(store["tokens"].tolist(), kept[kept > 2].tolist())
        torch.testing.assert_close(store["activations"], rows[kept > 2], rtol=0, atol=1e-6)
        _, sparse = self.harvest(path, "--layer", 1, "--stride", 12)
        self.assertEqual(sparse["tokens"].tolist(), self.windows(12)[:, 1:7].flatten().tolist())

    def test_a_seed_shuffles_windows_and_changes_none(self):
        path, _ = self.model("bert")
        _, plain = self.harvest(path, "--layer", 1)
        _, one = self.harvest(path, "--layer", 1, "--seed", 1)
        _, two = self.harvest(path, "--layer", 1, "--seed", 2)

        def rows(store):
            return sorted(map(tuple, torch.round(store["activations"] * 1e4).int().tolist()))

        self.assertEqual(rows(plain), rows(one))
        self.assertNotEqual(one["tokens"].tolist(), two["tokens"].tolist())
        self.assertNotEqual(one["tokens"].tolist(), plain["tokens"].tolist())

    def test_reads_folders_in_the_order_of_names(self):
        path, _ = self.model("bert")
        folder = self.folder / "corpus"
        (folder / "b").mkdir(parents=True)
        (folder / "b" / "1.txt").write_text("cat " * 6)
        (folder / "a.txt").write_text("dog " * 6)
        (folder / ".hidden").write_text("mat " * 6)
        manifest, store = self.harvest(path, "--layer", 1, "--text", folder)
        self.assertEqual([f["file"] for f in manifest["source"]["dataset"]], ["a.txt", "b/1.txt"])
        self.assertEqual(store["tokens"].tolist(), [6] * 6 + [5] * 6)

    @unittest.skipUnless(importlib.util.find_spec("datasets"), "the package datasets is optional")
    def test_reads_a_data_set(self):
        path, _ = self.model("bert")
        rows = [{"body": "cat " * 7}, {"body": ""}, {"body": "dog " * 6}]
        (self.folder / "data").mkdir()
        lines = "\n".join(json.dumps(row) for row in rows)
        (self.folder / "data" / "train.jsonl").write_text(lines)
        given = ("--dataset", self.folder / "data", "--dataset-column", "body", "--layer", 1)
        for streaming in ([], ["--dataset-streaming"]):
            manifest, store = self.harvest(path, *given, *streaming, text=False)
            self.assertEqual(store["tokens"].tolist(), [5] * 6 + [6] * 6)
            self.assertEqual(manifest["source"]["dataset"]["column"], "body")
        status, output = self.run_script(
            "--model", path, "--layer", 1, "--dataset", self.folder / "data", "--out", self.folder / "o")
        self.assertEqual(status, 3)
        self.assertIn("--dataset-column text: the dataset has body", output)

    def test_says_how_to_get_the_package_of_data_sets(self):
        path, _ = self.model("bert")
        with mock.patch.dict(sys.modules, datasets=None):
            status, output = self.run_script(
                "--model", path, "--layer", 1, "--dataset", "x", "--out", self.folder / "out")
        self.assertEqual(status, 3)
        self.assertIn("needs the package datasets", output)
        self.assertIn("pip install datasets", output)

    def test_writes_a_vocabulary_that_spells_the_text(self):
        path, _ = self.model("bert")
        out = self.folder / "spelt"
        status, output = self.run_script(
            "--model", path, "--layer", 1, "--text", self.text, "--context", 8, "--out", out)
        self.assertEqual(status, 0, output)
        vocabulary = json.loads((out / "vocabulary.json").read_text())
        self.assertEqual((vocabulary["format"], vocabulary["version"]), ("sae-vocabulary", 1))
        spelt = "".join(vocabulary["tokens"][i] for i in self.read(out)[1]["tokens"])
        self.assertEqual(spelt.split(), self.text.read_text().replace("zebra", "").split())

    # --- what is left out ----------------------------------------------------------------------

    def lines(self):
        """What the last harvest said."""
        return [line for line in self.output.splitlines() if line.startswith(("left out", "used"))]

    def test_line_ends_and_byte_order_marks_change_no_store(self):
        path, _ = self.model("bert")
        text = "".join(f" = {word} = \n \n the {word} sat on the mat \n to and of the {word} \n" for word in WORDS)
        made = {}
        for form in ("whole", "article", "line"):
            for name, other in {"n": text, "rn": text.replace("\n", "\r\n"), "r": text.replace("\n", "\r"),
                                "mark": "\ufeff" + text}.items():  # fmt: skip
                self.text.write_bytes(other.encode())
                _, made[name] = self.harvest(path, "--layer", 1, "--text-form", "wikitext", "--document", form,
                                             "--context", 6)  # fmt: skip
            self.assertEqual(made["n"]["context"].max() + 1, {"whole": 42, "article": 36, "line": 24}[form])
            for name, store in made.items():
                for tensor, values in store.items():
                    self.assertTrue(torch.equal(values, made["n"][tensor]), (form, name, tensor))

    def test_says_which_documents_are_too_short(self):
        path, _ = self.model("bert")
        self.text.write_text("the cat\n" * 30 + "the cat sat on the mat to the end\n" * 2)
        manifest, _ = self.harvest(path, "--layer", 1, "--document", "line")
        self.assertEqual(
            self.lines(),
            ["left out: 30 of 32 documents, which are shorter than a window (60 tokens); 6 tokens at ends of "
             "documents, which fill no window: 85 % of the text's 78 tokens; --pack lets windows run on over "
             "the ends of documents"])  # fmt: skip
        self.assertEqual(
            manifest["source"]["text"],
            {"text_tokens": 78, "documents": 32, "short_documents": 30, "left_out_tokens": 66, "windows": 2,
             "dropped_tokens": 0})  # fmt: skip
        manifest, _ = self.harvest(path, "--layer", 1, "--document", "line", "--pack")
        self.assertEqual(manifest["source"]["text"]["left_out_tokens"], (78 + 32) % 6)

    def test_says_which_tokens_are_dropped_and_what_a_limit_does_not_reach(self):
        path, _ = self.model("bert")
        self.text.write_text("the zebra sat [SEP] a zebra " * 6)
        self.harvest(path, "--layer", 1)
        self.assertEqual(
            self.lines(),
            ["left out: 18 of 36 tokens in windows, which are special or unknown (50 %): [UNK] 12, [SEP] 6"])
        manifest, _ = self.harvest(path, "--layer", 1, "--tokens", 7)
        limit = "left out: what follows the first 3 windows, for --tokens 7"
        self.assertEqual(self.lines()[1:], [limit])
        self.assertIn("9 of 18 tokens in windows", self.lines()[0])
        self.assertEqual(manifest["source"]["text"]["windows"], 3)
        self.harvest(path, "--layer", 1, "--tokens", 7, "--seed", 0)
        self.assertEqual(self.lines()[1:], ["left out: 3 of 6 windows, for --tokens 7"])
        self.harvest(path, "--layer", 1, "--stride", 2)
        self.assertIn("18 of 36 tokens in windows", self.lines()[0])
        self.harvest(path, "--layer", 1, "--keep-special")
        self.assertEqual(self.lines(), [])

    def test_says_which_text_is_used_twice(self):
        path, _ = self.model("bert")
        (self.folder / "copy.txt").write_bytes(self.text.read_bytes())
        self.harvest(path, "--layer", 1, "--text", self.text, self.folder / "copy.txt")
        self.assertIn("used more than once: text.txt, copy.txt hold the same text", self.output)

    # --- kills ---------------------------------------------------------------------------------

    def test_goes_on_after_a_kill_to_the_same_bytes(self):
        path, _ = self.model("gpt2")

        def arguments(out):
            return ["--model", path, "--text", self.text, "--layer", 1, "--context", 8, "--batch", 2,
                    "--stride", 3, "--shard-tokens", 7, "--seed", 3, "--out", out]  # fmt: skip

        whole, out = self.folder / "whole", self.folder / "out"
        self.assertEqual(self.run_script(*arguments(whole))[0], 0)
        partial = self.folder / "out.partial"
        # Before: the first shard is there, it is recorded, a later one is recorded, the last
        # shard is there, the vocabulary, the manifest. Each goes on where the one before was.
        shards = len(list(whole.glob("shard-*")))
        self.assertEqual(shards, 7)
        for replacement, left in [(1, 0), (2, 1), (4, 2), (11, 6), (2, 7), (3, 7)]:
            self.kill_at(replacement, arguments(out))
            self.assertFalse(out.exists())
            self.assertEqual(len(list(partial.glob("shard-*.safetensors"))), left)
        status, output = self.run_script(*arguments(out))
        self.assertEqual(status, 0, output)
        self.assertIn("going on after 42 tokens", output)
        names = sorted(file.name for file in whole.iterdir())
        self.assertEqual(sorted(file.name for file in out.iterdir()), names)
        for name in names:
            self.assertEqual((whole / name).read_bytes(), (out / name).read_bytes(), name)

    def test_goes_on_only_with_what_it_would_have_written_itself(self):
        path, _ = self.model("gpt2")
        out, partial = self.folder / "out", self.folder / "out.partial"
        given = ["--model", path, "--text", self.text, "--layer", 1, "--context", 8, "--out", out]
        small = [*given, "--shard-tokens", 9]
        status, output = self.run_script(*small, "--tokens", 1000)
        self.assertEqual(status, 3)
        self.assertIn("--tokens 1000: the text holds only 46", output)
        self.assertIn("45 tokens are kept in", output)
        for change, message in [
            ([*given, "--shard-tokens", 10], "was begun with another shard-tokens"),
            ([*small, "--site", "mlp_out"], "was begun with another site"),
            ([*small, "--tokens", 8], "holds 45 already"),
        ]:
            status, output = self.run_script(*change)
            self.assertEqual((status, output.count(message)), (3, 1), output)
        shard = partial / "shard-00001.safetensors"
        good = shard.read_bytes()
        shard.write_bytes(good[:-1] + b"x")
        status, output = self.run_script(*small)
        self.assertEqual((status, output.count("missing or damaged")), (3, 1), output)
        shard.write_bytes(good)
        (partial / "notes.txt").write_text("mine")
        status, output = self.run_script(*small)
        self.assertEqual((status, output.count("notes.txt, which no harvest writes")), (3, 1), output)
        (partial / "notes.txt").unlink()
        self.assertEqual(self.run_script(*small, "--tokens", 46)[0], 0)
        self.assertEqual(self.read(out)[0]["tokens"], 46)

    # --- mistakes ------------------------------------------------------------------------------

    def stream(self, model, start, *extra, reader=None):
        """What is passed on to a run that begins with the token `start`."""
        folder = self.folder / f"stream-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        asks = {"FOLDER": folder, "START": start, "AHEAD": 1000, "READER": reader or os.getpid()}
        with mock.patch.dict(os.environ, {f"SAE_STREAM_{name}": str(value) for name, value in asks.items()}):
            status, self.output = self.run_script(
                "--model", model, "--text", self.text, "--context", 8, "--batch", 3, "--dtype", "f32",
                "--layer", 1, "--stream", "--shard-tokens", 5, *extra)  # fmt: skip
        shards = [load_file(path)["activations"] for path in sorted(folder.glob("shard-*.safetensors"))]
        self.assertEqual((folder / "end").exists(), status == 0)
        return status, shards

    def test_passes_on_to_a_run_what_it_would_have_stored_from_any_token_on(self):
        model = self.model("gpt2")[0]
        stored = self.harvest(model, "--layer", 1)[1]["activations"]
        for start in (0, 1, 17, len(stored) - 1):
            status, shards = self.stream(model, start)
            self.assertEqual(status, 0, self.output)
            self.assertTrue(all(len(shard) == 5 for shard in shards[:-1]))
            self.assertTrue(torch.equal(torch.cat(shards), stored[start:]), start)

    def test_passes_on_to_nobody_else(self):
        model, gone = self.model("gpt2")[0], subprocess.Popen(["true"])
        gone.wait()
        status, shards = self.stream(model, 0, reader=gone.pid)
        self.assertEqual((status, shards), (3, []))
        self.assertIn(f"process {gone.pid}, is gone", self.output)
        status, output = self.run_script("--model", model, "--text", self.text, "--layer", 1, "--stream")
        self.assertEqual(status, 3)
        self.assertIn("'SAE_STREAM_FOLDER' in the environment", output)

    def test_says_in_one_line_what_is_wrong_and_leaves_nothing(self):
        path, _ = self.model("bert")
        (self.folder / "latin1").write_bytes(b"caf\xe9 ")
        (self.folder / "taken").mkdir()
        (self.folder / "empty").mkdir()
        good = {"--model": path, "--layer": 1, "--text": self.text, "--out": self.folder / "out"}
        cases = [
            ({"--layer": 3}, 3, "--layer 3: the model has blocks 0 to 2"),
            ({"--text": self.folder / "absent"}, 3, "cannot read: No such file or directory"),
            ({"--text": self.folder / "latin1"}, 3, "not UTF-8 at byte 3"),
            ({"--text": self.folder / "empty"}, 3, "the folder holds no file"),
            ({"--out": self.folder / "taken"}, 3, "exists already"),
            ({"--model": self.folder / "taken"}, 3, "cannot load"),
            ({"--tokens": 1000}, 3, "--tokens 1000: the text holds only"),
            ({"--tokens": 10**15}, 3, "GB are free"),
            ({"--context": 2}, 3, "--context 2 leaves no room beside special tokens"),
            ({"--context": 512}, 3, "no document is as long as one window of 512 tokens"),
            ({"--device": "abacus"}, 1, "harvest.py: Expected one of cpu, cuda"),
            ({"--context": 0}, 2, "--context must be at least 1, got 0"),
            ({"--stride": 0}, 2, "--stride must be at least 1, got 0"),
            ({"--dataset": "x"}, 2, "one of --text and --dataset is needed"),
            ({"--site": "resid"}, 2, "invalid choice: 'resid'"),
        ]
        for change, status, message in cases:
            with self.subTest(change):
                arguments = [x for item in (good | {"--context": 8} | change).items() for x in item]
                got, output = self.run_script(*arguments)
                self.assertEqual((got, output.strip().splitlines()[-1].count(message)), (status, 1), output)
                self.assertFalse((self.folder / "out").exists())
                self.assertFalse((self.folder / "out.partial").exists())

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
