"""Tests of scripts/word_classes.py on stores made by hand."""

import json
import os
import shutil
import sys
import unittest
from unittest import mock

from common import ROOT, ScriptTest, read_labelled, torch

import word_classes
from harvesting import HarvestError, labelled, words
from harvesting import store as stores
from harvesting.vocabulary import Vocabulary

# As WordPiece has them, and as byte pairs.
VOCABULARY = [" cat", " dog", "s", " running", " king", " May", " may", " 1999", ",", "The", "\n",
              " (", " jumping", " swimming", " red", " blue", " green", " walking", " Red"]  # fmt: skip
ID = {text: number for number, text in enumerate(VOCABULARY)}


class WordClasses(ScriptTest):
    script = word_classes

    def store(self, contexts, vocabulary=VOCABULARY, dtype="f32", seed=0, shard=50, in_bytes=None):
        """A store of the given tokens; the activation of row r is (r, r + seed, r * r)."""
        path = self.folder / f"store-{len(list(self.folder.iterdir()))}"
        writer = stores.StoreWriter(path)
        writer.begin(dtype, shard, {})
        known = {text: number for number, text in enumerate(vocabulary)}
        tokens = torch.tensor([known[token] for context in contexts for token in context])
        numbers = torch.tensor([i for i, context in enumerate(contexts) for _ in context])
        rows = torch.arange(len(tokens)).float()
        writer.append(torch.stack([rows, rows + seed, rows * rows], 1), tokens, numbers, 0, 0)
        writer.finish({"model": "by hand"}, Vocabulary(vocabulary, in_bytes or {}))
        writer.close()
        return path

    def classes(self, definitions):
        path = self.folder / "classes.json"
        path.write_text(json.dumps(definitions))
        return path

    def words_in(self, context, vocabulary=VOCABULARY, in_bytes=None):
        store = stores.StoreReader(self.store([context, [" cat"]], vocabulary, in_bytes=in_bytes))
        rows, tokens = words.whole_words(store)
        return [(row, vocabulary[token]) for row, token in zip(rows.tolist(), tokens.tolist())]

    # --- words ---------------------------------------------------------------------------------

    def test_pieces_of_words_are_no_words(self):
        # "cats" is two pieces, and nobody knows what follows the last one.
        context = [" dog", " cat", "s", " dog", ",", " cat"]
        self.assertEqual(self.words_in(context), [(0, " dog"), (3, " dog")])

    def test_marks_and_line_ends_are_boundaries(self):
        # The first token may continue a word of the text before; "(cat" would need "cat".
        self.assertEqual(self.words_in(["The", " dog", " ("]), [(1, " dog")])
        self.assertEqual(self.words_in(["\n", "The", ",", "The", "s", "\n"]), [(1, "The")])

    def test_a_context_does_not_continue_the_one_before(self):
        vocabulary = [" run", "ning", " x", " cat"]
        store = stores.StoreReader(self.store([[" run", " run"], ["ning", " run", " x"]], vocabulary))
        rows, _ = words.whole_words(store)
        self.assertEqual(rows.tolist(), [0, 3])

    def test_a_character_of_several_tokens_ends_no_word(self):
        # "caf" + C3 + A9 is a word in three pieces; the dash is three bytes, and a boundary.
        vocabulary = [" cat", " caf", "<C3>", "<A9>", "<E2>", "<80 94>", "dog", "."]
        in_bytes = {2: b"\xc3", 3: b"\xa9", 4: b"\xe2", 5: b"\x80\x94"}

        def found(*context):
            return [word for _, word in self.words_in(list(context), vocabulary, in_bytes)]

        self.assertEqual(found(" cat", " caf", "<C3>", "<A9>", "."), [" cat"])
        self.assertEqual(found(" cat", "<E2>", "<80 94>", "dog", "."), [" cat", "dog"])
        self.assertEqual(found(" cat", "<C3>", "<A9>", "dog", "."), [])
        # Nobody knows what half a character is.
        self.assertEqual(found(" cat", "<C3>", " caf", "."), [" caf"])
        self.assertEqual(found("<A9>", "dog", " cat", "."), [" cat"])

    def test_accents_written_onto_letters_are_in_the_word(self):
        vocabulary = [" cat", " cafe", "\u0301", " \u0915\u093f", "\u0928", "."]

        def found(*context):
            return [word for _, word in self.words_in(list(context), vocabulary)]

        self.assertEqual(found(" cat", " cafe", "\u0301", "."), [" cat"])
        self.assertEqual(found(" \u0915\u093f", "\u0928", " \u0915\u093f", "."), [" \u0915\u093f"])

    def test_tokens_that_a_vocabulary_lacks_are_no_words(self):
        # As harvests of tokenizers with gaps in their ids once wrote it.
        path = self.store([[" cat", " king", " dog", ","]])
        file = path / "vocabulary.json"
        short = json.loads(file.read_text())
        short["tokens"] = short["tokens"][: ID[" king"]]
        file.write_text(json.dumps(short))
        store = stores.StoreReader(path)
        self.assertEqual(store.vocabulary.text(store.tokens), " cat<4> dog<8>")
        self.assertEqual(words.whole_words(store)[0].tolist(), [0, 2])

    # --- classes -------------------------------------------------------------------------------

    def test_lists_come_before_patterns_and_the_first_pattern_counts(self):
        classes = words.Classes(
            {"-g": {"pattern": ".*g"}, "-ing": {"pattern": "[a-z]{2,}ing"}, "ruler": ["king", "queen"]},
            "here",
        )
        self.assertEqual([classes(w) for w in ("king", "KING", "running", "dog", "cat")], [2, 2, 0, 0, None])
        self.assertEqual(words.Classes({"a": {"pattern": "ing"}}, "here")("running"), None)

    def test_a_word_listed_with_a_capital_counts_only_with_it(self):
        classes = words.Classes({"month": ["May", "june"]}, "here")
        self.assertEqual([classes(w) for w in ("May", "MAY", "may", "June", "june")], [0, 0, None, 0, 0])

    def test_the_classes_that_come_with_it_are_what_they_say(self):
        classes = words.read_classes(ROOT / "scripts" / "word_classes.json")
        expected = {
            "January": "month", "may": None, "May": "month", "1999": "year", "2015": "year",
            "3000": None, "1980s": "decade", "90s": "decade", "21st": "ordinal number",
            "7": "number below 100", "123": "number of three digits", "walking": "-ing",
            "king": "rank or office", "i": "personal pronoun", "x": "single letter", "united": "-ed",
            "nation": "-tion", "decision": "-tion", "largest": "-est", "city": None, "quality": "-ity",
            "family": "person by family", "quickly": "-ly",
        }  # fmt: skip
        for word, name in expected.items():
            found = classes(word)
            self.assertEqual(None if found is None else classes.names[found], name, word)
        self.assertEqual(len(classes.names), 47)

    # --- files ---------------------------------------------------------------------------------

    # Two classes of many words: w0 ... w19 and 100 ... 119, word number i in i + 1 places a round.
    MANY = [f" {'abcdefghijklmnopqrst'[i]}{'xyz'[i % 3]}x" for i in range(20)]
    NUMBERS = [f" {100 + i}" for i in range(20)]
    DEFINITIONS = {"x": {"pattern": "[a-z]+x"}, "number": {"pattern": "[0-9]+"}, "rare": ["fjord"]}

    def many(self, rounds=4, **options):
        contexts = [
            [word for i in range(20) for word in [self.MANY[i], self.NUMBERS[i]] * (1 + (i + r) % 4)]
            for r in range(rounds)
        ]
        vocabulary = [*self.MANY, *self.NUMBERS, " fjord"]
        return self.store([context + [" fjord"] * 4 for context in contexts], vocabulary, **options)

    def make(self, *arguments, name="out"):
        out = self.folder / f"{name}.safetensors"
        self.output = self.run_well(
            "--classes", self.classes(self.DEFINITIONS), "--min-rows", 5, "--out", out, *arguments)
        return read_labelled(out)

    def test_rows_are_those_of_the_store_and_labels_their_classes(self):
        train, test = self.many(), self.many(rounds=5, seed=1000)
        tensors, metadata = self.make("--train", train, "--test", test)
        self.assertEqual(metadata["task"], "word_classes")
        self.assertEqual(metadata["classes"], ["x", "number"])
        for part, path, seed in (("train", train, 0), ("test", test, 1000)):
            store = stores.StoreReader(path)
            x, spoken = tensors[f"{part}_x"], metadata["words"][part]
            self.assertEqual(len(x), len(spoken))
            self.assertEqual(x[:, 0].tolist(), sorted(x[:, 0].tolist()))
            for row, label, word in zip(x, tensors[f"{part}_y"], spoken):
                number = int(row[0])
                self.assertEqual(row.tolist(), [number, number + seed, number * number])
                self.assertEqual(store.vocabulary.tokens[store.tokens[number]], f" {word}")
                self.assertEqual(int(label), int(word.isdigit()))

    def test_no_word_is_in_both_parts_and_each_part_has_its_share(self):
        for arguments in ([], ["--test", self.many(rounds=5)]):
            _, metadata = self.make("--train", self.many(), *arguments, name=f"out{len(arguments)}")
            train, test = (set(metadata["words"][part]) for part in ("train", "test"))
            self.assertEqual(train & test, set())
            self.assertEqual((len(train), len(test)), (28, 12))
            self.assertEqual(sum(word.isdigit() for word in test), 6)

    def test_rows_are_drawn_evenly_from_words_up_to_the_limits(self):
        tensors, metadata = self.make(
            "--train", self.many(), "--rows", 40, "--test-rows", 11, "--type-rows", 3)
        self.assertEqual(tensors["train_y"].bincount().tolist(), [40, 40])
        self.assertEqual(tensors["test_y"].bincount().tolist(), [11, 11])
        spoken = metadata["words"]["train"]
        counts = [spoken.count(word) for word in set(spoken)]
        self.assertEqual((min(counts), max(counts)), (2, 3))  # 40 rows of 14 words
        tensors, metadata = self.make("--train", self.many(), "--type-rows", 3, name="all")
        self.assertEqual(len(tensors["train_y"]), 28 * 3)

    def test_the_seed_decides_and_classes_are_drawn_by_themselves(self):
        store = self.many()
        _, one = self.make("--train", store)
        bytes_of = (self.folder / "out.safetensors").read_bytes()
        _, two = self.make("--train", store, "--seed", 1, name="two")
        self.make("--train", store, name="again")
        self.assertEqual((self.folder / "again.safetensors").read_bytes(), bytes_of)
        self.assertNotEqual(one["words"], two["words"])
        self.DEFINITIONS = {"another": {"pattern": "ax.*"}} | self.DEFINITIONS
        _, three = self.make("--train", store, name="three")

        def numbers(metadata):
            return [word for word in metadata["words"]["train"] if word.isdigit()]

        self.assertEqual(numbers(one), numbers(three))

    def test_bits_of_every_type_are_kept(self):
        for dtype, kind in (("bf16", torch.bfloat16), ("f16", torch.float16)):
            tensors, _ = self.make("--train", self.many(dtype=dtype, rounds=1), name=dtype)
            self.assertEqual(tensors["train_x"].dtype, kind)
            rows = tensors["train_x"].float()
            torch.testing.assert_close(rows[:, 1], rows[:, 0])
            self.assertGreater(rows[:, 0].unique().numel(), 28)

    def test_a_file_of_classes_may_be_from_any_system(self):
        store, made = self.many(), []
        for text in (json.dumps(self.DEFINITIONS, indent=1), json.dumps(self.DEFINITIONS, indent=1)):
            path, out = self.folder / "classes.json", self.folder / f"{len(made)}.safetensors"
            path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() if made else text.encode())
            self.run_well("--train", store, "--classes", path, "--min-rows", 5, "--out", out)
            made.append(out.read_bytes())
        self.assertEqual(made[0], made[1])

    def test_a_class_with_too_few_rows_is_left_out_and_named(self):
        self.make("--train", self.many())
        rare = next(line for line in self.output.splitlines() if line.startswith("rare"))
        self.assertIn("left out", rare)
        self.assertRegex(rare, r"rare +\d+ of +\d+ rows of +\d+ words, test +\d+ of +\d+ rows of")
        self.assertEqual(self.output.count("left out"), 1)

    def test_numpy_is_all_it_needs(self):
        store, out = self.many(), self.folder / "out.safetensors"
        arguments = ["--train", store, "--classes", self.classes(self.DEFINITIONS), "--min-rows", 5,
                     "--out", out]  # fmt: skip
        with mock.patch.dict(sys.modules, torch=None, safetensors=None, transformers=None):
            self.run_well(*arguments)
        self.assertTrue(out.exists())

    def test_a_kill_leaves_no_file(self):
        store, out = self.many(), self.folder / "out.safetensors"
        arguments = ["--train", store, "--classes", self.classes(self.DEFINITIONS), "--min-rows", 5,
                     "--out", out]  # fmt: skip
        self.kill_at(1, arguments)
        self.assertFalse(out.exists())
        self.run_well(*arguments)
        self.assertEqual(list(self.folder.glob("out*")), [out])

    # --- mistakes ------------------------------------------------------------------------------

    def test_says_in_one_line_what_is_wrong_and_leaves_nothing(self):
        store, out = self.many(), self.folder / "out.safetensors"
        bare = self.many()
        (bare / "vocabulary.json").unlink()
        damaged = self.many()
        shard = damaged / "shard-00000.safetensors"
        shard.write_bytes(shard.read_bytes()[:-1] + b"x")
        narrow = self.many(dtype="bf16")
        taken = self.folder / "taken.safetensors"
        taken.touch()
        strange = self.many()
        (strange / "vocabulary.json").write_text('{"format": "sae-vocabulary", "version": 3}')
        (self.folder / "twice.json").write_text('{"a": ["b"], "a": ["c"]}')
        (self.folder / "broken.json").write_text("{")
        (self.folder / "list.json").write_text("[]")
        good = {"--train": store, "--classes": self.classes(self.DEFINITIONS), "--out": out, "--min-rows": 5}
        cases = [
            ({"--train": self.folder}, 3, "holds no manifest.json; expected an activation store"),
            ({"--train": bare}, 3, "holds no vocabulary.json; expected the text of its tokens"),
            ({"--train": strange}, 3, "vocabulary.json: version 3, expected 1 or 2"),
            ({"--train": damaged}, 3, "shard-00000.safetensors: missing or damaged"),
            ({"--test": narrow}, 3, "another dtype than in"),
            ({"--out": taken}, 3, "exists already"),
            ({"--min-rows": 100}, 3, "0 classes have 100 rows in both parts, expected at least 2"),
            ({"--classes": self.folder / "absent.json"}, 3, "cannot read: No such file"),
            ({"--classes": self.folder / "twice.json"}, 3, '"a" appears twice'),
            ({"--classes": self.folder / "broken.json"}, 3, "not JSON"),
            ({"--classes": self.folder / "list.json"}, 3, 'expected {"class": ["word", ...], ...}'),
            ({"--rows": 0}, 2, "--rows must be at least 1"),
            ({"--test-share": 1}, 2, "--test-share must lie between 0 and 1"),
            ({"--out": self.folder / "out.bin"}, 2, "--out must end in .safetensors"),
        ]
        for change, status, message in cases:
            with self.subTest(change):
                self.fails(status, message, *[x for item in (good | change).items() for x in item])
                self.assertEqual(list(self.folder.glob("out*")), [])

    def test_refuses_classes_that_say_two_things(self):
        for definitions, message in [
            ({"a": ["cat", "dog"], "b": ["cat"]}, 'class "b": "cat" is in class "a" too'),
            ({"a": {"pattern": "("}}, 'class "a": not a regular expression'),
            ({"a": {"pattern": 3}}, 'class "a": not a regular expression'),
            ({"a": {"patern": "x"}}, 'class "a": expected a list of words or'),
            ({"a": ["cat", 3]}, 'class "a": expected a list of words or'),
        ]:
            with self.assertRaises(HarvestError) as caught:
                words.Classes(definitions, "here")
            self.assertIn(message, str(caught.exception))

    def test_a_full_disk_is_named_before_anything_is_written(self):
        full = mock.patch("os.posix_fallocate", side_effect=OSError(28, "No space left on device"))
        arguments = ["--train", self.many(), "--classes", self.classes(self.DEFINITIONS), "--min-rows", 5,
                     "--out", self.folder / "out.safetensors"]  # fmt: skip
        with full:
            self.fails(3, "GB: No space left on device", *arguments)
        self.assertEqual(list(self.folder.glob("out*")), [])

    @unittest.skipUnless(os.environ.get("SAE_WRITE_GOLDEN"), "writes tests/golden/labelled")
    def test_writes_the_golden_file(self):
        target = ROOT / "tests" / "golden" / "labelled"
        target.mkdir(exist_ok=True)
        self.make("--train", self.many(dtype="bf16", rounds=1))
        shutil.copyfile(self.folder / "out.safetensors", target / "words.safetensors")


