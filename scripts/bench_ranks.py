#!/usr/bin/env python3
"""What training over ranks costs on one machine: step time, bytes sent and time spent on sending.

Runs `sae train` over scripts/launch for every layout, latents x data, with the same number of threads
in all where the cores suffice, and prints a table: milliseconds a step (the median of the reports
after the first), megabytes that a rank sends in a step beside what the formula says, and the shares of
the time spent on sending and on waiting for data. Layouts take turns in each of --rounds; what counts
is the fastest.

    scripts/bench_ranks.py --shape 768,16384,32,2048
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_peers import ROOT, Failure, cpu_text, find_sae, make_store, parse_shape, sae_version


def formula(shape, latents, data):
    """Megabytes of the ring algorithms: x and x_hat along latents, gradients and rows along data."""
    d, n, k, batch = shape["d"], shape["n"], int(shape["k"]), shape["batch"]
    tokens = batch / data
    share = (latents - 1) / latents
    sent = min(k, math.ceil(2 * k / latents))
    along_latents = 12 * tokens * d * share + 4 * tokens * sent * (latents - 1)
    rows = n / latents
    along_data = 2 * 4 * rows * (2 * d + 1) * (data - 1) / data
    everywhere = 2 * 8 * (d + 1) * (latents * data - 1) / (latents * data)
    return (along_latents + along_data + everywhere) / 1e6


def train(given, store, layout, folder):
    """The reports of a run, without the first."""
    latents, data = layout
    ranks = latents * data
    shape = given.shape
    config = {
        "model": {"architecture": "topk", "d_sae": shape["n"], "k": int(shape["k"])},
        "data": {"kind": "store", "path": str(store), "verify": False},
        "train": {"steps": given.steps, "batch": shape["batch"], "log_every": given.steps // 4, "checkpoint_every": 0,
                  "checkpoint_minutes": 0},
        "eval": {"tokens": 256, "batch": 256},
        "distributed": {"latents": latents, "data": data},
    }
    file = folder / "config.json"
    file.write_text(json.dumps(config))
    out = folder / f"run-{latents}x{data}-{os.urandom(4).hex()}"
    threads = str(max(1, given.threads // ranks))
    command = [given.sae, "train", str(file), "--out", str(out), "--quiet"]
    if ranks > 1:
        command = [str(ROOT / "scripts" / "launch"), str(ranks), *command]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": threads})
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr.strip()}")
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return rows[1:]


def measure(given):
    """{layout: (ms, MB sent, share of sending, share of waiting)} of the fastest round."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="sae-ranks-") as name:
        store = make_store(given.sae, given.shape, Path(name) / "store")
        for _ in range(given.rounds):
            for layout in given.layouts:
                rows = train(given, store, layout, Path(name))
                seconds = statistics.median(given.shape["batch"] / row["tokens_per_s"] for row in rows)
                mean = lambda key: statistics.fmean(row.get(key, 0) for row in rows)
                result = (1e3 * seconds, mean("comm_mb"), mean("comm_s") / seconds, mean("data_s") / seconds)
                found[layout] = min(found.get(layout, result), result)
    return found


def table(given, found):
    lines = ["| latents x data | threads a rank | ms a step | of one process | MB sent | by the formula | sending | data |",
             "|---|---|---|---|---|---|---|---|"]
    one = found[given.layouts[0]][0]
    for (latents, data), (ms, sent, sending, waiting) in found.items():
        threads = max(1, given.threads // (latents * data))
        if latents * data == 1:
            lines.append(f"| 1 | {threads} | {ms:.0f} | 1.00 | | | | |")
            continue
        lines.append(f"| {latents} x {data} | {threads} | {ms:.0f} | {ms / one:.2f} | {sent:.2f} | "
                     f"{formula(given.shape, latents, data):.2f} | {100 * sending:.0f} % | {100 * waiting:.0f} % |")
    return "\n".join(lines)


def parse_layouts(text):
    layouts = [tuple(int(part) for part in one.split("x")) for one in text.split(",")]
    if layouts[0] != (1, 1):
        layouts.insert(0, (1, 1))
    return layouts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=parse_shape, default="768,16384,32,2048", help="D,F,K,B")
    parser.add_argument("--layouts", type=parse_layouts, default="1x1,2x1,1x2,4x1,2x2", help="latents x data")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of all ranks together")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sae", type=Path, default=ROOT / "build" / "sae", help="the command (default: build/sae)")
    given = parser.parse_args()
    try:
        given.sae = find_sae(given.sae)
        keys = {"D": "d", "F": "n", "K": "k", "B": "batch"}
        shape = ", ".join(f"{name} {given.shape[key]:,.0f}" for name, key in keys.items())
        print(f"topk, {shape}; {cpu_text()}; {given.threads} threads in all; {sae_version(given.sae)}\n")
        print(table(given, measure(given)))
    except Failure as failure:
        sys.exit(f"bench_ranks: {failure}")


if __name__ == "__main__":
    main()
