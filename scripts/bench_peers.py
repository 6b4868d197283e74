#!/usr/bin/env python3
"""Training steps of sae.cpp, dictionary_learning and SAELens side by side, on a CPU, in float32.

For each shape D,F,K,B: one store of activations of a Zipf world, then, architecture by architecture
and each in a process of its own, `sae bench` on that store and the training step of both tools on
the same activations. All take the median step after a warm-up, time the bare encoder product
`x @ W^T` in the same process, and report the largest resident memory up to then.

A step is the tool's own, as a user of its trainer gets it: loss, backward pass, clipping, decoder
norm, Adam, counts of what fired; never AuxK, for nothing is dead so soon. The defaults of each tool
stand, except that SAELens does not log.

Both tools are taken from the virtual environment --venv. The default one is made if it is missing,
with the packages of tests/peers/requirements.txt (PyTorch with CUDA among them, 2.7 GB to download)
and the Python that runs this script: 3.10 to 3.12.

    scripts/bench_peers.py --shape 384,4096,32,2048 --arch topk jumprelu --out peers.json
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "tests" / "peers" / "requirements.txt"
SHAPES = ["384,4096,32,2048", "512,8192,32,2048", "768,16384,32,4096", "2304,16384,40,2048"]
ARCHITECTURES = ["standard", "topk", "batch_topk", "matryoshka", "jumprelu", "atm"]
PEERS = {"dictionary_learning": "dictionary-learning", "SAELens": "sae-lens"}
BATCHES = 3  # in the store
WARM_UP = 2  # steps of the peers
# Nobody else has ATM. Its step is that of its base and a mask, so that is what it competes with.
STAND_IN = {"atm": "standard"}


class Failure(Exception):
    pass


# In the parent: standard library only.


def parse_shape(text):
    try:
        d, f, k, batch = text.split(",")
        shape = {"d": int(d), "n": int(f), "k": float(k), "batch": int(batch)}
    except ValueError:
        raise argparse.ArgumentTypeError(f"got '{text}', expected D,F,K,B like {SHAPES[2]}") from None
    if min(shape.values()) < 1:
        raise argparse.ArgumentTypeError(f"got '{text}', expected numbers of at least 1")
    return shape


def shape_text(shape):
    return f"{shape['d']}, {shape['n']}, {shape['k']:g}, {shape['batch']}"


def run(command, **options):
    """Standard output of a command."""
    command = [str(part) for part in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    except OSError as error:
        raise Failure(f"{command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        last = "\n".join(done.stderr.strip().splitlines()[-8:])
        raise Failure(f"{' '.join(command[:4])}: exit status {done.returncode}\n{last}")
    return done.stdout


def find_sae(path):
    if not os.access(path, os.X_OK):
        raise Failure(f"--sae: no executable {path}; build it with scripts/quickstart, or name another")
    return path


def make_store(sae, shape, folder):
    """Activations of the world that `sae bench` measures on without --data."""
    features = max(1024, min(4 * shape["d"], shape["n"]))
    world = [f"d_in={shape['d']}", f"features={features}", "correlation_rank=0", "orthogonal_steps=0"]
    tokens = BATCHES * shape["batch"]
    sets = [word for option in world for word in ("--set", option)]
    run([sae, "synth", "--preset", "small-zipf", *sets, "--tokens", tokens, "--out", folder, "--quiet"])
    return folder


def bench_sae(sae, shape, arch, threads, steps, *options):
    """One case of `sae bench`."""
    text = ",".join(f"{shape[name]:g}" for name in ("d", "n", "k", "batch"))
    case = ["--shape", text, "--arch", arch, "--device", "cpu", "--threads", threads, "--steps", steps]
    return json.loads(run([sae, "bench", *case, *options, "--json"]))[0]


def cpu_text():
    """Model of the CPU and the most telling of its instruction sets."""
    model, flags = "unknown CPU", []
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                model = value.strip()
            if name.strip() == "flags":
                flags = value.split()
                break
    except OSError:
        pass
    best = next((f for f in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if f in flags), "")
    return f"{model} ({best})" if best else model


def sae_version(sae):
    return run([sae, "--version"]).strip()


def need_venv(given):
    """The Python of the virtual environment; the default one is made if it lacks a tool."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    venv = Path(given) if given else cache / "sae.cpp" / "peers"
    python = venv / "bin" / "python"
    find = f"from importlib.metadata import version; [version(p) for p in {list(PEERS.values())}]"
    if python.exists() and subprocess.run([python, "-c", find], capture_output=True).returncode == 0:
        return python
    where = REQUIREMENTS.relative_to(ROOT)
    if given:
        raise Failure(f"--venv: {venv} lacks one of {', '.join(PEERS.values())}; install {where} there")
    pins = [line.strip() for line in REQUIREMENTS.read_text().splitlines()]
    pins = [line for line in pins if line and not line.startswith("#")]
    print(f"Installing the packages of {where} into {venv}: {', '.join(pins)}", file=sys.stderr)
    run([sys.executable, "-m", "venv", "--clear", venv])
    run([python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "-r", REQUIREMENTS])
    return python


