"""Tests of how the scripts read text: documents and windows, whatever system the text is from."""

import hashlib
import shutil
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from common import tiny_tokenizer

from harvesting import HarvestError
from harvesting import text as texts
from harvesting.windows import Windows

ARTICLES = [
    " = Cats = \n \n the cat sat on the mat \n = = On mats = = \n a cat ran \n",
    " = Dogs = \n \n a dog ran to the mat and sat \n the dog sat on the cat \n",
]


def variants(text):
    """The text as other systems write it."""
    return {
        "Windows": text.replace("\n", "\r\n"),
        "old Macintosh": text.replace("\n", "\r"),
        "mixed": text.replace("\n", "\r\n", 3),
        "byte order mark": "\ufeff" + text,
        "both": "\ufeff" + text.replace("\n", "\r\n"),
    }


def documents(source):
    return ["".join(pieces) for pieces in source.documents()]


def tally(windows):
    """Of all of the text."""
    for _ in windows:
        pass
    return windows.tally


class TextTest(unittest.TestCase):
    def files(self, form, *contents):
        """The documents of files with these contents, bytes or text."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for number, content in enumerate(contents):
            data = content.encode() if isinstance(content, str) else content
            (Path(folder.name) / f"{number}.txt").write_bytes(data)
        return texts.Texts(mock.Mock(document=form, dataset=None, text=[Path(folder.name)]))

    def rows(self, form, rows):
        """The documents of a data set."""
        source = object.__new__(texts.Texts)
        source.form, source.column, source.files = form, "text", None
        source.rows = [{"text": row} for row in rows]
        return source

    def windows(self, source, context=6, **options):
        arguments = dict(text_form="plain", bos=False, stride=None, tokens=None, seed=None, pack=False)
        return Windows(source, tiny_tokenizer(), mock.Mock(context=context, **arguments | options))


class Documents(TextTest):
    def test_wikitext_form_undoes_its_markers(self):
        text = texts.wikitext("a @-@ b 1 @,@ 000 <unk> 1 @.@ 5", "[UNK]")
        self.assertEqual(text, "a - b 1 , 000 [UNK] 1 . 5")

    def test_documents_are_rows_articles_or_lines(self):
        rows = ["", " = One = \n", " = = Part = = \n", " text \n", "", " = B = \n", " more \n"]
        self.assertEqual(documents(self.rows("whole", rows)), rows)
        articles = [" = One = \n = = Part = = \n text \n", " = B = \n more \n"]
        self.assertEqual(documents(self.rows("article", rows)), articles)
        self.assertEqual(documents(self.rows("article", ["".join(rows)])), articles)
        self.assertEqual(len(documents(self.rows("line", rows))), 5)

    def test_line_ends_and_byte_order_marks_change_no_document(self):
        text = "".join(ARTICLES)
        for form, count in (("whole", 1), ("article", 2), ("line", 7)):
            expected = documents(self.files(form, text))
            self.assertEqual(len(expected), count)
            for name, other in variants(text).items():
                with self.subTest(form=form, text=name):
                    self.assertEqual(documents(self.files(form, other)), expected)
                    self.assertEqual(documents(self.rows(form, [other])), expected)

    def test_headings_are_found_with_blanks_missing_or_too_many(self):
        for line, level, title in [
            (" = The cat = \n", 1, "The cat"),
            ("= The cat =\n", 1, "The cat"),
            ("=The cat=", 1, "The cat"),
            ("\t=  The cat =  ", 1, "The cat"),
            ("\u00a0=\u00a0The cat\u00a0=\u00a0\n", 1, "The cat"),
            (" = 1 = 2 = \n", 1, "1 = 2"),
            (" = = Its mat = = \n", 2, "Its mat"),
            ("== Its mat ==", 2, "Its mat"),
            (" = = = Made of = = = \n", 3, "Made of"),
            (" the cat = the dog \n", 0, ""),
            (" = the cat \n", 0, ""),
            (" = = = \n", 0, ""),
            ("====\n", 0, ""),
            ("\n", 0, ""),
        ]:
            self.assertEqual(texts.heading(line), (level, title), line)

    def test_an_article_ends_with_its_file(self):
        first, second = ARTICLES[0].rstrip("\n"), "a dog sat on a mat"
        self.assertEqual(documents(self.files("article", first, second)), [first, second])
        self.assertEqual(
            documents(self.files("article", first, ARTICLES[1])), [first, ARTICLES[1]])

    def test_rows_without_line_ends_are_lines_all_the_same(self):
        with_ends = "".join(ARTICLES).splitlines(keepends=True)
        without = "".join(ARTICLES).splitlines()
        self.assertEqual(documents(self.rows("article", without)), ARTICLES)
        self.assertEqual(documents(self.rows("article", with_ends)), ARTICLES)

    def test_names_the_files_that_are_the_same(self):
        self.assertEqual(self.files("whole", "a cat", "a dog", "a cat").repeated(), [["0.txt", "2.txt"]])
        self.assertEqual(self.files("whole", "a cat", "a dog").repeated(), [])

    def test_what_is_recorded_of_a_file_is_the_hash_of_its_bytes(self):
        recorded = self.files("whole", "\ufeffa\r\n").source[0]["sha256"]
        self.assertEqual(recorded, hashlib.sha256(b"\xef\xbb\xbfa\r\n").hexdigest())

    def test_blocks_are_the_text_cut_at_ends_of_lines(self):
        with mock.patch.object(texts, "BLOCK", 10):
            for text in ("", "ab\ncd\nef\n", "a" * 25, "abc def ghi jkl mno", "\n" * 30):
                self.assertEqual("".join(texts.blocks([text])), text)
                self.assertTrue(all(0 < len(b) <= 10 for b in texts.blocks([text])))
            self.assertEqual(list(texts.blocks(["abcd\nefg\nhij"])), ["abcd\nefg\n", "hij"])
            self.assertEqual(list(texts.blocks(["abcd efgh ij"])), ["abcd efgh", " ij"])

    def test_what_a_text_comes_in_changes_no_block_and_no_line(self):
        text = "the \u00e9 cat\r\n<unk> @-@ sat\ron \U0001f431\n\nthe mat" * 5
        path = Path(tempfile.mkdtemp()) / "text"
        self.addCleanup(shutil.rmtree, path.parent)
        path.write_bytes(text.encode())
        whole = texts.plain(text)
        with mock.patch.object(texts, "BLOCK", 10):
            expected = list(texts.blocks([whole]))
            for size in (1, 2, 3, 7, 1000):
                with mock.patch.object(texts, "READ", size):
                    self.assertEqual(texts.read_text(path), whole)
                    self.assertEqual(list(texts.blocks(texts.read_pieces(path))), expected)
                    self.assertEqual(list(texts.lines_of(texts.read_pieces(path))), whole.splitlines(True))
                    formed = (texts.wikitext(p, "?") for p in texts.whole_lines(texts.read_pieces(path)))
                    self.assertEqual("".join(formed), texts.wikitext(whole, "?"))

    def test_bytes_that_are_no_text_are_named_wherever_they_are(self):
        path = Path(tempfile.mkdtemp()) / "text"
        self.addCleanup(shutil.rmtree, path.parent)
        for data, at in (
            (b"\xff", 0), (b"abcdef\xe9 ", 6), ("caf\u00e9".encode() + b"\xc3", 5), (b"ab\xf0\x9f\x90", 2),
        ):  # fmt: skip
            path.write_bytes(data)
            for size in (1, 2, 3, 1000):
                with mock.patch.object(texts, "READ", size):
                    with self.assertRaisesRegex(HarvestError, f"not UTF-8 at byte {at}$", msg=(data, size)):
                        texts.read_text(path)


class WindowsOfText(TextTest):
    def test_packed_windows_run_on_over_the_ends_of_documents(self):
        cat, dog, mat, end = 5, 6, 9, 2
        rows = ["cat dog cat", "dog dog", "mat mat mat"]
        windows = self.windows(self.rows("whole", rows), tokens=5, pack=True)
        self.assertEqual(
            [window.ids[1:5].tolist() for window in windows],
            [[cat, dog, cat, end], [dog, dog, end, mat]],
        )
        with self.assertRaisesRegex(HarvestError, "the longest of 3 has 3; --pack"):
            list(self.windows(self.rows("whole", rows), tokens=5))

    def test_no_window_reaches_into_the_next_document_whatever_the_line_ends(self):
        words = {"Cats": "the cat sat on the mat to the end ", "Dogs": "a dog ran and ran in a ring of it "}
        text = "".join(f" = {title} = \n \n {line * 5}\n{line * 2}\n" for title, line in words.items()) * 3
        own = {id for word in ("cat", "sat", "mat") for id in tiny_tokenizer()(word)["input_ids"][1:2]}
        expected = [w.ids.tolist() for w in self.windows(self.files("article", text))]
        self.assertGreater(len(expected), 60)
        for block in (1 << 20, 50):
            with mock.patch.object(texts, "BLOCK", block):
                for name, other in ({"plain": text} | variants(text)).items():
                    windows = [w.ids.tolist() for w in self.windows(self.files("article", other))]
                    self.assertEqual(windows, expected, (name, block))
        ran = tiny_tokenizer()("ran")["input_ids"][1]
        self.assertTrue(all(not (own & set(ids) and ran in ids) for ids in expected))

    def test_counts_what_no_window_holds(self):
        rows = ["cat", "cat dog cat dog cat", "", "mat mat", "dog " * 8]
        found = tally(self.windows(self.rows("whole", rows)))
        self.assertEqual((found.documents, found.tokens), (4, 16))
        self.assertEqual((found.short, found.short_tokens, found.tail, found.between), (2, 3, 1, 0))
        self.assertEqual(
            found.describe(pack=False),
            "left out: 2 of 4 documents, which are shorter than a window (3 tokens); 1 tokens at ends of "
            "documents, which fill no window: 25 % of the text's 16 tokens; --pack lets windows run on "
            "over the ends of documents",
        )
        apart = tally(self.windows(self.rows("whole", ["cat " * 14]), stride=5))
        self.assertEqual((apart.between, apart.tail), (2, 0))
        close = tally(self.windows(self.rows("whole", ["cat " * 7]), stride=1))
        self.assertEqual((close.left_out, close.describe(pack=False)), (0, ""))

    def test_counts_the_end_of_packed_text(self):
        found = tally(self.windows(self.rows("whole", ["cat", "dog dog", "mat"]), pack=True))
        self.assertEqual((found.documents, found.tokens, found.short, found.tail), (3, 7, 0, 3))
        self.assertNotIn("--pack", found.describe(pack=True))


if __name__ == "__main__":
    unittest.main()
