"""Tests of scripts/first_letter.py on tiny random models; those against SAEBench's own functions run
where the package sae-bench is installed.
"""

import importlib.util
import itertools
import os
import random
import shutil
import string
import unittest
from unittest import mock

from common import ROOT, ScriptTest, byte_tokenizer, read_labelled, torch, transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

import first_letter
from harvesting import letters

TEMPLATE = " has the first letter:"
NAMES = [first + rest for first in string.ascii_lowercase for rest in ("at", "en", "ig", "oxu")]


def letter_text():
    """What makes each word, each answer and each piece of the template one token."""
    answers = itertools.cycle(string.ascii_uppercase)
    return "".join(
        f"\n{form}{TEMPLATE} {next(answers)}" * 3 for word in NAMES for form in (word, f" {word}")
    )


def byte_pairs():
    return byte_tokenizer(letter_text())


def word_pieces():
    """As BERT's, lower-casing, with words, pieces and letters."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [*NAMES, *"has the first letter :".split(), *string.ascii_lowercase, "##s", "##ing"]
    known = {word: number for number, word in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordPiece(known, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


class FirstLetter(ScriptTest):
    script = first_letter

    @classmethod
    def setUpClass(cls):
        cls.tokenizer = byte_pairs()

    def letter_model(self, name, tokenizer=None):
        tokenizer = tokenizer or self.tokenizer
        size = {"gpt2": {"n_positions": 256}, "bert": {}}.get(name, {"max_position_embeddings": 256})
        return self.model(name, tokenizer, vocab_size=len(tokenizer), **size)

    def make(self, path, *arguments, layer=1, name="out"):
        out = self.folder / f"{name}.safetensors"
        # transformers reads a Qwen folder's tokenizer as Qwen's, whatever it says.
        with mock.patch("transformers.AutoTokenizer.from_pretrained", return_value=self.tokenizer):
            self.output = self.run_well("--model", path, "--layer", layer, "--out", out, *arguments)
        return read_labelled(out)

    def words(self):
        """Tokens that are a word of letters, after at most one blank."""
        names = sorted(self.tokenizer.get_vocab().items(), key=lambda item: item[1])
        spoken = [self.tokenizer.convert_tokens_to_string([name]) for name, _ in names]
        return [s for s in spoken if s.removeprefix(" ").isascii() and s.removeprefix(" ").isalpha()]

    def prompts(self, seed):
        """By the description of SAEBench, in other words than the script's."""
        draw, words = random.Random(seed), self.words()
        order = draw.sample(words, len(words))
        train, test = order[: len(words) * 4 // 5], order[len(words) * 4 // 5 :]

        def prompt(word, pool):
            while word in (solved := draw.sample(pool, 10)):
                pass
            return "".join(f"\n{s}{TEMPLATE} {s.strip()[0].upper()}" for s in solved) + f"\n{word}{TEMPLATE}"

        train_prompts = [(word, prompt(word, train)) for word in train]
        test_prompts = [(word, prompt(word, test)) for word in test]
        made = train_prompts, test_prompts, [(word, prompt(word, words)) for word in test]
        kept = {word.strip()[0].lower() for word in train} & {word.strip()[0].lower() for word in test}
        self.assertGreater(len(kept), 20)
        return [[pair for pair in part if pair[0].strip()[0].lower() in kept] for part in made]

    # --- prompts -------------------------------------------------------------------------------

    def test_reads_each_word_in_its_prompt_in_every_family(self):
        parts = self.prompts(seed=3)
        for name in ("gpt2", "neox", "llama", "mistral", "qwen2", "gemma2"):
            path, model = self.letter_model(name)
            tensors, metadata = self.make(path, "--seed", 3, name=name)
            for tensor, part in zip(("train_x", "test_x", "score_x"), parts):
                split = "train" if tensor == "train_x" else "test"
                self.assertEqual(metadata["words"][split], [word for word, _ in part])
                labels = [metadata["classes"].index(word.strip()[0].lower()) for word, _ in part]
                self.assertEqual(tensors[f"{split}_y"].tolist(), labels)
                self.assertEqual(len(tensors[tensor]), len(part))
                for row in range(0, len(part), 37):
                    ids, word = self.ids(part[row][1]), part[row][0]
                    self.assertEqual(self.tokenizer.decode(ids[0, -6]), word)
                    with torch.no_grad():
                        hidden = model(input_ids=ids, output_hidden_states=True).hidden_states[2]
                    torch.testing.assert_close(
                        tensors[tensor][row], hidden[0, -6], rtol=1e-5, atol=1e-5, msg=f"{name} {tensor}")

    def ids(self, prompt):
        return self.tokenizer("<|endoftext|>" + prompt, return_tensors="pt")["input_ids"]

    def test_sites_and_types_are_those_of_harvest(self):
        path, model = self.letter_model("gpt2")
        _, test, _ = self.prompts(seed=0)
        values = {}
        model.h[2].mlp.register_forward_hook(lambda m, i, o: values.update(mlp=o))
        with torch.no_grad():
            model(input_ids=self.ids(test[5][1]))
        tensors, metadata = self.make(path, "--site", "mlp_out", "--dtype", "bf16", layer=2)
        self.assertEqual(tensors["test_x"].dtype, torch.bfloat16)
        torch.testing.assert_close(tensors["test_x"][5].float(), values["mlp"][0, -6], rtol=0.01, atol=1e-5)
        self.assertEqual(metadata["source"]["hook_name"], "blocks.2.hook_mlp_out")
        self.assertEqual(metadata["source"]["position"], -6)
        self.assertEqual(metadata["source"]["special_tokens"], [["<|endoftext|>"], []])

    def test_the_vocabulary_is_what_one_blank_and_letters_make(self):
        spoken = {"\u2581cat": "cat", "cat": "cat", "\u2581\u2581ox": "  ox", "c3": "c3", "<0x0A>": "\n",
                  "\u2581": "", "##s": "##s", "caf\u00e9": "caf\u00e9", "Z": "Z"}  # fmt: skip
        tokenizer = mock.Mock(
            get_vocab=lambda: {name: 100 - i for i, name in enumerate(spoken)},
            convert_tokens_to_string=lambda names: spoken[names[0]],
        )
        # Mistral's loses the blank, which is put back; the order is that of the ids.
        self.assertEqual(
            [tuple(word) for word in letters.words_of(tokenizer)], [(92, "Z"), (99, "cat"), (100, " cat")])

    def test_the_seed_decides_everything(self):
        path, _ = self.letter_model("gpt2")
        self.make(path, "--seed", 1, name="one")
        self.make(path, "--seed", 1, name="again")
        one, again = ((self.folder / f"{n}.safetensors").read_bytes() for n in ("one", "again"))
        self.assertEqual(one, again)
        _, metadata = self.make(path, "--seed", 2, name="two")
        self.assertNotEqual(metadata["words"], read_labelled(self.folder / "one.safetensors")[1]["words"])

    def test_a_limit_takes_some_words_and_leaves_out_letters_without_any(self):
        path, _ = self.letter_model("gpt2")
        tensors, metadata = self.make(path, "--limit", 60)
        kept = set(metadata["classes"])
        self.assertLess(len(kept), 26)
        self.assertRegex(self.output, r"left out: \d+ of \d+ words, for --limit 60\n")
        self.assertIn(f"left out: {' '.join(sorted(set(string.ascii_lowercase) - kept))}, which", self.output)
        for part in ("train", "test"):
            spoken = metadata["words"][part]
            self.assertEqual({word.strip()[0].lower() for word in spoken}, kept)
            self.assertEqual(len(tensors[f"{part}_x"]), len(spoken))
        self.assertLessEqual(sum(map(len, metadata["words"].values())), 60)

    def test_words_that_are_cut_up_in_the_prompt_are_left_out(self):
        path, _ = self.letter_model("gpt2")
        whole = letters.Reader.ids

        def cut(reader, texts):
            """As if the tokenizer made two tokens of one word."""
            broken = [text.replace("\ngat has", "\n gat gat has") for text in texts]
            return whole(reader, broken)

        with mock.patch.object(letters.Reader, "ids", cut):
            _, metadata = self.make(path)
        self.assertIn(f"left out: 1 of {len(self.words())} words, which are cut up", self.output)
        spoken = metadata["words"]["train"] + metadata["words"]["test"]
        self.assertNotIn("gat", spoken)
        self.assertIn(" gat", spoken)

    # --- encoders ------------------------------------------------------------------------------

    def test_an_encoder_reads_the_bare_word_between_its_special_tokens(self):
        self.tokenizer = word_pieces()
        path, model = self.letter_model("bert")
        tensors, metadata = self.make(path, "--template", "{word}", "--examples", 0)
        self.assertNotIn("score_x", tensors)
        spoken = metadata["words"]["train"]
        every = {*NAMES, "has", "the", "first", "letter", *string.ascii_lowercase}  # without ##s and :
        wanted = {word for word in every if word[0] in metadata["classes"]}
        self.assertEqual({*spoken, *metadata["words"]["test"]}, wanted)
        for row in range(0, len(spoken), 5):
            ids = torch.tensor([[2, self.tokenizer.get_vocab()[spoken[row]], 3]])
            with torch.no_grad():
                hidden = model(input_ids=ids, output_hidden_states=True).hidden_states[2]
            torch.testing.assert_close(tensors["train_x"][row], hidden[0, 1], rtol=1e-5, atol=1e-5)
        self.assertEqual(metadata["source"]["special_tokens"], [["[CLS]"], ["[SEP]"]])

    def test_any_template_is_read_at_its_word(self):
        self.tokenizer = word_pieces()
        path, model = self.letter_model("bert")
        tensors, metadata = self.make(path, "--template", "the {word} has a letter", "--examples", 2)
        position = metadata["source"]["position"]
        self.assertEqual(position, -4)
        self.assertIn("read at token -5 of 'the ", self.output)  # [SEP] comes after it
        self.assertIn("score_x", tensors)

    # --- SAEBench ------------------------------------------------------------------------------

    @unittest.skipUnless(importlib.util.find_spec("sae_bench"), "sae-bench is not installed")
    def test_words_and_prompts_are_those_of_saebench(self):
        from sae_bench.evals.absorption import feature_absorption_calculator, probing, prompting, vocab

        words = letters.words_of(self.tokenizer)
        self.assertEqual(sorted(vocab.get_alpha_tokens(self.tokenizer)), sorted(word.text for word in words))
        texts = [word.text for word in words]
        random.seed(11)
        parts = probing.create_dataset_probe_training(
            vocab=texts, formatter=prompting.first_letter_formatter(), num_prompts_per_token=1,
            base_template=prompting.VERBOSE_FIRST_LETTER_TEMPLATE)  # fmt: skip
        calculator = feature_absorption_calculator.FeatureAbsorptionCalculator(
            model=None, icl_word_list=texts, max_icl_examples=10,
            base_template=prompting.VERBOSE_FIRST_LETTER_TEMPLATE)  # fmt: skip
        scored = calculator._build_prompts([prompt.word for prompt, _ in parts[1]])

        prompts = letters.Prompts(letters.TEMPLATE, letters.EXAMPLES, 11)
        pools = prompts.split(words)
        for pool, part in zip(pools, parts):
            ours = prompts(pool, pool)
            self.assertEqual([p.text for p in ours], [theirs.base for theirs, _ in part])
            self.assertEqual([letters.label(p.word) for p in ours], [label for _, label in part])
        self.assertEqual([p.text for p in prompts(pools[1], words)], [theirs.base for theirs in scored])
        self.assertEqual(letters.POSITION, prompting.VERBOSE_FIRST_LETTER_TOKEN_POS)

    # --- mistakes ------------------------------------------------------------------------------

    def test_a_kill_leaves_no_file(self):
        path, _ = self.letter_model("gpt2")
        out = self.folder / "out.safetensors"
        arguments = ["--model", path, "--layer", 1, "--limit", 60, "--out", out]
        self.kill_at(1, arguments)
        self.assertFalse(out.exists())
        self.run_well(*arguments)
        self.assertEqual(list(self.folder.glob("out*")), [out])

    def test_says_in_one_line_what_is_wrong_and_leaves_nothing(self):
        path, _ = self.letter_model("gpt2")
        taken = self.folder / "taken.safetensors"
        taken.touch()
        good = {"--model": path, "--layer": 1, "--out": self.folder / "out.safetensors"}
        cases = [
            ({"--layer": 3}, 3, "--layer 3: the model has blocks 0 to 2"),
            ({"--model": self.folder / "absent"}, 3, "cannot load"),
            ({"--out": taken}, 3, "exists already"),
            ({"--limit": 12}, 3, "9 words are too few for 10 examples beside the word"),
            ({"--limit": 2, "--examples": 0}, 3, "0 letters have words in both parts"),
            ({"--device": "abacus"}, 1, "Expected one of cpu, cuda"),
            ({"--template": "word"}, 2, "--template needs {word} once and no other brace, got 'word'"),
            ({"--template": "{word} {"}, 2, "--template needs {word} once"),
            ({"--template": "{word} }"}, 2, "--template needs {word} once"),
            ({"--template": "{word} {word}"}, 2, "--template needs {word} once"),
            ({"--examples": -1}, 2, "--examples must be at least 0"),
            ({"--limit": 0}, 2, "--limit must be at least 1"),
            ({"--out": self.folder / "out"}, 2, "--out must end in .safetensors"),
        ]
        for change, status, message in cases:
            with self.subTest(change):
                self.fails(status, message, *[x for item in (good | change).items() for x in item])
                self.assertEqual(list(self.folder.glob("out*")), [])

    def test_refuses_a_tokenizer_that_cuts_up_the_template(self):
        path, _ = self.letter_model("gpt2", byte_tokenizer(letter_text().replace("letter", "lxttxr")))
        self.fails(
            3, "SAEBench reads token -6, which takes 5", "--model", path, "--layer", 1,
            "--out", self.folder / "out.safetensors")  # fmt: skip

    def test_refuses_a_tokenizer_without_words(self):
        path, _ = self.letter_model("gpt2")
        with mock.patch.object(letters, "words_of", return_value=[]):
            self.fails(
                3, "no token of this tokenizer is a word", "--model", path, "--layer", 1,
                "--out", self.folder / "out.safetensors")  # fmt: skip

    @unittest.skipUnless(os.environ.get("SAE_WRITE_GOLDEN"), "writes tests/golden/labelled")
    def test_writes_the_golden_file(self):
        path, _ = self.letter_model("gpt2")
        self.make(path, "--limit", 60)
        target = ROOT / "tests" / "golden" / "labelled"
        target.mkdir(exist_ok=True)
        shutil.copyfile(self.folder / "out.safetensors", target / "letters.safetensors")


if __name__ == "__main__":
    unittest.main()
