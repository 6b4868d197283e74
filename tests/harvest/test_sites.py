"""Tests of the sites of a block, against what transformers' own modules give and, where it is installed,
against TransformerLens."""

import copy
import importlib.util
import json
import unittest
from unittest import mock

import test_harvest
from common import MODELS, SCALED, WORDS, ScriptTest, randomise, tiny_tokenizer, torch, transformers
from safetensors.torch import load_file

import harvest
from harvesting import sites

NEW = ("resid_mid", "hook_z", "mlp_post")
ATTENTION = {"bert": "encoder.layer.{}.attention.self", "gpt2": "h.{}.attn"}
MLP = {"bert": "encoder.layer.{}.intermediate", "gpt2": "h.{}.mlp.act"}
OTHERS = {
    "opt": transformers.OPTConfig(
        vocab_size=16, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, ffn_dim=16,
        word_embed_proj_dim=8, max_position_embeddings=64),
    "phi3": transformers.Phi3Config(
        vocab_size=16, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=16, pad_token_id=0, max_position_embeddings=64),
    "olmo2": transformers.Olmo2Config(
        vocab_size=16, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16),
    "bitnet": transformers.BitNetConfig(
        vocab_size=16, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=16),
}  # fmt: skip


class Caught:
    """What modules of a model give and take while `windows` are run."""

    def __init__(self, model, windows, paths):
        self.outputs, self.hooks = {}, []
        for path in paths:
            self.hooks.append(model.get_submodule(path).register_forward_hook(self.keep(path)))
        with torch.no_grad():
            result = model(input_ids=windows, output_attentions=True)
        self.weights = result.attentions  # of each layer, [n, heads, to, from]
        for hook in self.hooks:
            hook.remove()

    def keep(self, path):
        def hook(module, inputs, output):
            self.outputs[path] = output[0] if isinstance(output, tuple) else output

        return hook

    def __getitem__(self, path):
        return self.outputs[path]


def parts_of(name, layer):
    """The modules whose outputs make values and hidden layer."""
    if name == "bert":
        return [f"encoder.layer.{layer}.attention.self.value", f"encoder.layer.{layer}.intermediate"]
    if name == "gpt2":
        return [f"h.{layer}.attn.c_attn", f"h.{layer}.mlp.act"]
    if name.startswith("neox"):
        return [f"layers.{layer}.attention.query_key_value", f"layers.{layer}.mlp.act"]
    mlp = f"layers.{layer}.mlp"
    return [f"layers.{layer}.self_attn.v_proj", f"{mlp}.gate_proj", f"{mlp}.up_proj"]


