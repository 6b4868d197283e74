#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <random>
#include <stdexcept>

#include "config/fields_json.h"
#include "sae/base/error.h"
#include "sae/config/config_node.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

enum class Draw { kIndependent, kNested };
constexpr auto names_of(Draw) { return std::array{"independent", "nested"}; }

struct MaskOptions {
  double decay = 0.99;
  std::int64_t warmup_steps = 1000;
  Draw draw = Draw::kIndependent;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("decay", self.decay, unit_interval(), "decay of the averages, per step");
    visit("warmup_steps", self.warmup_steps, at_least(0), "steps before any latent is masked");
    visit("draw", self.draw, any, "how latents are drawn");
  }
  bool operator==(const MaskOptions&) const = default;
};

struct ModelOptions {
  std::string architecture;
  std::int64_t d_in = 0;
  std::int64_t k = 32;
  double lr = 1e-4;
  bool tied = false;
  std::string name;
  std::vector<std::int64_t> prefixes{16, 64};
  std::vector<bool> flags;
  std::optional<double> target_l0;
  std::optional<MaskOptions> mask;
  MaskOptions always{.decay = 0.5};
  std::vector<MaskOptions> members;
  Json overrides = Json::object();

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("architecture", self.architecture, one_of({"topk", "batch_topk", "atm"}), "which one");
    visit("d_in", self.d_in, at_least(1), "width of the input");
    visit("k", self.k, at_least(1), "latents kept per token");
    visit("lr", self.lr, above(0), "learning rate");
    visit("tied", self.tied, any, "encoder starts as the decoder");
    visit("name", self.name, any, "what to call it");
    visit("prefixes", self.prefixes, at_least(1), "sizes of the nested dictionaries");
    visit("flags", self.flags, any, "switches");
    visit("target_l0", self.target_l0, above(0), "wanted L0");
    visit("mask", self.mask, any, "temporal mask");
    visit("always", self.always, any, "a group");
    visit("members", self.members, any, "several groups");
    visit("overrides", self.overrides, any, "anything");
  }
  bool operator==(const ModelOptions&) const = default;
};

struct PathOptions {
  std::string path;
  std::vector<std::string> shards;
  double scale = std::numeric_limits<double>::quiet_NaN();
  double ratio = 0.5;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("path", self.path, non_empty, "folder of the store");
    visit("shards", self.shards, non_empty, "files in it");
    visit("scale", self.scale, any, "factor");
    visit("ratio", self.ratio, between(0.25, 1), "share");
  }
};

struct Root {
  ModelOptions model;
  std::int64_t seed = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("model", self.model, any, "the autoencoder");
    visit("seed", self.seed, at_least(0), "of every random draw");
  }
};

struct Seed {
  std::int64_t seed = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("seed", self.seed, any, "of every random draw");
  }
};

struct K {
  std::int64_t k = 4;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("k", self.k, at_least(1), "kept");
  }
};

std::string config_error(const std::function<void()>& act) {
  try {
    act();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

std::string parse_error(std::string_view text) {
  return config_error([&] { parse_config(text, "a.json"); });
}

/// What reading a Root says whose model has `lines` (from line 3 on) besides the required ones.
std::string model_error(const std::string& lines) {
  const std::string text =
      "{\"model\": {\n  \"architecture\": \"topk\", \"d_in\": 8,\n" + lines + "\n}}";
  return config_error([&] { read_fields<Root>(parse_config(text, "a.json")); });
}

ConfigNode minimal() {
  return parse_config(R"({"model": {"architecture": "topk", "d_in": 8}})", "a.json");
}

std::string set_error(const std::string& assignment) {
  return config_error([&] { read_fields<Root>(with_set(minimal(), assignment)); });
}

// ---- Reading ------------------------------------------------------------------------------------

TEST(Config, ReadsEveryFieldTypeAndKeepsDefaultsOfAbsentOnes) {
  const auto root = read_fields<Root>(parse_config(R"({
    // comments are allowed
    "seed": 7,
    "model": {
      "architecture": "atm", "d_in": 1e3, "k": 4.0, "lr": 1, "tied": true, "name": "x",
      "prefixes": [1, 2], "flags": [true, false], "target_l0": 20.5, /* here
      too */ "mask": {"decay": 0.5}, "always": {"warmup_steps": 3},
      "members": [{"decay": 0}, {}], "overrides": {"a": [1, {"b": null}]}
    }})",
                                                   "a.json"));
  EXPECT_EQ(root.seed, 7);
  ModelOptions expected;
  expected.architecture = "atm";
  expected.d_in = 1000;
  expected.k = 4;
  expected.lr = 1;
  expected.tied = true;
  expected.name = "x";
  expected.prefixes = {1, 2};
  expected.flags = {true, false};
  expected.target_l0 = 20.5;
  expected.mask = MaskOptions{.decay = 0.5};
  expected.always = MaskOptions{.decay = 0.5, .warmup_steps = 3};  // the outer struct's default
  expected.members = {MaskOptions{.decay = 0}, MaskOptions{}};
  expected.overrides = Json::parse(R"({"a": [1, {"b": null}]})");
  EXPECT_EQ(root.model, expected);
}

TEST(Config, TakesNullForAnOptionalAsNotSet) {
  auto config = parse_config(R"({"architecture": "topk", "d_in": 1, "mask": null})", "a.json");
  ModelOptions defaults;
  defaults.mask = MaskOptions{};
  EXPECT_FALSE(read_fields<ModelOptions>(config, defaults).mask.has_value());
  EXPECT_TRUE(read_fields<ModelOptions>(config.without({"mask"}), defaults).mask.has_value());
}

