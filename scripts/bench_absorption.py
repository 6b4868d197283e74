#!/usr/bin/env python3
"""Time and memory of the absorption suite, and whether it finds what was planted.

Writes labelled words of 26 classes of Zipf sizes and a TopK autoencoder that absorbs a known share of
them, runs `sae eval --suite absorption` on both, and prints seconds, the largest resident memory and
the scores. A word is x = 3 u_class + 5 v_family + noise, with 25 families, all directions orthogonal.
Three families of each class are absorbed: there the class's latent is silent, and a latent of the
pair is active in its place. The rest of the latents read the noise.

Needs numpy and safetensors, which the environment of scripts/harvest.py has:

    ~/.cache/sae.cpp/harvest/bin/python scripts/bench_absorption.py --words 100000 --shape 2304,16384,80
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_peers import ROOT, Failure, cpu_text, find_sae, sae_version

CLASSES, FAMILIES, ABSORBED = 26, 25, 3


def parse_shape(text):
    try:
        d, f, k = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"got '{text}', expected D,F,K like 2304,16384,80") from None
    planted = CLASSES + FAMILIES
    if d < planted or f < planted + ABSORBED * CLASSES or not 2 < k <= f:
        raise argparse.ArgumentTypeError(
            f"got '{text}', expected D >= {planted}, F >= {planted + ABSORBED * CLASSES}, 2 < K <= F"
        )
    return d, f, k


def absorbed_pairs():
    return [(c, (8 * i + c) % FAMILIES) for c in range(CLASSES) for i in range(ABSORBED)]


def write_sae(folder, shape, rng):
    """Latents: the classes, the families, the absorbed pairs, then random directions."""
    import numpy
    from safetensors.numpy import save_file

    d, f, k = shape
    W_dec = rng.standard_normal((f, d), dtype=numpy.float32)
    W_dec /= numpy.linalg.norm(W_dec, axis=1, keepdims=True)
    axes = numpy.eye(CLASSES + FAMILIES, d, dtype=numpy.float32)
    W_dec[: len(axes)] = axes
    W_enc, b_enc = W_dec.copy(), numpy.zeros(f, dtype=numpy.float32)
    for latent, (c, w) in enumerate(absorbed_pairs(), start=len(axes)):
        pair = 3 * axes[c] + 5 * axes[CLASSES + w]
        W_dec[latent] = pair / numpy.linalg.norm(pair)
        W_enc[latent], b_enc[latent] = 3 * (axes[c] + axes[CLASSES + w]), -18  # 3 + 5 is above, 5 below
        W_enc[c] -= axes[CLASSES + w]
    folder.mkdir()
    save_file(
        dict(W_enc=W_enc, b_enc=b_enc, W_dec=W_dec, b_dec=numpy.zeros(d, dtype=numpy.float32),
             silent_tokens=numpy.zeros(f, dtype=numpy.int64)),
        folder / "sae.safetensors",
    )  # fmt: skip
    model = {"architecture": "topk", "d_in": d, "d_sae": f, "k": k}
    (folder / "config.json").write_text(json.dumps({"format": "sae", "version": 1, "model": model}))


def write_words(path, words, d, rng):
    """Four fifths to train on; the rest twice, as in two different prompts."""
    import numpy
    from safetensors.numpy import save_file

    sizes = 1 / numpy.arange(1, CLASSES + 1)
    parts = {}
    for split, count in (("train", words * 4 // 5), ("test", words - words * 4 // 5)):
        y = numpy.concatenate([numpy.arange(CLASSES), rng.choice(CLASSES, count - CLASSES, p=sizes / sizes.sum())])
        family = rng.integers(FAMILIES, size=count)
        for name in [f"{split}_x"] + (["score_x"] if split == "test" else []):
            x = rng.standard_normal((count, d), dtype=numpy.float32)
            x *= 0.1
            x[numpy.arange(count), y] += 3
            x[numpy.arange(count), CLASSES + family] += 5
            parts[name] = x
        parts[f"{split}_y"] = y
    names = [chr(ord("a") + c) for c in range(CLASSES)]
    save_file(parts, path, metadata={"task": "planted", "classes": json.dumps(names)})


def measure(command):
    """Output of a command, its seconds on the clock and on all cores, and its peak memory in GiB."""
    with tempfile.TemporaryFile("w+") as output:
        start = time.monotonic()
        process = subprocess.Popen([str(part) for part in command], stdout=output)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        if status != 0:
            raise Failure(f"{' '.join(map(str, command[:3]))}: exit status {os.waitstatus_to_exitcode(status)}")
        output.seek(0)
        text = output.read()
    unit = 1 if sys.platform == "darwin" else 1024
    return text, wall, used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 2**30


def parse_arguments():
    about, _, example = __doc__.rpartition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=example, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sae", type=Path, default=ROOT / "build" / "sae", help="default: build/sae")
    parser.add_argument("--words", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument(
        "--shape", type=parse_shape, metavar="D,F,K", default="2304,16384,80",
        help="width, latents, latents active a word; default: %(default)s",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep the files there, and use them if they are there")
    given = parser.parse_args()
    if given.words < 50 * CLASSES:
        parser.error(f"--words: got {given.words}, expected at least {50 * CLASSES}")
    return given


def make_files(given, folder):
    import numpy

    rng = numpy.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "sae").exists():
        write_sae(folder / "sae", given.shape, rng)
    if not (folder / "words.safetensors").exists():
        write_words(folder / "words.safetensors", given.words, given.shape[0], rng)


def main():
    given = parse_arguments()
    find_sae(given.sae)
    with tempfile.TemporaryDirectory(prefix="sae-absorption-") as temporary:
        folder = given.folder or Path(temporary)
        make_files(given, folder)
        command = [given.sae, "eval", folder / "sae", "--data", folder / "words.safetensors"]
        command += ["--suite", "absorption", "--json", "--threads", given.threads]
        text, wall, cpu, memory = measure(command)
    result = json.loads(text)["absorption"]
    scores = result["eval_result_metrics"]["mean"] | result["more"]
    d, f, k = given.shape
    print(f"{given.words} words of {CLASSES} classes, D {d}, F {f}, L0 {scores['l0']:.0f}")
    print(f"{wall:.1f} s, {cpu:.1f} s of all threads, {memory:.2f} GiB")
    print(
        f"absorbed words: {ABSORBED / FAMILIES:.3f}; fraction {scores['mean_absorption_fraction_score']:.4f}, "
        f"full {scores['mean_full_absorption_score']:.4f}, "
        f"main latents a class {scores['mean_num_split_features']:.2f}, "
        f"F1 of the probe {scores['mean_probe_f1']:.4f}, {scores['classes_kept']:.0f} classes kept"
    )
    print(f"{cpu_text()}, {given.threads} threads; {sae_version(given.sae)}")


if __name__ == "__main__":
    try:
        main()
    except Failure as error:
        sys.exit(f"bench_absorption: {error}")
