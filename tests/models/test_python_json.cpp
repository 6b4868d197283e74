#include <gtest/gtest.h>

#include <string>

#include "models/interchange/python_json.h"
#include "sae/base/error.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

Json read(const std::string& text) { return parse_python_json(text, "x.json").value; }

std::string refusal(const std::string& text) {
  try {
    read(text);
  } catch (const DataError& error) {
    return error.what();
  }
  return "none";
}

TEST(PythonJson, HoldsNumbersThatJsonHasNotAsTheirNames) {
  EXPECT_EQ(read(R"({"a": NaN, "b": [Infinity, -Infinity, -1e400], "c": 1e400, "d": -0.5})"),
            Json::parse(R"({"a": "NaN", "b": ["Infinity", "-Infinity", "-Infinity"],
                            "c": "Infinity", "d": -0.5})"));
}

TEST(PythonJson, LeavesTheseWordsInStringsAlone) {
  const std::string text = R"({"NaN": "a NaN, an \"Infinity\"", "Infinity": "\\", "b": NaN})";
  EXPECT_EQ(read(text).at("NaN"), "a NaN, an \"Infinity\"");
  EXPECT_EQ(read(text).at("Infinity"), "\\");
  EXPECT_EQ(read(dump_python_json(read(text))), read(text));
}

TEST(PythonJson, WritesTheNumbersAgainAsPythonDoes) {
  EXPECT_EQ(dump_python_json(read(R"({"a":NaN,"b":[-Infinity],"c":"ends in \"NaN"})")),
            "{\n  \"a\": NaN,\n  \"b\": [\n    -Infinity\n  ],\n  \"c\": \"ends in \\\"NaN\"\n}");
}

TEST(PythonJson, TakesTheLastOfTwoKeysAndSaysWhich) {
  const PythonJson read =
      parse_python_json(R"({"a": 1, "b": {"a": [{"c": 1}], "a": 2}, "a": 3})", "x.json");
  EXPECT_EQ(read.value, Json::parse(R"({"a": 3, "b": {"a": 2}})"));
  EXPECT_EQ(read.repeated, (std::vector<std::string>{"b.a", "a"}));
}

TEST(PythonJson, ReadsHalvesOfSurrogatePairs) {
  EXPECT_EQ(read(R"(["\ud83d\ude00", "\ud83d!", "\ude00\ud83d", "\\ud83d"])"),
            Json({"\U0001F600", "\uFFFD!", "\uFFFD\uFFFD", "\\ud83d"}));
}

TEST(PythonJson, SaysWhereItIsNotJson) {
  EXPECT_EQ(refusal("{\n\"a\": nan\n}"), "x.json:2: not valid JSON");
  EXPECT_EQ(refusal("// a comment\n{}"), "x.json:1: not valid JSON");
  EXPECT_EQ(refusal("{\"a\": NaNs}"), "x.json:1: not valid JSON");
  EXPECT_EQ(refusal("{} {}"), "x.json:1: not valid JSON");
  EXPECT_EQ(refusal("\"\\"), "x.json:1: not valid JSON");
  EXPECT_EQ(refusal(""), "x.json:1: not valid JSON");
  EXPECT_EQ(refusal(std::string("{}\0", 3)), "x.json:1: not valid JSON");
  EXPECT_EQ(refusal("\xff\xfe{"), "x.json:1: not valid JSON");
  EXPECT_EQ(refusal(std::string(100000, '[')), "x.json: nested too deeply");
}

}  // namespace
}  // namespace sae