TEST(Config, NamesAnUnknownKeyWithItsLineAndTheNearestName) {
  EXPECT_EQ(model_error("\"mask\": {\n\"decya\": 1}"),
            "a.json:4: model.mask.decya: unknown key; did you mean 'decay'?");
  EXPECT_EQ(model_error("\"mask\": {\n\"warmup\": 1}"),
            "a.json:4: model.mask.warmup: unknown key; did you mean 'warmup_steps'?");
  EXPECT_EQ(model_error("\"mask\": {\n\"zzz\": 1}"),
            "a.json:4: model.mask.zzz: unknown key; known keys: decay, warmup_steps, draw");
  EXPECT_EQ(config_error(
                [] { read_fields<Root>(parse_config(R"({"modle": {}, "seed": 1})", "a.json")); }),
            "a.json:1: modle: unknown key; did you mean 'model'?");
  EXPECT_EQ(model_error(R"("members": [{}, {"Decay": 1}])"),
            "a.json:3: model.members.1.Decay: unknown key; did you mean 'decay'?");
}

TEST(Config, SaysWhatAMistypedValueShouldHaveBeen) {
  EXPECT_EQ(model_error(R"("lr": "fast")"),
            "a.json:3: model.lr: got \"fast\", expected a number > 0");
  EXPECT_EQ(model_error(R"("lr": null)"), "a.json:3: model.lr: got null, expected a number > 0");
  EXPECT_EQ(model_error(R"("k": true)"), "a.json:3: model.k: got true, expected an integer >= 1");
  EXPECT_EQ(model_error(R"("k": 1.50)"), "a.json:3: model.k: got 1.50, expected an integer >= 1");
  EXPECT_EQ(model_error(R"("tied": 1)"), "a.json:3: model.tied: got 1, expected true or false");
  EXPECT_EQ(model_error(R"("name": [])"), "a.json:3: model.name: got an array, expected a string");
  EXPECT_EQ(model_error(R"("mask": 3)"), "a.json:3: model.mask: got 3, expected an object");
  EXPECT_EQ(model_error(R"("members": {})"),
            "a.json:3: model.members: got an object, expected a list, each an object");
  EXPECT_EQ(model_error(R"("target_l0": "x")"),
            "a.json:3: model.target_l0: got \"x\", expected a number > 0, or null");
  EXPECT_EQ(model_error("\"prefixes\": [1,\n 2,\n\"c\"]"),
            "a.json:5: model.prefixes.2: got \"c\", expected an integer >= 1");
  EXPECT_EQ(model_error(R"("prefixes": 3)"),
            "a.json:3: model.prefixes: got 3, expected a list, each an integer >= 1");
}

TEST(Config, SaysWhichRangeAValueLeft) {
  EXPECT_EQ(model_error(R"("mask": {"decay": 1.5})"),
            "a.json:3: model.mask.decay: got 1.5, expected >= 0 and < 1");
  EXPECT_EQ(model_error(R"("mask": {"decay": 1})"),
            "a.json:3: model.mask.decay: got 1, expected >= 0 and < 1");
  EXPECT_EQ(model_error(R"("k": 0)"), "a.json:3: model.k: got 0, expected >= 1");
  EXPECT_EQ(model_error(R"("lr": -0)"), "a.json:3: model.lr: got 0, expected > 0");
  EXPECT_EQ(model_error(R"("prefixes": [4, 0])"),
            "a.json:3: model.prefixes.1: got 0, expected >= 1");
  EXPECT_EQ(model_error(R"("mask": {"draw": "nestd"})"),
            "a.json:3: model.mask.draw: got \"nestd\", expected one of independent, nested; "
            "did you mean 'nested'?");
  EXPECT_EQ(model_error(R"("mask": {"draw": "x"})"),
            "a.json:3: model.mask.draw: got \"x\", expected one of independent, nested");
  EXPECT_EQ(model_error(R"("mask": {"draw": 5})"),
            "a.json:3: model.mask.draw: got 5, expected one of independent, nested");
}

TEST(Config, ReportsRequiredFieldsAsMissing) {
  const auto read = [](const char* text) {
    return config_error([&] { read_fields<Root>(parse_config(text, "a.json")); });
  };
  EXPECT_EQ(read("{}"),
            "a.json: model.architecture: missing; expected one of topk, batch_topk, atm");
  EXPECT_EQ(read("{\n\"model\": {\"architecture\": \"topk\"}}"),
            "a.json:2: model.d_in: missing; expected an integer >= 1");
  const auto paths = [](const char* text) {
    return config_error([&] { read_fields<PathOptions>(parse_config(text, "a.json")); });
  };
  EXPECT_EQ(paths("{}"), "a.json: path: missing; expected a non-empty string");
  EXPECT_EQ(paths(R"({"path": ""})"), "a.json:1: path: got \"\", expected a non-empty string");
  EXPECT_EQ(paths(R"({"path": "x"})"),
            "a.json: shards: missing; expected a non-empty list, each a string");
  EXPECT_EQ(paths(R"({"path": "x", "shards": []})"),
            "a.json:1: shards: got an empty list, expected a non-empty list, each a string");
  EXPECT_EQ(paths(R"({"path": "x", "shards": [""]})"), "a.json: scale: missing; expected a number");
  EXPECT_EQ(paths(R"({"path": "x", "shards": [""], "scale": 1, "ratio": 0})"),
            "a.json:1: ratio: got 0, expected >= 0.25 and <= 1");
}

