// Options are declared once: a struct lists its fields, and from that one list come the strict JSON
// reader, the writer, range checks, `sae config print` and the JSON schema.
//
//     struct TopKOptions {
//       std::int64_t k = 32;
//
//       template <class Self, class Visit>
//       static void fields(Self& self, Visit&& visit) {
//         visit("k", self.k, at_least(1), "latents kept per token");
//       }
//     };
//
// Field types: bool, std::int64_t, double, std::string, enums with names (below),
// nlohmann::ordered_json (any JSON value), structs that have `fields` themselves, std::vector of
// those (the constraint holds for each element), and std::optional of any of these (null or absent:
// not set). A default is written in the struct and nowhere else. A field whose default violates its
// own constraint is required: the reader reports it as missing. Numbers are finite, so a NaN
// default makes any number required.
//
// Options that contradict each other: findings.h.
//
// Structs share an object by calling each other's `fields`: Base::fields(self.base, visit).
//
// A choice is an enum whose names stand beside it, in the order of its values, and nowhere else:
//
//     enum class Draw { kBernoulli, kNested };
//     constexpr auto names_of(Draw) { return std::array{"bernoulli", "nested"}; }
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace sae {

class Findings;
struct RunLength;

template <class T>
concept Choice = std::is_enum_v<T> && requires(T value) {
  { names_of(value).size() } -> std::convertible_to<std::size_t>;
};

/// What a choice is called. std::out_of_range for a value that has no name.
template <Choice T>
std::string name_of(T value) {
  return names_of(value).at(static_cast<std::size_t>(value));
}

template <Choice T>
std::vector<std::string> choice_names() {
  const auto names = names_of(T{});
  return {names.begin(), names.end()};
}

/// The choice that is called `name`.
template <Choice T>
std::optional<T> choice_named(std::string_view name) {
  const auto names = names_of(T{});
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (name == names[i]) return static_cast<T>(i);
  }
  return std::nullopt;
}

/// Which values a field accepts. `Any` is for bool, choices, free strings and nested structs.
struct Any {};

/// A string or list that must not be empty, such as a path.
struct NonEmpty {};

struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false;   ///< low itself is excluded
  bool high_open = false;  ///< high itself is excluded

  bool contains(double value) const {
    return (low_open ? value > low : value >= low) && (high_open ? value < high : value <= high);
  }
};

struct OneOf {
  std::vector<std::string> names;
};

using Accepts = std::variant<Any, NonEmpty, Range, OneOf>;

inline constexpr Any any{};
inline constexpr NonEmpty non_empty{};
inline Range at_least(double low) { return {.low = low}; }
inline Range above(double low) { return {.low = low, .low_open = true}; }
inline Range between(double low, double high) { return {.low = low, .high = high}; }
/// [0, 1): decays, dropout-like shares.
inline Range unit_interval() { return {.low = 0, .high = 1, .high_open = true}; }
inline OneOf one_of(std::vector<std::string> names) { return {std::move(names)}; }

}  // namespace sae
