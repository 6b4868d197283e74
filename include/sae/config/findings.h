// What is wrong with options that are each in range but do not go together.
//
// A struct with `fields` may say so in one or both of
//
//     void check(Findings& findings) const;                        // its options by themselves
//     void check(Findings& findings, const RunLength& run) const;  // in a run of this length
//
// under the key of the option to change:
//
//     if (k > d_sae) findings.at_most("k", k, d_sae, "d_sae");
//     if (!uses_weights) findings.warn("weights", "is not used with importance 'product'");
//
// findings_of (src/config/fields_json.h) asks them all, those of nested structs included; structs
// that share an object ask each other, as with `fields`.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "sae/base/notice.h"
#include "sae/config/config_node.h"

namespace sae {

/// The training run that options are meant for.
struct RunLength {
  std::int64_t steps = 0;
  std::int64_t batch = 0;

  double tokens() const { return static_cast<double>(steps) * static_cast<double>(batch); }
};

/// Errors and warnings, each a line that begins with the place of the option it is about: a key of
/// the object, a dotted path below it ("mask.threshold"), or "" for the object itself.
class Findings {
 public:
  /// About the options of the object `at`.
  explicit Findings(ConfigNode at) : at_(std::move(at)) {}

  void error(std::string_view key, const std::string& what);  ///< it cannot be meant
  /// It is probably not meant. Nothing is said unless the option, or one of `with` that make it
  /// wrong, is written: warnings that come by themselves are not read.
  void warn(std::string_view key, const std::string& what,
            std::initializer_list<std::string_view> with = {});
  /// Error: "got 64, expected at most 32, which is d_sae".
  void at_most(std::string_view key, double got, double most, std::string_view most_is);
  /// Warning: "is not used with paths 'masked'". For options that are not at their defaults.
  void unused(std::string_view key, const std::string& where);

  void add(const Findings& more);

  const std::vector<std::string>& errors() const { return errors_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  std::vector<Notice> notices() const;  ///< the warnings
  void require() const;                 ///< throws the first error as a ConfigError

 private:
  std::string place(std::string_view key) const;
  bool is_written(std::string_view key) const;

  ConfigNode at_;
  std::vector<std::string> errors_, warnings_;
};

}  // namespace sae
