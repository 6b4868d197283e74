#include <nlohmann/json.hpp>

#include "sae/base/text.h"
#include "sae/tools/inspect.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

/// 208159 -> "208,159".
std::string grouped(std::int64_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string count_of(std::int64_t number, const std::string& what) {
  return grouped(number) + " " + what + (number == 1 ? "" : "s");
}

/// Control characters, C1 included, as blanks: text of a store must not steer a terminal.
std::string printable(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c1 =
        byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (c1) ++i;
    out += byte < 0x20 || byte == 0x7f || c1 ? ' ' : text[i];
  }
  return out;
}

std::string line(const std::string& name, const std::string& value) {
  return name + std::string(name.size() < 13 ? 13 - name.size() : 1, ' ') + value + "\n";
}

std::string source_line(const Json& json) {
  std::string text;
  for (const char* key : {"model", "hook_name"}) {
    if (!json.is_object() || !json.contains(key) || !json[key].is_string()) continue;
    text += (text.empty() ? "" : ", ") + json[key].get<std::string>();
  }
  return text.empty() ? "" : line("source", printable(text));
}

std::string norm_lines(const Inspection& of) {
  const Inspection::Norms& norms = of.norms;
  std::string text =
      line("norm", "mean " + brief(norms.mean) + ", deviation " + brief(norms.deviation) +
                       "; least " + brief(norms.least) + ", 1 % " + brief(norms.percent_1) +
                       ", median " + brief(norms.median) + ", 99 % " + brief(norms.percent_99) +
                       ", greatest " + brief(norms.greatest));
  text += line("large norms", count_of(norms.large, "token") + " above " +
                                  trimmed(Inspection::kLargeNorm, 1) + " times the median");
  return text + line("mean vector", fixed(100 * of.mean_share, 1) + " % of the squared norm");
}

std::string dimension_lines(const Inspection& of) {
  std::string text =
      line("outliers", count_of(static_cast<std::int64_t>(of.outliers.size()), "dimension") +
                           " with a root mean square above " + trimmed(Inspection::kOutlier, 1) +
                           " times the median");
  constexpr std::size_t kShown = 20;
  for (std::size_t i = 0; i < std::min(kShown, of.outliers.size()); ++i) {
    const Inspection::Outlier& one = of.outliers[i];
    text += line("", std::to_string(one.dimension) + ": " + brief(one.ratio) + " times, mean " +
                         brief(one.mean) + ", deviation " + brief(one.deviation));
  }
  if (of.outliers.size() > kShown) text += line("", "and more; --json has them all");
  return text + line("constant", count_of(of.constant_dimensions, "dimension"));
}

}  // namespace

Json to_json(const Inspection& of) {
  Json json{{"path", of.path},     {"tokens", of.tokens}, {"d_in", of.d_in},
            {"dtype", of.dtype},   {"shards", of.shards}, {"contexts", nullptr},
            {"mean_norm", nullptr}};
  if (of.contexts) json["contexts"] = *of.contexts;
  if (of.stated_mean_norm) json["mean_norm"] = *of.stated_mean_norm;
  json["not_finite"] = {{"tokens", of.not_finite}, {"first", of.not_finite_places}};
  const Inspection::Norms& norms = of.norms;
  json["norms"] = {{"mean", norms.mean},         {"deviation", norms.deviation},
                   {"least", norms.least},       {"percent_1", norms.percent_1},
                   {"median", norms.median},     {"percent_99", norms.percent_99},
                   {"greatest", norms.greatest}, {"large", norms.large}};
  json["mean_share"] = of.mean_share;
  json["constant_dimensions"] = of.constant_dimensions;
  json["outliers"] = Json::array();
  for (const Inspection::Outlier& one : of.outliers) {
    json["outliers"].push_back({{"dimension", one.dimension},
                                {"ratio", one.ratio},
                                {"mean", one.mean},
                                {"deviation", one.deviation}});
  }
  json["sample"] = Json::array();
  for (const Inspection::Context& one : of.sample) {
    Json context{{"first_row", one.first_row}, {"tokens", one.tokens}, {"text", one.text}};
    if (one.id) context["context"] = *one.id;
    json["sample"].push_back(std::move(context));
  }
  json["source"] = *of.source;
  return json;
}

std::string to_text(const Inspection& of) {
  std::string text = line("tokens", grouped(of.tokens) + " of width " + grouped(of.d_in) + ", " +
                                        of.dtype + ", in " + count_of(of.shards, "shard"));
  if (of.contexts) text += line("contexts", grouped(*of.contexts));
  text += source_line(*of.source);
  text += line("not finite", count_of(of.not_finite, "token"));
  for (const std::string& place : of.not_finite_places) text += line("", printable(place));
  if (of.not_finite < of.tokens) text += norm_lines(of) + dimension_lines(of);
  for (const Inspection::Context& one : of.sample) {
    text += "\n" +
            (one.id ? "context " + std::to_string(*one.id)
                    : "from row " + std::to_string(one.first_row)) +
            ", " + count_of(one.tokens, "token") + ": " + printable(one.text) + "\n";
  }
  return text;
}

}  // namespace sae