TEST(Config, AcceptsIntegersOnlyWhenExact) {
  const auto seed = [](const std::string& text) {
    const auto config = parse_config("{\"seed\": " + text + "}", "a.json");
    return read_fields<Seed>(config).seed;
  };
  EXPECT_EQ(seed("9223372036854775807"), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(seed("-9223372036854775808"), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(seed("9007199254740992.0"), 9007199254740992);
  EXPECT_EQ(seed("-0"), 0);
  EXPECT_EQ(seed("-0.0"), 0);
  EXPECT_EQ(seed("2.5e1"), 25);
  EXPECT_EQ(config_error([&] { seed("9223372036854775808"); }),
            "a.json:1: seed: got 9223372036854775808, expected an integer below 2^63");
  EXPECT_EQ(config_error([&] { seed("1e25"); }),
            "a.json:1: seed: got 1e25, expected an integer above 2^53 to be written in digits and "
            "to fit 64 bits");
  EXPECT_EQ(config_error([&] { seed("123456789012345678901234567890"); }),
            "a.json:1: seed: got 123456789012345678901234567890, expected an integer above 2^53 to "
            "be written in digits and to fit 64 bits");
  EXPECT_EQ(config_error([&] { seed("1e-30"); }), "a.json:1: seed: got 1e-30, expected an integer");
}

// ---- Parsing ------------------------------------------------------------------------------------

TEST(Config, ReportsSyntaxErrorsWithLineColumnAndExpectation) {
  EXPECT_EQ(parse_error(""), "a.json:1:1: got the end, expected a value");
  EXPECT_EQ(parse_error("{\n \"a\": 1,\n \"b\" 2\n}"), "a.json:3:6: got 2, expected ':'");
  EXPECT_EQ(parse_error("{\n \"a\": 1\n \"b\": 2\n}"),
            "a.json:3:2: got a string, expected ',' or '}'");
  EXPECT_EQ(parse_error("{\"a\": [1 2]}"), "a.json:1:10: got 2, expected ',' or ']'");
  EXPECT_EQ(parse_error("{\"a\": 1,\n}"),
            "a.json:2:1: got '}' after a comma, expected no comma there");
  EXPECT_EQ(parse_error("{\"a\": [1, ]}"),
            "a.json:1:11: got ']' after a comma, expected no comma there");
  EXPECT_EQ(parse_error("{\"a\": }"), "a.json:1:7: got '}', expected a value");
  EXPECT_EQ(parse_error("{\n\"a\": {\n\"b\": 1\n"),
            "a.json:4:1: got the end, expected ',' or '}'; the object opened on line 2 is not "
            "closed");
  EXPECT_EQ(parse_error("{} {}"), "a.json:1:4: got '{', expected nothing after the document");
  EXPECT_EQ(parse_error("{a: 1}"), "a.json:1:2: got a, expected a key in double quotes");
  EXPECT_EQ(parse_error("{\"é\": tru}"), "a.json:1:7: got tru, expected a value");
  EXPECT_EQ(parse_error("{'a': 1}"),
            "a.json:1:2: got ', expected a key in double quotes; strings take double quotes");
  EXPECT_EQ(parse_error("{\"a\": NaN}"),
            "a.json:1:7: got NaN, expected a value; JSON has no NaN and no Infinity");
  EXPECT_EQ(parse_error("{\"a\": Infinity}"),
            "a.json:1:7: got Infinity, expected a value; JSON has no NaN and no Infinity");
  EXPECT_EQ(parse_error("{\"a\": [1}"), "a.json:1:9: got '}', expected ',' or ']'");
  EXPECT_EQ(parse_error("{\"a\": 1, /* c */ \"b\\\"c\" 2}"), "a.json:1:25: got 2, expected ':'");
  EXPECT_EQ(parse_error("{\"a\": 1 \"b\\\"c\\\\\": 2}"),
            "a.json:1:9: got a string, expected ',' or '}'");
  EXPECT_EQ(parse_error("{\"a\": 1.}"), "a.json:1:7: got 1., expected digit after '.'");
  EXPECT_EQ(parse_error("[1]"), "a.json: got an array, expected an object");
  EXPECT_EQ(parse_error("{\"a\": 01}"),
            "a.json:1:7: got 01, expected a number without a leading 0");
  EXPECT_EQ(parse_error("[-007, 2]"),
            "a.json:1:2: got -007, expected a number without a leading 0");
  EXPECT_EQ(parse_error("{\"a\": 1.5.2}"), "a.json:1:7: got 1.5.2, expected ',' or '}'");
  EXPECT_EQ(parse_error("{\"a\": \"x\\\ny\"}").find("a.json:1:9: got \\\\n, expected one of"), 0U)
      << "a newline is shown as it is escaped";
}

TEST(Config, ReportsErrorsInsideTokensOnOneLine) {
  for (const char* text :
       {"{\"a\": -Infinity}", "{\"a\": -}", "{\"a\": \"x\ny\"}", "{\"a\": \"x", "{/* \n", "{ / }",
        "{\"a\": \"\\q\"}", "{\"a\": \"\xff\"}", "{\"a\": \"\\ud800\"}", "\xef\xbb", "{\"a\": +1}",
        "{\"a\": .5}", "{\"a\": 0x10}", "{\"a\":\0}", "\"", "{\"a\\u0000b\": nope}"}) {
    const std::string error = parse_error(text);
    EXPECT_TRUE(error.starts_with("a.json:1:") || error.starts_with("a.json:2:")) << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    EXPECT_EQ(error.find("json.exception"), std::string::npos) << error;
  }
  EXPECT_EQ(parse_error("{\"a\": \"x"), "a.json:1:9: got the end in a string, expected '\"' first");
  EXPECT_EQ(parse_error("{\"a\": -Infinity}"),
            "a.json:1:7: got -Infinity, expected a value; JSON has no NaN and no Infinity");
  EXPECT_EQ(parse_error("{\"a\": \"x\ny\"}"),
            "a.json:1:9: got the end of the line in a string, expected '\"' before it");
  EXPECT_EQ(parse_error("{\"a\": \"x\ty\"}"),
            "a.json:1:9: got a control character in a string, expected \\t in its place");
  EXPECT_EQ(parse_error("{\"a\": \"C:\\temp\\x\"}"),
            "a.json:1:15: got \\x, expected one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t and "
            "\\uXXXX, or \\\\ for a backslash");
  EXPECT_EQ(parse_error("{\"a\": \"\xff\"}"),
            "a.json:1:8: got a byte that is not UTF-8, expected UTF-8");
  EXPECT_EQ(parse_error("{\"a\": 1, // one\n /* two"),
            "a.json:2:8: got the end in a comment, expected '*/' first");
  EXPECT_EQ(parse_error("{\"a\": 2e}"), "a.json:1:7: got 2e, expected digit after the exponent");
}

TEST(Config, RefusesDuplicateKeysAndNamesBothLines) {
  EXPECT_EQ(parse_error("{\n\"seed\": 1,\n\n\"seed\": 2}"),
            "a.json:4: seed: duplicate key; first given on line 2");
  EXPECT_EQ(parse_error("{\"m\": [1, {\n\"a\": {\"k\": 1,\n\"l\": {}, \"k\": 2}}]}"),
            "a.json:3: m.1.a.k: duplicate key; first given on line 2");
  EXPECT_EQ(parse_error("{\"a\": {\"k\": 1}, \"b\": {\"k\": 1}}"), "no error");
}

TEST(Config, CountsLinesThroughCommentsAndMultiLineValues) {
  const auto config = parse_config(
      "// one\n/* two\n three\n*/ {\n"  // the object opens on line 4
      "  \"a\": [\n    1,\n    {},\n    [\n]],\n"
      "  // \"no\": 1\n  \"b\":\n\n  12\n,  \"c\\nd\": {\"e\": \"\\n\\n\"}, \"f\": 1.5\n}\r\n",
      "a.json");
  EXPECT_EQ(config.place(), "a.json");
  EXPECT_EQ(config.place("a"), "a.json:5: a");
  EXPECT_EQ(config.at("a").at(0).place(), "a.json:6: a.0");
  EXPECT_EQ(config.at("a").at(1).place(), "a.json:7: a.1");
  EXPECT_EQ(config.at("a").at(2).place(), "a.json:8: a.2");
  EXPECT_EQ(config.at("b").place(), "a.json:11: b");  // the key's line
  EXPECT_EQ(config.at("c\nd").at("e").place(), "a.json:14: c\\nd.e");
  EXPECT_EQ(config.at("f").place(), "a.json:14: f");
  EXPECT_EQ(config.place("none"), "a.json: none");
}

TEST(Config, RefusesNumbersBeyondADouble) {
  EXPECT_EQ(parse_error("{\"a\":\n 1e400}"),
            "a.json:2:2: got 1e400, which is too large for a number");
  EXPECT_EQ(parse_error("{\"a\": [-1e999]}"),
            "a.json:1:8: got -1e999, which is too large for a number");
  EXPECT_EQ(parse_error("{\"a\": " + std::string(1000, '9') + "}"),
            "a.json:1:7: got a number of 1000 characters, which is too large for a number");
  EXPECT_EQ(parse_config("{\"a\": 1e308}", "a.json").at("a").json().get<double>(), 1e308);
}

TEST(Config, StopsAtADepthOf64) {
  const auto nested = [](std::size_t depth) {
    return "{\"a\":" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
  };
  EXPECT_EQ(parse_error(nested(64)), "no error");
  EXPECT_EQ(parse_error(nested(65)), "a.json:1:69: nested more than 64 deep");
  EXPECT_EQ(parse_error(std::string(100000, '[')), "a.json:1:65: nested more than 64 deep");
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  EXPECT_EQ(parse_error(objects), "a.json:1:321: nested more than 64 deep");
  Json deep = 1;
  for (int i = 0; i < 70; ++i) deep = Json::array({deep});
  EXPECT_EQ(config_error([&] { config_from_json(deep, "code"); }),
            "code: nested more than 64 deep");
}

TEST(Config, ThrowsNothingButConfigErrorForDamagedText) {
  const std::string good = R"({"a": [1, -2.5e3, "x\u00e9\n"], /* c */ "b": {"c": null, "d": true}}
// end
)";
  std::mt19937 random(1);
  const std::string bytes = "{}[]\",:/*\\\n\t 0123456789eE+-.tfnu\xc3\xff" + std::string(1, '\0');
  int refused = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    std::string text = good;
    for (unsigned change = 0; change <= random() % 3; ++change) {
      const std::size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = bytes[random() % bytes.size()];
          break;
        case 1:
          text.insert(at, 1, bytes[random() % bytes.size()]);
          break;
        default:
          text.resize(std::max<std::size_t>(at, 1));
      }
    }
    const std::string error = parse_error(text);  // any other exception fails the test
    if (error == "no error") continue;
    ++refused;
    ASSERT_TRUE(error.starts_with("a.json")) << error;
    ASSERT_EQ(error.find('\n'), std::string::npos) << error << "\nfor " << text;
    ASSERT_LT(error.size(), 300u) << error;
  }
  EXPECT_GT(refused, 10000);
}

