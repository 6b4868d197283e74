"""The folders that the browser tests give to `sae`: an autoencoder and a store of activations."""

import hashlib
import json
import struct
from array import array

TYPES = {"f": "F32", "i": "I32", "q": "I64"}


def safetensors(path, tensors, metadata=None):
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, (shape, values) in tensors.items():
        raw = values.tobytes()
        header[name] = {"dtype": TYPES[values.typecode], "shape": shape,
                        "data_offsets": [len(data), len(data) + len(raw)]}  # fmt: skip
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_sae(folder, rng, d_in, latents, k):
    """TopK with random directions."""
    folder.mkdir()
    rows = array("f")
    for _ in range(latents):
        row = [rng.gauss(0, 1) for _ in range(d_in)]
        norm = sum(x * x for x in row) ** 0.5
        rows.extend(x / norm for x in row)
    model = {"architecture": "topk", "d_in": d_in, "d_sae": latents, "k": k}
    (folder / "config.json").write_text(json.dumps({"format": "sae", "version": 1, "model": model}))
    safetensors(folder / "sae.safetensors",
                {"W_enc": ([latents, d_in], rows), "b_enc": ([latents], array("f", [0] * latents)),
                 "W_dec": ([latents, d_in], rows), "b_dec": ([d_in], array("f", [0] * d_in)),
                 "silent_tokens": ([latents], array("q", [0] * latents))})  # fmt: skip


def write_shard(folder, d_in, count, tensors):
    """A store of one shard of `count` tokens."""
    file = folder / "shard-00000.safetensors"
    safetensors(file, tensors)
    shard = {"file": file.name, "tokens": count, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    (folder / "manifest.json").write_text(
        json.dumps({"format": "sae-activations", "version": 1, "d_in": d_in, "dtype": "f32",
                    "tokens": count, "shards": [shard]}))  # fmt: skip
