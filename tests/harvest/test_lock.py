"""Tests that a target has one writer at a time, whichever script writes it."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from common import ROOT, ScriptTest, byte_tokenizer

import first_letter
import harvest
import probing_tasks
import word_classes
from harvesting import HarvestError, labelled
from harvesting import store as stores
from harvesting.lock import WriteLock, beside

HOLD = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from harvesting.lock import WriteLock
lock = WriteLock(Path(sys.argv[2]), "it")
print("held", flush=True)
sys.stdin.read()
"""
ME = f"process {os.getpid()} on {socket.gethostname()}"


class Locks(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "out" / ".lock"

    def holder(self):
        """A process that holds the lock."""
        command = [sys.executable, "-c", HOLD, ROOT / "scripts", self.path]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), "held\n")
        return process

    def test_the_second_is_refused_and_names_the_first(self):
        process = self.holder()
        first = f"process {process.pid} on {socket.gethostname()}"
        self.assertEqual(self.path.read_text(), f"{socket.gethostname()} {process.pid}\n")
        with self.assertRaisesRegex(HarvestError, f"^it: another process is writing it: {first}; wait until"):
            WriteLock(self.path, "it")
        process.communicate("")
        WriteLock(self.path, "it").release()

    def test_what_a_killed_process_leaves_hinders_nobody(self):
        process = self.holder()
        process.kill()
        process.wait()
        self.assertTrue(self.path.exists())
        with WriteLock(self.path, "it"):
            self.assertEqual(self.path.read_text(), f"{socket.gethostname()} {os.getpid()}\n")
        self.assertFalse(self.path.exists())

    def test_a_file_that_its_holder_removes_is_not_held(self):
        held, flock = WriteLock(self.path, "it"), fcntl.flock

        def release_first(*arguments):
            fcntl.flock = flock
            held.release()
            flock(*arguments)

        with mock.patch("fcntl.flock", release_first):
            with WriteLock(self.path, "it"):
                self.assertTrue(self.path.exists())
                with self.assertRaisesRegex(HarvestError, "another process"):
                    WriteLock(self.path, "it")

    def test_a_folder_that_it_made_is_removed_if_nothing_is_in_it(self):
        above = self.path.parent.parent
        WriteLock(self.path.parent / "deep" / ".lock", "it").release()
        self.assertEqual(list(above.iterdir()), [])
        lock = WriteLock(self.path, "it")
        (self.path.parent / "result").touch()
        lock.release()
        self.assertEqual([path.name for path in self.path.parent.iterdir()], ["result"])
        self.path.parent.joinpath("result").unlink()
        WriteLock(self.path, "it").release()
        self.assertTrue(self.path.parent.exists())  # which another made

    def without_locks(self, content=None):
        """Takes the lock on a file system that has none."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            self.path.write_text(content)
        with mock.patch("fcntl.flock", side_effect=OSError(errno.ENOLCK, "No locks available")):
            with WriteLock(self.path, "it"):
                self.assertEqual(self.path.read_text(), f"{socket.gethostname()} {os.getpid()}\n")
                with self.assertRaisesRegex(HarvestError, f"writing it: {ME}; this file system has no"):
                    WriteLock(self.path, "it")
        self.assertFalse(self.path.exists())

    def test_without_locks_the_process_that_is_named_decides(self):
        here, process = socket.gethostname(), self.holder()
        for unknown in (f"{here} {process.pid}\n", "elsewhere 12\n", "", "what is this"):
            with self.assertRaisesRegex(HarvestError, "no locks: if that process has ended, remove .*lock"):
                self.without_locks(unknown)
        process.kill()
        process.wait()
        self.without_locks(f"{here} {process.pid}\n")
        self.without_locks()

    def test_another_error_is_no_holder(self):
        with mock.patch("fcntl.flock", side_effect=OSError(errno.EIO, "Input/output error")):
            with self.assertRaisesRegex(OSError, "Input/output error"):
                WriteLock(self.path, "it")


class Scripts(ScriptTest):
    """Each script while another process writes what it is to write, and after one was killed there."""

    TEXT = "the cat sat on a mat and the dog ran to the cat in a ring of mats\n"

    def setUp(self):
        super().setUp()
        (self.folder / "text.txt").write_text(self.TEXT * 20)
        (self.folder / "task.csv").write_text(
            "text,label\n" + "".join(f"the cat {i},a\na dog {i},b\n" for i in range(9)))
        (self.folder / "classes.json").write_text(
            json.dumps({"animal": ["cat", "dog"], "word": ["the", "and", "on", "to"]}))

    def check(self, script, out, lock, *arguments):
        self.script = script
        target = lock.parent.name if lock.name == ".lock" else out.name
        with WriteLock(lock, "it"):
            self.fails(3, f"{target}: another process is writing it: {ME}", *arguments)
            self.assertEqual(lock.read_text(), f"{socket.gethostname()} {os.getpid()}\n")
            self.assertFalse(out.exists())
        lock.parent.mkdir(exist_ok=True)
        lock.write_text("elsewhere 1\n")
        self.run_well(*arguments)
        self.assertFalse(lock.exists())
        self.fails(3, "exists already", *arguments) if script is not probing_tasks else None
        self.assertEqual([path.name for path in self.folder.rglob("*lock*")], [])

    def test_one_writer_of_each_target(self):
        path, _ = self.model("gpt2", byte_tokenizer(self.TEXT), vocab_size=400)
        model = ["--model", path, "--layer", 1]
        out = self.folder / "store"
        self.check(harvest, out, self.folder / "store.partial" / ".lock", *model, "--context", 8,
                   "--text", self.folder / "text.txt", "--out", out)  # fmt: skip
        self.assertFalse((self.folder / "store.partial").exists())
        words = self.folder / "words.safetensors"
        self.check(word_classes, words, beside(words), "--train", out, "--min-rows", 1,
                   "--classes", self.folder / "classes.json", "--out", words)  # fmt: skip
        letters = self.folder / "letters.safetensors"
        self.check(first_letter, letters, beside(letters), *model, "--template", "{word}", "--examples", 0,
                   "--out", letters)  # fmt: skip
        task = self.folder / "tasks" / "task.safetensors"
        self.check(probing_tasks, task, beside(task), *model, "--csv", self.folder / "task.csv",
                   "--out", self.folder / "tasks")  # fmt: skip

    def test_a_store_that_was_finished_meanwhile_is_not_made_again(self):
        out = self.folder / "store"
        refuse, calls = stores.refuse_existing, []

        def finished_between(target):
            calls.append(target)
            if len(calls) == 2:
                out.mkdir()
            refuse(target)

        with mock.patch.object(stores, "refuse_existing", finished_between):
            with self.assertRaisesRegex(HarvestError, "exists already"):
                stores.StoreWriter(out)
        self.assertEqual([path.name for path in self.folder.glob("store*")], ["store"])

    def test_a_writer_that_never_began_leaves_what_another_has_kept(self):
        out, partial = self.folder / "store", self.folder / "store.partial"
        partial.mkdir()
        (partial / "progress.json").write_text("{}")
        stores.StoreWriter(out).close()
        self.assertEqual([path.name for path in partial.iterdir()], ["progress.json"])

    def test_a_labelled_file_is_claimed_once(self):
        path = self.folder / "a.safetensors"
        with labelled.claimed(path):
            with self.assertRaisesRegex(HarvestError, f"a.safetensors: another .*{ME}"):
                with labelled.claimed(path):
                    self.fail("both write")


if __name__ == "__main__":
    unittest.main()