TEST(Config, ReadsManyKeysInLinearTime) {
  std::string text = "{\"k\": 0";
  for (int i = 0; i < 200000; ++i) text += ",\"k" + std::to_string(i) + "\":1";
  EXPECT_EQ(parse_config(text + "}", "a.json").size(), 200001u);
}

TEST(Config, NamesAFileThatCannotBeRead) {
  EXPECT_EQ(config_error([] { read_config("/nowhere/a.json"); }),
            "/nowhere/a.json: cannot be read: No such file or directory");
  EXPECT_EQ(config_error([] { read_config("/tmp"); }), "/tmp: is a folder, expected a JSON file");
  const auto file = std::filesystem::temp_directory_path() / "sae_test_config.json";
  std::ofstream(file) << "\xef\xbb\xbf{\r\n\"a\": 1,\r\n\"b\" 2}";
  EXPECT_EQ(config_error([&] { read_config(file.string()); }),
            file.string() + ":3:5: got 2, expected ':'");
  std::filesystem::remove(file);
}

// ---- Nodes --------------------------------------------------------------------------------------

TEST(Config, ReadsADiscriminatorBeforeItsGroup) {
  const auto config = parse_config("{\n\"kind\": \"topk2\", \"n\": 3}", "a.json");
  EXPECT_EQ(config.string_at("kind"), "topk2");
  EXPECT_EQ(config_error([&] {
              config.string_at("kind", {"topk", "atm"});
            }),
            "a.json:2: kind: got \"topk2\", expected one of topk, atm; did you mean 'topk'?");
  EXPECT_EQ(config_error([&] {
              config.string_at("n", {"topk", "atm"});
            }),
            "a.json:2: n: got 3, expected one of topk, atm");
  EXPECT_EQ(config_error([&] {
              config.string_at("none", {"topk", "atm"});
            }),
            "a.json: none: missing; expected one of topk, atm");
  EXPECT_EQ(config_error([&] { config.at("none"); }), "a.json: none: missing");
  EXPECT_EQ(config_error([&] { config.at("n").string_at("x"); }),
            "a.json:2: n: got 3, expected an object");
  EXPECT_TRUE(config.has("n"));
  EXPECT_FALSE(config.without({"n"}).has("n"));
  EXPECT_EQ(config.keys(), (std::vector<std::string>{"kind", "n"}));
}

