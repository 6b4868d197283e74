#!/usr/bin/env python3
"""Writes tests/golden/convert/: small SAEs saved by other tools' own code, and what they compute.

One folder per SAE, as its tool writes it, with `expected.safetensors` beside the tool's files:
x [N, D], latents [N, F] and reconstruction [N, D], computed by the tool. Weights are random. Needs
the packages of tests/peers/requirements.txt:

    python3 -m venv peers && peers/bin/pip install -r tests/peers/requirements.txt
    peers/bin/python scripts/make_convert_goldens.py

Only to be run again when a tool changes what it writes; review the difference by hand.
"""

import importlib
import importlib.util
import json
import os
import pathlib
import shutil

import numpy
import torch
from safetensors.torch import load_file, save_file

FOLDER = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "convert"
D, F, N, K = 6, 16, 24, 3


def make_folder(name):
    folder = FOLDER / name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def inputs():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(1)) * 2 + 0.5


def randomise(module, seed, unit=()):
    """Random numbers for all parameters; rows of those called `unit` get norm 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.6)
            if name in unit:
                parameter.div_(parameter.norm(dim=-1, keepdim=True))


def expect(folder, latents, reconstruction):
    tensors = {"x": inputs(), "latents": latents, "reconstruction": reconstruction}
    tensors = {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}
    active = (tensors["latents"] != 0).float().mean().item()
    assert 0.02 < active < 0.9, (folder, active)
    save_file(tensors, folder / "expected.safetensors")


# SAELens


def saelens_metadata():
    return {
        "model_name": "gpt2-small",
        "hook_name": "blocks.5.hook_mlp_out",
        "dataset_path": "monology/pile-uncopyrighted",
        "context_size": 256,
        "prepend_bos": True,
        "neuronpedia_id": "gpt2-small/5-res",
    }


def expect_saelens(folder, loaded_from=None):
    import sae_lens

    sae = sae_lens.SAE.load_from_disk(loaded_from or folder)
    latents = sae.encode(inputs())
    expect(folder, latents, sae.decode(latents))


def saelens_inference():
    import sae_lens

    for name, apply_b_dec in [
        ("standard", True),
        ("jumprelu", False),
        ("topk", True),
        ("gated", True),
    ]:
        options = {"k": K, "rescale_acts_by_decoder_norm": True} if name == "topk" else {}
        cls, config_cls = sae_lens.registry.get_sae_class(name)
        sae = cls(config_cls(d_in=D, d_sae=F, apply_b_dec_to_input=apply_b_dec, **options))
        for key, value in saelens_metadata().items():
            sae.cfg.metadata[key] = value
        randomise(sae, seed=2)
        if name == "jumprelu":
            sae.threshold.data.abs_()
            sae.threshold.data[0] = -1.0
        folder = make_folder(f"saelens_{name}")
        sae.save_model(folder)
        expect_saelens(folder)


def saelens_training():
    """Checkpoints of training with a scale that is not folded, and what the finished run saves."""
    import sae_lens

    for name in ["topk", "batchtopk", "matryoshka_batchtopk"]:
        options = {"matryoshka_widths": [4, 8, F]} if name.startswith("matryoshka") else {}
        cls, config_cls = sae_lens.registry.get_sae_training_class(name)
        config = config_cls(
            d_in=D, d_sae=F, k=K, normalize_activations="expected_average_only_in", **options
        )
        sae = cls(config)
        for key, value in saelens_metadata().items():
            sae.cfg.metadata[key] = value
        randomise(sae, seed=3)
        if name != "topk":
            sae.topk_threshold.fill_(0.7)
        checkpoint = make_folder(f"saelens_{name}_checkpoint")
        sae.save_model(checkpoint)
        (checkpoint / "activation_scaler.json").write_text('{"scaling_factor": 0.4}')
        sae.fold_activation_norm_scaling_factor(0.4)
        finished = make_folder(f"saelens_{name}_finished")
        sae.save_inference_model(finished)
        expect_saelens(checkpoint, loaded_from=finished)
        expect_saelens(finished)


def saelens_before_6():
    """Everything at the top level of cfg.json, a topk under the name of the standard architecture."""
    import sae_lens

    cls, config_cls = sae_lens.registry.get_sae_class("topk")
    sae = cls(config_cls(d_in=D, d_sae=F, k=K))
    randomise(sae, seed=4)
    folder = make_folder("saelens_before_6")
    sae.save_model(folder)
    old = {
        "architecture": "standard",
        "d_in": D,
        "d_sae": F,
        "dtype": "torch.float32",
        "device": "cpu",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": K},
        "apply_b_dec_to_input": True,
        "finetuning_scaling_factor": False,
        "normalize_activations": "none",
        "sae_lens_training_version": "4.1.0",
        "model_name": "gpt2-small",
        "hook_name": "blocks.8.hook_resid_pre",
        "context_size": 64,
        "dataset_path": "monology/pile-uncopyrighted",
        "prepend_bos": True,
    }
    (folder / "cfg.json").write_text(json.dumps(old, indent=1))
    expect_saelens(folder)


# sparsify


def sparsify():
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # its kernels need a GPU
    from sparsify import SparseCoder, SparseCoderConfig
    from sparsify.__main__ import RunConfig

    coder_config = SparseCoderConfig(num_latents=F, k=K)
    coder = SparseCoder(D, coder_config)
    randomise(coder, seed=5, unit=["W_dec"])
    run = make_folder("sparsify_run")
    folder = run / "layers.3"
    coder.save_to_disk(folder)
    RunConfig(
        sae=coder_config,
        model="EleutherAI/pythia-14m",
        dataset="togethercomputer/RedPajama-Data-1T-Sample",
        hookpoints=["layers.3"],
        data_preprocessing_num_proc=1,
    ).save_json(run / "config.json")
    top_acts, top_indices, _ = coder.encode(inputs())
    latents = torch.zeros(N, F).scatter_(1, top_indices, top_acts)
    expect(folder, latents, coder.decode(top_acts, top_indices))


# dictionary_learning


def trained(name, **options):
    """A trainer of theirs, for what it saves and for the configuration it writes."""
    module, _, cls = name.rpartition(".")
    common = dict(
        steps=10000, activation_dim=D, dict_size=F, layer=3, lm_name="EleutherAI/pythia-14m",
        submodule_name="resid_post_layer_3", device="cpu", seed=0,
    )  # fmt: skip
    trainers = importlib.import_module(f"dictionary_learning.trainers.{module}")
    return getattr(trainers, cls)(**common, **options)


def dictionary_learning():
    from dictionary_learning import utils
    from dictionary_learning.dictionary import AutoEncoderNew

    groups = {"group_fractions": [0.25, 0.25, 0.5]}
    matryoshka = trained("matryoshka_batch_top_k.MatryoshkaBatchTopKTrainer", k=K, **groups)
    for name, trainer, normalised in [
        ("autoencoder", trained("standard.StandardTrainer"), True),
        ("autoencoder_free", trained("standard.StandardTrainerAprilUpdate"), False),
        ("topk", trained("top_k.TopKTrainer", k=K), True),
        ("batchtopk", trained("batch_top_k.BatchTopKTrainer", k=K), True),
        ("matryoshka", matryoshka, True),
        ("jumprelu", trained("jumprelu.JumpReluTrainer"), True),
        ("gated", trained("gdm.GatedSAETrainer"), True),
    ]:
        randomise(trainer.ae, seed=6, unit=["W_dec"])
        with torch.no_grad():
            if normalised and hasattr(trainer.ae, "decoder"):
                trainer.ae.decoder.weight.div_(trainer.ae.decoder.weight.norm(dim=0))
            if name == "jumprelu":
                trainer.ae.threshold.abs_()
                trainer.ae.threshold[0] = -1.0
            if name in ["batchtopk", "matryoshka"]:
                trainer.ae.threshold.fill_(0.7)
        folder = make_folder(f"dictionary_learning_{name}")
        buffer = {"d_submodule": D, "io": "out", "n_ctxs": 64, "ctx_len": 128, "device": "cpu"}
        config = {"trainer": trainer.config, "buffer": buffer}
        (folder / "config.json").write_text(json.dumps(config, indent=4))
        torch.save({k: v.cpu() for k, v in trainer.ae.state_dict().items()}, folder / "ae.pt")
        loaded, _ = utils.load_dictionary(folder, "cpu") if normalised else (trainer.ae, None)
        latents = loaded.encode(inputs())
        expect(folder, latents, loaded.decode(latents))

    new = AutoEncoderNew(D, F)
    randomise(new, seed=7)
    folder = make_folder("dictionary_learning_autoencoder_new")
    (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": "AutoEncoderNew"}}))
    torch.save(new.state_dict(), folder / "ae.pt")  # with its _metadata
    latents = new.encode(inputs())
    expect(folder, latents, new.decode(latents))


# Gemma Scope


def gemma_scope():
    """An archive as published, computed with by SAEBench."""
    import sae_bench.custom_saes.jumprelu_sae as jumprelu_sae

    generator = torch.Generator().manual_seed(8)
    normal = lambda *shape: (torch.randn(shape, generator=generator) * 0.6).numpy()  # noqa: E731
    w_dec = normal(F, D)
    w_dec /= numpy.linalg.norm(w_dec, axis=1, keepdims=True)
    params = {
        "W_enc": normal(D, F),
        "W_dec": w_dec,
        "b_enc": normal(F),
        "b_dec": normal(D),
        "threshold": abs(normal(F)),
    }
    folder = make_folder("gemma_scope") / "layer_12" / "width_16" / "average_l0_5"
    folder.mkdir(parents=True)
    numpy.savez(folder / "params.npz", **params)
    jumprelu_sae.hf_hub_download = lambda **_: folder / "params.npz"
    loaded = jumprelu_sae.load_gemma_scope_jumprelu_sae(
        "google/gemma-scope-2b-pt-res", "params.npz", 12, "gemma-2-2b", "cpu", torch.float32
    )
    latents = loaded.encode(inputs())
    expect(folder, latents, loaded.decode(latents))


# Releases as they lie on the hub, computed with by SAELens' loaders of them


def expect_published(folder, loader, repo, name, scale=None, **overrides):
    """`name` of the release `repo`, whose files lie in `folder`; `scale` is folded in as
    from_pretrained does."""
    import sae_lens
    from sae_lens.loading import pretrained_sae_loaders as loaders

    root = folder if name.endswith(".pt") else pathlib.Path(str(folder).removesuffix(name))
    local = lambda repo_id, filename, subfolder="", **_: root / subfolder / filename  # noqa: E731
    loaders.hf_hub_download = local
    loaders.get_safetensors_tensor_shapes = lambda repo_id, filename: {
        key: list(tensor.shape) for key, tensor in load_file(root / filename).items()
    }

    def converter(_, device, cfg_overrides):
        overridden = cfg_overrides | overrides
        return getattr(loaders, loader)(repo, name, device=device, cfg_overrides=overridden)[:2]

    sae = sae_lens.SAE.load_from_disk(folder, dtype="float32", converter=converter)
    if scale is not None:
        sae.fold_activation_norm_scaling_factor(scale)
    latents = sae.encode(inputs())
    expect(folder, latents, sae.decode(latents))


def weights(seed, unit=False):
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(shape, generator=generator) * 0.6  # noqa: E731
    made = {"enc": normal(D, F), "b_enc": normal(F), "dec": normal(F, D), "b_dec": normal(D)}
    if unit:
        made["dec"] /= made["dec"].norm(dim=1, keepdim=True)
    return made | {"threshold": normal(F).abs()}


def gemma_scope_2():
    release, name = "gemma-scope-2-1b-pt", "resid_post/layer_7_width_16_l0_small"
    folder = make_folder(f"gemma_scope_2/{release}/{name}")
    made = weights(9)
    made |= {"w_enc": made.pop("enc"), "w_dec": made.pop("dec")}
    save_file(made, folder / "params.safetensors")
    hook = "model.layers.7.output"
    config = {"hf_hook_point_in": hook, "hf_hook_point_out": hook, "width": F, "l0": 5}
    config |= {"model_name": "google/gemma-3-1b-pt", "architecture": "jump_relu"}
    config |= {"affine_connection": False, "type": "sae"}
    (folder / "config.json").write_text(json.dumps(config))
    expect_published(folder, "gemma_3_sae_huggingface_loader", f"google/{release}", name)


def qwen_scope():
    release = f"SAE-Res-Qwen3-1.7B-Base-W32K-L0_{K}"
    folder = make_folder(f"qwen_scope/{release}")
    made = weights(10)
    state = {"W_enc": made["enc"].T.contiguous(), "W_dec": made["dec"].T.contiguous()}
    state |= {name: made[name] for name in ["b_enc", "b_dec"]}
    torch.save(state, folder / "layer5.sae.pt")
    sizes = {"d_in": D, "d_sae": F}
    loader = "qwen_scope_sae_huggingface_loader"
    expect_published(folder, loader, f"Qwen/{release}", "layer5.sae.pt", **sizes)


HOOK, NORM, THRESHOLD = "blocks.5.hook_resid_post", 3.5, 0.4


def llama_scope_files(folder, made, dtype, **changes):
    """As released: hyperparams.json and checkpoints/final.safetensors."""
    (folder / "checkpoints").mkdir()
    tensors = {"encoder.weight": made["enc"].T, "encoder.bias": made["b_enc"]}
    tensors |= {"decoder.weight": made["dec"].T, "decoder.bias": made["b_dec"]}
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "checkpoints" / "final.safetensors")
    config = {"hook_point_in": HOOK, "hook_point_out": HOOK, "d_model": D, "d_sae": F}
    config |= {"act_fn": "jumprelu", "jump_relu_threshold": THRESHOLD, "top_k": K}
    config |= {"norm_activation": "dataset-wise", "sparsity_include_decoder_norm": True}
    config |= {"dataset_average_activation_norm": {"in": NORM, "out": NORM}}
    config |= {"use_decoder_bias": True, "apply_decoder_bias_to_pre_encoder": False}
    config |= {"use_glu_encoder": False, "device": "cuda", "dtype": "torch.bfloat16"} | changes
    (folder / "hyperparams.json").write_text(json.dumps(config, indent=4))
    return tensors


def llama_scope():
    """With rows of norm 1, for which SAELens and OpenMOSS' own library agree."""
    release, name = "Llama3_1-8B-Base-LXR-8x", "Llama3_1-8B-Base-L5R-8x"
    folder = make_folder(f"llama_scope/{name}")
    llama_scope_files(folder, weights(11, unit=True), torch.float)
    loader = "llama_scope_sae_huggingface_loader"
    expect_published(folder, loader, f"fnlp/{release}", name, scale=D**0.5 / NORM)


