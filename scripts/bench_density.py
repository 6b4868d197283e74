#!/usr/bin/env python3
"""Cost of a training step against the density of the codes: stored sparse, dense, or as decided anew.

Runs `sae bench --arch standard` with each --storage at densities from 0.1 % to 60 %, prints the
table, with how much `auto` loses against the better of the two, and draws it as an SVG. The three
take turns at each density, the densities in each of --rounds; what counts is the fastest step, for
other work on the machine only ever adds to it.

    scripts/bench_density.py --shape 384,4096,32,2048 --out .github/density.svg
"""

import argparse
import math
import sys
import tempfile
from pathlib import Path

from bench_peers import ROOT, Failure, bench_sae, cpu_text, find_sae, make_store, parse_shape, sae_version

DENSITIES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6]
STORAGES = ["sparse", "dense", "auto"]  # in the order of drawing
WIDTH, HEIGHT = 520, 380
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 64, 60  # around the plot
# Color and width: `auto` is thin and dark on top of a wide, lighter line.
STROKES = {"sparse": ("#f0a35e", 8), "dense": ("#7fc4b0", 8), "auto": ("#1b3a6b", 2.5)}
INK, GRID = "#222222", "#dddddd"


def measure(given):
    """Milliseconds a step: {density: {storage: ms}}."""
    fastest = {density: dict.fromkeys(STORAGES, math.inf) for density in given.densities}
    with tempfile.TemporaryDirectory(prefix="sae-density-") as folder:
        store = make_store(given.sae, given.shape, Path(folder) / "store")
        for turn in range(given.rounds * len(given.densities)):
            density = given.densities[turn % len(given.densities)]
            shape = {**given.shape, "k": density * given.shape["n"]}
            for storage in STORAGES:
                case = (shape, "standard", given.threads, given.steps)
                result = bench_sae(given.sae, *case, "--data", store, "--storage", storage)
                milliseconds = 1e3 * result["fastest_step_s"]
                fastest[density][storage] = min(fastest[density][storage], milliseconds)
    return fastest


def loss(costs):
    """Of auto against the better of the two."""
    return costs["auto"] / min(costs["sparse"], costs["dense"]) - 1


def row_text(density, costs):
    cells = "".join(f"{costs[storage]:10.1f}" for storage in STORAGES)
    return f"{100 * density:7.1f} %{cells}{100 * loss(costs):+9.0f} %"


def ticks(low, high):
    """1, 2, 5, 10, 20, ... that lie in a range."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [m * 10**e for e in decades for m in (1, 2, 5) if low <= m * 10**e * 1.0001 and m * 10**e <= high]


class Axis:
    """A logarithmic scale from values to pixels."""

    def __init__(self, low, high, start, end):
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value):
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)


def text(x, y, words, anchor="middle", size=16, extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{extra}>{words}</text>'


def draw(points, caption):
    """The SVG: both axes logarithmic, for sparse and dense lie far apart at both ends."""
    values = [cost for costs in points.values() for cost in costs.values()]
    x = Axis(min(points), max(points), LEFT, WIDTH - RIGHT)
    y = Axis(min(values) / 1.15, max(values) * 1.15, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="system-ui, sans-serif" fill="{INK}" role="img">',
        f"<title>Milliseconds a training step against the share of latents kept: {caption}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for value in ticks(y.low, y.high):
        parts.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
        parts.append(text(LEFT - 8, y(value) + 5, f"{value:g}", "end"))
    for value in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3):
        if x.low <= value <= x.high:
            parts.append(f'<path d="M{x(value):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="{GRID}"/>')
            parts.append(text(x(value), HEIGHT - BOTTOM + 22, f"{100 * value:g} %"))
    for storage in STORAGES:
        color, width = STROKES[storage]
        line = " ".join(f"{x(density):.1f},{y(costs[storage]):.1f}" for density, costs in points.items())
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="{width}" '
            'stroke-linejoin="round" stroke-linecap="round"/>'
        )
    at = LEFT
    for storage in reversed(STORAGES):
        color, width = STROKES[storage]
        parts.append(f'<path d="M{at} 46h26" stroke="{color}" stroke-width="{width}" stroke-linecap="round"/>')
        parts.append(text(at + 36, 51, storage, "start"))
        at += 110
    parts.append(text(LEFT, 24, caption, "start"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "share of latents kept"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(text(18, middle, "ms per step", extra=f' transform="rotate(-90 18 {middle:.1f})"'))
    return "\n".join([*parts, "</svg>\n"])


def parse_arguments():
    about, _, example = __doc__.rpartition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=example, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sae", type=Path, default=ROOT / "build" / "sae", help="default: build/sae")
    parser.add_argument(
        "--shape",
        type=parse_shape,
        metavar="D,F,K,B",
        default="384,4096,32,2048",
        help="width, latents, latents kept (here without effect), batch; default: 384,4096,32,2048",
    )
    parser.add_argument("--densities", type=float, nargs="+", default=DENSITIES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / ".github" / "density.svg")
    given = parser.parse_args()
    given.densities.sort()
    if len(given.densities) < 2 or given.densities[0] <= 0 or given.densities[-1] > 1:
        parser.error("--densities: expected two or more shares above 0 and at most 1")
    if min(given.threads, given.steps, given.rounds) < 1:
        parser.error("--threads, --steps and --rounds must be at least 1")
    return given


def main():
    given = parse_arguments()
    find_sae(given.sae)
    points = measure(given)
    print("  density" + "".join(f"{storage:>10}" for storage in STORAGES) + "  loss of auto")
    for density, costs in points.items():
        print(row_text(density, costs))
    shape = given.shape
    size = f"D {shape['d']}, F {shape['n']}, B {shape['batch']}"
    worst = max(points, key=lambda density: loss(points[density]))
    print(f"Milliseconds a step, the fastest; largest loss of auto: {100 * loss(points[worst]):.0f} % at {100 * worst:g} %")
    print(f"{size}; {cpu_text()}, {given.threads} threads, float32; {sae_version(given.sae)}")
    given.out.write_text(draw(points, f"standard, {size}, {given.threads} threads"))


if __name__ == "__main__":
    try:
        main()
    except Failure as error:
        sys.exit(f"bench_density: {error}")
