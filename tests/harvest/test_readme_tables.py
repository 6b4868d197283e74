"""Tests of scripts/readme_tables.py on results written by hand."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "readme_tables.py"
RESULTS = """# Rates

    sae compare rates.json

6 runs, 2 seeds, 12 s of training; sae 0.1.0

| L0 | member | explained variance | uniqueness | F1 |
|---|---|---|---|---|
| 3 | a | .100 ± .001 | .9 | .500 |
|  | b \\| c | .110 ± .001 | .9 | .500 |
| 5 | a | .200 ± .002 | .9 | .600 |
|  | b \\| c | .210 ± .002 \\* | .9 | .600 |
| 7 | a | .300 ± .003 | .9 | .700 |
|  | b \\| c | .310 ± .003 | .9 | .700 |

Mean.
"""


class ReadmeTables(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "runs" / "rates").mkdir(parents=True)
        (self.folder / "runs" / "rates" / "results.md").write_text(RESULTS)
        (self.folder / "runs" / "rates" / "axes-rate.svg").write_text("<svg/>")
        self.readme = self.folder / "README.md"

    def fill(self, text):
        self.readme.write_text(text)
        command = [sys.executable, SCRIPT, self.readme, "--runs", self.folder / "runs"]
        return subprocess.run(command, capture_output=True, text=True)

    def test_the_middle_level_comes_in_with_its_origin(self):
        done = self.fill("before\n<!-- table rates -->\nold\n<!-- end -->\nafter ![r](pictures/rates/rate.svg)\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(
            self.readme.read_text(),
            "before\n<!-- table rates -->\n"
            "| L0 | member | explained variance |\n| --- | --- | --- |\n"
            "| 5 | a | .200 ± .002 |\n|  | b \\| c | .210 ± .002 \\* |\n\n"
            "L0 5; 6 runs, 2 seeds, 12 s of training; sae 0.1.0. F1: .600 throughout."
            " \\* outside the member's own range of L0.\n"
            "<!-- end -->\nafter ![r](pictures/rates/rate.svg)\n",
        )
        self.assertEqual((self.folder / "pictures" / "rates" / "rate.svg").read_text(), "<svg/>")

    def test_every_level_comes_in_where_it_is_asked_for(self):
        done = self.fill("<!-- table rates every level -->\n<!-- end -->\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(
            self.readme.read_text(),
            "<!-- table rates every level -->\n"
            "| L0 | member | explained variance | F1 |\n| --- | --- | --- | --- |\n"
            "| 3 | a | .100 ± .001 | .500 |\n|  | b \\| c | .110 ± .001 | .500 |\n"
            "| 5 | a | .200 ± .002 | .600 |\n|  | b \\| c | .210 ± .002 \\* | .600 |\n"
            "| 7 | a | .300 ± .003 | .700 |\n|  | b \\| c | .310 ± .003 | .700 |\n\n"
            "6 runs, 2 seeds, 12 s of training; sae 0.1.0. \\* outside the member's own range of L0.\n"
            "<!-- end -->\n",
        )

    def test_doing_it_again_changes_nothing(self):
        self.fill("<!-- table rates -->\n<!-- end -->\n")
        once = self.readme.read_text()
        self.fill(once)
        self.assertEqual(self.readme.read_text(), once)

    def test_what_was_not_run_stays_and_is_named(self):
        text = "<!-- table widths -->\nas it was\n<!-- end -->\n"
        done = self.fill(text)
        self.assertEqual(done.returncode, 1)
        self.assertIn("widths/results.md: not there", done.stderr)
        self.assertEqual(self.readme.read_text(), text)


if __name__ == "__main__":
    unittest.main()