class Writer(ScriptTest):
    def writer(self, dtype="f32", **options):
        train, test = labelled.Split([0, 1], lengths=[2, 1]), labelled.Split([1, 0], lengths=[1, 1])
        return labelled.LabelledWriter(
            self.folder / "a.safetensors", dtype, 2, "task", ["a", "b"], train, test, **options)  # fmt: skip

    def test_rows_may_come_in_any_order(self):
        with self.writer() as file:
            file.put("train_x", 2, torch.tensor([[5.0, 6.0]]).numpy())
            file.put("train_x", 0, torch.tensor([[1.0, 2.0], [3.0, 4.0]]).numpy())
            file.append("test_x", torch.tensor([[7.0, 8.0], [9.0, 10.0]]).numpy())
        tensors, metadata = read_labelled(self.folder / "a.safetensors")
        self.assertEqual(tensors["train_x"].flatten().tolist(), [1, 2, 3, 4, 5, 6])
        self.assertEqual(tensors["test_x"].flatten().tolist(), [7, 8, 9, 10])
        self.assertEqual(tensors["train_offsets"].tolist(), [0, 2, 3])
        self.assertEqual(tensors["test_offsets"].tolist(), [0, 1, 2])
        self.assertEqual(metadata, {"task": "task", "classes": ["a", "b"]})

    def test_nothing_is_left_of_a_file_that_lacks_rows_or_has_bad_ones(self):
        zeros = torch.zeros(3, 2)
        for dtype in labelled.FORMATS:
            bad = labelled.as_array(torch.tensor([[0, 1], [float("inf"), 2]]), dtype)
            with self.assertRaisesRegex(HarvestError, f"train_x: row 2 is not finite in {dtype}"):
                with self.writer(dtype) as file:
                    file.put("train_x", 1, bad)
            with self.assertRaisesRegex(ValueError, "rows are missing"):
                with self.writer(dtype) as file:
                    file.append("train_x", labelled.as_array(zeros, dtype))
            self.assertEqual(list(self.folder.iterdir()), [])
        with self.assertRaisesRegex(ValueError, "does not fit"), self.writer() as file:
            file.append("test_x", zeros.numpy())

    def test_every_class_needs_samples_in_both_parts(self):
        for train, test, part in (([0], [0, 1], "train"), ([0, 1], [0], "test")):
            with self.assertRaisesRegex(HarvestError, f'no {part} sample of class "b"'):
                labelled.LabelledWriter(
                    self.folder / "a", "f32", 2, "t", ["a", "b"], labelled.Split(train), labelled.Split(test))

if __name__ == "__main__":
    unittest.main()