TEST(Config, ReadsStructsThatShareAnObject) {
  using Both = Joined<MaskOptions, K>;
  const auto both = read_fields<Both>(parse_config(R"({"k": 5, "decay": 0})", "a.json"));
  EXPECT_EQ(both.get<K>().k, 5);
  EXPECT_EQ(both.get<MaskOptions>().decay, 0);
  EXPECT_EQ(config_error([] { read_fields<Both>(parse_config(R"({"j": 5})", "a.json")); }),
            "a.json:1: j: unknown key; known keys: decay, warmup_steps, draw, k");
  EXPECT_EQ(write_fields(both).dump(),
            R"({"decay":0.0,"warmup_steps":1000,"draw":"independent","k":5})");
}

TEST(Config, MergesObjectsAndReplacesTheRest) {
  const auto base = parse_config("{\"a\": {\"b\": 1, \"c\": [1, 2]}, \"d\": 3}", "base.json");
  const auto changes = parse_config("{\n\"a\": {\"c\": [9], \"e\": 4},\n\"d\": {}}", "new.json");
  const auto result = merged(base, changes);
  EXPECT_EQ(result.json().dump(), R"({"a":{"b":1,"c":[9],"e":4},"d":{}})");
  EXPECT_EQ(result.at("a").at("b").place(), "base.json:1: a.b");
  EXPECT_EQ(result.at("a").at("e").place(), "new.json:2: a.e");
}

// ---- Overrides ----------------------------------------------------------------------------------

TEST(ConfigSet, TakesPrecedenceAndTheLastOneWins) {
  auto config = with_set(minimal(), "model.k=64");
  config = with_set(config, "model.k=128");
  config = with_set(config, "seed=-0");
  config = with_set(config, "model.name=a=b");
  config = with_set(config, "model.mask={\"decay\": 0.5}");
  config = with_set(config, "model.mask.warmup_steps=5");
  config = with_set(config, "model.members=[{}, {}]");
  config = with_set(config, "model.members.1.decay=0.25");
  config = with_set(config, "model.overrides.x.y=[1]");
  config = with_set(config, "model.tied=true");
  const Root root = read_fields<Root>(config);
  EXPECT_EQ(root.model.k, 128);
  EXPECT_EQ(root.model.name, "a=b");
  EXPECT_EQ(root.model.mask, (MaskOptions{.decay = 0.5, .warmup_steps = 5}));
  ASSERT_EQ(root.model.members.size(), 2u);
  EXPECT_EQ(root.model.members[0].decay, 0.99);
  EXPECT_EQ(root.model.members[1].decay, 0.25);
  EXPECT_EQ(root.model.overrides.dump(), R"({"x":{"y":[1]}})");
  EXPECT_TRUE(root.model.tied);
  EXPECT_FALSE(read_fields<Root>(with_set(config, "model.mask=null")).model.mask);
  EXPECT_EQ(read_fields<Root>(minimal()).model.k, 32);  // documents are values
}

