"""Tests of scripts/unembed.py: what it writes gives the logits of tiny random models' own final norms and
heads."""

import contextlib
import io
import unittest

import common as tiny
from common import torch, transformers

import unembed  # noqa: E402
from harvesting import HarvestError, unembedding  # noqa: E402
from harvesting.vocabulary import vocabulary_of  # noqa: E402
from safetensors import safe_open  # noqa: E402

CAUSAL = sorted(set(tiny.MODELS) - {"bert"})
LAYER_NORMS = {"gpt2", "neox", "neox sequential"}


class Unembed(tiny.ScriptTest):
    script = unembed

    def causal(self, name, **changes):
        torch.manual_seed(1)
        config = tiny.copy.deepcopy(tiny.MODELS[name])
        config.update(changes)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
        tiny.randomise(model)
        path = self.folder / name
        model.save_pretrained(path)
        tiny.tiny_tokenizer().save_pretrained(path)
        return path, model

    def written(self, path, *options):
        out = self.folder / "out.safetensors"
        with contextlib.redirect_stdout(io.StringIO()):
            said = self.run_well(path, out, "--threads", 1, *options)
        self.assertIn(str(out), said)
        with safe_open(out, "pt") as file:
            weight, metadata = file.get_tensor("unembedding"), file.metadata()
        out.unlink()
        return weight, metadata

    @staticmethod
    def norm_of(model, name):
        for part in name.split("."):
            model = getattr(model, part)
        return model

    def test_its_logits_are_those_of_the_models_own_norm_and_head(self):
        h = 5 * torch.randn(7, 8, generator=torch.Generator().manual_seed(0))
        for name in CAUSAL:
            for changes in ({}, {"final_logit_softcapping": 3.0}) if name == "gemma2" else ({},):
                with self.subTest(name, **changes):
                    path, model = self.causal(name, **changes)
                    weight, facts = self.written(path)
                    norm, head = self.norm_of(model, facts["norm"]), model.get_output_embeddings()
                    capped = bool(getattr(model.config, "final_logit_softcapping", None))
                    centres = name in LAYER_NORMS
                    self.assertEqual(facts["centred_over_width"], str(centres).lower())
                    self.assertEqual(facts["centred_over_tokens"], str(not capped).lower())
                    with torch.no_grad():  # biases and what the norm adds are the same at -h
                        theirs = (head(norm(h)) - head(norm(-h))) / 2
                    if not capped:
                        theirs -= theirs.mean(1, keepdim=True)
                    x = h - h.mean(1, keepdim=True) if centres else h
                    x = x / x.square().mean(1, keepdim=True).sqrt()
                    self.assertTrue(torch.allclose(x @ weight.T, theirs, rtol=1e-3, atol=1e-3))
                    # What the norm takes off does not count either way.
                    moved = (h + 3) / x.std(1, keepdim=True, unbiased=False)
                    same = torch.allclose((moved - moved.mean(1, keepdim=True)) @ weight.T, moved @ weight.T,
                                          rtol=1e-3, atol=1e-3)  # fmt: skip
                    self.assertEqual(same, centres)

    def test_says_what_it_is_of(self):
        path, model = self.causal("llama")
        weight, facts = self.written(path, "--dtype", "bf16", "--model-name", "org/llama")
        self.assertEqual(weight.dtype, torch.bfloat16)
        self.assertEqual(tuple(weight.shape), (16, 8))
        self.assertEqual(facts["format"], "sae-unembedding")
        self.assertEqual(facts["model"], "org/llama")
        self.assertEqual(facts["norm"], "model.norm")
        tokenizer = tiny.tiny_tokenizer()
        self.assertEqual(facts["vocabulary"], str(len(vocabulary_of(tokenizer, [3], 16).tokens)))
        self.assertEqual(self.written(path)[1]["model"], "llama")

    def test_refuses_what_has_no_unembedding(self):
        path, _ = self.model("bert")
        self.fails(3, "is not one norm alone", path, self.folder / "out.safetensors")
        self.assertFalse((self.folder / "out.safetensors").exists())
        path, _ = self.causal("llama")
        (self.folder / "there").touch()
        self.fails(3, "exists already", path, self.folder / "there")
        self.fails(3, "cannot load", self.folder / "nowhere", self.folder / "out.safetensors")
        self.assertEqual([p.name for p in self.folder.iterdir() if p.name.startswith(".tmp")], [])

    def test_refuses_a_head_that_reads_something_else(self):
        _, model = self.causal("llama")
        model.lm_head.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
        with self.assertRaisesRegex(HarvestError, "is not one norm alone"):
            unembedding.unembedding_of(model, torch.arange(6)[None])
        _, model = self.causal("qwen2")
        forward = model.model.norm.forward
        model.model.norm.forward = lambda x: forward(x).abs()
        with self.assertRaisesRegex(HarvestError, "neither a LayerNorm nor an RMSNorm"):
            unembedding.unembedding_of(model, torch.arange(6)[None])


if __name__ == "__main__":
    unittest.main()
