"""Tests of scripts/probing_tasks.py on tiny random models. SAEBench's data sets are replaced by small ones
of the same columns; where the package sae-bench is installed, it draws from them as well.
"""

import contextlib
import importlib.util
import os
import random
import shutil
import sys
import types
import unittest
from unittest import mock

from common import ROOT, WORDS, ScriptTest, read_labelled, tiny_tokenizer, torch

import probing_tasks
from harvesting import HarvestError, tasks

CLS, SEP, UNK = 1, 2, 0


class ProbingTasks(ScriptTest):
    script = probing_tasks

    def csv(self, rows, name="task.csv", header="text,label"):
        path = self.folder / name
        path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
        return path

    def rows(self, count=40):
        """Texts of one to nine words, each its own, of the classes even and odd."""
        draw = random.Random(0)
        return [
            (" ".join(draw.choices(WORDS, k=1 + i % 9)), ("even", "odd")[i % 2]) for i in range(count)
        ]

    def make(self, path, *arguments, layer=1, file="task"):
        out = self.folder / "tasks"
        self.output = self.run_well("--model", path, "--layer", layer, "--dtype", "f32", "--out", out,
                                    *arguments)  # fmt: skip
        return read_labelled(out / f"{file}.safetensors")

    def texts_of(self, tensors, part):
        """Rows of each text; nothing else of it is in the file."""
        offsets = tensors[f"{part}_offsets"].tolist()
        return [tensors[f"{part}_x"][a:b] for a, b in zip(offsets, offsets[1:])]

    # --- files ---------------------------------------------------------------------------------

    def test_rows_are_what_the_model_makes_of_each_text_by_itself(self):
        for name in ("bert", "gpt2", "gemma2"):
            # gpt2's and gemma2's tokenizer adds nothing, and has a token for the beginning.
            path, model = self.model(name, tiny_tokenizer(framed=name == "bert"))
            rows = self.rows()
            tensors, metadata = self.make(
                path, "--csv", self.csv(rows, f"{name}.csv"), "--context", 8, file=name)
            self.assertEqual((metadata["task"], metadata["classes"]), (name, ["even", "odd"]))
            known, room = tiny_tokenizer().get_vocab(), 6 if name == "bert" else 7
            wanted = {label: [] for label in ("even", "odd")}
            for text, label in rows:
                ids = [known[word] for word in text.split()][:room]
                ids = torch.tensor([[CLS, *ids, *([SEP] if name == "bert" else [])]])
                with torch.no_grad():
                    hidden = model(input_ids=ids, output_hidden_states=True).hidden_states[2][0]
                wanted[label].append(hidden[1 : 1 + min(room, len(text.split()))])
            for part, count in (("train", 15), ("test", 5)):
                self.assertEqual(tensors[f"{part}_y"].tolist(), [0] * count + [1] * count)
                found = self.texts_of(tensors, part)
                self.assertEqual(sum(map(len, found)), len(tensors[f"{part}_x"]))
                for x, label in zip(found, tensors[f"{part}_y"].tolist()):
                    pool = wanted[metadata["classes"][label]]
                    near = [len(x) == len(w) and torch.allclose(x, w, atol=1e-5) for w in pool]
                    self.assertIn(True, near, f"{name} {part}")
                    pool.pop(near.index(True))  # each text is in the file once
            self.assertEqual([len(pool) for pool in wanted.values()], [0, 0])

    def test_rows_are_as_wide_as_the_site(self):
        path, model = self.model("gemma2")
        tensors, metadata = self.make(path, "--csv", self.csv(self.rows()), "--context", 8, "--site", "hook_z")
        self.assertEqual(tensors["train_x"].shape[1], 12)  # 2 heads of 6, in a stream of 8
        attention, caught = model.layers[1].self_attn, []
        attention.o_proj.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
        rows = self.texts_of(tensors, "train")
        known = tiny_tokenizer().get_vocab()
        for text, _ in self.rows():
            with torch.no_grad():
                model(input_ids=torch.tensor([[CLS, *(known[word] for word in text.split()[:6]), SEP]]))
        pool = [z[0, 1:-1] for z in caught]
        for x in rows:
            self.assertTrue(any(len(x) == len(z) and torch.allclose(x, z, atol=1e-5) for z in pool))
        self.assertEqual(metadata["source"]["hook_name"], "blocks.1.attn.hook_z")

    def test_special_and_unknown_tokens_are_no_rows_and_texts_of_them_alone_are_left_out(self):
        path, model = self.model("bert")
        rows = [("cat zebra dog", "a"), ("zebra zebra", "a"), ("mat", "b")] + [("cat", "a"), ("dog", "b")] * 4
        tensors, _ = self.make(path, "--csv", self.csv(rows))
        self.assertIn("left out: 1 of 11 texts, of which no token is left", self.output)
        self.assertIn("left out: 3 of 14 tokens, which are special or unknown", self.output)
        self.assertIn("used twice: 3 of 4 test texts are training texts too", self.output)
        lengths = [*tensors["train_offsets"].diff().tolist(), *tensors["test_offsets"].diff().tolist()]
        self.assertEqual(sorted(lengths), [1] * 9 + [2])
        ids = torch.tensor([[CLS, 5, UNK, 6, SEP]])
        with torch.no_grad():
            hidden = model(input_ids=ids, output_hidden_states=True).hidden_states[2][0]
        two = [x for part in ("train", "test") for x in self.texts_of(tensors, part) if len(x) == 2]
        torch.testing.assert_close(two[0], hidden[[1, 3]], rtol=1e-5, atol=1e-5)

    def test_the_seed_divides_and_limits_cut(self):
        arguments = mock.Mock(seed=0, test_share=0.25, train_texts=9, test_texts=4)
        groups = [[f"text {i}"] for i in range(40)]
        train, test = tasks.divide("a", groups, arguments)
        self.assertEqual((len(train), len(test)), (9, 4))
        self.assertEqual(set(train) & set(test), set())
        self.assertEqual(tasks.divide("a", groups, arguments), (train, test))
        self.assertNotEqual(tasks.divide("b", groups, arguments), (train, test))
        arguments.seed = 1
        self.assertNotEqual(tasks.divide("a", groups, arguments), (train, test))
        arguments.train_texts = arguments.test_texts = 100
        self.assertEqual([len(part) for part in tasks.divide("a", groups, arguments)], [30, 10])

    def test_groups_of_texts_stay_together(self):
        arguments = mock.Mock(seed=3, test_share=0.3, train_texts=100, test_texts=100)
        groups = [[f"{g} {i}" for i in range(1 + g % 5)] for g in range(20)]
        parts = tasks.divide("a", groups, arguments)
        train, test = ({text.split()[0] for text in part} for part in parts)
        self.assertEqual(train & test, set())
        self.assertEqual(sum(map(len, parts)), sum(map(len, groups)))
        self.assertTrue(18 <= len(parts[1]) < 18 + 5)

    def test_a_second_csv_is_the_test(self):
        path, _ = self.model("bert")
        train = self.csv([("cat dog", "a"), ("mat", "b"), ("cat cat", "a")])
        test = self.csv([("b", "dog dog dog"), ("a", "cat")], "other.csv", header="kind,words")
        self.fails(3, 'other.csv: no column "text"; its columns: kind, words', "--model", path, "--layer", 1,
                   "--csv", train, "--test-csv", test, "--out", self.folder / "tasks")  # fmt: skip
        test = self.csv([("dog dog dog", "b"), ("cat", "a")], "other.csv")
        tensors, _ = self.make(path, "--csv", train, "--test-csv", test, "--name", "both", file="both")
        self.assertEqual(tensors["train_y"].tolist(), [0, 0, 1])
        self.assertEqual(tensors["test_y"].tolist(), [0, 1])
        self.assertEqual(tensors["test_offsets"].tolist(), [0, 1, 4])

    def test_csv_may_quote_and_has_columns_of_any_name(self):
        path = self.folder / "quoted.csv"
        path.write_bytes('\ufeff"the text",n\r\n"a ""b"",\nc", 1 \r\nd,2\r\n"  ",1\r\n'.encode())
        found, notes = tasks.read_csv(path, ("the text", "n"))
        self.assertEqual(found, {"1": ['a "b",\nc'], "2": ["d"]})
        self.assertEqual(notes, [f"left out: 1 of 3 rows of {path}, without text"])

    def test_line_ends_change_no_text_of_a_csv_file(self):
        for end in ("\n", "\r\n", "\r"):
            path = self.folder / "ends.csv"
            path.write_bytes(f'text,label{end}"one{end}{end}two",x{end}three,y'.encode())
            found, _ = tasks.read_csv(path, ("text", "label"))
            self.assertEqual(found, {"x": ["one\n\ntwo"], "y": ["three"]}, repr(end))

    def test_articles_are_classes_and_paragraphs_stay_together(self):
        def paragraph(word, count):
            return " " + " . ".join([f"{word}{i} " + "cat " * 9 for i in range(count)]) + " . \n"

        text = "".join(
            f" = {title} = \n \n = = Part = = \n"
            + "".join(paragraph(f"{title}{p}x", 8) for p in range(paragraphs))
            for title, paragraphs in (("Short", 1), ("Long", 12), ("@-@", 9))
        )
        path = self.folder / "wiki.txt"
        path.write_text(text)
        limits = dict(seed=0, test_share=0.25, train_texts=99, test_texts=99)
        arguments = mock.Mock(wikitext=path, articles=2, **limits)
        task = tasks.from_wikitext(arguments, "[UNK]")
        self.assertEqual(task.classes, ["1: Long", "2: @-@"])
        for label, word, paragraphs in ((0, "Long", 12), (1, "@-@", 9)):
            parts = [[t for t, c in part if c == label] for part in (task.train, task.test)]
            starts = [{t.split("x")[0] for t in part} for part in parts]
            self.assertEqual(starts[0] & starts[1], set())
            self.assertEqual(starts[0] | starts[1], {f"{word}{p}" for p in range(paragraphs)})
            # Of eight sentences of eleven words three make a piece; the last two go with the second.
            self.assertEqual({len(t.split()) for part in parts for t in part}, {33, 55})

    def test_line_ends_change_no_article(self):
        sentence = "the cat sat on the mat and the dog ran to the cat and sat . "
        text = "".join(f" = {title} = \n \n = = Part = = \n{sentence * 9}\n{sentence}\n" for title in "AB")
        made = []
        for number, other in enumerate((text, "\ufeff" + text.replace("\n", "\r\n"), text.replace("\n", "\r"))):
            path = self.folder / f"{number}.txt"
            path.write_bytes(other.encode())
            limits = dict(seed=0, test_share=0.25, train_texts=3, test_texts=99)
            made.append(tasks.from_wikitext(mock.Mock(wikitext=path, articles=2, **limits), "[UNK]"))
        self.assertEqual(made[0].classes, ["1: A", "2: B"])
        self.assertEqual(made[1], made[0])
        self.assertEqual(made[2], made[0])
        self.assertIn("left out: 2 of 4 paragraphs of the others, under 25 words", made[0].notes)

    def test_says_what_limits_leave_out(self):
        path, _ = self.model("bert")
        csv, other = self.csv(self.rows()), self.csv(self.rows(8), "other.csv")
        self.make(path, "--csv", csv, "--test-csv", other, "--train-texts", 5, "--context", 5)
        self.assertIn("left out: 30 of 40 texts, for --train-texts and --test-texts", self.output)
        self.assertIn("used twice: 2 of 8 test texts are training texts too", self.output)
        self.assertRegex(self.output, r"left out: \d+ of \d+ tokens, at ends of texts, for --context")

    def test_wikitext_to_a_file(self):
        path, _ = self.model("bert")
        text = self.folder / "wiki.txt"
        line = " " + "cat dog <unk> mat on the " * 6 + ". \n"
        text.write_text(f" = One = \n{line * 8} = Two = \n{line * 5}")
        tensors, metadata = self.make(
            path, "--wikitext", text, "--articles", 2, "--context", 12, file="wiki_articles")
        self.assertEqual(metadata["classes"], ["1: One", "2: Two"])
        self.assertEqual(tensors["train_y"].bincount().tolist(), [6, 3])
        # Ten tokens a text, of which the third and the ninth are unknown.
        self.assertEqual(set(tensors["train_offsets"].diff().tolist()), {8})
        self.assertEqual(metadata["source"]["wikitext"][0]["file"], "wiki.txt")

    # --- SAEBench's data sets ------------------------------------------------------------------

    def data_sets(self):
        """The data sets, small: (name, configuration) to splits of columns, or rows to stream."""
        draw = random.Random(1)

        def text(*parts):
            return " ".join([*map(str, parts), *draw.choices(WORDS, k=3)])

        def columns(count, **values):
            rows = [{name: make() for name, make in values.items()} for _ in range(count)]
            return {name: [row[name] for row in rows] for name in values}

        def splits(**values):
            return {split: columns(count, **values) for split, count in (("train", 900), ("test", 500))}

        number = iter(range(10**6))
        streams = {
            ("Helsinki-NLP/europarl", pair): [
                {"translation": {language: text(pair, i), pair.replace(language, "").strip("-"): "no"}}
                for i in range(40)
            ]
            for language, pair in tasks.EUROPARL.items()
        }
        code = [
            {"language": language, "code": "cat dog " * (30 + i // 20) + str(i)}
            for i, language in enumerate(draw.choices([*tasks.LANGUAGES, "Perl"], k=900))
        ]
        return streams | {
            ("LabHC/bias_in_bios",): splits(
                profession=lambda: draw.randrange(28), gender=lambda: draw.randrange(2),
                hard_text=lambda: text(next(number))),
            ("canrager/amazon_reviews_mcauley_1and5",): splits(
                category=lambda: draw.randrange(7), rating=lambda: draw.choice([1.0, 5.0]),
                text=lambda: text(next(number))),
            ("fancyzhx/ag_news",): splits(
                label=lambda: draw.randrange(4), text=lambda: text(next(number))),
            ("codeparrot/github-code",): code,
        }  # fmt: skip

    @contextlib.contextmanager
    def small_data_sets(self, train=8, test=4):
        data = self.data_sets()

        def load_dataset(name, *configuration, **options):
            found = data[name, *configuration]
            self.assertEqual(bool(options.get("streaming")), isinstance(found, list))
            return found

        module = types.SimpleNamespace(load_dataset=load_dataset)
        with (
            mock.patch.dict(sys.modules, datasets=module),
            mock.patch.multiple(tasks, TRAIN=train, TEST=test),
        ):
            yield load_dataset

    def test_makes_every_data_set_of_saebench(self):
        path, _ = self.model("bert")
        out = self.folder / "tasks"
        with self.small_data_sets():
            self.run_well("--model", path, "--layer", 1, "--saebench", "--out", out)
        self.assertEqual(sorted(file.stem for file in out.iterdir()), sorted(tasks.SAEBENCH))
        classes = 0
        for file in out.iterdir():
            tensors, metadata = read_labelled(file)
            classes += len(metadata["classes"])
            self.assertEqual(tensors["train_x"].dtype, torch.bfloat16)
            self.assertEqual(tensors["train_y"].bincount().tolist(), [8] * len(metadata["classes"]))
            self.assertEqual(tensors["test_y"].bincount().tolist(), [4] * len(metadata["classes"]))
        self.assertEqual(classes, 36)  # 35 tasks, as the two ratings are one

    @unittest.skipUnless(importlib.util.find_spec("sae_bench"), "sae-bench is not installed")
    def test_texts_are_those_of_saebench(self):
        from sae_bench.sae_bench_utils import dataset_info, dataset_utils

        for name, chosen in dataset_info.chosen_classes_per_dataset.items():
            with self.subTest(name), self.small_data_sets() as load_dataset:
                with mock.patch.object(dataset_utils, "load_dataset", load_dataset):
                    parts = dataset_utils.get_multi_label_train_test_data(name, 16, 8, 42)
                theirs = [list(dataset_utils.filter_dataset(part, chosen).values()) for part in parts]
                task = tasks.saebench(name.split("/")[1])
                for part, wanted in zip((task.train, task.test), theirs):
                    ours = [[t for t, c in part if c == label] for label in range(len(task.classes))]
                    self.assertEqual(ours, wanted)

    def test_says_what_a_data_set_lacks(self):
        with self.small_data_sets(train=800), self.assertRaisesRegex(HarvestError, "sae-bench draws 800"):
            tasks.saebench("ag_news")
        with self.small_data_sets(train=80), self.assertRaisesRegex(HarvestError, "europarl, en: 40 texts"):
            tasks.saebench("europarl")
        with mock.patch.dict(sys.modules, datasets=None):
            with self.assertRaisesRegex(HarvestError, "pip install datasets"):
                tasks.saebench("ag_news")
        broken = types.SimpleNamespace(load_dataset=mock.Mock(side_effect=ValueError("no such\ndata")))
        with mock.patch.dict(sys.modules, datasets=broken):
            with self.assertRaisesRegex(HarvestError, "fancyzhx/ag_news: cannot load: no such data"):
                tasks.saebench("ag_news")

    # --- going on, mistakes --------------------------------------------------------------------

    def test_what_is_there_is_not_made_again_unless_it_was_made_otherwise(self):
        path, _ = self.model("bert")
        csv = self.csv(self.rows())
        self.make(path, "--csv", csv)
        before = (self.folder / "tasks" / "task.safetensors").stat().st_mtime_ns
        self.make(path, "--csv", csv)
        self.assertIn("is there already", self.output)
        self.assertEqual((self.folder / "tasks" / "task.safetensors").stat().st_mtime_ns, before)
        given = ["--model", path, "--dtype", "f32", "--csv", csv, "--out", self.folder / "tasks"]
        self.fails(3, "was made with another layer", *given, "--layer", 2)
        self.fails(3, "was made with another context", *given, "--layer", 1, "--context", 64)
        self.csv(self.rows(42))
        self.fails(3, "was made with another csv", *given, "--layer", 1)

    def test_a_kill_leaves_no_file(self):
        path, _ = self.model("bert")
        out = self.folder / "tasks"
        arguments = ["--model", path, "--layer", 1, "--csv", self.csv(self.rows()), "--out", out]
        self.kill_at(1, arguments)
        self.assertEqual(list(out.glob("*.safetensors")), [])
        self.run_well(*arguments)
        self.assertEqual([file.name for file in out.iterdir()], ["task.safetensors"])

    def test_says_in_one_line_what_is_wrong_and_leaves_nothing(self):
        path, _ = self.model("bert")
        csv, out = self.csv(self.rows()), self.folder / "tasks"
        (self.folder / "latin1.csv").write_bytes(b"text,label\ncaf\xe9,a\n")
        (self.folder / "short.csv").write_text("text,label\ncat,a\ndog\n")
        (self.folder / "long.csv").write_text("text,label\ncat,a\na cat, a dog,b\n")
        (self.folder / "empty.csv").write_text("")
        wiki = self.folder / "wiki.txt"
        wiki.write_text(" = One = \n cat \n")
        good = {"--model": path, "--layer": 1, "--out": out}
        csv_of = lambda name: {"--csv": self.folder / name}  # noqa: E731
        cases = [
            ({"--csv": csv, "--text": "body"}, 3, 'no column "body"; its columns: text, label'),
            ({"--csv": csv, "--layer": 3}, 3, "the model has blocks 0 to 2"),
            ({"--csv": csv, "--context": 2}, 3, "--context 2 leaves no room beside special tokens"),
            ({"--csv": csv, "--context": 9999}, 3, "--context 9999: the model takes at most 512"),
            ({"--csv": csv, "--device": "abacus"}, 1, "Expected one of cpu, cuda"),
            ({"--csv": self.csv([("cat", "a"), ("dog", "a")], "one.csv")}, 3, "got 1 classes"),
            ({"--csv": self.csv([("cat", "a"), ("dog", "b")], "few.csv")}, 3, 'no train sample of class "a"'),
            (csv_of("latin1.csv"), 3, "latin1.csv: not UTF-8 at byte"),
            (csv_of("short.csv"), 3, "row 3 has fewer columns than the first"),
            (csv_of("long.csv"), 3, "row 3 has more columns than the first"),
            (csv_of("empty.csv"), 3, 'no column "text"; its columns: none'),
            (csv_of("absent.csv"), 3, "absent.csv: cannot read: No such file"),
            ({"--wikitext": wiki}, 3, "1 articles, --articles asks for 10"),
            ({"--csv": csv, "--wikitext": wiki}, 2, "one of --saebench, --csv and --wikitext is needed"),
            ({}, 2, "one of --saebench, --csv and --wikitext is needed"),
            ({"--saebench": "imdb"}, 2, "invalid choice: 'imdb'"),
            ({"--csv": csv, "--test-share": 0}, 2, "--test-share must lie between 0 and 1"),
            ({"--csv": csv, "--train-texts": 0}, 2, "--train-texts must be at least 1"),
            ({"--wikitext": wiki, "--articles": 1}, 2, "--articles must be at least 2"),
        ]
        for change, status, message in cases:
            with self.subTest(change):
                self.fails(status, message, *[x for item in (good | change).items() for x in item])
                self.assertEqual(list(out.glob("*")), [])

    @unittest.skipUnless(os.environ.get("SAE_WRITE_GOLDEN"), "writes tests/golden/labelled")
    def test_writes_the_golden_file(self):
        path, _ = self.model("bert")
        self.make(path, "--csv", self.csv(self.rows(24)))
        target = ROOT / "tests" / "golden" / "labelled"
        target.mkdir(exist_ok=True)
        shutil.copyfile(self.folder / "tasks" / "task.safetensors", target / "task.safetensors")


if __name__ == "__main__":
    unittest.main()