TEST(ConfigSet, FallsBackToStrings) {
  const auto name = [](const std::string& right) {
    return read_fields<Root>(with_set(minimal(), "model.name=" + right)).model.name;
  };
  EXPECT_EQ(name("\"\""), "");
  EXPECT_EQ(name("fast"), "fast");
  EXPECT_EQ(name("\"5\""), "5");
  EXPECT_EQ(name("// not a comment"), "// not a comment");
  EXPECT_EQ(name("a b"), "a b");
  EXPECT_EQ(name("nan"), "nan");
  EXPECT_EQ(name("2024-run"), "2024-run");
  EXPECT_EQ(name("10.0.0.1"), "10.0.0.1");
  EXPECT_EQ(name("-"), "-");
}

TEST(ConfigSet, WithNothingOnTheRightGoesBackToTheDefault) {
  auto config = with_set(minimal(), "model.k=64");
  config = with_set(config, "model.mask={\"decay\": 0.5, \"warmup_steps\": 7}");
  config = with_set(with_set(config, "model.k="), "model.mask.decay=");
  const Root root = read_fields<Root>(config);
  EXPECT_EQ(root.model.k, 32);
  EXPECT_EQ(root.model.mask, (MaskOptions{.warmup_steps = 7}));
  EXPECT_FALSE(read_fields<Root>(with_set(config, "model.mask=")).model.mask);
  EXPECT_EQ(with_set(with_set(minimal(), "model.prefixes=[1, 2, 3]"), "model.prefixes.1=")
                .at("model")
                .at("prefixes")
                .json()
                .dump(),
            "[1,3]");
  // What is not there is at its default already; a key that no option has is an error still.
  EXPECT_EQ(read_fields<Root>(with_set(minimal(), "model.lr=")).model.lr, 1e-4);
  EXPECT_EQ(read_fields<Root>(with_set(minimal(), "model.mask.decay=")).model.k, 32);
  EXPECT_EQ(set_error("model.maks="), "--set model.maks: unknown key; did you mean 'mask'?");
  EXPECT_EQ(set_error("model.d_in="), "a.json:1: model.d_in: missing; expected an integer >= 1");
  EXPECT_EQ(set_error("model.k.x="), "no error");
}

TEST(ConfigSet, IsNamedAsThePlaceOfItsErrors) {
  EXPECT_EQ(set_error("model.k=fast"), "--set model.k: got \"fast\", expected an integer >= 1");
  EXPECT_EQ(set_error("model.k=0"), "--set model.k: got 0, expected >= 1");
  EXPECT_EQ(set_error("model.name=5"), "--set model.name: got 5, expected a string; write '\"5\"'");
  EXPECT_EQ(set_error("model.kk=1"), "--set model.kk: unknown key; did you mean 'k'?");
  EXPECT_EQ(set_error("sed=1"), "--set sed: unknown key; did you mean 'seed'?");
  EXPECT_EQ(set_error("model.mask={\"decya\": 1}"),
            "--set model.mask: model.mask.decya: unknown key; did you mean 'decay'?");
  EXPECT_EQ(set_error("model.mask.decay=2"),
            "--set model.mask.decay: got 2, expected >= 0 and < 1");
  EXPECT_EQ(set_error("model={}"),
            "--set model: model.architecture: missing; expected one of topk, batch_topk, atm");
  EXPECT_EQ(set_error("model.lr=1e400"),
            "--set model.lr: at character 1: got 1e400, which is too large for a number");
}

TEST(ConfigSet, ReportsBadPathsAndValues) {
  EXPECT_EQ(set_error("model.k"),
            "--set model.k: no '='; expected a path and a value, like train.lr=1e-4");
  EXPECT_EQ(set_error("=1"), "--set : empty key in the path; expected a path like train.lr");
  EXPECT_EQ(set_error("a..b=1"),
            "--set a..b: empty key in the path; expected a path like train.lr");
  EXPECT_EQ(set_error("a.=1"), "--set a.: empty key in the path; expected a path like train.lr");
  EXPECT_EQ(set_error("model.d_in.x=1"), "--set model.d_in.x: model.d_in is 8, expected an object");
  EXPECT_EQ(set_error("model.mask={\"decay\": }"),
            "--set model.mask: at character 11: got '}', expected a value");
  EXPECT_EQ(set_error("model.mask={\"a\": 1, \"a\": 2}"), "--set model.mask: a: duplicate key");
  EXPECT_EQ(set_error("model.name=\xff"), "--set model.name: the value is not UTF-8");
  EXPECT_EQ(set_error("model.\xff=1"), "--set model.\ufffd: the path is not UTF-8");
  const auto list = with_set(minimal(), "model.prefixes=[1,2]");
  for (const char* index : {"2", "-1", "x", "1x", "99999999999999999999"}) {
    EXPECT_EQ(config_error([&] { with_set(list, "model.prefixes." + std::string(index) + "=1"); }),
              "--set model.prefixes." + std::string(index) + ": model.prefixes has no element \"" +
                  index + "\", expected an index below 2");
  }
  std::string path = "a";
  for (int i = 0; i < 100000; ++i) path += ".a";
  EXPECT_NE(set_error(path + "=1").find("nested more than 64 deep"), std::string::npos);
}