def values_of(name, out, heads):
    """The values that a projection gives, [n, heads, T, head size], one for each head of the queries."""
    n, length, _ = out.shape
    if name == "gpt2":
        out = out.chunk(3, -1)[2]
    if name.startswith("neox"):  # of each head query, key and value
        out = out.view(n, length, heads, -1).chunk(3, -1)[2].flatten(2)
    size = {"gemma2": 6, "gemma3": 6, "llama": 6, "mistral": 6}.get(name, 4)
    out = out.view(n, length, -1, size).transpose(1, 2)
    return out.repeat_interleave(heads // out.shape[1], dim=1)


class Sites(ScriptTest):
    script = harvest

    def setUp(self):
        super().setUp()
        self.text = self.folder / "text.txt"
        self.text.write_text(" ".join(WORDS[i * i % 11] for i in range(46)) + " zebra " * 4)

    windows = test_harvest.Harvest.windows

    def expected(self, name, model, windows):
        """At every site and layer: the old sites, and the new ones from attention weights, values and what
        gate and nonlinearity give."""
        values = test_harvest.Harvest.expected(self, name, model, windows)
        caught = Caught(model, windows, [path for layer in range(3) for path in parts_of(name, layer)])
        for layer in range(3):
            value, *hidden = (caught[path] for path in parts_of(name, layer))
            z = caught.weights[layer] @ values_of(name, value, heads=2)
            values["hook_z", layer] = z.transpose(1, 2).flatten(2)
            values["mlp_post", layer] = hidden[0]
            if len(hidden) == 2:
                act = model.get_submodule(f"layers.{layer}.mlp").act_fn
                values["mlp_post", layer] = act(hidden[0]) * hidden[1]
            values["resid_mid", layer] = values["resid_pre", layer] + values["attn_out", layer]
        return values

    def read(self, out):
        manifest = json.loads((out / "manifest.json").read_text())
        parts = [load_file(out / shard["file"]) for shard in manifest["shards"]]
        return manifest, {name: torch.cat([p[name] for p in parts]) for name in parts[0]}

    def arguments(self, path, out, *more):
        return ["--model", path, "--text", self.text, "--context", 8, "--batch", 3, "--dtype", "f32",
                "--out", self.folder / out, *more]  # fmt: skip

    def test_one_pass_gives_every_site_and_layer_as_transformers_has_them(self):
        for name in MODELS:
            path, model = self.model(name)
            windows = self.windows()
            expected, keep = self.expected(name, model, windows), windows.flatten() > 2
            known = [site for site in sites.SITES if (name, site) != ("neox", "resid_mid")]
            out = f"{name}-{{site}}-{{layer}}"
            with mock.patch("transformers.AutoTokenizer.from_pretrained", return_value=tiny_tokenizer()):
                self.run_well(*self.arguments(path, out, "--layer", 0, 1, 2, "--site", *known))
            for site in known:
                for layer in range(3):
                    with self.subTest(model=name, site=site, layer=layer):
                        manifest, store = self.read(self.folder / f"{name}-{site}-{layer}")
                        wanted = expected[site, layer].flatten(0, 1)[keep]
                        torch.testing.assert_close(store["activations"], wanted, rtol=0, atol=2e-6)
                        self.assertEqual(manifest["source"]["site"], site)
                        self.assertEqual(manifest["d_in"], wanted.shape[1])
            widths = {site: expected[site, 1].shape[-1] for site in sites.SITES}
            self.assertEqual(widths["hook_z"], 12 if name in ("llama", "mistral", "gemma2", "gemma3") else 8)
            self.assertEqual(widths["mlp_post"], 32 if name == "gpt2" else 16)

    def test_a_site_of_many_has_the_bytes_of_a_run_of_its_own(self):
        path, _ = self.model("llama")
        self.run_well(*self.arguments(path, "{site}{layer}", "--layer", 2, 1, "--site", *NEW, "--tokens", 20))
        for site in NEW:
            for layer in (1, 2):
                self.run_well(*self.arguments(path, "own", "--layer", layer, "--site", site, "--tokens", 20))
                own, ours = self.folder / "own", self.folder / f"{site}{layer}"
                self.assertEqual(*({f.name: f.read_bytes() for f in out.iterdir()} for out in (own, ours)))
                own.rename(self.folder / f"own-{site}{layer}")

    def test_goes_on_after_a_kill_between_the_sites_to_the_same_bytes(self):
        path, _ = self.model("gpt2")
        more = ["--layer", 1, "--site", "hook_z", "mlp_post", "--shard-tokens", 9]
        self.run_well(*self.arguments(path, "whole-{site}", *more))
        for replacement in (3, 5, 8):
            self.kill_at(replacement, self.arguments(path, "out-{site}", *more))
        self.run_well(*self.arguments(path, "out-{site}", *more))
        for site in ("hook_z", "mlp_post"):
            whole, out = (self.folder / f"{name}-{site}" for name in ("whole", "out"))
            self.assertEqual(*({f.name: f.read_bytes() for f in one.iterdir()} for one in (whole, out)))

    def test_names_are_those_of_transformer_lens(self):
        path, _ = self.model("llama")
        output = self.run_well(*self.arguments(path, "{site}", "--layer", 1, "--site", *NEW))
        for site, hook, module, words in (
            ("resid_mid", "hook_resid_mid", "post_attention_layernorm.input", "the stream between attention"),
            ("hook_z", "attn.hook_z", "self_attn.o_proj.input", "what the heads of block 1 give, before W_O"),
            ("mlp_post", "mlp.hook_post", "mlp.down_proj.input", "hidden layer of the MLP of block 1"),
        ):
            source = self.read(self.folder / site)[0]["source"]
            self.assertEqual(source["hook_name"], f"blocks.1.{hook}")
            self.assertEqual(source["module"], f"layers.1.{module}")
            self.assertIsNone(source["hidden_states"])
            self.assertIn(f"layer 1 {site} = {words}", output)

    def test_no_block_beyond_is_run_and_nothing_after_the_last_site(self):
        path, _ = self.model("gpt2")
        model = transformers.AutoModel.from_pretrained(path).eval()
        harvester = harvest.models.Harvester(model, 1, "hook_z", "cpu")
        for module in (model.h[2], model.h[1].attn.c_proj, model.h[1].mlp):
            module.register_forward_hook(lambda *_: self.fail("ran on"))
        self.assertEqual(harvester(self.windows()).shape, (8, 8, 8))

    @unittest.skipUnless(importlib.util.find_spec("transformer_lens"), "transformer-lens is not installed")
    def test_sites_are_those_of_transformer_lens(self):
        """But for BERT's, whose attention its bridge takes with the norm that follows."""
        from transformer_lens.model_bridge import TransformerBridge

        ids = self.windows()
        for name in [name for name in MODELS if name != "bert"]:
            torch.manual_seed(0)
            model = transformers.AutoModelForCausalLM.from_config(
                copy.deepcopy(MODELS[name]), attn_implementation="eager").eval()  # fmt: skip
            randomise(model)
            model.save_pretrained(self.folder / name)
            bridge = TransformerBridge.boot_transformers(
                str(self.folder / name), tokenizer=tiny_tokenizer(), device="cpu")  # fmt: skip
            _, cache = bridge.run_with_cache(ids)
            for site, hook in sites.HOOKS.items():
                if (name, site) == ("neox", "resid_mid"):
                    self.assertNotIn(f"blocks.1.{hook}", cache)
                    continue
                ours = harvest.models.Harvester(model.base_model, 1, site, "cpu")(ids)
                theirs = cache[f"blocks.1.{hook}"].view(ours.shape)
                torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6, msg=f"{name} {site}")

    # --- what a model does not have ------------------------------------------------------------

    def refused(self, name, site, message):
        path = self.folder / name
        self.fails(3, message, *self.arguments(path, "no", "--layer", 1, "--site", site))
        self.assertEqual(list(self.folder.glob("no*")), [])

    def test_refuses_a_middle_where_attention_and_mlp_stand_side_by_side(self):
        self.model("neox")
        self.refused("neox", "resid_mid", "do not add up to the input of layers.1.post_attention_layernorm: this "
                                          "model has no resid_mid")  # fmt: skip

    def test_refuses_a_middle_that_is_not_the_sum(self):
        with mock.patch.dict(MODELS, scaled=SCALED):
            self.model("scaled")
        self.refused("scaled", "resid_mid", "this model has no resid_mid")

    def test_knows_other_families_and_refuses_what_they_change(self):
        with mock.patch.dict(MODELS, OTHERS):
            for name in OTHERS:
                path, model = self.model(name)
                if name == "bitnet":
                    self.refused(name, "hook_z", "o_proj: what it takes is not hook_z alone, attn_sub_norm")
                    self.refused(
                        name, "mlp_post", "down_proj: what it takes is not mlp_post alone, ffn_sub_norm")
                    continue
                with self.subTest(name):
                    out = f"{name}-{{site}}"
                    with mock.patch(
                        "transformers.AutoTokenizer.from_pretrained", return_value=tiny_tokenizer()
                    ):
                        self.run_well(*self.arguments(path, out, "--layer", 1, "--site", *sites.SITES))
                    stores = {site: self.read(self.folder / f"{name}-{site}")[1] for site in sites.SITES}
                    read = {site: store["activations"] for site, store in stores.items()}
                    torch.testing.assert_close(read["resid_pre"] + read["attn_out"], read["resid_mid"])
                    torch.testing.assert_close(read["resid_mid"] + read["mlp_out"], read["resid_post"])
                    self.assertEqual((read["hook_z"].shape[1], read["mlp_post"].shape[1]), (8, 16))

    def test_refuses_a_block_without_such_a_part(self):
        path, model = self.model("llama")
        block = torch.nn.Module()
        block.mixer = torch.nn.Linear(8, 8)
        for site in NEW:
            with self.assertRaisesRegex(sites.HarvestError, r"layers.1 \(Module\) has none of"):
                sites.find_taker(block, "layers.1", site)

    def test_refuses_heads_whose_outputs_are_gated(self):
        block = torch.nn.Module()
        block.self_attn = torch.nn.Module()
        block.self_attn.q_proj, block.self_attn.o_proj = torch.nn.Linear(8, 16), torch.nn.Linear(8, 8)
        with self.assertRaisesRegex(sites.HarvestError, "is not hook_z alone, q_proj changes it"):
            sites.find_taker(block, "layers.1", "hook_z")

    def test_says_which_words_are_wrong(self):
        path, _ = self.model("gpt2")
        for more, message in (
            (["--site", "hook_z", "hook_z"], "--site names a site twice: hook_z hook_z"),
            (["--site", "hook_z", "mlp_out"], "--out needs {site} in its name for 2 sites"),
            (["--site", "z"], "invalid choice: 'z'"),
        ):
            self.fails(2, message, *self.arguments(path, "no", "--layer", 1, *more))
        self.fails(2, "--stream passes on one --site, got 2", "--model", path, "--text", self.text,
                   "--layer", 1, "--stream", "--site", "hook_z", "mlp_out")  # fmt: skip


if __name__ == "__main__":
    unittest.main()
