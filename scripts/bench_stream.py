#!/usr/bin/env python3
"""A run on a stream beside one on a store of the same text: explained variance and tokens a second.

Trains TopK on what scripts/harvest.py makes meanwhile, then harvests as many tokens into a store and
trains on that with three seeds, and evaluates all of them on another text. Run it with the Python of
scripts/harvest.py, one thread each for harvesting and training:

    ~/.cache/sae.cpp/harvest/bin/python scripts/bench_stream.py --model MODEL --layer 1 \\
        --text wiki.txt --other-text austen.txt
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HELD_OUT, WINDOW = 32768, 65536


def run(command, **more):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"bench_stream: {shlex.join(map(str, command))}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def harvest(given, text):
    return [sys.executable, ROOT / "scripts/harvest.py", "--model", given.model, "--layer", given.layer, "--dtype",
            "bf16", "--text", text, "--context", 128, "--batch", 16, "--threads", 1]


def train(given, folder, name, data, seed):
    config = {
        "seed": seed,
        "model": {"architecture": "topk", "d_sae": given.d_sae, "k": 32, "dead_after_tokens": 100000},
        "data": data,
        "train": {"batch": 1024, "lr": 3e-3, "tokens": given.tokens, "log_every": 20, "input_norm": "sqrt_d",
                  "checkpoint_every": 0},
        "eval": {"tokens": HELD_OUT // 2},
    }
    file = folder / f"{name}.json"
    file.write_text(json.dumps(config))
    began = time.monotonic()
    run([given.sae, "train", file, "--threads", 1, "--out", folder / name, "--quiet"])
    seconds = time.monotonic() - began
    rows = [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
    group = json.dumps({"kind": "store", "path": str(folder / "other"), "held_out": 0.9})
    found = run([given.sae, "eval", folder / name, "--data", group, "--set", "eval.tokens=30000", "--json", "--quiet"])
    return json.loads(found)["explained_variance"], statistics.median(row["tokens_per_s"] for row in rows), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--layer", type=int, default=1)
    parser.add_argument("--text", required=True, type=Path)
    parser.add_argument("--other-text", required=True, type=Path)
    parser.add_argument("--tokens", type=int, default=250000)
    parser.add_argument("--d-sae", type=int, default=3072)
    parser.add_argument("--sae", type=Path, default=ROOT / "build" / "sae", help="the command (default: build/sae)")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="sae-stream-bench-") as name:
        folder = Path(name)
        run([*harvest(given, given.other_text), "--tokens", 40000, "--out", folder / "other"])
        command = shlex.join(map(str, [*harvest(given, given.text), "--stream"]))
        stream = {"kind": "stream", "command": f"exec {command}", "held_out": HELD_OUT, "window": WINDOW}
        print("| activations | explained variance on another text | tokens/s while training | seconds |\n|---|---|---|---|")

        def row(label, result):
            print(f"| {label} | {result[0]:.4f} | {result[1]:,.0f} | {result[2]:.0f} |", flush=True)

        row("a stream", train(given, folder, "stream", stream, 0))
        began = time.monotonic()
        run([*harvest(given, given.text), "--tokens", HELD_OUT + given.tokens, "--out", folder / "store"])
        seconds = time.monotonic() - began
        store = {"kind": "store", "path": str(folder / "store"), "held_out": 0.1}
        for seed in range(3):
            row(f"a store, seed {seed}", train(given, folder, f"store-{seed}", store, seed))
        print(f"\nHarvesting the store took {seconds:.0f} s: {(HELD_OUT + given.tokens) / seconds:,.0f} tokens/s.")


if __name__ == "__main__":
    main()
