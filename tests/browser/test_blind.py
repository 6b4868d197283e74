"""Tests of the page that `sae blind` writes, in headless Chromium; see test_page.py."""

import json
import os
import random
import shutil
import subprocess
import tempfile
import unittest
from array import array
from pathlib import Path

import browser
from folders import write_sae, write_shard

COMMAND = os.environ.get("SAE_COMMAND")
D_IN, LATENTS, K, TOKENS, CONTEXT = 6, 40, 2, 4000, 40
# Text that would do harm or vanish if it were taken for markup; a character of two tokens.
WORDS = ["</script>", " <b>bold", "\n", " &amp;", "<F0 9F>", "<90 95>"] + [f" {a}{b}ords" for a in "wl" for b in "aeiou"]
BYTES = {"4": "f09f", "5": "9095"}


def write_store(folder, rng):
    folder.mkdir()
    tokens = array("i", [rng.randrange(len(WORDS)) for _ in range(TOKENS)])
    tensors = {"activations": ([TOKENS, D_IN], array("f", [rng.gauss(0, 1) for _ in range(TOKENS * D_IN)])),
               "tokens": ([TOKENS], tokens),
               "context": ([TOKENS], array("i", [i // CONTEXT for i in range(TOKENS)]))}  # fmt: skip
    vocabulary = {"format": "sae-vocabulary", "version": 2, "tokens": WORDS, "bytes": BYTES}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    write_shard(folder, D_IN, TOKENS, tensors)


@unittest.skipUnless(COMMAND, "SAE_COMMAND is not set")
@unittest.skipUnless(browser.find(), "no Chromium")
class Blind(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="sae-blind-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        rng = random.Random(0)
        for name in ("prima", "seconda"):
            write_sae(cls.folder / name, rng, D_IN, LATENTS, K)
        write_store(cls.folder / "store", rng)
        subprocess.run([COMMAND, "blind", cls.folder / "prima", cls.folder / "seconda", "--data", cls.folder / "store",
                        "--out", cls.folder / "study", "--items", "10", "--quiet", "--device", "cpu"],
                       check=True)  # fmt: skip
        cls.key = json.loads((cls.folder / "study" / "key.json").read_text())
        cls.ids = [item["id"] for item in cls.key["items"]]
        cls.browser = browser.Browser(browser.find())
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        self.browser.problems.clear()
        self.browser.requests.clear()
        self.ask, self.press = self.browser.ask, self.browser.press
        self.open()
        while self.ask("state.rater !== '' || localStorage.length > 0"):  # the next page may be quicker than what clears it
            self.ask("localStorage.clear()")
            self.open()

    def tearDown(self):
        self.assertEqual(self.browser.problems, [])
        others = [url for url in self.browser.requests if not url.startswith(("file:", "about:", "data:", "blob:"))]
        self.assertEqual(others, [])

    def open(self, **how):
        self.browser.open((self.folder / "study" / "page.html").as_uri(), **how)

    def begin(self, rater="ab"):
        self.ask("document.getElementById('rater').focus()")
        self.browser.type(rater)
        self.press("Enter")

    def practise(self):
        """To the first item that counts."""
        while self.progress().startswith("Practice"):
            self.press("1")
            self.press("Enter")

    def progress(self):
        return self.ask("document.getElementById('progress').textContent")

    def shown(self):
        return self.ask("[...document.querySelectorAll('main > section')].filter(s => !s.hidden).map(s => s.id)")

    def stored(self):
        return self.ask("JSON.parse(localStorage.getItem('sae-blind-' + document.body.dataset.sha256))")

    def choices(self):
        return {id: answer["choice"] for id, answer in self.stored()["answers"].items()}

    def save(self, button):
        """The file that the page saves."""
        folder = self.folder / "saved"
        folder.mkdir(exist_ok=True)
        self.browser("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self.ask(f"document.getElementById('{button}').click()")
        for _ in range(500):
            found = [path for path in folder.iterdir() if path.suffix == ".json"]
            if found and found[0].read_text().endswith("\n"):
                return found[0].rename(self.folder / found[0].name)
            self.ask("new Promise(done => setTimeout(done, 20))")
        raise TimeoutError("no file was saved")

    def test_is_answered_with_the_keyboard_alone_from_the_first_to_the_file(self):
        self.begin("R. Ä/b")
        self.assertEqual(self.progress(), "Practice 1 of 5")
        for number in range(5):
            answer = self.ask(f"practice[{number}].answer")
            self.press(str(answer if number % 2 == 0 else answer % 5 + 1))
            said = self.ask("document.getElementById('feedback').textContent")
            self.assertTrue(said.startswith("Yes: text" if number % 2 == 0 else "No: text"), said)
            self.assertEqual(self.ask("document.querySelectorAll('#texts .answer kbd')[0].textContent"), str(answer))
            self.assertEqual(self.ask("document.activeElement.id"), "onward")
            self.press("Enter")
        for number in range(len(self.ids)):
            self.assertEqual(self.progress(), f"{number + 1} of {len(self.ids)}")
            self.press(str(number % 6))
        self.assertEqual(self.shown(), ["end"])
        file = self.save("save")
        self.assertEqual(file.name, "answers-R-Ä-b.json")
        saved = json.loads(file.read_text())
        self.assertEqual(saved["sha256"], self.key["sha256"])
        self.assertEqual([(a["id"], a["choice"]) for a in saved["answers"]],
                         [(id, number % 6) for number, id in enumerate(self.ids)])  # fmt: skip
        self.assertTrue(all(0 <= a["ms"] < 60000 for a in saved["answers"]))
        grade = subprocess.run([COMMAND, "blind", "grade", self.folder / "study", file, "--json"],
                               check=True, capture_output=True)  # fmt: skip
        rater = json.loads(grade.stdout)["raters"][0]
        self.assertEqual((rater["name"], rater["answers"]), ("R. Ä/b", 20))

    def test_answers_survive_a_reload(self):
        self.begin()
        self.practise()
        for key in "205":
            self.press(key)
        self.open()
        self.assertEqual(self.progress(), f"4 of {len(self.ids)}")
        self.assertEqual(self.choices(), dict(zip(self.ids, [2, 0, 5])))
        self.assertIn("3 answers, kept in this browser", self.ask("document.getElementById('kept').textContent"))
        self.open(width=360)
        self.press("1")
        self.assertEqual(self.choices()[self.ids[3]], 1)
        saved = json.loads(self.save("save_now").read_text())
        self.assertEqual(len(saved["answers"]), 4)
        self.assertIn("4 answers saved", self.ask("document.getElementById('kept').textContent"))

    def test_goes_back_and_forth_and_changes_an_answer(self):
        self.begin()
        self.practise()
        self.press("ArrowLeft")  # nothing before the first
        self.press("ArrowRight")  # nor on, without an answer
        self.assertEqual(self.progress(), f"1 of {len(self.ids)}")
        self.press("1")
        self.press("2")
        before = self.stored()["answers"][self.ids[0]]["ms"]
        self.press("ArrowLeft")
        self.press("ArrowLeft")
        pressed = "[...document.querySelectorAll('[aria-pressed=true] kbd')].map(k => k.textContent)"
        self.assertEqual(self.ask(pressed), ["1"])
        self.press("4")
        self.assertEqual(self.choices()[self.ids[0]], 4)
        self.assertGreaterEqual(self.stored()["answers"][self.ids[0]]["ms"], before)
        self.assertEqual(self.ask(pressed), ["2"])
        self.press("ArrowRight")
        self.assertEqual(self.progress(), f"3 of {len(self.ids)}")
        self.assertEqual(self.choices()[self.ids[1]], 2)

    def test_takes_no_answer_from_a_key_that_is_held_or_a_second_click(self):
        self.begin()
        self.practise()
        self.ask("document.dispatchEvent(new KeyboardEvent('keydown', {key: '3', repeat: true}))")
        self.ask("document.querySelector('#texts button').dispatchEvent(new MouseEvent('click', {detail: 2}))")
        self.assertEqual(self.choices(), {})
        self.ask("document.querySelectorAll('#texts button')[2].click()")
        self.assertEqual(self.choices(), {self.ids[0]: 3})
        self.ask("document.getElementById('unsure').click()")
        self.assertEqual(self.choices()[self.ids[1]], 0)

    def test_begins_anew_for_another_person(self):
        self.begin()
        self.practise()
        for _ in self.ids:
            self.press("1")
        self.save("save")
        self.ask("document.getElementById('again').click()")
        self.assertEqual(self.shown(), ["start"])
        self.assertEqual(self.stored()["answers"], {})

    def test_works_without_a_name_and_where_nothing_can_be_kept(self):
        self.ask("Storage.prototype.setItem = () => { throw new Error('full'); }")
        self.begin("")
        self.practise()
        self.press("1")
        self.assertEqual(self.progress(), f"2 of {len(self.ids)}")
        self.assertIn("save before you close", self.ask("document.getElementById('kept').textContent"))
        self.assertRegex(self.ask("state.rater"), "^rater-[a-z0-9]+$")

    def test_shows_texts_as_they_are(self):
        self.begin()
        self.practise()
        self.assertEqual(self.ask("document.querySelectorAll('#texts b, #texts script').length"), 0)
        text = "document.getElementById('texts').textContent"
        seen = ""
        for _ in range(5):
            seen += self.ask(text)
            self.press("1")
        for part in ("</script>", "<b>bold", "↵", "&amp;", "\U0001f415"):
            self.assertIn(part, seen)
        self.assertEqual(self.ask("document.getElementById('sha256').textContent"), self.key["sha256"])

    def test_is_readable_at_every_width_in_light_and_dark(self):
        self.begin()
        for width in (1280, 820, 360, 320):
            for dark in (False, True):
                for step in ("practice", "feedback", "item"):
                    self.ask("localStorage.setItem('sae-blind-' + document.body.dataset.sha256, JSON.stringify("
                             f"{{rater: 'ab', practised: {5 if step == 'item' else 0}, answers: {{}}}}))")  # fmt: skip
                    self.open(width=width, dark=dark)
                    if step == "feedback":
                        self.press("1")
                    wide = self.ask("document.documentElement.scrollWidth - innerWidth")
                    self.assertLessEqual(wide, 0, (width, step))
                    self.assertGreater(self.least_contrast(), 4.5, (width, dark, step))
                    self.look(f"blind-{step}-{width}-{'dark' if dark else 'light'}")

    def least_contrast(self):
        """Of what is read with what is behind it."""
        return self.ask("""(() => {
            const numbers = color => color.match(/[\\d.]+/g).map(Number);
            const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
                .map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
                .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
            const behind = e => { const [r, g, b, a = 1] = numbers(getComputedStyle(e).backgroundColor);
                return a > 0 ? [r, g, b] : behind(e.parentElement); };
            return Math.min(...[...document.querySelectorAll('h1, h2, p, mark, .words, button, kbd, code')]
                .filter(e => e.getClientRects().length && !e.disabled)
                .map(e => [light(numbers(getComputedStyle(e).color)), light(behind(e))].sort((p, q) => q - p))
                .map(([x, y]) => (x + .05) / (y + .05)));
        })()""")

    def look(self, name):
        """A person looks at these."""
        if os.environ.get("SAE_SCREENSHOTS"):
            self.browser.screenshot(Path(os.environ["SAE_SCREENSHOTS"]) / (name + ".png"))

    def test_names_what_can_be_used(self):
        self.assertEqual(self.ask("[...document.querySelectorAll('input')].filter(e => e.labels.length === 0).length"), 0)
        self.begin()
        self.assertEqual(self.ask("document.activeElement.id"), "progress")
        self.press("Tab")
        self.assertEqual(self.ask("document.activeElement.querySelector('kbd').textContent"), "1")
        self.assertNotEqual(self.ask("getComputedStyle(document.activeElement).outlineStyle"), "none")


if __name__ == "__main__":
    unittest.main()
