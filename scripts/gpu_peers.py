#!/usr/bin/env python3
"""Training steps of dictionary_learning, SAELens and sparsify on a GPU, a line of JSON each; scripts/gpu_check runs it.

    gpu_peers.py --shape 2304,16384,40,4096 [--peer dictionary_learning SAELens sparsify] [--device cuda]

TopK, which all three have. Batches lie on the device already, as their trainers get them from a model that runs
there. A step is each tool's own, with its own optimizer, as a user of its trainer gets it. Precisions: fp32, which is
the default of two of them, tf32 (matmul precision "high") and bf16 (autocast); sparsify always has bf16 on a GPU that can.
Times are of `steps` steps between two waits for the device, the best of three rounds.
"""

import argparse
import json
import time

import torch


def dictionary_learning(shape, device, low):
    from dictionary_learning.trainers.top_k import TopKTrainer

    width, latents, k, _ = shape
    options = {"activation_dim": width, "dict_size": latents, "k": k, "layer": 0, "lm_name": "", "device": device}
    trainer = TopKTrainer(steps=100_000, seed=0, **options)
    counted = iter(range(100_000))

    def step(x):
        with torch.autocast(device_type=device, dtype=torch.bfloat16, enabled=low):
            trainer.update(next(counted), x)

    return step


def sae_lens(shape, device, low):
    import sae_lens
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    width, latents, k, batch = shape
    sae = sae_lens.TopKTrainingSAE(sae_lens.TopKTrainingSAEConfig(d_in=width, d_sae=latents, k=k, device=device))
    config = SAETrainerConfig(
        total_training_samples=100_000 * batch,
        train_batch_size_samples=batch,
        lr_end=3e-5,
        device=device,
        autocast=low,
        logger=LoggingConfig(log_to_wandb=False),
    )
    trainer = SAETrainer(config, sae, data_provider=iter(()))

    def step(x):
        trainer.step(x)
        trainer.n_training_steps += 1

    return step


def sparsify(shape, device, low):
    del low  # always, where the GPU can
    from schedulefree import ScheduleFreeWrapper
    from sparsify.config import SparseCoderConfig
    from sparsify.sign_sgd import SignSGD
    from sparsify.sparse_coder import SparseCoder

    width, latents, k, batch = shape
    sae = SparseCoder(width, SparseCoderConfig(num_latents=latents, k=k), device, dtype=torch.float32)
    optimizer = ScheduleFreeWrapper(SignSGD(sae.parameters(), lr=5e-3 / (latents / 2**14) ** 0.5), momentum=0.95)
    optimizer.train()
    silent = torch.zeros(latents, dtype=torch.long, device=device)

    def step(x):
        sae.set_decoder_norm_to_unit_norm()
        out = sae(x, dead_mask=None)
        out.fvu.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        fired = torch.zeros(latents, dtype=torch.bool, device=device)
        fired[out.latent_indices.flatten()] = True
        silent.add_(batch)[fired] = 0

    return step


PEERS = {"dictionary_learning": dictionary_learning, "SAELens": sae_lens, "sparsify": sparsify}


def batches_for(shape, device):
    """Three batches, sparse and heavy-tailed as activations are."""
    width, _, _, batch = shape
    basis = torch.nn.functional.normalize(torch.randn(4 * width, width), dim=1).to(device)
    rates = 1 / torch.arange(1, 4 * width + 1, dtype=torch.float)
    for _ in range(3):
        which = torch.multinomial(rates, batch * 32, replacement=True).view(batch, 32)
        coefficients = torch.zeros(batch, 4 * width).scatter_(1, which, torch.rand(batch, 32) + 0.5)
        yield coefficients.to(device) @ basis


def wait(device):
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def measure(peer, shape, device, precision, steps):
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    batches = list(batches_for(shape, device))
    step = PEERS[peer](shape, device, precision == "bf16")
    for i in range(4):
        step(batches[i % 3])
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    best = float("inf")
    for _ in range(3):
        wait(device)
        began = time.perf_counter()
        for i in range(steps):
            step(batches[i % 3])
        wait(device)
        best = min(best, (time.perf_counter() - began) / steps)
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.startswith("cuda") else 0
    return {"step_s": best, "tokens_per_s": shape[3] / best, "peak_gib": round(peak, 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", required=True, help="D,F,K,B ...")
    parser.add_argument("--peer", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--precision", nargs="+", choices=["fp32", "tf32", "bf16"], default=["fp32", "tf32", "bf16"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()
    for text in given.shape:
        shape = [int(number) for number in text.split(",")]
        for peer in given.peer:
            for precision in given.precision:
                if peer == "sparsify" and precision == "fp32":
                    continue
                row = {"peer": peer, "precision": precision, "shape": shape}
                try:
                    row.update(measure(peer, shape, given.device, precision, given.steps))
                except Exception as error:  # one that does not fit must not end the others
                    row["error"] = f"{type(error).__name__}: {str(error)[:200]}"
                print(json.dumps(row), flush=True)
                if given.device.startswith("cuda"):
                    torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
