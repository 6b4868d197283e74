"""Tests of what harvest.py and first_letter.py read of several layers in one pass, of rows with massive
norms, and of the number of threads."""

import json
import os
import unittest
from unittest import mock

from common import WORDS, ScriptTest, byte_tokenizer, read_labelled, tiny_tokenizer, torch, transformers
from safetensors.torch import load_file, save_file
from test_first_letter import byte_pairs

import first_letter
import harvest
from harvesting import model as models
from harvesting import text as texts
from harvesting.windows import unknown_token


def files_of(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def read(out):
    parts = [load_file(shard) for shard in sorted(out.glob("shard-*"))]
    manifest = json.loads((out / "manifest.json").read_text())
    return manifest, {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


class Stores(ScriptTest):
    script = harvest

    def setUp(self):
        super().setUp()
        self.text = self.folder / "text.txt"
        self.text.write_text(" ".join(WORDS[i * i % 11] for i in range(60)) + " zebra the cat")

    def arguments(self, path, out, *more):
        return ["--model", path, "--text", self.text, "--context", 8, "--batch", 3, "--dtype", "f32",
                "--shard-tokens", 7, "--out", self.folder / out, *more]  # fmt: skip

    def massive(self):
        """A model that marks the first position, with a tokenizer that adds no token there."""
        path, _ = self.model("gpt2", tiny_tokenizer(framed=False))
        weights = load_file(path / "model.safetensors")
        weights["wpe.weight"][0] *= 1000
        save_file(weights, path / "model.safetensors", {"format": "pt"})
        return path

    # --- several layers ------------------------------------------------------------------------

    def test_layers_of_one_pass_have_the_bytes_of_runs_of_their_own(self):
        for site in ("resid_post", "mlp_out"):
            path, _ = self.model("llama")
            for more in (["--tokens", 20], ["--seed", 1], ["--max-norm-ratio", 1.1], ["--stride", 2]):
                name = f"{site}{more[0]}"
                more = [*more, "--site", site]
                self.run_well(*self.arguments(path, f"{name}-{{layer}}", "--layer", 0, 2, 1, *more))
                for layer in range(3):
                    self.run_well(*self.arguments(path, "single", "--layer", layer, *more))
                    ours, single = self.folder / f"{name}-{layer}", self.folder / "single"
                    self.assertEqual(files_of(ours), files_of(single), name)
                    self.assertEqual(read(ours)[0]["source"]["layer"], layer)
                    single.rename(self.folder / f"single-{name}-{layer}")

    def test_each_block_is_run_once(self):
        path, _ = self.model("llama")
        Block = transformers.models.llama.modeling_llama.LlamaDecoderLayer
        calls, forward = [], Block.forward

        def counted(block, *given, **named):
            calls.append(block.self_attn.layer_idx)
            return forward(block, *given, **named)

        with mock.patch.object(Block, "forward", counted), mock.patch.object(models, "check_layers"):
            self.run_well(*self.arguments(path, "s{layer}", "--layer", 0, 1))
        self.assertEqual({n: calls.count(n) for n in (0, 1, 2)}, {0: 4, 1: 4, 2: 0})  # of 10 windows

    def test_goes_on_after_a_kill_between_the_layers_to_the_same_bytes(self):
        path, _ = self.model("gpt2")
        more = ["--layer", 1, 2, "--seed", 3, "--max-norm-ratio", 1.15]
        self.run_well(*self.arguments(path, "whole{layer}", *more))
        wanted = self.arguments(path, "out{layer}", *more)
        # Before: the first shard of the second layer is there, it is recorded, ..., the first is finished.
        first = len(list((self.folder / "whole1").glob("shard-*")))
        for replacement in (3, 4, 6, 9):
            self.kill_at(replacement, wanted)
        self.assertFalse((self.folder / "out1").exists())
        self.assertGreater(first, 3)
        self.run_well(*wanted)
        for layer in (1, 2):
            self.assertEqual(
                files_of(self.folder / f"out{layer}"), files_of(self.folder / f"whole{layer}"))
        self.assertEqual(list(self.folder.glob("*.partial")), [])

    def test_makes_the_layers_that_are_missing_beside_those_that_were_made_alike(self):
        path, _ = self.model("gpt2")
        self.run_well(*self.arguments(path, "s{layer}", "--layer", 1))
        before = files_of(self.folder / "s1")
        output = self.run_well(*self.arguments(path, "s{layer}", "--layer", 0, 1))
        self.assertIn("s1: is there already", output)
        self.assertEqual(files_of(self.folder / "s1"), before)
        self.assertTrue((self.folder / "s0" / "manifest.json").exists())
        self.fails(3, "s0: exists already", *self.arguments(path, "s{layer}", "--layer", 0, 1))
        other = self.arguments(path, "s{layer}", "--layer", 1, 2, "--seed", 0)
        self.fails(3, "s1: exists already, made with another seed", *other)
        fewer = self.arguments(path, "s{layer}", "--layer", 1, 2, "--tokens", 9)
        self.fails(3, "s1: exists already, of 60 tokens and not 9", *fewer)
        self.assertFalse((self.folder / "s2").exists())

    def test_refuses_layers_without_a_place_of_their_own(self):
        path, _ = self.model("gpt2")
        for layers, out, message in (
            ([0, 1], "s", "--out needs {layer} in its name for 2 layers"),
            ([1, 1], "s{layer}", "--layer names a block twice: 1 1"),
            ([0, -1], "s{layer}", "--layer counts from 0, got -1"),
        ):
            self.fails(2, message, *self.arguments(path, out, "--layer", *layers))
        self.fails(3, "--layer 7: the model has blocks 0 to 2",
                   *self.arguments(path, "s{layer}", "--layer", 0, 7))  # fmt: skip
        self.assertEqual(list(self.folder.glob("s*")), [])

    # --- massive rows --------------------------------------------------------------------------

    def test_warns_of_massive_first_positions_and_bos_is_the_cure(self):
        path = self.massive()
        output = self.run_well(*self.arguments(path, "plain", "--layer", 1))
        _, store = read(self.folder / "plain")
        norms = store["activations"].norm(dim=1)
        median = norms[: 3 * 8].sort().values[11]  # torch's median is the lower one
        large = int((norms > 10 * median).sum())
        self.assertEqual(large, 7)  # windows of 8 in 62 tokens, of which 1 begins with what is dropped
        self.assertIn("layer 1: warning: 3 of the first 3 windows begin with a norm above 10 times", output)
        self.assertRegex(output, rf"\nwarning: {large} of {len(norms)} rows have a norm above 10 times the "
                                 r"median of the first batch.*--bos puts .*--max-norm-ratio 10 leaves")  # fmt: skip
        output = self.run_well(*self.arguments(path, "bos", "--layer", 1, "--bos"))
        self.assertNotIn("warning", output)
        self.assertNotIn("median_norm", read(self.folder / "bos")[0]["source"])

    def test_rows_above_a_multiple_of_the_median_are_left_out_counted_and_recorded(self):
        path = self.massive()
        self.run_well(*self.arguments(path, "all", "--layer", 1))
        output = self.run_well(*self.arguments(path, "few", "--layer", 1, "--max-norm-ratio", 10))
        _, every = read(self.folder / "all")
        manifest, store = read(self.folder / "few")
        norms = every["activations"].norm(dim=1)
        small = norms <= 10 * norms[:24].sort().values[11]
        for name, values in store.items():
            self.assertTrue(torch.equal(values, every[name][small]), name)
        self.assertEqual(manifest["source"]["text"]["large_rows"], int((~small).sum()))
        self.assertEqual(manifest["source"]["max_norm_ratio"], 10)
        self.assertAlmostEqual(manifest["source"]["median_norm"], float(norms[:24].sort().values[11]), 4)
        self.assertIn("left out: 7 rows, whose norm is above 10 times the median of the first batch", output)
        self.assertNotIn("warning: 7 of", output)
        few = self.run_well(*self.arguments(path, "nine", "--layer", 1, "--max-norm-ratio", 10, "--tokens", 9))
        self.assertEqual(read(self.folder / "nine")[1]["tokens"].tolist(), store["tokens"][:9].tolist())
        self.assertIn("left out: 2 rows", few)
        self.fails(2, "--max-norm-ratio must be above 1, got 1",
                   *self.arguments(path, "no", "--layer", 1, "--max-norm-ratio", 1))  # fmt: skip

    # --- unknown words, threads ----------------------------------------------------------------

    def test_an_unknown_word_never_becomes_the_end_of_a_text(self):
        tokenizer = byte_tokenizer("the cat sat")
        tokenizer.unk_token = "<|endoftext|>"
        tokenizer.eos_token = tokenizer.bos_token = "<|other|>"  # as SmolLM2 has them
        self.assertIsNone(unknown_token(tokenizer))
        self.assertEqual(unknown_token(tiny_tokenizer()), "[UNK]")
        path, _ = self.model("gpt2", tokenizer, vocab_size=300)
        self.text.write_text("the <unk> sat " * 20)
        output = self.run_well(*self.arguments(path, "s", "--layer", 1, "--text-form", "wikitext", "--keep-special"))
        self.assertNotIn(tokenizer.unk_token_id, read(self.folder / "s")[1]["tokens"].tolist())
        self.assertIn("<unk> stays in the text as it is", output)
        self.assertEqual(texts.wikitext("a <unk> b", None), "a <unk> b")

    def test_threads_are_as_many_as_told_or_the_cores_that_are_idle(self):
        path, _ = self.model("gpt2")
        self.addCleanup(torch.set_num_threads, torch.get_num_threads())
        self.run_well(*self.arguments(path, "three", "--layer", 1, "--threads", 3))
        self.assertEqual(torch.get_num_threads(), 3)
        with mock.patch.dict(os.environ), mock.patch("os.sched_getaffinity", return_value=set(range(4))):
            os.environ.pop("OMP_NUM_THREADS", None)
            for load, threads in ((0.2, 4), (1.6, 2), (9.0, 1)):
                with mock.patch("os.getloadavg", return_value=(load, 0, 0)):
                    models.set_threads(None)
                self.assertEqual(torch.get_num_threads(), threads)
        with mock.patch.dict(os.environ, OMP_NUM_THREADS="2"):
            models.set_threads(None)
            self.assertEqual(torch.get_num_threads(), 1)  # PyTorch has read it itself
        self.fails(2, "--threads must be at least 1", *self.arguments(path, "s", "--layer", 1, "--threads", 0))

    def test_a_harvest_that_goes_on_keeps_its_number_of_threads(self):
        path, _ = self.model("gpt2")
        self.addCleanup(torch.set_num_threads, torch.get_num_threads())
        self.kill_at(5, self.arguments(path, "out", "--layer", 1, "--threads", 2))
        torch.set_num_threads(1)
        with mock.patch.dict(os.environ, OMP_NUM_THREADS="1"):
            self.run_well(*self.arguments(path, "out", "--layer", 1))
        self.assertEqual(torch.get_num_threads(), 2)


class Letters(ScriptTest):
    script = first_letter

    @classmethod
    def setUpClass(cls):
        cls.tokenizer = byte_pairs()

    def arguments(self, out, *more, name="llama"):
        size = {"gpt2": {"n_positions": 256}, "llama": {"max_position_embeddings": 256}}[name]
        path, _ = self.model(name, self.tokenizer, vocab_size=len(self.tokenizer), **size)
        return ["--model", path, "--limit", 60, "--batch", 7, "--out", self.folder / out, *more]

    def test_layers_of_one_pass_have_the_bytes_of_runs_of_their_own(self):
        self.run_well(*self.arguments("l{layer}.safetensors", "--layer", 2, 0))
        for layer in (0, 2):
            self.run_well(*self.arguments(f"single{layer}.safetensors", "--layer", layer))
            ours, single = (self.folder / f"{name}{layer}.safetensors" for name in ("l", "single"))
            self.assertEqual(ours.read_bytes(), single.read_bytes())
            self.assertEqual(read_labelled(ours)[1]["source"]["layer"], layer)
        output = self.run_well(*self.arguments("l{layer}.safetensors", "--layer", 0, 1, 2))
        self.assertEqual(output.count("is there already"), 2)
        self.fails(3, "exists already", *self.arguments("l{layer}.safetensors", "--layer", 0, 1))
        self.fails(2, "--out needs {layer}", *self.arguments("m.safetensors", "--layer", 0, 1))
        (self.folder / "l1.safetensors").unlink()
        other = self.arguments("l{layer}.safetensors", "--layer", 0, 1, "--seed", 1)
        self.fails(3, "l0.safetensors: was made with another seed", *other)
        self.assertEqual(list(self.folder.glob("l1*")), [])

    def test_the_pass_ends_at_the_word_where_the_model_looks_back_alone(self):
        lengths, watch = [], models.Harvester.watch

        def watched(harvester, ids, *given, **named):
            lengths.append(ids.shape[1])
            return watch(harvester, ids, *given, **named)

        with mock.patch.object(models.Harvester, "watch", watched):
            self.run_well(*self.arguments("cut.safetensors", "--layer", 1))
        self.assertEqual(lengths[:2], [lengths[0]] * 2)  # whether what follows matters
        self.assertEqual(set(lengths[2:]), {lengths[0] - 5})
        with mock.patch.object(models, "ignores_what_follows", return_value=False):
            self.run_well(*self.arguments("whole.safetensors", "--layer", 1))
        cut, whole = (read_labelled(self.folder / f"{n}.safetensors")[0] for n in ("cut", "whole"))
        for name, values in whole.items():
            torch.testing.assert_close(cut[name], values, rtol=1e-5, atol=1e-5)

    def test_what_follows_matters_to_an_encoder(self):
        ids = torch.tensor([[1, 5, 2, 7], [1, 6, 2, 8]])
        for name, blind in (("bert", False), ("llama", True), ("gemma3", True)):
            path, _ = self.model(name)
            model = transformers.AutoModel.from_pretrained(path, attn_implementation="eager").eval()
            harvesters = [models.Harvester(model, layer, "resid_post", "cpu") for layer in (0, 1)]
            self.assertEqual(models.ignores_what_follows(harvesters, ids, -3), blind, name)
            self.assertFalse(models.ignores_what_follows(harvesters, ids, -1), name)

    def test_goes_on_where_it_was_interrupted_to_the_same_bytes(self):
        out = "out{layer}.safetensors"
        self.run_well(*self.arguments("whole{layer}.safetensors", "--layer", 0, 1))
        read_batch, calls = models.read_batch, []

        def interrupted(*given, **named):
            calls.append(1)
            if len(calls) in (3, 5):
                raise KeyboardInterrupt
            return read_batch(*given, **named)

        with mock.patch.object(models, "read_batch", interrupted):
            for _ in range(2):
                status, output = self.run_script(*self.arguments(out, "--layer", 0, 1))
                self.assertEqual(status, 130, output)
                self.assertEqual(len(list(self.folder.glob("out*.partial"))), 2)
            output = self.run_well(*self.arguments(out, "--layer", 0, 1))
        self.assertIn("going on after 15 prompts", output)  # batches of 7, 7 and 1
        self.assertEqual(len(calls), 2 + 7)  # 15 training and twice 11 test words are 7 batches
        for layer in (0, 1):
            self.assertEqual((self.folder / f"out{layer}.safetensors").read_bytes(),
                             (self.folder / f"whole{layer}.safetensors").read_bytes())  # fmt: skip
        self.assertEqual(list(self.folder.glob("*partial*")), [])

    def test_begins_anew_where_another_file_was_to_be_made(self):
        zeros = [[torch.zeros(7, 8)], [torch.zeros(7, 8)], KeyboardInterrupt]
        given = self.arguments("out.safetensors", "--layer", 1, "--seed", 1)
        with mock.patch.object(models, "read_batch", side_effect=zeros):
            self.assertEqual(self.run_script(*given)[0], 130)
        self.assertEqual(len(list(self.folder.glob("out*.partial.json"))), 1)
        output = self.run_well(*self.arguments("out.safetensors", "--layer", 1))
        self.assertNotIn("going on", output)
        self.run_well(*self.arguments("plain.safetensors", "--layer", 1))
        self.assertEqual(*((self.folder / f"{n}.safetensors").read_bytes() for n in ("out", "plain")))
        self.assertEqual(list(self.folder.glob("*partial*")), [])


if __name__ == "__main__":
    unittest.main()
