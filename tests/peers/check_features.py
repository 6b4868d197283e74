"""What `sae features` writes for Neuronpedia and Delphi, opened by their own loaders, and held against what
their own writers make of the same activations.

Activations are whole numbers, so that both compute the same ones. Run as check_convert.py is.
"""

import asyncio
import hashlib
import json
import tempfile
import types
import unittest
from pathlib import Path

import numpy
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from check_convert import sae

D, F, TOKENS = 6, 140, 1600
CONTEXTS, CONTEXT = 24, 64
HOOK = "layers.8"
WORDS = ["<eos>"] + [f" w{i}" for i in range(1, TOKENS)]


def planted(contexts):
    """Activations, tokens and the weights of a ReLU autoencoder, and its latents."""
    g = torch.Generator().manual_seed(0)
    whole = lambda low, high, *shape: torch.randint(low, high, shape, generator=g).float()  # noqa: E731
    rows = sum(contexts)
    x = whole(-3, 4, rows, D)
    weights = {
        "W_enc": whole(-2, 3, D, F),
        "b_enc": whole(-9, -3, F),
        "W_dec": torch.nn.functional.normalize(torch.randn(F, D, generator=g), dim=1),
        "b_dec": torch.zeros(D),
        "threshold": torch.zeros(F),
    }
    weights["b_enc"][7] = -100  # silent
    weights["b_enc"][11] = 5  # fires on most
    tokens = 1 + torch.randperm(TOKENS - 1, generator=g)[:rows].int()  # each tells which row it is
    numbers = torch.repeat_interleave(torch.arange(len(contexts)), torch.tensor(contexts)).int()
    latents = (x @ weights["W_enc"] + weights["b_enc"]).relu()
    return x, tokens, numbers, weights, latents


def write_store(folder, x, tokens, numbers):
    folder.mkdir()
    shard = folder / "shard-00000.safetensors"
    save_file({"activations": x, "tokens": tokens, "context": numbers}, shard)
    digest = hashlib.sha256(shard.read_bytes()).hexdigest()
    source = {"model": "gpt2", "layer": 8, "hook_name": "blocks.8.hook_resid_post", "dropped": ["<eos>"]}
    source |= {"module": HOOK, "dataset": "some/text"}
    manifest = {"format": "sae-activations", "version": 1, "d_in": D, "dtype": "f32", "tokens": len(x)}
    manifest["source"] = source
    manifest["shards"] = [{"file": shard.name, "tokens": len(x), "sha256": digest}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    vocabulary = {"format": "sae-vocabulary", "version": 1, "tokens": WORDS}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary))


class Features(unittest.TestCase):
    contexts = [CONTEXT] * CONTEXTS

    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name)
        cls.x, cls.tokens, cls.numbers, cls.weights, cls.latents = planted(cls.contexts)
        write_store(cls.folder / "store", cls.x, cls.tokens, cls.numbers)
        (cls.folder / "sae").mkdir()
        arrays = {name: value.numpy() for name, value in cls.weights.items()}
        numpy.savez(cls.folder / "sae" / "params.npz", **arrays)
        cls.unembedding = torch.randn(TOKENS, D, generator=torch.Generator().manual_seed(1))
        facts = {"format": "sae-unembedding", "version": "1", "model": "gpt2", "vocabulary": str(TOKENS)}
        save_file({"unembedding": cls.unembedding}, cls.folder / "unembedding", facts)

    @classmethod
    def written(cls, name, *options):
        out = cls.folder / name
        if not out.exists():
            sae("features", cls.folder / "sae", "--data", cls.folder / "store", "--out", out, "--device", "cpu",
                "--threads", 1, "--quiet", *options)  # fmt: skip
        return out


