"""Tests of vocabulary.json: it rebuilds the text of any tokenizer, also where a token is no whole character."""

import json
import os
import shutil
import unittest

from common import ROOT, ScriptTest, byte_tokenizer, tiny_tokenizer, torch, transformers

import harvest
import word_classes
from harvesting import HarvestError
from harvesting import store as stores
from harvesting.vocabulary import Vocabulary, spelt, vocabulary_of
from harvesting.windows import sample_of
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

# Two, three and four bytes a character, written onto letters, joined to one picture, from right to left.
FOREIGN = (
    "Žluťoučký kůň úpěl. Ёжик в тумане? 猫が窓を見た。 고양이 🐈‍⬛ und 🙂! "
    "cafe\u0301 हिन्दी שלום \n\t½ naïve — “ça” ﬁ "
)


def special(tokenizer, **tokens):
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens)


def byte_fallback(model, prefix=True):
    """As Llama 2, Mistral and Gemma have it: pieces with ▁ for a blank, other characters as bytes."""
    tokenizer = Tokenizer(model)
    steps = [normalizers.Prepend("▁")] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    steps = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *steps])
    return special(tokenizer, unk_token="<unk>", bos_token="<s>")


PIECES = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)),
          *"▁abcdefghijklmnopqrstuvwxyzé", "▁c", "猫", "▁ca"]  # fmt: skip


def bpe_with_bytes():
    vocabulary = {piece: number for number, piece in enumerate(PIECES)}
    merges = [("▁", "c"), ("▁c", "a")]
    return byte_fallback(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))


def unigram_with_bytes():
    scored = [(piece, -2.0 - number / 100) for number, piece in enumerate(PIECES)]
    return byte_fallback(models.Unigram(scored, unk_id=0, byte_fallback=True), prefix=False)


def word_level(vocabulary):
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return special(tokenizer, unk_token="?")


def make(tokenizer, size=0):
    return vocabulary_of(tokenizer, sample_of(tokenizer)[1], size)


