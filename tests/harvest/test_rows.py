"""Tests of which rows harvest.py stores: positions that are skipped, tokens that are masked, and ids that
were made beforehand in place of text."""

import importlib.util
import json
import os
import random
import unittest
from unittest import mock

import numpy
from common import WORDS, ScriptTest, byte_tokenizer, tiny_tokenizer, torch, transformers
from safetensors.torch import load_file, save_file

import harvest
from harvesting import HarvestError
from harvesting import ids as id_rows
from harvesting.mask import Mask

HAS_DATASETS = importlib.util.find_spec("datasets")


class RowsTest(ScriptTest):
    script = harvest

    def setUp(self):
        super().setUp()
        self.text = self.folder / "text.txt"
        self.text.write_text(" ".join(WORDS[i * i % 11] for i in range(60)) + " zebra the cat")
        self.made = 0

    def arguments(self, path, *more, source=None):
        self.made += 1
        self.out = self.folder / f"out-{self.made}"
        return ["--model", path, *(source or ["--text", self.text]), "--layer", 1, "--context", 8, "--batch", 3,
                "--dtype", "f32", "--out", self.out, *more]  # fmt: skip

    def harvest(self, path, *more, source=None):
        """Manifest's source and the tensors; what was said is in `output`."""
        self.output = self.run_well(*self.arguments(path, *more, source=source))
        parts = [load_file(shard) for shard in sorted(self.out.glob("shard-*"))]
        source = json.loads((self.out / "manifest.json").read_text())["source"]
        return source, {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def stream(self, path, *more):
        folder = self.folder / f"stream-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        asks = {"FOLDER": folder, "START": 0, "AHEAD": 1000, "READER": os.getpid()}
        asks = {f"SAE_STREAM_{name}": str(value) for name, value in asks.items()}
        with mock.patch.dict(os.environ, asks):
            self.output = self.run_well(
                "--model", path, "--text", self.text, "--context", 8, "--batch", 3, "--dtype", "f32",
                "--layer", 1, "--stream", *more)  # fmt: skip
        shards = sorted(folder.glob("shard-*.safetensors"))
        return torch.cat([load_file(shard)["activations"] for shard in shards])


class Positions(RowsTest):
    def test_first_positions_are_left_out_counted_and_recorded(self):
        for name, frame in (("gpt2", 0), ("bert", 1)):
            path, _ = self.model(name, tiny_tokenizer(framed=frame > 0))
            _, every = self.harvest(path, "--keep-special")
            source, store = self.harvest(path, "--keep-special", "--skip-positions", 3)
            kept = torch.arange(len(every["tokens"])) % 8 >= 3
            for tensor, values in store.items():
                self.assertTrue(torch.equal(values, every[tensor][kept]), (name, tensor))
            self.assertEqual(source["skip_positions"], 3)
            windows = len(every["tokens"]) // 8
            # Of the special token in front nothing is counted: no text is lost with it.
            self.assertEqual(source["text"]["skipped_tokens"], windows * (3 - frame))
            self.assertIn(f"left out: {windows * (3 - frame)} of {windows * (8 - 2 * frame)} tokens in windows, "
                          "which are at the first 3 positions", self.output)  # fmt: skip

    def test_special_tokens_there_are_counted_once(self):
        path, _ = self.model("gpt2", tiny_tokenizer(framed=False))
        self.text.write_text("[SEP] the cat zebra the cat the cat " * 2)
        source, store = self.harvest(path, "--skip-positions", 2)
        self.assertEqual(len(store["tokens"]), 2 * 5)
        self.assertEqual(source["text"]["dropped_tokens"], 4)
        self.assertEqual(source["text"]["skipped_tokens"], 2)

    def test_nothing_is_said_or_recorded_of_none(self):
        path, _ = self.model("gpt2")
        source, _ = self.harvest(path, "--skip-positions", 0)
        self.assertNotIn("skip_positions", source)
        self.assertNotIn("skipped_tokens", source["text"])

    def test_it_is_the_cure_for_massive_first_positions(self):
        path, _ = self.model("gpt2", tiny_tokenizer(framed=False))
        weights = load_file(path / "model.safetensors")
        weights["wpe.weight"][0] *= 1000
        save_file(weights, path / "model.safetensors", {"format": "pt"})
        self.harvest(path)
        self.assertIn("layer 1: warning: 3 of the first 3 windows begin with a norm", self.output)
        self.harvest(path, "--skip-positions", 1)
        self.assertNotIn("warning", self.output)
        stored = self.stream(path)
        self.assertIn("layer 1: warning: 3 of the first 3 windows begin with a norm", self.output)
        self.assertEqual(len(stored) - len(self.stream(path, "--skip-positions", 1)), 7)
        self.assertNotIn("warning", self.output)

    def test_goes_on_after_a_kill_to_the_same_bytes_and_counts(self):
        path, _ = self.model("gpt2")
        more = ["--skip-positions", 2, "--mask-share", 0.3, "--mask-token", "mat", "--shard-tokens", 7]
        self.harvest(path, *more)
        whole, arguments = self.out, self.arguments(path, *more)
        for replacement in (3, 4):
            self.kill_at(replacement, arguments)
        self.assertIn("going on after", self.run_well(*arguments))
        self.assertEqual(*({f.name: f.read_bytes() for f in out.iterdir()} for out in (whole, self.out)))

    def test_refuses_to_skip_everything(self):
        path, _ = self.model("bert")
        self.fails(3, "--skip-positions 7: leaves nothing of windows of 8",
                   *self.arguments(path, "--skip-positions", 7))  # fmt: skip
        self.fails(2, "--skip-positions must be at least 0", *self.arguments(path, "--skip-positions", -1))
        self.harvest(path, "--skip-positions", 6)


def philox(counter, key):
    """Philox4x64-10 of Salmon et al. 2011, whose blocks NumPy counts from 1."""
    words = 2**64
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = [
            second // words ^ counter[1] ^ key[0], second % words,
            first // words ^ counter[3] ^ key[1], first % words,
        ]  # fmt: skip
        key = [(key[0] + 0x9E3779B97F4A7C15) % words, (key[1] + 0xBB67AE8584CAA73B) % words]
    return counter


class Masks(RowsTest):
    def test_what_the_model_reads_has_mask_tokens_and_their_rows_are_left_out(self):
        path, model = self.model("llama")
        source, store = self.harvest(path, "--mask-share", 0.4, "--mask-token", "mat", "--seed", 5)
        _, every = self.harvest(path, "--mask-share", 0.4, "--mask-token", "mat", "--seed", 5, "--keep-special")
        _, plain = self.harvest(path, "--seed", 5, "--keep-special")
        mat = tiny_tokenizer()("mat", add_special_tokens=False)["input_ids"][0]
        read, before = every["tokens"].view(-1, 8), plain["tokens"].view(-1, 8)
        replaced = read != before
        self.assertEqual(read[replaced].unique().tolist(), [mat])
        self.assertFalse(replaced[before < 3].any())  # special and unknown tokens stay
        with torch.no_grad():
            hidden = model(input_ids=read.long(), output_hidden_states=True).hidden_states[2]
        torch.testing.assert_close(every["activations"], hidden.flatten(0, 1), rtol=0, atol=1e-6)
        # A token that was drawn and was the mask already is left out too.
        drawn = torch.stack([
            torch.from_numpy(Mask(0.4, mat, [0, 1, 2], 5).replaces(window.numpy(), number))
            for number, window in enumerate(before)])  # fmt: skip
        self.assertTrue((drawn >= replaced).all())
        kept = (~drawn & (before > 2)).flatten()
        for tensor, values in store.items():
            self.assertTrue(torch.equal(values, every[tensor][kept]), tensor)
        self.assertEqual((source["mask_share"], source["mask_token"]), (0.4, "mat"))
        self.assertEqual(source["text"]["masked_tokens"], int(drawn.sum()))
        self.assertRegex(self.output, "dropped: none")

    def test_says_how_many_tokens_it_has_replaced(self):
        path, _ = self.model("llama")
        source, _ = self.harvest(path, "--mask-share", 0.4, "--mask-token", "mat")
        masked = source["text"]["masked_tokens"]
        self.assertIn(f"masked: {masked} of 60 tokens in windows ({100 * masked / 60:.3g} %) became mat, whose "
                      "rows are left out", self.output)  # fmt: skip

    def test_tokens_are_drawn_one_by_one_with_that_probability(self):
        ids = numpy.arange(3, 103, dtype=numpy.int32)
        for share in (0.05, 0.3, 0.9):
            draws = numpy.stack([Mask(share, 9, [], 7).replaces(ids, number) for number in range(400)])
            error = (share * (1 - share) / draws.size) ** 0.5
            self.assertLess(abs(draws.mean() - share), 4 * error)
            self.assertLess(abs((draws[:, 1:] & draws[:, :-1]).mean() - share**2), 5 * error)
            self.assertLess(abs((draws[1:] & draws[:-1]).mean() - share**2), 5 * error)
        self.assertFalse((Mask(0.5, 9, [], 1).replaces(ids, 0) == Mask(0.5, 9, [], 2).replaces(ids, 0)).all())

    def test_draws_depend_on_seed_window_and_position_alone(self):
        ids = numpy.arange(3, 19, dtype=numpy.int32)
        for seed, number in ((0, 3), (2**40 + 5, 0), (7, 2**33)):
            words = [word for block in range(1, 5) for word in philox([block, 0, number, 0], [seed, 0])]
            for share in (0.25, 0.5):
                drawn = Mask(share, 9, [], seed).replaces(ids, number)
                self.assertEqual(drawn.tolist(), [word < share * 2**64 for word in words])
                some = Mask(share, 9, [], seed).replaces(ids[:5], number)
                self.assertEqual(some.tolist(), drawn[:5].tolist())
        none, zero = (Mask(0.5, 9, [], seed).replaces(ids, 3) for seed in (None, 0))
        self.assertTrue((none == zero).all())
        path, _ = self.model("llama")
        more = ["--mask-share", 0.4, "--mask-token", "mat"]
        _, store = self.harvest(path, *more)
        _, other = self.harvest(path, *more, "--batch", 2)
        self.assertTrue(torch.equal(store["tokens"], other["tokens"]))
        torch.testing.assert_close(self.stream(path, *more), store["activations"], rtol=0, atol=0)

    def test_the_mask_is_the_tokenizers_own_or_one_that_is_named(self):
        tokenizer = tiny_tokenizer()
        tokenizer.mask_token = "sat"
        path, _ = self.model("llama", tokenizer)
        source, _ = self.harvest(path, "--mask-share", 0.4)
        self.assertEqual(source["mask_token"], "sat")
        path, _ = self.model("gpt2")
        for more, status, message in (
            ([0.4], 3, "--mask-share: this tokenizer has no mask token; --mask-token says which other one"),
            ([0.4, "--mask-token", "zebra"], 3, "--mask-token 'zebra': is no token of this tokenizer's"),
            ([0.4, "--mask-token", "the cat"], 3, "--mask-token 'the cat': is no token"),
            ([0], 2, "--mask-share must be above 0 and below 1, got 0"),
            ([1], 2, "--mask-share must be above 0 and below 1, got 1"),
            (["nan"], 2, "--mask-share must be above 0 and below 1, got nan"),
        ):
            self.fails(status, message, *self.arguments(path, "--mask-share", *more))
            self.assertFalse(self.out.exists() or self.out.with_name(f"{self.out.name}.partial").exists())
        self.fails(2, "--mask-token means nothing without", *self.arguments(path, "--mask-token", "mat"))
        self.harvest(path, "--mask-share", 0.4, "--mask-token", "[UNK]")

    def test_a_harvest_with_another_mask_is_not_gone_on_with(self):
        path, _ = self.model("llama")
        arguments = self.arguments(path, "--mask-share", 0.4, "--mask-token", "mat", "--shard-tokens", 7)
        self.kill_at(5, arguments)
        other = [0.5 if value == 0.4 else value for value in arguments]
        self.fails(3, "was begun with another mask-share", *other)


class Ids(RowsTest):
    def rows(self, count=6, length=8, low=3):
        return torch.randint(low, 14, (count, length), generator=torch.Generator().manual_seed(0))

    def expected(self, model, rows, kept=None):
        with torch.no_grad():
            hidden = model(input_ids=rows, output_hidden_states=True).hidden_states[2]
        return hidden.flatten(0, 1) if kept is None else hidden.flatten(0, 1)[kept]

    def write(self, name, rows):
        path = self.folder / name
        if name.endswith(".npy"):
            numpy.save(path, numpy.asarray(rows))
        elif name.endswith(".pt"):
            torch.save(rows, path)
        elif name.endswith(".safetensors"):
            save_file(rows, path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def test_rows_of_every_kind_of_file_are_windows_as_they_are(self):
        path, model = self.model("llama")  # whose tokenizer would add special tokens to a text
        rows = self.rows()
        wanted, lists = self.expected(model, rows), rows.tolist()
        for name, data in (
            ("a.npy", rows), ("b.npy", rows.to(torch.int32)), ("c.npy", rows.numpy().astype("uint16")),
            ("a.pt", rows), ("b.pt", {"input_ids": rows, "attention_mask": rows * 0 + 1}), ("c.pt", {"x": rows}),
            ("a.safetensors", {"input_ids": rows}), ("b.safetensors", {"tokens": rows, "other": rows * 0}),
            ("a.jsonl", lists), ("b.jsonl", [{"input_ids": row, "id": 4} for row in lists]),
            ("c.jsonl", [{"tokens": row} for row in lists]),
        ):  # fmt: skip
            with self.subTest(name):
                file = self.write(name, data)
                source, store = self.harvest(path, source=["--token-ids", file])
                self.assertEqual(store["tokens"].tolist(), rows.flatten().tolist())
                torch.testing.assert_close(store["activations"], wanted, rtol=0, atol=1e-6)
                self.assertEqual(source["dataset"][0]["file"], name)
                self.assertEqual((source["text_form"], source["document"]), ("ids", "row"))
                self.assertEqual(source["special_tokens"], [[], []])

    def test_the_first_row_says_how_long_windows_are(self):
        path, model = self.model("llama")
        file = self.write("a.npy", self.rows(6, 12))
        arguments = self.arguments(path, source=["--token-ids", file])
        self.run_well(*(value for value in arguments if value not in ("--context", 8)))
        self.assertEqual(json.loads((self.out / "manifest.json").read_text())["source"]["context"], 12)
        source, store = self.harvest(path, source=["--token-ids", file])  # windows of 8 of rows of 12
        self.assertEqual(len(store["tokens"]), 6 * 8)
        self.assertIn("left out: 24 tokens at ends of documents, which fill no window: 33 %", self.output)
        self.assertNotIn("--pack", self.output)
        run = self.write("b.npy", self.rows().flatten())  # one long row
        arguments = self.arguments(path, source=["--token-ids", run])
        arguments[arguments.index("--context") + 1] = 16
        self.run_well(*arguments)
        self.assertEqual(id_rows.IdRows.of_files([run], "train").length, None)

    def test_special_tokens_are_those_in_the_rows(self):
        path, _ = self.model("llama")
        rows = self.rows()
        rows[:, 0], rows[2, 4] = 1, 2
        source, store = self.harvest(path, source=["--token-ids", self.write("a.pt", rows)])
        self.assertEqual(store["tokens"].tolist(), rows[rows > 2].tolist())
        self.assertEqual(source["special_tokens"], [["[CLS]"], []])
        self.assertEqual(source["text"]["dropped_tokens"], 7)

    def test_files_and_folders_are_read_in_their_order_with_all_that_windows_can(self):
        path, model = self.model("llama")
        (self.folder / "ids").mkdir()
        one, two = self.rows(3), self.rows(4) + 1
        self.write("ids/b.npy", two)
        self.write("ids/a.jsonl", one.tolist())
        (self.folder / "ids" / "notes.json").write_text("{}")
        ids = ["--token-ids", self.folder / "ids"]
        source, store = self.harvest(path, source=ids)
        self.assertEqual([entry["file"] for entry in source["dataset"]], ["a.jsonl", "b.npy"])
        both = torch.cat([one, two])
        self.assertEqual(store["tokens"].tolist(), both.flatten().tolist())
        _, shuffled = self.harvest(path, "--seed", 1, source=ids)
        self.assertEqual(sorted(shuffled["tokens"].view(-1, 8).tolist()), sorted(both.tolist()))
        self.assertNotEqual(shuffled["tokens"].tolist(), both.flatten().tolist())
        _, some = self.harvest(path, "--tokens", 19, source=ids)
        self.assertEqual(some["tokens"].tolist(), both.flatten().tolist()[:19])
        self.write("ids/c.npy", two)
        self.harvest(path, source=ids)
        self.assertIn("used more than once: b.npy, c.npy hold the same text", self.output)

    def test_says_in_one_line_what_is_wrong_with_ids(self):
        path, _ = self.model("llama")
        rows = self.rows()
        wrong = rows.clone()
        wrong[3, 2] = 16
        (self.folder / "empty").mkdir()
        (self.folder / "bad.npy").write_bytes(b"no array")
        (self.folder / "bad.pt").write_bytes(b"no tensor")
        (self.folder / "bad.safetensors").write_bytes(b"no")
        (self.folder / "bad.jsonl").write_text("[3, 4")
        (self.folder / "short.npy").write_bytes(self.write("a.npy", rows).read_bytes()[:150])
        (self.folder / "ids.txt").write_text("3 4")
        for name, data, status, message in (
            ("a.npy", wrong, 3, "a.npy: token 16, expected ids from 0 to 15, which the model knows"),
            ("b.npy", rows - 9, 3, "token -"),
            ("c.npy", rows.float(), 3, "c.npy: float32 of 2 dimensions, expected integers of 1 or 2, the ids"),
            ("d.npy", rows[None], 3, "d.npy: int64 of 3 dimensions"),
            ("e.npy", rows > 5, 3, "e.npy: bool of 2 dimensions"),
            ("f.npy", rows[:0], 3, "there is no id in what is to be read"),
            ("g.npy", rows[:, :5], 3, "no row is as long as one window of 8 tokens, the longest of 6 has 5"),
            ("a.pt", {"a": rows, "b": rows}, 3, "a.pt: holds a, b, expected input_ids or tokens"),
            ("b.pt", rows.tolist()[0] + [2.5], 3, "b.pt: float64 of 1 dimensions"),
            ("a.safetensors", {"a": rows, "b": rows + 0}, 3, "a.safetensors: holds a, b, expected input_ids"),
            ("a.jsonl", [[3, 4], [5]], 3, "no row is as long"),
            ("b.jsonl", [rows[0].tolist(), "cat"], 3, "b.jsonl: line 2: str, expected integers of 1, the ids"),
            ("c.jsonl", [rows[0].tolist(), [[3], [4]]], 3, "c.jsonl: line 2: int64 of 2 dimensions"),
            ("d.jsonl", [rows[0].tolist(), [3, 2**70]], 3, "d.jsonl: line 2: object of 1 dimensions"),
            ("e.jsonl", [rows[0].tolist(), wrong[3].tolist()], 3, "e.jsonl: line 2: token 16, expected"),
            ("f.jsonl", [{}], 3, "f.jsonl: line 1: holds nothing, expected input_ids"),
            ("bad.npy", None, 3, "bad.npy: cannot read"),
            ("short.npy", None, 3, "short.npy: cannot read"),
            ("bad.pt", None, 3, "bad.pt: cannot read"),
            ("bad.safetensors", None, 3, "bad.safetensors: cannot read"),
            ("bad.jsonl", None, 3, "bad.jsonl: cannot read: Expecting"),
            ("ids.txt", None, 3, "ids.txt: ids are read from .npy, "),
            ("empty", None, 3, "empty: the folder holds no file"),
            ("absent.npy", None, 3, "absent.npy: cannot read: No such file or directory"),
        ):  # fmt: skip
            with self.subTest(name):
                file = self.folder / name if data is None else self.write(name, data)
                self.fails(status, message, *self.arguments(path, source=["--token-ids", file]))
                self.assertFalse(self.out.exists() or self.out.with_name(f"{self.out.name}.partial").exists())
        file = self.write("good.npy", rows)
        for more in (["--bos"], ["--pack"], ["--text-form", "wikitext"], ["--document", "line"]):
            self.fails(2, f"{more[0]} means nothing with --token-ids",
                       *self.arguments(path, *more, source=["--token-ids", file]))  # fmt: skip
        self.fails(2, "one of --text and --dataset is needed; --token-ids is in place of both",
                   *self.arguments(path, "--token-ids", file))  # fmt: skip

    def test_no_byte_of_a_file_can_do_more_than_be_refused(self):
        rows, draw = self.rows(), random.Random(0)
        for name, data in (
            ("a.npy", rows), ("a.pt", {"input_ids": rows}), ("a.safetensors", {"input_ids": rows}),
            ("a.jsonl", rows.tolist()),
        ):  # fmt: skip
            file = self.write(name, data)
            good, refused = file.read_bytes(), 0
            for trial in range(80):
                bad = bytearray(good)
                if trial % 2:
                    del bad[draw.randrange(len(good)) :]
                else:
                    for _ in range(3):
                        bad[draw.randrange(min(len(bad), 200))] = draw.randrange(256)
                file.write_bytes(bad)
                try:
                    found = id_rows.IdRows.of_files([file], "train")
                    found.known = 16
                    list(found.rows())
                except HarvestError as error:
                    self.assertEqual(len(str(error).splitlines()), 1)
                    refused += 1
            self.assertGreater(refused, 20, name)

    @unittest.skipUnless(HAS_DATASETS, "the package datasets is optional")
    def test_data_sets_of_ids_are_read_from_disk_and_by_name(self):
        import datasets

        path, model = self.model("llama")
        rows = self.rows()
        rows[:, 0] = 1
        data = datasets.Dataset.from_dict({"input_ids": rows.tolist()})
        data.save_to_disk(self.folder / "saved")
        datasets.DatasetDict({"train": data, "test": data}).save_to_disk(self.folder / "split")
        (self.folder / "named").mkdir()
        data.to_parquet(self.folder / "named" / "train.parquet")
        column = ["--dataset-column", "input_ids"]
        for source in (
            ["--token-ids", self.folder / "saved"], ["--token-ids", self.folder / "split"],
            ["--token-ids", self.folder / "named"], ["--dataset", self.folder / "saved", *column],
            ["--dataset", self.folder / "named", *column],
            ["--dataset", self.folder / "named", *column, "--dataset-streaming"],
        ):  # fmt: skip
            with self.subTest(source):
                made, store = self.harvest(path, source=source)
                self.assertEqual(store["tokens"].tolist(), rows[:, 1:].flatten().tolist())
                kept = (rows > 2).flatten()
                torch.testing.assert_close(
                    store["activations"], self.expected(model, rows, kept), rtol=0, atol=1e-6)
                self.assertEqual(made["text_form"], "ids")
        self.fails(3, "--bos: means nothing for ids, which input_ids holds",
                   *self.arguments(path, "--bos", source=["--dataset", self.folder / "saved", *column]))  # fmt: skip
        self.fails(3, "split: cannot load", *self.arguments(
            path, "--dataset-split", "absent", source=["--token-ids", self.folder / "split"]))  # fmt: skip

    def test_says_how_to_get_the_package_of_data_sets(self):
        path, _ = self.model("llama")
        (self.folder / "saved").mkdir()
        (self.folder / "saved" / "state.json").write_text("{}")
        (self.folder / "saved" / "data.arrow").write_text("")
        with mock.patch.dict("sys.modules", datasets=None):
            self.fails(3, "needs the package datasets",
                       *self.arguments(path, source=["--token-ids", self.folder / "saved"]))  # fmt: skip


class Streaming(RowsTest):
    def test_the_first_window_does_not_wait_for_the_last(self):
        """Neither for a store of all of the text nor for a run that reads it."""
        path, _ = self.model("gpt2")
        self.text.write_text("the cat sat on the mat\n" * 400)
        read, seen = [], []
        tokenizer = type(tiny_tokenizer())
        call, batch = tokenizer.__call__, harvest.run_batch

        def counted(tokenizer, text, *given, **named):
            read.append(len(text))
            return call(tokenizer, text, *given, **named)

        def watched(*given):
            seen.append(sum(read))
            return batch(*given)

        with mock.patch.object(harvest.id_rows.texts, "BLOCK", 200), mock.patch.object(
            harvest.id_rows.texts, "READ", 300
        ), mock.patch.object(tokenizer, "__call__", counted), mock.patch.object(harvest, "run_batch", watched):
            self.harvest(path)
            self.assertLess(seen[0], 600)
            self.assertGreater(seen[-1], 9000)
            seen.clear()
            self.harvest(path, "--seed", 1)
            self.assertGreater(seen[0], 9000)

    def test_the_end_of_the_text_is_counted_as_if_it_had_been_known(self):
        path, _ = self.model("gpt2", tiny_tokenizer(framed=False))
        self.text.write_text("the cat sat on the mat to the\n" * 3 + "the dog\n")  # the last batch is full
        ordered, _ = self.harvest(path, "--document", "line")
        drawn, _ = self.harvest(path, "--document", "line", "--seed", 1)
        self.assertEqual(ordered["text"], drawn["text"])
        self.assertEqual((ordered["text"]["documents"], ordered["text"]["left_out_tokens"]), (4, 2))

    def test_an_unknown_word_becomes_no_token_that_means_something_else(self):
        for role in ("bos_token", "eos_token", "sep_token", "cls_token", "pad_token", "mask_token"):
            tokenizer = tiny_tokenizer()
            self.assertEqual(harvest.unknown_token(tokenizer), "[UNK]")
            setattr(tokenizer, role, "[UNK]")
            self.assertIsNone(harvest.unknown_token(tokenizer), role)

    def test_no_token_for_the_beginning_is_made_of_the_unknown_one(self):
        tokenizer = byte_tokenizer("the cat sat")
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer.backend_tokenizer, unk_token="<|endoftext|>",
            pad_token="<|endoftext|>")  # fmt: skip
        path, _ = self.model("gpt2", tokenizer, vocab_size=300)
        self.fails(3, "--bos: the tokenizer has no token for the beginning", *self.arguments(path, "--bos"))


if __name__ == "__main__":
    unittest.main()