# What OpenMOSS' own library computes, with rows of any norm


def openmoss(tensors, **options):
    from llamascopium.models.sae import SAEConfig, SparseAutoEncoder

    sizes = {"d_model": D, "expansion_factor": F / D, "top_k": K}
    config = SAEConfig(hook_point_in=HOOK, hook_point_out=HOOK, **sizes, **options)
    model = SparseAutoEncoder(config)
    model.set_dataset_average_activation_norm({HOOK: NORM})
    with torch.no_grad():
        for name, tensor in tensors.items():
            dict(model.named_parameters())[name].copy_(tensor)
    return model


def expect_openmoss(folder, model, of_norms=False):
    normalized, scales = model.normalize_activations({HOOK: inputs()}, return_scale_factor=True)
    latents = model.encode(normalized[HOOK])
    output = model.denormalize_activations({HOOK: model.decode(latents)}, scales)[HOOK]
    expect(folder, latents * model.decoder_norm() if of_norms else latents, output)


def llama_scope_free():
    if importlib.util.find_spec("llamascopium") is None:  # not for this Python
        return
    threshold = "activation_function.log_jumprelu_threshold"
    made = weights(12)
    for name, kind in [("llama_scope_free", "jumprelu"), ("llama_scope_topk", "topk")]:
        folder = make_folder(name)
        saved = llama_scope_files(folder, made, torch.bfloat16, act_fn=kind)
        tensors = {"W_E": saved["encoder.weight"].T, "b_E": saved["encoder.bias"]}
        tensors |= {"W_D": saved["decoder.weight"].T, "b_D": saved["decoder.bias"]}
        if kind == "jumprelu":  # of activations in their own units
            tensors[threshold] = torch.tensor(THRESHOLD * D**0.5 / NORM).log().expand(F)
        # What is picked by is h |d|, and ours gives what it picks by.
        expect_openmoss(folder, openmoss(tensors, act_fn=kind), of_norms=kind == "topk")

    tensors = {"W_E": made["enc"], "b_E": made["b_enc"], "W_D": made["dec"], "b_D": made["b_dec"]}
    tensors[threshold] = made["threshold"].clamp(min=0.1).log()
    model = openmoss(tensors, act_fn="jumprelu")
    folder = make_folder("llama_scope_library")
    model.save_pretrained(folder)
    model.cfg.save_hyperparameters(folder)
    expect_openmoss(folder, model)


def make_all():
    torch.manual_seed(0)
    saelens = [saelens_inference, saelens_training, saelens_before_6]
    scopes = [gemma_scope, gemma_scope_2, qwen_scope, llama_scope, llama_scope_free]
    for make in [*saelens, sparsify, dictionary_learning, *scopes]:
        make()


if __name__ == "__main__":
    make_all()