def bench_peer(python, peer, store, shape, arch, threads, steps):
    task = {"peer": peer, "arch": arch, "store": str(store), "threads": threads, "steps": steps, **shape}
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}
    printed = run([python, __file__, "--measure", json.dumps(task)], env=environment)
    return json.loads(printed.splitlines()[-1])


# In a process of its own, with the Python of the virtual environment.


def dictionary_learning_step(task):
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.jumprelu import JumpReluTrainer
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
    from dictionary_learning.trainers.standard import StandardTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    k = round(task["k"])
    kinds = {
        "standard": (StandardTrainer, {}),
        "topk": (TopKTrainer, {"k": k}),
        "batch_topk": (BatchTopKTrainer, {"k": k}),
        "matryoshka": (
            MatryoshkaBatchTopKTrainer,
            {"k": k, "group_fractions": [1 / 32, 3 / 32, 3 / 8, 1 / 2]},
        ),
        "jumprelu": (JumpReluTrainer, {"target_l0": task["k"]}),
    }
    kind, options = kinds[task["arch"]]
    sizes = {"activation_dim": task["d"], "dict_size": task["n"]}
    trainer = kind(steps=100_000, layer=0, lm_name="", device="cpu", seed=0, **sizes, **options)
    done = 0

    def step(x):
        nonlocal done
        trainer.update(done, x)
        done += 1

    return step


