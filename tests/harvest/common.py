"""What the tests of the harvesting scripts share: tiny random models, and how a script is run."""

import contextlib
import copy
import io
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
try:
    import torch
    import transformers
    from safetensors import safe_open
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
except ImportError as error:
    raise unittest.SkipTest(f"{error}; scripts/harvest.py --help says how to install it") from None

WORDS = "the a cat dog sat on mat ran to of and in".split()
SIZES = dict(vocab_size=16, hidden_size=8, num_hidden_layers=3, num_attention_heads=2)
WITHOUT_HEAD_DIM = dict(SIZES, intermediate_size=16, num_key_value_heads=1)
GATED = dict(WITHOUT_HEAD_DIM, head_dim=6)
# Soft caps and attention windows small enough to matter.
CAPS = dict(attn_logit_softcapping=0.5, query_pre_attn_scalar=3, sliding_window=3)
MODELS = {
    "bert": transformers.BertConfig(**SIZES, intermediate_size=16),
    "gpt2": transformers.GPT2Config(vocab_size=16, n_embd=8, n_layer=3, n_head=2),
    "neox": transformers.GPTNeoXConfig(**SIZES, intermediate_size=16),
    "neox sequential": transformers.GPTNeoXConfig(
        **SIZES, intermediate_size=16, use_parallel_residual=False
    ),
    "llama": transformers.LlamaConfig(**GATED),
    "mistral": transformers.MistralConfig(**GATED, sliding_window=3),
    "qwen2": transformers.Qwen2Config(**WITHOUT_HEAD_DIM),
    "gemma2": transformers.Gemma2Config(**GATED, **CAPS),
    "gemma3": transformers.Gemma3TextConfig(**GATED, sliding_window=3),
}
# Scales what its blocks add.
SCALED = transformers.GraniteConfig(**WITHOUT_HEAD_DIM, residual_multiplier=0.3)
# What each architecture adds to its residual stream: the modules that return it.
ADDED = {
    "bert": ("encoder.layer.{}.attention.output.dense", "encoder.layer.{}.output.dense"),
    "gpt2": ("h.{}.attn", "h.{}.mlp"),
    "neox": ("layers.{}.attention", "layers.{}.mlp"),
    "neox sequential": ("layers.{}.attention", "layers.{}.mlp"),
    "llama": ("layers.{}.self_attn", "layers.{}.mlp"),
    "mistral": ("layers.{}.self_attn", "layers.{}.mlp"),
    "qwen2": ("layers.{}.self_attn", "layers.{}.mlp"),
    "gemma2": ("layers.{}.post_attention_layernorm", "layers.{}.post_feedforward_layernorm"),
    "gemma3": ("layers.{}.post_attention_layernorm", "layers.{}.post_feedforward_layernorm"),
}
BLOCKS = {"bert": "encoder.layer.{}", "gpt2": "h.{}"}


def tiny_tokenizer(framed=True):
    special = ["[UNK]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(
        models.WordPiece({w: i for i, w in enumerate([*special, *WORDS])}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    if framed:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def byte_tokenizer(text):
    """Byte pairs as in GPT-2, with all pairs that make whole words of `text`; adds no token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )


def randomise(model):
    """Norms and biases start at 0 or 1, where much of what can go wrong changes nothing."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)


class ScriptTest(unittest.TestCase):
    """A folder for each test, and the script that is tested, in this process or in its own."""

    script = None  # its module

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def model(self, name, tokenizer=None, **changes):
        torch.manual_seed(0)
        config = copy.deepcopy(MODELS[name])
        config.update(changes)
        model = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
        randomise(model)
        path = self.folder / name
        model.save_pretrained(path)
        (tokenizer or tiny_tokenizer()).save_pretrained(path)
        return path, model

    def run_script(self, *arguments):
        """Exit status and what was printed to stderr."""
        output = io.StringIO()
        with contextlib.redirect_stderr(output):
            try:
                status = self.script.main([str(a) for a in arguments])
            except SystemExit as stop:
                status = stop.code
        return status, output.getvalue()

    def run_well(self, *arguments):
        status, output = self.run_script(*arguments)
        self.assertEqual(status, 0, output)
        return output

    def fails(self, status, message, *arguments):
        """The script ends with `status`, and the last line of what it says has `message`."""
        got, output = self.run_script(*arguments)
        self.assertEqual(got, status, output)
        self.assertIn(message, output.strip().splitlines()[-1])

    def kill_at(self, replacement, arguments):
        """Runs the script in a process of its own that is killed before its n-th rename."""
        program = (
            "import importlib, os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
            "script = importlib.import_module(sys.argv[2])\n"
            "count, rename = 0, os.replace\n"
            "def replace(*paths):\n"
            "    global count; count += 1\n"
            f"    if count == {replacement}: os.kill(os.getpid(), signal.SIGKILL)\n"
            "    rename(*paths)\n"
            "os.replace = replace\n"
            "sys.exit(script.main(sys.argv[3:]))"
        )
        command = [sys.executable, "-c", program, ROOT / "scripts", self.script.__name__]
        killed = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)
        self.assertEqual(killed.returncode, -signal.SIGKILL, killed.stderr)


def read_labelled(path):
    """Tensors and metadata of a labelled file."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = {
            name: value if name == "task" else json.loads(value)
            for name, value in file.metadata().items()
        }
    return tensors, metadata
