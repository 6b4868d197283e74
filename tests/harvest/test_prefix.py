"""Tests of what first_letter.py does with prompts that begin alike: their beginning is run once."""

import copy
import random
import unittest
from unittest import mock

from common import MODELS, ScriptTest, randomise, read_labelled, torch, transformers
from test_first_letter import TEMPLATE, byte_pairs

import first_letter
from harvesting import letters, prefix
from harvesting import model as models

SAME = ("--same-examples",)


class CommonBeginnings(unittest.TestCase):
    def harvesters(self, name):
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(
            copy.deepcopy(MODELS[name]), attn_implementation="eager").eval()  # fmt: skip
        randomise(model)
        places = ((0, "resid_post"), (2, "hook_z"), (1, "mlp_out"), (2, "resid_pre"))
        return [models.Harvester(model, layer, site, "cpu") for layer, site in places]

    def sequences(self, rest=4):
        """20 tokens in common, which is more than the models' attention windows have."""
        draw = random.Random(0)
        begin = [draw.randrange(3, 16) for _ in range(20)]
        return [[*begin, 3 + row, *(draw.randrange(3, 16) for _ in range(rest - 1))] for row in range(5)]

    def test_is_as_long_as_all_sequences_agree_up_to_the_one_that_is_read(self):
        for sequences, at, length in (
            ([[1, 2, 3, 4], [1, 2, 4, 4]], -1, 2),
            ([[1, 2, 3], [1, 2, 3, 5]], -1, 2),
            ([[1, 2, 3], [1, 2, 3]], -2, 1),
            ([[1], [2]], -1, 0),
            ([[1, 2, 3]], -1, 2),
        ):
            self.assertEqual(prefix.common_length(sequences, at), length)

    def test_what_follows_is_as_in_a_whole_pass_in_every_family(self):
        ids = torch.tensor(self.sequences())
        for name in MODELS:
            harvesters = self.harvesters(name)
            found = prefix.shared_prefix(harvesters, self.sequences(), -2)
            if name == "bert":  # which looks ahead
                self.assertIsNone(found)
                continue
            self.assertEqual(found.length, 20, name)
            for _ in range(2):  # what is kept is not used up
                for ours, whole in zip(found(ids), models.read_layers(harvesters, ids)):
                    torch.testing.assert_close(ours, whole[:, 20:], rtol=1e-5, atol=1e-5, msg=name)

    def test_runs_the_whole_where_keys_and_values_give_something_else(self):
        harvesters, sequences = self.harvesters("llama"), self.sequences()
        read = prefix.Prefix.__call__
        with mock.patch.object(prefix.Prefix, "__call__", lambda *given: [x * 1.001 for x in read(*given)]):
            self.assertIsNone(prefix.shared_prefix(harvesters, sequences, -2))
        with mock.patch.object(prefix.Prefix, "__call__", side_effect=TypeError("no such argument")):
            self.assertIsNone(prefix.shared_prefix(harvesters, sequences, -2))
        self.assertIsNone(prefix.shared_prefix(harvesters, [ids[10:] for ids in sequences], -2))  # short
        self.assertIsNotNone(prefix.shared_prefix(harvesters, sequences, -2))