class Neuronpedia(Features):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        out = cls.written("batches", "--format", "neuronpedia", "--unembedding", cls.folder / "unembedding",
                          "--source-set", "res-test")  # fmt: skip
        cls.batches = [json.loads((out / f"batch-{i}.json").read_text()) for i in range(2)]

    def test_sae_dashboards_classes_take_the_batches_as_they_are(self):
        from sae_dashboard.neuronpedia.neuronpedia_dashboard import NeuronpediaDashboardBatch

        for batch, size in zip(self.batches, (128, 12)):
            loaded = NeuronpediaDashboardBatch(**batch)
            self.assertEqual(len(loaded.features), size)
            self.assertEqual(loaded.to_dict(), batch)
            self.assertEqual((loaded.model_id, loaded.layer, loaded.sae_set), ("gpt2", 8, "res-test"))
            again = NeuronpediaDashboardBatch(**json.loads(json.dumps(loaded.to_dict())))
            self.assertTrue(all(a == b for a, b in zip(loaded.features, again.features)))

    def theirs(self, latents):
        """What SAEDashboard's own code makes of these latents, as its runner for Neuronpedia has it."""
        from sae_dashboard import components as parts
        from sae_dashboard.components_config import SequencesConfig
        from sae_dashboard.data_parsing_fns import get_features_table_data, get_logits_table_data
        from sae_dashboard.feature_data import FeatureData
        from sae_dashboard.neuronpedia.neuronpedia_converter import NeuronpediaConverter
        from sae_dashboard.neuronpedia.neuronpedia_runner_config import NeuronpediaRunnerConfig
        from sae_dashboard.sequence_data_generator import SequenceDataGenerator
        from sae_dashboard.utils_fns import RollingCorrCoef

        f, W_dec = self.latents[:, latents], self.weights["W_dec"][latents]
        neurons, others = RollingCorrCoef(), RollingCorrCoef(indices=latents, with_self=True)
        neurons.update(f.T, self.x.T)
        others.update(f.T, f.T)
        tables = get_features_table_data(W_dec, 3, neurons, others)
        sequences = SequencesConfig(buffer=None, n_quantiles=5, top_acts_group_size=20, quantile_group_size=5)
        layout = types.SimpleNamespace(seq_cfg=sequences)
        config = types.SimpleNamespace(feature_centric_layout=layout, perform_ablation_experiments=False)
        tokens = self.tokens.long().reshape(CONTEXTS, CONTEXT)
        generator = SequenceDataGenerator(config, tokens, self.unembedding.T)
        data = {}
        for i, latent in enumerate(latents):
            own, logits = f[:, i], W_dec[i] @ self.unembedding.T
            fired = own[own > 0]
            one = data[latent] = FeatureData()
            one.feature_tables_data = parts.FeatureTablesData(**{k: v[i] for k, v in tables.items()})
            one.logits_histogram_data = parts.LogitsHistogramData.from_data(logits, 50, "5 ticks", None)
            title = f"ACTIVATIONS<br>DENSITY = {len(fired) / len(own):.3%}"
            one.acts_histogram_data = parts.ActsHistogramData.from_data(fired, 50, "5 ticks", title)
            one.logits_table_data = get_logits_table_data(logits, 10)
            one.sequence_data = generator.get_sequences_data(
                own.reshape(CONTEXTS, CONTEXT), logits, torch.tensor([]), W_dec[i]
            )
        model = types.SimpleNamespace(cfg=types.SimpleNamespace(d_vocab=TOKENS))
        settings = NeuronpediaRunnerConfig("", "", "", huggingface_dataset_path="some/text",
                                           n_prompts_total=CONTEXTS, n_tokens_in_prompt=CONTEXT)  # fmt: skip
        names = dict(enumerate(WORDS))
        return [one.to_dict() for one in NeuronpediaConverter._process_features(model, data, settings, names)]

    def assert_numbers(self, got, expected, tolerance=0.0011):
        self.assertEqual(len(got), len(expected))
        for a, b in zip(got, expected):
            self.assertLessEqual(abs(a - b), tolerance)

    def test_sae_dashboard_makes_the_same_of_the_same_activations(self):
        for batch in self.batches:
            numbers = [latent["feature_index"] for latent in batch["features"]]
            for got, expected in zip(batch["features"], self.theirs(numbers)):
                with self.subTest(latent=got["feature_index"]):
                    self.assertEqual(got.keys(), expected.keys())
                    self.compare(got, expected)

    def compare(self, got, expected):
        same = ["feature_index", "pos_str", "neg_str", "n_prompts_total", "n_tokens_in_prompt", "dataset"]
        same += ["decoder_weights_dist", "vector", "neuron_alignment_indices"]
        for key in same:
            self.assertEqual(got[key], expected[key], key)
        for key in ("neuron_alignment_values", "neuron_alignment_l1", "pos_values", "neg_values",
                    "logits_hist_data_bar_values"):  # fmt: skip
            self.assert_numbers(got[key], expected[key])
        self.assertAlmostEqual(got["frac_nonzero"], expected["frac_nonzero"], delta=6e-6)
        # A logit may lie on the border of two bars.
        self.assert_numbers(numpy.cumsum(got["logits_hist_data_bar_heights"]),
                            numpy.cumsum(expected["logits_hist_data_bar_heights"]), 1)  # fmt: skip
        self.assertEqual(sum(got["logits_hist_data_bar_heights"]), TOKENS)
        if not got["frac_nonzero"]:
            self.assertEqual(got["activations"], [])
            return
        for key in ("correlated_neurons", "correlated_features"):
            # Theirs list a latent itself, and those that never fire, with 0.
            self.assert_numbers([max(p, 0) for p in got[f"{key}_pearson"]],
                                [max(p, 0) for p in expected[f"{key}_pearson"]])  # fmt: skip
            if len({round(p, 2) for p in got[f"{key}_pearson"]}) == 3:  # ties go either way
                firm = sum(p > 0.02 for p in got[f"{key}_pearson"][:2])
                self.assertEqual(got[f"{key}_indices"][:firm], expected[f"{key}_indices"][:firm])
                self.assert_numbers(got[f"{key}_l1"][:firm], expected[f"{key}_l1"][:firm])
        self.assert_numbers(got["freq_hist_data_bar_values"], expected["freq_hist_data_bar_values"])
        self.assert_numbers(numpy.cumsum(got["freq_hist_data_bar_heights"]),
                            numpy.cumsum(expected["freq_hist_data_bar_heights"]), 0)  # fmt: skip
        self.compare_sequences(got["activations"], expected["activations"], got["feature_index"])

    def compare_sequences(self, got, expected, latent):
        attention = {"dfa_values", "dfa_maxValue", "dfa_targetIndex"}  # of autoencoders of hook_z
        self.assertEqual(got[0].keys(), expected[0].keys() - attention)
        bins = lambda list: [(a["bin_min"], a["bin_max"], a["bin_contains"]) for a in list]  # noqa: E731
        theirs = {(low, high): share for low, high, share in bins(expected)}
        for low, high, share in bins(got):
            self.assertIn((low, high), theirs)
            # Theirs count an activation on the border of two intervals in both.
            self.assertLessEqual(share, theirs[low, high] + 1e-5)
        f = self.latents[:, latent].reshape(CONTEXTS, CONTEXT)
        texts = {tuple(WORDS[t] for t in row): i for i, row in enumerate(self.tokens.reshape(f.shape).tolist())}
        for one in got:
            row = texts[tuple(one["tokens"])]
            self.assertEqual(one["values"], f[row].tolist())
            value = one["values"][one["qualifying_token_index"]]
            self.assertTrue(value > 0 and one["bin_min"] - 0.001 <= value <= one["bin_max"] + 0.001)
        strongest = [a["values"][a["qualifying_token_index"]] for a in got if a["bin_min"] == -1]
        self.assertEqual(strongest, sorted(f.max(1).values[f.max(1).values > 0].tolist(), reverse=True)[:20])

    def test_neuronpedias_client_takes_a_batch_for_upload(self):
        from neuronpedia.np_activation import Activation
        from neuronpedia.np_feature import Feature, Logit
        from neuronpedia.requests.feature_request import FeatureRequest

        logits = lambda latent, side: [  # noqa: E731
            Logit(*pair) for pair in zip(latent[f"{side}_str"], latent[f"{side}_values"])
        ]
        for batch in self.batches:
            place = {"modelId": batch["model_id"], "source": f"{batch['layer']}-{batch['sae_set']}"}
            features = []
            for latent in batch["features"]:
                index = {"index": latent["feature_index"]}
                activations = [
                    Activation.from_np_db_json(
                        place | index | {"tokens": a["tokens"], "values": a["values"], "binMin": a["bin_min"],
                                         "binMax": a["bin_max"], "binContains": a["bin_contains"]}
                    )
                    for a in latent["activations"]
                    if a["bin_min"] >= 0
                ]  # fmt: skip
                features.append(
                    Feature(**place, **index, density=latent["frac_nonzero"], activations=activations,
                            top_logits=logits(latent, "pos"), bottom_logits=logits(latent, "neg"))
                )  # fmt: skip
            request = FeatureRequest(api_key="none")
            sent = []
            request.send_request = lambda **call: sent.append(call["json"])
            request.upload_batch(place["modelId"], place["source"], features)
            self.assertEqual(len(sent[0]["features"]), len(batch["features"]))
            self.assertEqual(json.loads(json.dumps(sent[0])), sent[0])


