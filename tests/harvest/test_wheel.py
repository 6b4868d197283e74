"""Tests of scripts/packaging, on a program of one line in place of the command."""

import base64
import csv
import hashlib
import importlib.machinery
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
PACK = ROOT / "scripts" / "packaging" / "pack.py"
sys.path.insert(0, str(PACK.parent))
import launcher  # noqa: E402
import pack  # noqa: E402

COMPILER = next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++"))), None)
PROGRAM = '#include <cstdio>\nint main(int n, char** words) { std::printf("%s\\n", words[n - 1]); }\n'


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)


@unittest.skipUnless(COMPILER and shutil.which("readelf"), "no compiler")
class Wheel(Folder):
    def build(self, *options, runpath=pack.RUNPATH):
        program = self.folder / "sae"
        subprocess.run(
            [COMPILER, "-x", "c++", "-", "-o", program, "-s", f"-Wl,--enable-new-dtags,-rpath,{runpath}", *options],
            input=PROGRAM.encode(), check=True)  # fmt: skip
        return program

    def pack(self, program, *more, out="dist"):
        command = [sys.executable, PACK, program, "--version", "1.2.0", "--torch", "2.11.0", "--out", self.folder / out]
        return subprocess.run([*command, *more], capture_output=True, text=True)

    def packed(self, *more, out="dist"):
        done = self.pack(self.build(), *more, out=out)
        self.assertEqual(done.returncode, 0, done.stderr)
        return Path(done.stdout.strip())

    def refuses(self, program, message):
        done = self.pack(program)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(message, done.stderr)
        self.assertFalse((self.folder / "dist").exists() and any((self.folder / "dist").iterdir()))

    def test_record_has_the_hash_and_size_of_every_file(self):
        with zipfile.ZipFile(self.packed()) as archive:
            record = list(csv.reader(archive.read("sae_cpp-1.2.0.dist-info/RECORD").decode().splitlines()))
            self.assertEqual(archive.namelist(), [name for name, _, _ in record])
            self.assertEqual(record.pop(), ["sae_cpp-1.2.0.dist-info/RECORD", "", ""])
            self.assertEqual(len(record), 7)
            for name, digest, size in record:
                data = archive.read(name)
                expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
                self.assertEqual((digest, size), (f"sha256={expected}", str(len(data))))

    def test_the_same_binary_makes_the_same_bytes(self):
        first, second = self.packed(), self.packed(out="again")
        self.assertEqual(first.name, second.name)
        self.assertEqual(first.read_bytes(), second.read_bytes())

    def test_metadata_name_version_licence_and_torchs_series(self):
        path = self.packed()
        self.assertRegex(path.name, r"^sae_cpp-1\.2\.0-py3-none-manylinux_2_\d+_(x86_64|aarch64)\.whl$")
        with zipfile.ZipFile(path) as archive:
            metadata = archive.read("sae_cpp-1.2.0.dist-info/METADATA").decode()
            for line in ("Name: sae-cpp", "Version: 1.2.0", "License-Expression: MIT", "Requires-Dist: torch==2.11.*"):
                self.assertIn(f"{line}\n", metadata)
            wheel = archive.read("sae_cpp-1.2.0.dist-info/WHEEL").decode()
            self.assertIn(f"Tag: {path.stem.removeprefix('sae_cpp-1.2.0-')}\n", wheel)
            self.assertIn("Root-Is-Purelib: false\n", wheel)
            self.assertEqual(archive.read("sae_cpp-1.2.0.dist-info/licenses/LICENSE"), (ROOT / "LICENSE").read_bytes())
        other = self.packed("--default-torch", "2.10")
        self.assertTrue(other.name.startswith("sae_cpp-1.2.0+torch2.11-py3-none-"))

    def test_pip_installs_a_command_that_is_the_binary(self):
        path, site = self.packed(), self.folder / "site"
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-index"]
        done = subprocess.run([*pip, "--no-deps", "--target", site, path], capture_output=True, text=True)
        if "No module named pip" in done.stderr:
            self.skipTest("no pip")
        self.assertEqual(done.returncode, 0, done.stderr)
        alone = os.environ | {"PYTHONPATH": str(site)}
        command = [sys.executable, "-S", "-m", "sae_cpp", "--word"]
        done = subprocess.run(command, env=alone, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr.strip()),
                         (1, "sae: PyTorch is not installed beside it; pip install torch==2.11.*"))  # fmt: skip
        library = site / "torch" / "lib" / "libtorch_cpu.so"
        library.parent.mkdir(parents=True)
        library.touch()
        for command in (command, [site / "bin" / "sae", "--word"]):
            done = subprocess.run(command, env=alone, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "--word\n", ""))

    def test_refuses_what_would_not_run_elsewhere(self):
        self.refuses(self.build(runpath="/home/somebody/torch/lib"), "/home/somebody/torch/lib, expected $ORIGIN/..")
        library = self.folder / "libfmt.so.9"
        subprocess.run([COMPILER, "-x", "c++", "-shared", "-o", library, "-Wl,-soname,libfmt.so.9", "-"],
                       input=b"", check=True)  # fmt: skip
        self.refuses(self.build("-Wl,--no-as-needed", "-x", "none", library), "needs libfmt.so.9, which neither")
        text = self.folder / "text"
        text.write_text("not a program")
        self.refuses(text, "not a program of this system")
        self.refuses(self.folder / "missing", "not a program of this system")

    def test_refuses_what_is_too_large(self):
        program = self.build()
        program.write_bytes(program.read_bytes() + os.urandom(pack.MOST_BYTES))
        self.refuses(program, "at most 5,000,000 are allowed; is the binary stripped?")


class Platform(unittest.TestCase):
    def tag(self, **versions):
        numbers = {name: tuple(map(int, version.split("."))) for name, version in versions.items()}
        return pack.platform_of(pack.Binary("x86_64", "", [], "", numbers), "sae")

    def test_is_the_oldest_that_has_the_symbols(self):
        self.assertEqual(self.tag(GLIBC="2.34"), "manylinux_2_34_x86_64")
        self.assertEqual(self.tag(GLIBC="2.34", GLIBCXX="3.4.30"), "manylinux_2_35_x86_64")
        self.assertEqual(self.tag(GLIBC="2.38", GLIBCXX="3.4.9"), "manylinux_2_38_x86_64")
        self.assertEqual(self.tag(GLIBC="2.35", GLIBCXX="3.4.31"), "manylinux_2_38_x86_64")
        with self.assertRaisesRegex(pack.PackError, "GLIBCXX_3.4.99, of which no system is known"):
            self.tag(GLIBC="2.35", GLIBCXX="3.4.99")


class Launcher(Folder):
    def torch_in(self, folder):
        library = folder / "torch" / "lib" / "libtorch_cpu.so"
        library.parent.mkdir(parents=True)
        library.touch()
        (folder / "torch" / "__init__.py").write_text("raise SystemExit('imported')")
        return library.parent

    def test_takes_the_torch_beside_it_or_tells_the_loader_of_another(self):
        here = self.folder / "venv" / "sae_cpp"
        elsewhere = self.torch_in(self.folder / "system")
        words = [launcher.LOADER, "--library-path", str(elsewhere), str(here / "sae")]
        found = importlib.machinery.PathFinder.find_spec("torch", [str(self.folder / "system")])
        with mock.patch("importlib.util.find_spec", return_value=found):
            self.assertEqual(launcher.command(here), words)
        self.torch_in(self.folder / "venv")
        self.assertEqual(launcher.command(here), [str(here / "sae")])


if __name__ == "__main__":
    unittest.main()