class SameExamples(ScriptTest):
    script = first_letter

    @classmethod
    def setUpClass(cls):
        cls.tokenizer = byte_pairs()

    def arguments(self, out, *more):
        path, self.loaded = self.model(
            "llama", self.tokenizer, vocab_size=len(self.tokenizer), max_position_embeddings=256)  # fmt: skip
        return ["--model", path, "--limit", 80, "--batch", 7, "--out", self.folder / out, *more]

    def lengths(self, *arguments):
        """Tokens of each pass of the model, and what was said."""
        found, watch = [], models.Harvester.watch

        def watched(harvester, ids, *given, **named):
            found.append(ids.shape[1])
            return watch(harvester, ids, *given, **named)

        with mock.patch.object(models.Harvester, "watch", watched):
            return found, self.run_well(*arguments)

    def test_prompts_are_ten_solved_words_that_are_not_read_themselves(self):
        self.run_well(*self.arguments("out.safetensors", "--layer", 1, *SAME, "--seed", 4))
        tensors, metadata = read_labelled(self.folder / "out.safetensors")
        self.assertEqual(metadata["source"]["same_examples"], True)
        words = letters.words_of(self.tokenizer)
        reader = letters.Reader(self.tokenizer, ([0], []), letters.TEMPLATE, 10)
        words = sorted(random.Random("limit 4").sample(reader.words(), 80))
        draw = random.Random(4)
        order = draw.sample(words, 80)
        train, test = order[:64], order[64:]
        scored = draw.sample(train, 10)
        train = [word for word in train if word not in scored]
        solved = draw.sample(train, 10)
        train = [word for word in train if word not in solved]
        classes = metadata["classes"]
        for tensor, split, part, examples in (
            ("train_x", "train", train, solved), ("test_x", "test", test, solved), ("score_x", "test", test, scored),
        ):  # fmt: skip
            part = [word for word in part if word.text.strip()[0].lower() in classes]
            self.assertEqual(metadata["words"][split], [word.text for word in part])
            lines = "".join(f"\n{w.text}{TEMPLATE} {w.text.strip()[0].upper()}" for w in examples)
            for row in range(0, len(part), 5):
                ids = self.tokenizer(f"<|endoftext|>{lines}\n{part[row].text}{TEMPLATE}", return_tensors="pt")
                with torch.no_grad():
                    hidden = self.loaded(input_ids=ids["input_ids"], output_hidden_states=True).hidden_states[2]
                torch.testing.assert_close(tensors[tensor][row], hidden[0, -6], rtol=1e-5, atol=1e-5)

    def test_what_they_begin_with_is_run_once_a_tensor(self):
        more = ["--layer", 1, 0, "--site", "resid_post", "mlp_post", *SAME]
        lengths, output = self.lengths(*self.arguments("once-{site}{layer}.safetensors", *more))
        self.assertEqual(output.count("tokens of the prompts are run once"), 3)
        tensors, _ = read_labelled(self.folder / "once-mlp_post0.safetensors")
        batches = sum(-(-len(tensors[name]) // 7) for name in ("train_x", "test_x", "score_x"))
        self.assertEqual(lengths.count(1), batches)  # the word
        self.assertEqual(lengths.count(6), 3)  # and all after it, once a tensor, where it is tried
        with mock.patch.object(first_letter, "shared_prefix", return_value=None):
            self.run_well(*self.arguments("whole-{site}{layer}.safetensors", *more))
        for name in ("resid_post0", "resid_post1", "mlp_post0", "mlp_post1"):
            files = (self.folder / f"{kind}-{name}.safetensors" for kind in ("once", "whole"))
            once, each = (read_labelled(file)[0] for file in files)
            self.assertEqual(once.keys(), each.keys())
            for tensor, values in each.items():
                torch.testing.assert_close(once[tensor], values, rtol=1e-5, atol=1e-5)

    def test_saebenchs_prompts_have_too_little_in_common(self):
        lengths, output = self.lengths(*self.arguments("out.safetensors", "--layer", 1))
        self.assertNotIn("run once", output)
        self.assertGreater(min(lengths), 60)

    def test_goes_on_where_it_was_interrupted_to_the_same_bytes(self):
        more = ["--layer", 1, 0, *SAME]
        self.run_well(*self.arguments("whole{layer}.safetensors", *more))
        call, calls = first_letter.Passes.__call__, []

        def interrupted(*given):
            calls.append(1)
            if len(calls) in (3, 8):
                raise KeyboardInterrupt
            return call(*given)

        with mock.patch.object(first_letter.Passes, "__call__", interrupted):
            for _ in range(2):
                self.assertEqual(self.run_script(*self.arguments("out{layer}.safetensors", *more))[0], 130)
            output = self.run_well(*self.arguments("out{layer}.safetensors", *more))
        self.assertIn("going on after", output)
        for layer in (0, 1):
            whole, out = (self.folder / f"{name}{layer}.safetensors" for name in ("whole", "out"))
            self.assertEqual(whole.read_bytes(), out.read_bytes())

    def test_says_in_one_line_what_is_wrong(self):
        for more, status, message in (
            (["--examples", 0], 2, "--same-examples means nothing with --examples 0"),
            (["--limit", 24], 3, "9 words are too few for 10 examples beside the word"),
        ):
            self.fails(status, message, *self.arguments("out.safetensors", "--layer", 1, *SAME, *more))
            self.assertEqual(list(self.folder.glob("out*")), [])


if __name__ == "__main__":
    unittest.main()