class OfTokenizers(unittest.TestCase):
    def ids(self, tokenizer, text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    def spells(self, tokenizer, text):
        """The vocabulary of a tokenizer, which rebuilds `text`, and which a file keeps."""
        vocabulary = make(tokenizer)
        rebuilt = vocabulary.text(self.ids(tokenizer, text))
        self.assertEqual(rebuilt.removeprefix(" "), text.removeprefix(" "))
        self.assertNotIn("\ufffd", "".join(vocabulary.tokens))
        stored = json.loads(json.dumps(vocabulary.as_json(), ensure_ascii=False))
        self.assertEqual(Vocabulary.of_json(stored, "here"), vocabulary)
        for token in set(range(len(vocabulary.tokens))) - set(vocabulary.bytes):
            self.assertEqual(vocabulary.text([token]), vocabulary.tokens[token])
        for token, data in vocabulary.bytes.items():
            self.assertEqual(vocabulary.tokens[token], spelt(data))
            with self.assertRaises(UnicodeDecodeError):
                data.decode()
        return vocabulary

    def test_byte_level_tokens_are_their_bytes(self):
        # Trained on nothing of it, on all of it, and on pieces that begin or end inside a character.
        for text in ("the cat", FOREIGN, "の日 ёж"):
            with self.subTest(text):
                tokenizer = byte_tokenizer(text)
                vocabulary = self.spells(tokenizer, FOREIGN)
                self.assertEqual(len(vocabulary.tokens), len(tokenizer))
                self.assertEqual(vocabulary.as_json()["version"], 2)
                known = tokenizer.get_vocab()
                self.assertEqual(vocabulary.tokens[known["Ġ"]], " ")
                self.assertEqual(vocabulary.bytes[known["æ"]], b"\xe6")
                self.assertEqual(vocabulary.tokens[known["æ"]], "<E6>")

    def test_a_token_may_hold_a_whole_character_and_a_part_of_the_next(self):
        # E7 8C AB is a cat, E3 81 begins what follows it.
        pieces = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "çĮ", "çĮ«", "çĮ«ã", "çĮ«ãģ"]
        merges = [("ç", "Į"), ("çĮ", "«"), ("çĮ«", "ã"), ("çĮ«ã", "ģ")]
        tokenizer = Tokenizer(models.BPE({piece: n for n, piece in enumerate(pieces)}, merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer = special(tokenizer, eos_token="<|end|>")
        self.assertEqual(len(self.ids(tokenizer, "猫が")), 2)
        vocabulary = self.spells(tokenizer, "猫が猫")
        last = len(pieces) - 1
        self.assertEqual([vocabulary.tokens[i] for i in (last, last - 2, last - 3)], ["猫<E3 81>", "猫", "<E7 8C>"])
        self.assertEqual(vocabulary.bytes[last], "猫".encode() + b"\xe3\x81")
        self.assertNotIn(last - 2, vocabulary.bytes)

    def test_added_tokens_are_no_bytes(self):
        tokenizer = byte_tokenizer("the cat")
        added = ["né", "Ã©", "<tool>", "  ", "猫"]
        tokenizer.add_tokens(added)
        vocabulary = self.spells(tokenizer, "né Ã© the  cat<tool>é 猫 窓")
        known = tokenizer.get_vocab()
        self.assertEqual([vocabulary.tokens[known[token]] for token in added], added)
        self.assertEqual(vocabulary.tokens[known["<|endoftext|>"]], "<|endoftext|>")

    def test_byte_pieces_of_sentencepiece_are_their_bytes(self):
        for tokenizer in (bpe_with_bytes(), unigram_with_bytes()):
            vocabulary = self.spells(tokenizer, FOREIGN)
            known = tokenizer.get_vocab()
            self.assertEqual(vocabulary.tokens[known["▁ca"]], " ca")
            self.assertEqual(vocabulary.tokens[known["<0x0A>"]], "\n")
            self.assertEqual(vocabulary.tokens[known["<0xE7>"]], "<E7>")
            self.assertEqual(vocabulary.bytes[known["<0xE7>"]], b"\xe7")
            self.assertEqual(sorted(vocabulary.bytes), [known[f"<0x{byte:02X}>"] for byte in range(0x80, 0x100)])

    def test_what_looks_like_bytes_is_none_where_the_tokenizer_has_none(self):
        vocabulary = make(word_level({"?": 0, "<0xE7>": 1, "Ã©": 2}))
        self.assertEqual(vocabulary, Vocabulary([" ?", " <0xE7>", " Ã©"], {}))

    def test_words_and_their_pieces_need_no_bytes(self):
        pieces = ["[UNK]", "the", "cat", "##s", "猫", "##é", ","]
        tokenizer = Tokenizer(models.WordPiece({p: n for n, p in enumerate(pieces)}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        vocabulary = self.spells(special(tokenizer, unk_token="[UNK]"), "the cats 猫é")
        self.assertEqual(vocabulary.as_json()["version"], 1)
        self.assertEqual(vocabulary.tokens, [" [UNK]", " the", " cat", "s", " 猫", "é", ","])

    def test_ids_that_no_token_has_are_named_by_their_number(self):
        tokenizer = word_level({"?": 3, "cat": 5, "dog": 1})
        self.assertEqual(make(tokenizer).tokens, ["<0>", " dog", "<2>", " ?", "<4>", " cat"])
        self.assertEqual(make(tokenizer, 8).tokens[5:], [" cat", "<6>", "<7>"])

    def test_a_tokenizer_needs_no_latin_letters(self):
        tokenizer = Tokenizer(models.BPE({"猫": 0, "犬": 1}, []))
        tokenizer.decoder = decoders.Fuse()
        vocabulary = make(special(tokenizer))
        self.assertEqual(vocabulary.tokens, ["猫", "犬"])

    def test_bytes_beside_whole_characters_are_spelt(self):
        for data, text in [
            (b"", ""), (b"\xe6\x9d", "<E6 9D>"), (b"\xb1\xff", "<B1 FF>"), (b"a\xc3", "a<C3>"),
            (b"\xa9 b\xe6", "<A9> b<E6>"), (b"\xed\xa0\x80", "<ED A0 80>"), (b"\xc0\xaf", "<C0 AF>"),
            ("猫".encode(), "猫"),
        ]:  # fmt: skip
            self.assertEqual(spelt(data), text)

    def test_refuses_what_is_none(self):
        good = {"format": "sae-vocabulary", "version": 2, "tokens": ["a", "<E6>"], "bytes": {"1": "e6"}}
        self.assertEqual(Vocabulary.of_json(good, "here").text([0, 1]), "a<E6>")
        for change, message in [
            ({"format": "words"}, "here: not a vocabulary: no format sae-vocabulary"),
            ({"version": 3}, "here: version 3, expected 1 or 2"),
            ({"tokens": ["a", 3]}, "here: tokens is not a list of strings"),
            ({"tokens": None}, "here: tokens is not a list of strings"),
            ({"bytes": {"2": "e6"}}, "here: bytes is not"),
            ({"bytes": {"-1": "e6"}}, "here: bytes is not"),
            ({"bytes": {"1": "e"}}, "here: bytes is not"),
            ({"bytes": {"1": 6}}, "here: bytes is not"),
            ({"bytes": ["e6"]}, "here: bytes is not"),
        ]:
            with self.subTest(change), self.assertRaisesRegex(HarvestError, message):
                Vocabulary.of_json(good | change, "here")


class OfStores(ScriptTest):
    script = harvest

    def harvest(self, tokenizer, text, context=4, **sizes):
        path, _ = self.model("gpt2", tokenizer, **sizes)
        (self.folder / "text.txt").write_text(text, encoding="utf-8")
        out = self.folder / "out"
        self.run_well("--model", path, "--layer", 0, "--text", self.folder / "text.txt", "--context", context,
                      "--out", out)  # fmt: skip
        return stores.StoreReader(out)

    def test_a_store_spells_text_of_several_bytes_a_character(self):
        for tokenizer in (byte_tokenizer("the cat"), bpe_with_bytes()):
            with self.subTest(len(tokenizer)):
                store = self.harvest(tokenizer, FOREIGN * 2, vocab_size=len(tokenizer) + 9)
                text = store.vocabulary.text(store.tokens.tolist())
                self.assertIn(FOREIGN, text)
                self.assertEqual(len(store.vocabulary.tokens), len(tokenizer) + 9)
                self.assertEqual(store.vocabulary.tokens[-1], f"<{len(tokenizer) + 8}>")
                (self.folder / "out").rename(self.folder / f"store of {len(tokenizer)}")

    def test_a_store_of_a_tokenizer_with_gaps_is_read_by_every_script(self):
        words = {"?": 7, "cat": 30, "dog": 2, "king": 61, "queen": 12, "prince": 33, "and": 41}
        text = "cat and king and dog and queen and prince and " * 40
        store = self.harvest(word_level(words), text, vocab_size=64)
        self.assertEqual(len(store.vocabulary.tokens), 64)
        self.assertEqual(store.vocabulary.text(store.tokens[:4].tolist()), " cat and king and")
        (self.folder / "classes.json").write_text(
            json.dumps({"animal": ["cat", "dog"], "ruler": ["king", "queen", "prince"]}))
        made = self.folder / "words.safetensors"
        status = word_classes.main([
            "--train", str(self.folder / "out"), "--classes", str(self.folder / "classes.json"),
            "--min-rows", "1", "--out", str(made)])  # fmt: skip
        self.assertEqual((status, made.exists()), (0, True))

    def test_a_tokenizer_that_knows_more_than_the_model_is_refused(self):
        path, _ = self.model("gpt2", word_level({"?": 0, "cat": 16}))
        (self.folder / "text.txt").write_text("cat " * 50)
        given = ("--model", path, "--text", self.folder / "text.txt", "--context", 4)
        for site in ("resid_post", "mlp_out"):
            self.fails(3, "the tokenizer makes token 16, the model knows 16, from 0", *given,
                       "--layer", 0, "--site", site, "--out", self.folder / "out")  # fmt: skip

    GOLDEN = ROOT / "tests" / "golden" / "harvested_bytes"

    def harvest_golden(self):
        """Twice the same text, a context each."""
        return self.harvest(byte_tokenizer("the cat"), "the cat: 窓のñ, 🐈‍⬛." * 2, 25, vocab_size=270)

    def test_the_golden_vocabulary_is_that_of_today(self):
        store = self.harvest_golden()
        golden = (self.GOLDEN / "vocabulary.json").read_text(encoding="utf-8")
        self.assertEqual((store.folder / "vocabulary.json").read_text(encoding="utf-8"), golden)

    @unittest.skipUnless(os.environ.get("SAE_WRITE_GOLDEN"), "writes tests/golden/harvested_bytes")
    def test_writes_the_golden_store(self):
        store = self.harvest_golden()
        shutil.rmtree(self.GOLDEN, ignore_errors=True)
        shutil.copytree(store.folder, self.GOLDEN)


if __name__ == "__main__":
    unittest.main()
