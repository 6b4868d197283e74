"""GGUF files of llama.cpp to folders of Hugging Face, with weights in float32.

The file is read by transformers itself, which dequantises, undoes what llama.cpp changes (the rows of q
and k of Llama, permuted for its RoPE; 1 + w for the norms of Gemma) and rebuilds the tokenizer: of the
tensors of both architectures that is right (tests/harvest/test_models.py, models.py --check). Mended is
what it leaves out, or fills in by the defaults of a model of one size:

    query_pre_attn_scalar   of Gemma is 256 whatever the file says; llama.cpp scales queries by the head's size
    rms_norm_eps            is 9.999999974752427e-07, the float32 of the file: 1e-06 is meant
    tokenizer.ggml.pre      is not read: "smollm" means that each digit stands for itself
    quantization_config     says that the weights are still GGUF, which they are not once they are saved

Left to transformers' defaults, since llama.cpp has them in its source too and not in the file: every
sixth layer of Gemma 3 attends to all positions, and the others' RoPE has the base 10,000.

from_pretrained(gguf_file=...) would do the same in one call, and demands the package accelerate for it.
"""

from harvesting import HarvestError
from harvesting import model as models

ARCHITECTURES = ("gemma3_text", "llama")


def read_config(path):
    import numpy
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    if config.model_type not in ARCHITECTURES:
        raise HarvestError(f"{path}: {config.model_type}, expected one of {', '.join(ARCHITECTURES)}")
    config.rms_norm_eps = float(str(numpy.float32(config.rms_norm_eps)))
    if config.model_type == "gemma3_text":
        config.query_pre_attn_scalar = config.head_dim
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = "float32"
    return config


def read_tensors(path, model):
    """{name in `model`: tensor in float32}, all that the model has but what is tied to another."""
    import torch
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    read = load_gguf_checkpoint(path, return_tensors=True, model_to_load=model, torch_dtype=torch.float32)
    tensors = read["tensors"]
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    for name, value in model.state_dict().items():
        if name not in tied and (name not in tensors or tensors[name].shape != value.shape):
            raise HarvestError(f"{path}: no {name} of {list(value.shape)}")
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise HarvestError(f"{path}: {name} is not finite")
    return {name: value.contiguous() for name, value in tensors.items()}


def read_tokenizer(path, longest):
    import gguf
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer.model_max_length = longest
    fields = gguf.GGUFReader(path).fields
    if fields["tokenizer.ggml.model"].contents() == "gpt2":
        pre = fields["tokenizer.ggml.pre"].contents()
        if pre != "smollm":
            raise HarvestError(f'{path}: cuts text into words as "{pre}", expected "smollm"')
        backend = tokenizer.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
        )
    return tokenizer


def convert(path, folder):
    """Writes configuration, weights and tokenizer. Returns the number of parameters."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    models.be_quiet()
    config = read_config(path)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    tensors = read_tensors(path, model)
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "model.safetensors"
    save_file(tensors, weights, {"format": "pt"})
    weights.chmod(0o644)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    read_tokenizer(path, config.max_position_embeddings).save_pretrained(folder)
    return sum(value.numel() for value in tensors.values())