def sae_lens_step(task):
    import sae_lens
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    k, f = round(task["k"]), task["n"]
    kinds = {
        "standard": ("Standard", {}),
        "topk": ("TopK", {"k": k}),
        "batch_topk": ("BatchTopK", {"k": k}),
        "matryoshka": (
            "MatryoshkaBatchTopK",
            {"k": k, "matryoshka_widths": [f // 32, f // 8, f // 2, f]},
        ),
        "jumprelu": ("JumpReLU", {}),
    }
    name, options = kinds[task["arch"]]
    config = getattr(sae_lens, name + "TrainingSAEConfig")
    sae = getattr(sae_lens, name + "TrainingSAE")(config(d_in=task["d"], d_sae=f, device="cpu", **options))
    training = SAETrainerConfig(
        total_training_samples=100_000 * task["batch"],
        train_batch_size_samples=task["batch"],
        lr_end=3e-5,
        logger=LoggingConfig(log_to_wandb=False),
    )
    trainer = SAETrainer(training, sae, data_provider=iter(()))

    def step(x):
        trainer.step(x)
        trainer.n_training_steps += 1

    return step


def load_batches(store, batch):
    import torch
    from safetensors.torch import load_file

    shards = json.loads((Path(store) / "manifest.json").read_text())["shards"]
    x = torch.cat([load_file(Path(store) / shard["file"])["activations"] for shard in shards])
    return x.split(batch)


def peak_rss_mib():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0


def timed(times, body):
    """Seconds of each of so many calls of body(i)."""
    seconds = []
    for i in range(times):
        start = time.perf_counter()
        body(i)
        seconds.append(time.perf_counter() - start)
    return seconds


def measure_peer(task):
    from importlib.metadata import version

    import torch

    torch.manual_seed(0)
    torch.set_num_threads(task["threads"])
    batches = load_batches(task["store"], task["batch"])
    make_step = {"dictionary_learning": dictionary_learning_step, "SAELens": sae_lens_step}
    step = make_step[task["peer"]](task)
    seconds = timed(WARM_UP + task["steps"], lambda i: step(batches[i % len(batches)]))[WARM_UP:]
    peak = peak_rss_mib()
    with torch.no_grad():
        W = torch.randn(task["n"], task["d"])
        gemm_s = min(timed(5, lambda i: batches[0] @ W.t()))
    step_s = statistics.median(seconds)
    return {
        **{name: task[name] for name in ("arch", "d", "n", "k", "batch")},
        "step_s": step_s,
        "fastest_step_s": min(seconds),
        "tokens_per_s": task["batch"] / step_s,
        "gemm_s": gemm_s,
        "gemms_per_step": step_s / gemm_s,
        "peak_rss_mib": peak,
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, task["peer"]: version(PEERS[task["peer"]])},
    }


# Tables.


class Row:
    """What was measured for one architecture at one shape; None where there is nothing."""

    def __init__(self, shape, arch):
        self.shape, self.arch = shape, arch
        self.ours = self.unscreened = None
        self.failed = False
        self.peers = dict.fromkeys(PEERS)
        self.rivals = self.peers  # whom the ratio is to

    def ratio(self, ours):
        rivals = [peer["step_s"] for peer in self.rivals.values() if peer]
        return min(rivals) / ours["step_s"] if rivals and ours else None

    def cells(self):
        def cost(result):
            return f"{1e3 * result['step_s']:.0f} ({result['gemms_per_step']:.1f})" if result else "-"

        def ours(result):
            return f"{1e3 * result['step_s']:.0f} ({result['gemms_per_step']:.2f})" if result else "-"

        def times(ratio):
            return f"{ratio:.1f} x" if ratio else "-"

        peaks = [self.ours, *self.peers.values()]
        return [
            shape_text(self.shape),
            self.arch,
            ours(self.ours),
            ours(self.unscreened),
            *(cost(peer) for peer in self.peers.values()),
            times(self.ratio(self.ours)),
            times(self.ratio(self.unscreened)),
            " / ".join(f"{peak['peak_rss_mib']:.0f}" if peak else "-" for peak in peaks),
        ]


HEAD = ["D, F, K, B", "arch", "sae.cpp", "unscreened", *PEERS]
HEAD += ["faster peer / ours", "/ unscreened", "peak MiB"]
NOTES = [
    "Milliseconds a step (in encoder products x W^T of the same process); peak memory in the order of the tools.",
    "unscreened: sae bench --screening off, the encoder's product in float32; - where nothing is screened.",
    "standard, jumprelu: ours at L0 about K; the peers compute all latents, so that their cost does not depend on L0.",
    "atm: no peer has it; the ratio is to their standard.",
]


def table(rows, markdown):
    lines = [HEAD, *(row.cells() for row in rows)]
    if markdown:
        lines.insert(1, ["---"] * len(HEAD))
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def machine(sae, threads, rows):
    versions = {}
    for row in rows:
        for peer in row.peers.values():
            versions |= peer["versions"] if peer else {}
    peers = ", ".join(f"{name} {versions[name]}" for name in sorted(versions, key=str.lower))
    return f"{cpu_text()}, {threads} threads, float32; {sae_version(sae)}; {peers or 'no peers'}"


def save(path, description, rows):
    cases = []
    for row in rows:
        tools = {"sae.cpp": row.ours, "sae.cpp unscreened": row.unscreened, **row.peers}
        tools = {tool: result for tool, result in tools.items() if result}
        ratios = {"ratio": row.ratio(row.ours), "ratio_unscreened": row.ratio(row.unscreened)}
        cases.append({**row.shape, "arch": row.arch, **ratios, "tools": tools})
    Path(path).write_text(json.dumps({"machine": description, "cases": cases}, indent=2) + "\n")


def measure_row(row, given, python, store):
    """Ours and theirs in turn, so that a machine that slows down hurts both."""

    def attempt(name, measure):
        try:
            result = measure()
        except Failure as error:
            print(f"{name}: {error}", file=sys.stderr)
            row.failed = True
            return None
        cost = f"{1e3 * result['step_s']:.0f} ms, {result['gemms_per_step']:.2f} products"
        print(f"{shape_text(row.shape)}  {row.arch}  {name}: {cost}", file=sys.stderr, flush=True)
        return result

    def ours(*options):
        case = (row.shape, row.arch, given.threads, given.steps)
        return bench_sae(given.sae, *case, "--data", store, *options)

    def theirs(peer):
        case = (store, row.shape, row.arch, given.threads, given.steps)
        return bench_peer(python, peer, *case)

    has_peers = row.arch not in STAND_IN
    row.ours = attempt("sae.cpp", ours)
    if has_peers:
        first, second = PEERS
        row.peers[first] = attempt(first, lambda: theirs(first))
    if row.ours and row.ours["screened"]:
        row.unscreened = attempt("sae.cpp unscreened", lambda: ours("--screening", "off"))
    if has_peers:
        row.peers[second] = attempt(second, lambda: theirs(second))


def parse_arguments():
    text, _, example = __doc__.rpartition("\n\n")
    parser = argparse.ArgumentParser(
        description=text, epilog=example, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sae", type=Path, default=ROOT / "build" / "sae", help="default: build/sae")
    parser.add_argument(
        "--shape",
        dest="shapes",
        type=parse_shape,
        action="append",
        metavar="D,F,K,B",
        help="width, latents, latents kept per token, batch; repeatable; default: four shapes",
    )
    parser.add_argument("--arch", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="timed steps")
    parser.add_argument("--venv", help="virtual environment with both tools")
    parser.add_argument("--out", help="JSON with all that was measured")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.shapes = given.shapes or [parse_shape(text) for text in SHAPES]
    if given.threads < 1 or given.steps < 1:
        parser.error("--threads and --steps must be at least 1")
    return given


def main():
    given = parse_arguments()
    if given.measure:
        print(json.dumps(measure_peer(json.loads(given.measure))))
        return 0
    find_sae(given.sae)
    python = need_venv(given.venv)
    rows = []
    for shape in given.shapes:
        of_shape = {}
        with tempfile.TemporaryDirectory(prefix="sae-peers-") as folder:
            store = make_store(given.sae, shape, Path(folder) / "store")
            for arch in given.arch:
                row = of_shape[arch] = Row(shape, arch)
                rows.append(row)
                measure_row(row, given, python, store)
                for later, earlier in STAND_IN.items():
                    if {later, earlier} <= of_shape.keys():
                        of_shape[later].rivals = of_shape[earlier].peers
                if given.out:
                    save(given.out, machine(given.sae, given.threads, rows), rows)
    print(table(rows, given.markdown))
    print("", *NOTES, machine(given.sae, given.threads, rows), sep="\n")
    return 1 if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as error:
        sys.exit(f"bench_peers: {error}")