TEST(ConfigSet, PutsAValueOfAnotherFileWithItsLine) {
  const auto other = parse_config("{\n\"axis\": [\n16,\n0]}", "compare.json");
  const auto put = [&](std::size_t i) {
    return with_value(minimal(), "model.k", other.at("axis").at(i), "compare.json: axes");
  };
  EXPECT_EQ(read_fields<Root>(put(0)).model.k, 16);
  EXPECT_EQ(config_error([&] { read_fields<Root>(put(1)); }),
            "compare.json:4: model.k: got 0, expected >= 1");
  EXPECT_EQ(config_error([&] { with_value(minimal(), "model..k", other, "compare.json: axes"); }),
            "compare.json: axes: empty key in the path; expected a path like train.lr");
}

// ---- Writing and checking -----------------------------------------------------------------------

TEST(Config, WritesEveryOptionExplicitly) {
  ModelOptions options;
  options.architecture = "topk";
  options.d_in = 8;
  EXPECT_EQ(write_fields(options).dump(),
            R"({"architecture":"topk","d_in":8,"k":32,"lr":0.0001,"tied":false,"name":"",)"
            R"("prefixes":[16,64],"flags":[],"target_l0":null,"mask":null,)"
            R"("always":{"decay":0.5,"warmup_steps":1000,"draw":"independent"},)"
            R"("members":[],"overrides":{}})");
  options.lr = std::numeric_limits<double>::infinity();
  EXPECT_THROW(write_fields(options), std::invalid_argument);
}

TEST(Config, ReadsBackWhatItWroteBitForBit) {
  ModelOptions options;
  options.architecture = "batch_topk";
  options.d_in = std::numeric_limits<std::int64_t>::max();
  options.name = "caf\u00e9 \"quoted\"\n\\ \x01";
  options.flags = {true, false, true};
  options.mask = MaskOptions{.decay = 1.0 / 3, .draw = Draw::kNested};
  options.members = {MaskOptions{.decay = 0.1 + 0.2}, {}};
  options.overrides = Json::parse(R"({"z": 1, "a": [1.5, "x", null, {"k": {}}]})");
  std::mt19937_64 random(3);
  for (int i = 0; i < 2000; ++i) {
    const double value = std::bit_cast<double>(random() >> 1);  // any positive double
    if (!std::isfinite(value) || value == 0) continue;
    options.lr = value;
    options.target_l0 = value;
    const std::string text = write_fields(options).dump(i % 2 ? 2 : -1);
    const auto back = read_fields<ModelOptions>(parse_config(text, "a.json"));
    ASSERT_EQ(std::bit_cast<std::uint64_t>(back.lr), std::bit_cast<std::uint64_t>(value)) << text;
    ASSERT_EQ(back, options) << text;
  }
  PathOptions paths;
  paths.path = "x";
  paths.shards = {"y"};
  for (double value : {-0.0, 5e-324, 1.7976931348623157e308, -1e22, 123456789012345680.0}) {
    paths.scale = value;
    const std::string text = write_fields(paths).dump();
    const double back = read_fields<PathOptions>(parse_config(text, "a.json")).scale;
    EXPECT_EQ(std::bit_cast<std::uint64_t>(back), std::bit_cast<std::uint64_t>(value)) << text;
  }
}