class Tokenizer:
    """All that Delphi asks of one."""

    @staticmethod
    def batch_decode(tokens):
        return [WORDS[token] for token in torch.as_tensor(tokens).tolist()]


class DelphiFeatures(Features):
    def cache(self):
        return self.written("latents", "--format", "delphi")

    def dataset(self, **more):
        from delphi.config import ConstructorConfig, SamplerConfig
        from delphi.latents import LatentDataset

        sampler = SamplerConfig(n_examples_train=4, n_examples_test=4, n_quantiles=2)
        constructor = ConstructorConfig(min_examples=1, n_non_activating=2)
        return LatentDataset(self.cache(), sampler, constructor, tokenizer=Tokenizer(), **more)

    def assert_examples(self, record):
        """Each is a stretch of one context, with the activations that the latent has there."""
        f = self.latents[:, record.latent.latent_index]
        row_of = {token: row for row, token in enumerate(self.tokens.tolist())}
        found = 0
        for example in record.examples:
            text = example.tokens[example.tokens != 0]  # without padding
            rows = [row_of[token] for token in text.tolist()]
            self.assertEqual(rows, list(range(rows[0], rows[0] + len(rows))))
            self.assertEqual(len(self.numbers[rows].unique()), 1)
            self.assertTrue(torch.equal(example.activations[: len(rows)].float(), f[rows]))
            self.assertFalse(example.activations[len(rows) :].any())
            found += int((example.activations > 0).sum())
        self.assertEqual(found, int((f > 0).sum()))
        self.assertGreater(len(record.train), 0)

    def test_its_dataset_finds_every_activation(self):
        dataset = self.dataset()
        self.assertEqual(dataset.modules, [HOOK])
        self.assertEqual(dataset.cache_config["model_name"], "gpt2")
        records = list(dataset)
        fire = (self.latents > 0).any(0).nonzero().flatten().tolist()
        self.assertEqual(sorted(record.latent.latent_index for record in records), fire)
        for record in records:
            with self.subTest(str(record.latent)):
                self.assert_examples(record)

    def test_its_dataset_finds_chosen_latents(self):
        dataset = self.dataset(modules=[HOOK], latents={HOOK: torch.tensor([7, 11, 30, 139])})
        found = sorted(record.latent.latent_index for record in dataset)
        self.assertEqual(found, [i for i in (7, 11, 30, 139) if (self.latents[:, i] > 0).any()])


