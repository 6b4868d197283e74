#!/usr/bin/env python3
"""Whether nested masks mend a parent's absorption by the ratio of ranks, as their theory says.

By include/sae/models/mask_theory.h a nested mask of weight a rewards a parent a and its child b for
staying apart with a ln(r_b / r_a) / ln F, where r is the rank by firing rate. So full absorption should
fall with that number, most for the pairs that absorb most without a mask. Trains BatchTopK on a
world without a mask and with masks of growing weight, evaluates each against the truth, and prints
for each weight full absorption in all and for parents of little and of much reward, with the rank
correlation (Spearman) of both over parents: mean and sample standard deviation over the seeds.

Ranks are those of the world's own firing rates, which no mask can change; a parent's reward is the mean
over its children by their rates, and parents count as in `sae eval` from |cosine| .5 with their latent.
Needs numpy and safetensors, which the environment of scripts/harvest.py has; some three CPU-minutes:

    ~/.cache/sae.cpp/harvest/bin/python scripts/absorption_by_rank.py --seeds 3 --folder runs/by_rank
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path

from bench_peers import ROOT, Failure, cpu_text, find_sae, run, sae_version

WORLDS = {"small": {"d_sae": 128, "k": 4.9}, "small-zipf": {"d_sae": 256, "k": 5.6}}
TRAIN = {"steps": 4000, "batch": 512, "lr": 2e-3, "lr_decay": "linear", "lr_decay_share": 0.33}
MASK = {"importance": "frequency", "warmup_steps": 30, "min_keep": 0}
BINS = [(-1, 0.2), (0.2, 0.3), (0.3, 1)]  # of ln(r_b / r_a) / ln F


def expected(weight):
    return {"draw": "expected", "nested_weight": weight, "nested_weight_end": weight, **MASK}


# name: a, mask
MASKS = {
    "none": (0, None),
    "expected .2": (0.2, expected(0.2)),
    "expected .4": (0.4, expected(0.4)),
    "drawn, both paths": (0.5, {"draw": "nested", "paths": "both", **MASK}),
    "expected .8": (0.8, expected(0.8)),
    "drawn": (1, {"draw": "nested", **MASK}),
}


def parents_of(world):
    """The parent of each feature, -1 for none; features are numbered breadth-first."""
    parents = [-1] * world["features"]
    level = range(world["roots"])
    end = len(level)
    for _ in range(world["depth"]):
        begin = end
        for parent in level:
            for _ in range(min(world["children"], len(parents) - end)):
                parents[end] = parent
                end += 1
        level = range(begin, end)
    return parents


def rewards_of(folder, d_sae):
    """ln(r_b / r_a) / ln F of every parent."""
    from safetensors.numpy import load_file

    rates = load_file(folder / "dictionary.safetensors")["rates"]
    order = sorted(range(len(rates)), key=lambda i: -rates[i])
    rank = {feature: min(place, d_sae) for place, feature in enumerate(order, start=1)}
    sums = {}
    for child, parent in enumerate(parents_of(json.loads((folder / "world.json").read_text()))):
        if parent >= 0:
            total, weight = sums.get(parent, (0, 0))
            ratio = math.log(rank[child] / rank[parent]) / math.log(d_sae)
            sums[parent] = (total + rates[child] * ratio, weight + rates[child])
    return {parent: total / weight for parent, (total, weight) in sums.items()}


def evaluated(given, folder, name, seed):
    """The truth suite's result; trains first unless it is there."""
    place = f"{given.world}-{name.replace(' ', '-').replace(',', '')}-{seed}"
    result = folder / f"{place}.json"
    if not result.exists():
        config = folder / f"{place}.config"
        model = {"architecture": "batch_topk", "dead_after_tokens": 51200, "mask": MASKS[name][1]}
        data = {"kind": "synthetic", "preset": given.world}
        options = {"seed": seed, "model": model | WORLDS[given.world], "data": data, "train": TRAIN}
        config.write_text(json.dumps(options))
        one = ["--threads", "1", "-q"]
        run([given.sae, "train", config, "--out", folder / place, *one])
        truth = ["--suite", "truth", "--set", "eval.tokens=100000", "--json"]
        text = run([given.sae, "eval", folder / place, *truth, *one])
        result.write_text(text)
    return json.loads(result.read_text())["truth"]


def ranks(values):
    """Places in ascending order, equal ones the mean of theirs."""
    return [sum(w < v for w in values) + (sum(w == v for w in values) - 1) / 2 for v in values]


def figures(truth, rewards):
    """Full absorption of all parents and of those in each bin, its rank correlation with the reward; counts."""
    import numpy

    rows = [r for r in truth["parents"] if r["tracked"] and not r["missing"] and abs(r["cosine"]) >= 0.5]
    full = numpy.array([row["full"] for row in rows])
    reward = numpy.array([rewards[row["feature"]] for row in rows])
    within = [full[(reward >= low) & (reward < high)] for low, high in BINS]
    means = [part.mean() if len(part) else math.nan for part in within]
    return [full.mean(), *means, numpy.corrcoef(ranks(reward), ranks(full))[0, 1]], [len(part) for part in within]


def cell(values):
    values = [value for value in values if not math.isnan(value)]
    if len(values) < 2:
        return "".join(f"{value:.3f}" for value in values)
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def parse_arguments():
    about, _, example = __doc__.rpartition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=example, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sae", type=Path, default=ROOT / "build" / "sae", help="default: build/sae")
    parser.add_argument("--world", choices=WORLDS, default="small", help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--folder", type=Path, help="keep the runs there, and use them if they are there")
    given = parser.parse_args()
    if given.seeds < 1:
        parser.error(f"--seeds: got {given.seeds}, expected at least 1")
    return given


def main():
    given = parse_arguments()
    find_sae(given.sae)
    with tempfile.TemporaryDirectory(prefix="sae-by-rank-") as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        truth = folder / given.world
        if not (truth / "world.json").exists():
            run([given.sae, "synth", "--preset", given.world, "--tokens", "1000", "--out", truth, "-q"])
        rewards = rewards_of(truth, WORLDS[given.world]["d_sae"])
        bins = [f"below {BINS[0][1]}", f"{BINS[1][0]} to {BINS[1][1]}", f"above {BINS[2][0]}"]
        print(f"| mask | a | full macro | {' | '.join(bins)} | correlation |")
        print("|---|" + "---|" * 6)
        counts = []
        for name, (weight, _) in MASKS.items():
            seeds = [figures(evaluated(given, folder, name, seed), rewards) for seed in range(given.seeds)]
            counts += [count for _, count in seeds]
            cells = [cell(column) for column in zip(*(values for values, _ in seeds), strict=True)]
            print(f"| {name} | {weight:g} | {' | '.join(cells)} |", flush=True)
    parents = " / ".join(f"{statistics.mean(column):.0f}" for column in zip(*counts, strict=True))
    print(f"Parents of each reward in a run, on average: {parents}")
    print(f"World {given.world}, {cpu_text()}, seeds 0 to {given.seeds - 1}; {sae_version(given.sae)}")


if __name__ == "__main__":
    try:
        main()
    except Failure as error:
        sys.exit(f"absorption_by_rank: {error}")
