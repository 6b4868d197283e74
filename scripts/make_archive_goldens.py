#!/usr/bin/env python3
"""Writes tests/golden/archives/: small files of numpy.savez and torch.save.

    python3 -m venv archives && archives/bin/pip install torch==2.11.0 numpy==1.26.4
    archives/bin/python scripts/make_archive_goldens.py
"""

import pathlib

import numpy
import torch

FOLDER = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "archives"
F32 = numpy.float32


def arrays():
    """Deflated, these need every kind of block: stored, fixed codes, dynamic codes."""
    counting = numpy.arange(6, dtype=F32).reshape(2, 3)
    noise = numpy.random.default_rng(0).integers(0, 256, 3000).astype(numpy.uint8)
    return {
        "counting": counting,
        "fortran": numpy.asfortranarray(counting),
        "half": counting.astype(numpy.float16),
        "double": counting.astype(numpy.float64),
        "long": numpy.arange(-3, 3),
        "int": numpy.arange(-3, 3, dtype=numpy.int32),
        "bool": numpy.array([True, False, True]),
        "scalar": F32(2.5),
        "empty": numpy.zeros((0, 3), F32),
        "zeros": numpy.zeros(20000, numpy.int8),
        "rows": numpy.tile(numpy.arange(300, dtype=numpy.int16), 3),
        "noise": noise,
        "sines": numpy.sin(numpy.arange(2000, dtype=F32)),
    }


def state():
    base = torch.arange(12.0)
    return {
        "transposed": base.view(3, 4).T,
        "part": base[2:6],
        "bfloat": torch.tensor([1.0, -2.5, 3.0], dtype=torch.bfloat16),
        "half": torch.tensor([1.0, -2.5, 3.0], dtype=torch.half),
        "double": torch.tensor([1 / 3], dtype=torch.double),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "bool": torch.tensor([True, False]),
        "k": torch.tensor(3, dtype=torch.int),
        "sizes": torch.tensor([4, 12]),
        "empty": torch.zeros(0, 3),
        "nothing": None,
        "true": True,
        "small": 7,
        "large": -(10**12),
        "float": 1.5,
        "text": "é",
        "list": [1, (2, 3)],
        "dict": {"a": 1},
    }


def activations():
    """What people save of activations, [tokens, d]: x[i, j] = i + j / 8."""
    x = torch.arange(6.0).unsqueeze(1) + torch.arange(4.0) / 8
    files = {
        "tensor": x,
        "half": x.half(),
        "rows": torch.cat([x, x])[3:9],
        "list": [x[:2].clone(), x[2:].clone().bfloat16().float()],
        "tuple": (x[:2].clone(), x[:0].clone(), x[2:].clone()),
        "dict": {
            "activations": x,
            "tokens": torch.arange(6) * 1000,
            "context": torch.tensor([0, 0, 0, 1, 1, 1], dtype=torch.int16),
            "model": "gpt2",
            "config": {"layer": 3},
        },
        "named": {"blocks.3.hook_resid_post": x, "layer": 3},
        "tokens": torch.arange(6) * 1000,
        "transposed": x.T.contiguous().T,
        "nested": {"blocks.3": [x]},
        "three": x.view(2, 3, 4),
        "object": {"activations": x, "folder": pathlib.PurePosixPath("a")},
    }
    for name, value in files.items():
        torch.save(value, FOLDER / f"activations_{name}.pt")


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    numpy.savez(FOLDER / "numpy.npz", **arrays())
    numpy.savez_compressed(FOLDER / "numpy_compressed.npz", **arrays())
    numpy.savez(FOLDER / "numpy_objects.npz", a=numpy.array([{}], dtype=object))
    torch.save(state(), FOLDER / "torch.pt")
    linear = torch.nn.Linear(3, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.arange(6.0).view(2, 3))
        linear.bias.fill_(-1)
    for protocol in range(2, 6):
        path = FOLDER / f"torch_protocol_{protocol}.pt"
        torch.save(linear.state_dict(), path, pickle_protocol=protocol)
    torch.save(linear, FOLDER / "torch_module.pt")
    torch.save([torch.ones(2)], FOLDER / "torch_list.pt")
    torch.save(
        linear.state_dict(), FOLDER / "torch_legacy.pt", _use_new_zipfile_serialization=False
    )
    activations()
    torch.serialization.set_crc32_options(False)
    torch.save(linear.state_dict(), FOLDER / "torch_no_checksum.pt")


if __name__ == "__main__":
    main()