class Delphi(DelphiFeatures):
    def test_its_own_cache_writes_the_same_arrays(self):
        from delphi.config import CacheConfig
        from delphi.latents import LatentCache

        theirs = LatentCache(None, {HOOK: None}, batch_size=CONTEXTS)
        theirs.width = F
        tokens = self.tokens.long().reshape(CONTEXTS, CONTEXT)
        theirs.cache.add(self.latents.reshape(CONTEXTS, CONTEXT, F), tokens, 0, HOOK)
        theirs.cache.save()
        theirs.save_splits(5, self.folder / "theirs")
        theirs.save_config(self.folder / "theirs", CacheConfig(), "gpt2")
        files = sorted(path.name for path in (self.folder / "theirs" / HOOK).iterdir())
        self.assertEqual(sorted(path.name for path in (self.cache() / HOOK).iterdir()), files)
        for name in files:
            if name == "config.json":
                expected = json.loads((self.folder / "theirs" / HOOK / name).read_text())
                self.assertLessEqual(expected.keys(), json.loads((self.cache() / HOOK / name).read_text()).keys())
                continue
            expected, got = (load_file(folder / HOOK / name) for folder in (self.folder / "theirs", self.cache()))
            self.assertEqual(got.keys(), expected.keys())
            for key in ("locations", "activations"):
                self.assertEqual(got[key].dtype, expected[key].dtype)
            for key in expected:
                self.assertTrue(numpy.array_equal(got[key], expected[key]), (name, key))

    def test_its_statistics_are_those_of_the_latents(self):
        from delphi.latents.cache import generate_statistics_cache
        from delphi.latents.loader import TensorBuffer

        loaded = [TensorBuffer(str(path), HOOK).load() for path in (self.cache() / HOOK).glob("*.safetensors")]
        locations, activations, tokens = zip(*loaded)
        found = generate_statistics_cache(tokens[0], torch.cat(locations), torch.cat(activations), F)
        share = (self.latents > 0).float().mean(0)
        self.assertAlmostEqual(found.frac_alive, (share > 0).float().mean().item(), places=6)
        self.assertAlmostEqual(found.frac_fired_10pct, (share > 0.1).float().mean().item(), places=6)


class DelphiOfRaggedContexts(DelphiFeatures):
    contexts = [5, 64, 31, 1, 33, 40, 32, 17, 50, 64, 3, 29] * 3


del DelphiFeatures  # whose tests are those of the two

if __name__ == "__main__":
    asyncio.set_event_loop(asyncio.new_event_loop())
    unittest.main()