std::string check_error(const ModelOptions& options) {
  try {
    check_fields(options, "ModelOptions");
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no error";
}

TEST(Config, ChecksOptionsThatWereSetInCode) {
  ModelOptions good;
  good.architecture = "topk";
  good.d_in = 8;
  EXPECT_EQ(check_error(good), "no error");
  const auto with = [&](const std::function<void(ModelOptions&)>& change) {
    ModelOptions options = good;
    change(options);
    return check_error(options);
  };
  EXPECT_EQ(with([](auto& o) { o.k = 0; }), "ModelOptions.k: got 0, expected >= 1");
  EXPECT_EQ(with([](auto& o) { o.lr = std::nan(""); }),
            "ModelOptions.lr: got nan, expected a number > 0");
  EXPECT_EQ(with([](auto& o) { o.target_l0 = -INFINITY; }),
            "ModelOptions.target_l0: got -inf, expected a number > 0, or null");
  EXPECT_EQ(with([](auto& o) { o.architecture = "topkk"; }),
            "ModelOptions.architecture: got \"topkk\", expected one of topk, batch_topk, atm; "
            "did you mean 'topk'?");
  EXPECT_EQ(with([](auto& o) {
              o.prefixes = {4, -1};
            }),
            "ModelOptions.prefixes.1: got -1, expected >= 1");
  EXPECT_EQ(with([](auto& o) { o.mask = MaskOptions{.decay = 1}; }),
            "ModelOptions.mask.decay: got 1.0, expected >= 0 and < 1");
  EXPECT_EQ(with([](auto& o) { o.members.resize(2), o.members[1].warmup_steps = -1; }),
            "ModelOptions.members.1.warmup_steps: got -1, expected >= 0");
}

// ---- Documentation ------------------------------------------------------------------------------

TEST(FieldDocs, SayWhatAFieldAcceptsInWords) {
  FieldDoc doc;
  const auto text = [&](FieldType type, Accepts accepts) {
    doc.type = type;
    doc.accepts = std::move(accepts);
    return expected_text(doc);
  };
  EXPECT_EQ(text(FieldType::kNumber, any), "a number");
  EXPECT_EQ(text(FieldType::kNumber, Range{}), "a number");
  EXPECT_EQ(text(FieldType::kNumber, above(0)), "a number > 0");
  EXPECT_EQ(text(FieldType::kNumber, unit_interval()), "a number >= 0 and < 1");
  EXPECT_EQ(text(FieldType::kNumber, Range{.high = 0.5}), "a number <= 0.5");
  EXPECT_EQ(text(FieldType::kInteger, between(2, 1e6)), "an integer >= 2 and <= 1000000");
  EXPECT_EQ(text(FieldType::kInteger, between(1, 1)), "an integer = 1");
  EXPECT_EQ(text(FieldType::kString, one_of({"a", "b"})), "one of a, b");
  EXPECT_EQ(text(FieldType::kJson, any), "any JSON value");
  doc.nullable = true;
  EXPECT_EQ(text(FieldType::kString, one_of({"a", "b"})), "one of a, b, or null");
}

TEST(FieldDocs, FillATableOf80Columns) {
  const auto docs = describe_fields<ModelOptions>();
  const std::string table = field_table(docs, "model");
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
  EXPECT_EQ(table.substr(0, table.find("model.tied")),
            "model.architecture            required     which one (one of topk, batch_topk,\n"
            "                                           atm)\n"
            "model.d_in                    required     width of the input (an integer >= 1)\n"
            "model.k                       32           latents kept per token (an integer >=\n"
            "                                           1)\n"
            "model.lr                      0.0001       learning rate (a number > 0)\n");
  EXPECT_NE(table.find("model.mask                    null         temporal mask (an object, or"),
            std::string::npos)
      << table;
  EXPECT_NE(table.find("model.mask.draw               independent  how latents are drawn"),
            std::string::npos)
      << table;
  EXPECT_NE(table.find("model.name                    \"\"           what"), std::string::npos)
      << table;
  EXPECT_NE(table.find("model.always.decay            0.5 "), std::string::npos) << table;
  EXPECT_NE(table.find("model.members.0.decay "), std::string::npos) << table;
  EXPECT_EQ(table.find("model.always "), std::string::npos) << table;
}

TEST(FieldDocs, GiveAJsonSchema) {
  EXPECT_EQ(json_schema(describe_fields<MaskOptions>()), Json::parse(R"({
    "type": "object",
    "properties": {
      "decay": {"type": "number", "minimum": 0, "exclusiveMaximum": 1,
                "description": "decay of the averages, per step", "default": 0.99},
      "warmup_steps": {"type": "integer", "minimum": 0,
                       "description": "steps before any latent is masked", "default": 1000},
      "draw": {"type": "string", "enum": ["independent", "nested"],
               "description": "how latents are drawn", "default": "independent"}
    },
    "additionalProperties": false
  })"));
  const Json schema = json_schema(describe_fields<ModelOptions>());
  EXPECT_EQ(schema["required"], Json::parse(R"(["architecture", "d_in"])"));
  const Json& properties = schema["properties"];
  EXPECT_EQ(properties["lr"]["exclusiveMinimum"], 0);
  EXPECT_EQ(properties["target_l0"], Json::parse(R"({"type": ["number", "null"],
    "exclusiveMinimum": 0, "description": "wanted L0", "default": null})"));
  EXPECT_EQ(properties["prefixes"], Json::parse(R"({"type": "array",
    "items": {"type": "integer", "minimum": 1}, "description": "sizes of the nested dictionaries",
    "default": [16, 64]})"));
  EXPECT_EQ(properties["mask"]["type"], Json::parse(R"(["object", "null"])"));
  EXPECT_EQ(properties["mask"]["properties"]["decay"]["default"], 0.99);
  EXPECT_EQ(properties["always"]["properties"]["decay"]["default"], 0.5);
  EXPECT_EQ(properties["members"]["items"]["additionalProperties"], false);
  EXPECT_EQ(properties["overrides"], Json::parse(R"({"description": "anything", "default": {}})"));
  EXPECT_EQ(json_schema(describe_fields<Root>())["required"], Json::parse(R"(["model"])"));
}

TEST(FieldDocs, GiveOneSchemaPerChoiceOfADiscriminator) {
  const Json schema = schema_document(
      "t", json_schema_by("architecture", {{"topk", describe_fields<ModelOptions>()},
                                           {"plain", describe_fields<MaskOptions>()}}));
  EXPECT_EQ(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
  EXPECT_EQ(schema["title"], "t");
  ASSERT_EQ(schema["oneOf"].size(), 2u);
  EXPECT_EQ(schema["oneOf"][0]["properties"]["architecture"],
            Json::parse(R"({"const": "topk", "description": "which one"})"));
  EXPECT_EQ(schema["oneOf"][0]["required"], Json::parse(R"(["architecture", "d_in"])"));
  EXPECT_EQ(schema["oneOf"][1]["properties"]["architecture"], Json::parse(R"({"const": "plain"})"));
  EXPECT_EQ(schema["oneOf"][1]["required"], Json::parse(R"(["architecture"])"));
  EXPECT_EQ(schema["oneOf"][1]["properties"].size(), 4u);
}

}  // namespace
}  // namespace sae
