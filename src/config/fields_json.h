// Everything that one `fields` list gives: reader, writer, checks and documentation of a struct.
//
//     auto options = read_fields<TopKOptions>(model);               // throws ConfigError
//     nlohmann::ordered_json json = write_fields(options);          // every option explicit
//     check_fields(options, "TopKOptions");                         // throws std::invalid_argument
//     Findings findings = findings_of(options, model);              // what contradicts itself
//     std::vector<FieldDoc> docs = describe_fields<TopKOptions>();  // for tables and schemas
//     auto both = read_fields<Joined<ModelOptions, TopKOptions>>(model);
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "sae/config/config_node.h"
#include "sae/config/field_docs.h"
#include "sae/config/fields.h"
#include "sae/config/findings.h"

namespace sae {

namespace fields_detail {

/// Asks `value`, but nothing nested in it.
template <class T, class... Context>
void ask(const T& value, Findings& findings, const Context&... context) {
  if constexpr (requires { value.check(findings, context...); }) value.check(findings, context...);
}

}  // namespace fields_detail

/// Several structs whose options stand side by side in one object.
template <class... Structs>
struct Joined {
  std::tuple<Structs...> parts;

  template <class Struct>
  Struct& get() {
    return std::get<Struct>(parts);
  }
  template <class Struct>
  const Struct& get() const {
    return std::get<Struct>(parts);
  }

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    std::apply(
        [&](auto&... part) { (std::remove_cvref_t<decltype(part)>::fields(part, visit), ...); },
        self.parts);
  }

  template <class... Context>
  void check(Findings& findings, const Context&... context) const {
    std::apply([&](const auto&... part) { (fields_detail::ask(part, findings, context...), ...); },
               parts);
  }
};

namespace fields_detail {

using Json = nlohmann::ordered_json;

struct IgnoreField {
  template <class Field>
  void operator()(const char*, Field&, const Accepts&, const char*) const {}
};

template <class T>
concept HasFields = requires(T& value) {
  T::fields(value, IgnoreField{});
};

template <class T>
struct Shape {
  using Element = T;
  static constexpr bool kOptional = false;
  static constexpr bool kList = false;
};
template <class T>
struct Shape<std::vector<T>> : Shape<T> {
  static_assert(!Shape<T>::kOptional && !Shape<T>::kList, "use nlohmann::ordered_json for these");
  static constexpr bool kList = true;
};
template <class T>
struct Shape<std::optional<T>> : Shape<T> {
  static_assert(!Shape<T>::kOptional);
  static constexpr bool kOptional = true;
};

template <class T>
constexpr FieldType field_type() {
  if constexpr (std::same_as<T, bool>) {
    return FieldType::kBool;
  } else if constexpr (std::same_as<T, std::int64_t>) {
    return FieldType::kInteger;
  } else if constexpr (std::same_as<T, double>) {
    return FieldType::kNumber;
  } else if constexpr (std::same_as<T, std::string> || Choice<T>) {
    return FieldType::kString;
  } else if constexpr (std::same_as<T, Json>) {
    return FieldType::kJson;
  } else {
    static_assert(HasFields<T>, "not a field type, see sae/config/fields.h");
    return FieldType::kObject;
  }
}

/// The documentation of a field without default, help and nested fields.
template <class T>
FieldDoc kind_of(const char* name, const Accepts& accepts) {
  FieldDoc doc;
  doc.name = name;
  using Element = typename Shape<T>::Element;
  doc.type = field_type<Element>();
  doc.list = Shape<T>::kList;
  doc.nullable = Shape<T>::kOptional;
  doc.accepts = accepts;
  if constexpr (Choice<Element>) doc.accepts = OneOf{choice_names<Element>()};
  return doc;
}

// In fields_json.cpp.
FieldDoc element_of(const FieldDoc& list);
void read_scalar(const ConfigNode& node, const FieldDoc& doc, bool& value);
void read_scalar(const ConfigNode& node, const FieldDoc& doc, std::int64_t& value);
void read_scalar(const ConfigNode& node, const FieldDoc& doc, double& value);
void read_scalar(const ConfigNode& node, const FieldDoc& doc, std::string& value);
void read_scalar(const ConfigNode& node, const FieldDoc& doc, Json& value);
/// What is wrong with the value ("got 0, expected >= 1"), or an empty string.
std::string complaint(const FieldDoc& doc, bool value);
std::string complaint(const FieldDoc& doc, std::int64_t value);
std::string complaint(const FieldDoc& doc, double value);
std::string complaint(const FieldDoc& doc, const std::string& value);
std::string complaint(const FieldDoc& doc, const Json& value);
std::string complaint_empty_list(const FieldDoc& doc);
void require_array(const ConfigNode& node, const FieldDoc& doc);
void require_known_keys(const ConfigNode& node, const std::vector<std::string>& known);
[[noreturn]] void fail_missing(const ConfigNode& parent, const FieldDoc& doc);
[[noreturn]] void fail_check(const std::string& place, const std::string& complaint);
ConfigNode absent_object(const ConfigNode& parent, std::string_view key);

template <class T>
void read_into(T& target, const ConfigNode& node);

template <class T>
void read_value(const ConfigNode& node, const FieldDoc& doc, T& value) {
  if constexpr (HasFields<T>) {
    read_into(value, node);
  } else if constexpr (Choice<T>) {
    std::string name;
    read_scalar(node, doc, name);
    value = *choice_named<T>(name);
  } else {
    read_scalar(node, doc, value);
  }
}

template <class T>
void read_value(const ConfigNode& node, const FieldDoc& doc, std::vector<T>& value) {
  require_array(node, doc);
  if (node.size() == 0) {
    const std::string wrong = complaint_empty_list(doc);
    if (!wrong.empty()) node.fail(wrong);
  }
  value.clear();
  const FieldDoc element = element_of(doc);
  for (std::size_t i = 0; i < node.size(); ++i) {
    T item{};
    read_value(node.at(i), element, item);
    value.push_back(std::move(item));
  }
}

template <class T>
void read_value(const ConfigNode& node, const FieldDoc& doc, std::optional<T>& value) {
  if (node.is_null()) {
    value.reset();
  } else {
    if (!value) value.emplace();
    read_value(node, doc, *value);
  }
}

/// True when the value satisfies its own constraint; a default that does not makes it required.
template <class T>
bool is_valid(const FieldDoc& doc, const T& value) {
  if constexpr (Shape<T>::kOptional) {
    return !value || is_valid(doc, *value);
  } else if constexpr (Shape<T>::kList) {
    return !value.empty() || complaint_empty_list(doc).empty();
  } else if constexpr (HasFields<T>) {
    bool valid = true;
    T::fields(value, [&](const char* name, auto& field, const Accepts& accepts, const char*) {
      using Field = std::remove_cvref_t<decltype(field)>;
      valid = valid && is_valid(kind_of<Field>(name, accepts), field);
    });
    return valid;
  } else if constexpr (Choice<T>) {
    return static_cast<std::size_t>(value) < names_of(value).size();
  } else {
    return complaint(doc, value).empty();
  }
}

template <class T>
void read_into(T& target, const ConfigNode& node) {
  std::vector<std::string> known;
  T::fields(target, [&](const char* name, auto&, const Accepts&, const char*) {
    known.emplace_back(name);
  });
  require_known_keys(node, known);
  T::fields(target, [&](const char* name, auto& field, const Accepts& accepts, const char*) {
    using Field = std::remove_cvref_t<decltype(field)>;
    if (node.has(name)) {
      read_value(node.at(name), kind_of<Field>(name, accepts), field);
    } else if constexpr (HasFields<Field>) {
      read_into(field, absent_object(node, name));  // names the option in it that is missing
    } else if (const FieldDoc doc = kind_of<Field>(name, accepts); !is_valid(doc, field)) {
      fail_missing(node, doc);
    }
  });
}

template <class T>
void check_value(const FieldDoc& doc, const T& value, const std::string& place) {
  if constexpr (Shape<T>::kOptional) {
    if (value) check_value(doc, *value, place);
  } else if constexpr (Shape<T>::kList) {
    if (value.empty() && !complaint_empty_list(doc).empty()) {
      fail_check(place, complaint_empty_list(doc));
    }
    for (std::size_t i = 0; i < value.size(); ++i) {
      const typename T::value_type item = value[i];  // a copy: std::vector<bool>
      check_value(element_of(doc), item, place + "." + std::to_string(i));
    }
  } else if constexpr (HasFields<T>) {
    T::fields(value, [&](const char* name, auto& field, const Accepts& accepts, const char*) {
      using Field = std::remove_cvref_t<decltype(field)>;
      check_value(kind_of<Field>(name, accepts), field, place + "." + name);
    });
  } else if constexpr (Choice<T>) {
    if (!is_valid(doc, value)) fail_check(place, "is no value of its enum");
  } else if (const std::string wrong = complaint(doc, value); !wrong.empty()) {
    fail_check(place, wrong);
  }
}

template <class T>
Json write_value(const T& value, const char* name = "") {
  if constexpr (Shape<T>::kOptional) {
    return value ? write_value(*value, name) : Json(nullptr);
  } else if constexpr (Shape<T>::kList) {
    Json array = Json::array();
    for (std::size_t i = 0; i < value.size(); ++i) {
      const typename T::value_type item = value[i];
      array.push_back(write_value(item, name));
    }
    return array;
  } else if constexpr (HasFields<T>) {
    Json object = Json::object();
    T::fields(value, [&](const char* name, auto& field, const Accepts&, const char*) {
      object[name] = write_value(field, name);
    });
    return object;
  } else if constexpr (Choice<T>) {
    return Json(name_of(value));
  } else {
    if constexpr (std::same_as<T, double>) {
      if (!std::isfinite(value)) fail_check(name, "JSON has no NaN and no Infinity");
    }
    return Json(value);
  }
}

template <class T>
std::vector<FieldDoc> describe(const T& defaults) {
  std::vector<FieldDoc> docs;
  T::fields(defaults, [&](const char* name, auto& field, const Accepts& accepts, const char* help) {
    using Field = std::remove_cvref_t<decltype(field)>;
    using Element = typename Shape<Field>::Element;
    FieldDoc doc = kind_of<Field>(name, accepts);
    doc.help = help;
    doc.required = !is_valid(doc, field);
    if constexpr (HasFields<Field>) {
      doc.fields = describe(field);
    } else {
      if constexpr (HasFields<Element>) doc.fields = describe(Element{});
      if (!doc.required) doc.default_value = write_value(field);
    }
    docs.push_back(std::move(doc));
  });
  return docs;
}

/// Asks `value`, which was read from `node`, and all that is nested in it.
template <class T, class... Context>
void collect(const T& value, const ConfigNode& node, Findings& all, const Context&... context) {
  Findings own(node);
  ask(value, own);
  if constexpr (sizeof...(Context) > 0) ask(value, own, context...);
  all.add(own);
  T::fields(value, [&](const char* name, auto& field, const Accepts&, const char*) {
    using Field = std::remove_cvref_t<decltype(field)>;
    if constexpr (HasFields<typename Shape<Field>::Element>) {
      const ConfigNode place = node.has(name) ? node.at(name) : absent_object(node, name);
      if constexpr (Shape<Field>::kOptional) {
        if (field) collect(*field, place, all, context...);
      } else if constexpr (Shape<Field>::kList) {
        for (std::size_t i = 0; i < field.size(); ++i) {
          collect(field[i], place.size() > i ? place.at(i) : place, all, context...);
        }
      } else {
        collect(field, place, all, context...);
      }
    }
  });
}

}  // namespace fields_detail

/// Reads a T from the object `node`: its options and no others. Throws ConfigError.
template <class T>
T read_fields(const ConfigNode& node, T defaults = T{}) {
  fields_detail::read_into(defaults, node);
  return defaults;
}

/// What `value`, read from `node`, says of its options: by themselves, or with a RunLength also in
/// a run of that length.
template <class T, class... Context>
Findings findings_of(const T& value, const ConfigNode& node, const Context&... context) {
  Findings all(node);
  fields_detail::collect(value, node, all, context...);
  return all;
}

/// Throws std::invalid_argument that names the first option of `value` that is out of range or
/// contradicts another.
template <class T>
void check_fields(const T& value, const std::string& name) {
  fields_detail::check_value(fields_detail::kind_of<T>("", any), value, name);
  const Findings findings =
      findings_of(value, config_from_json(fields_detail::write_value(value), name));
  if (!findings.errors().empty()) throw std::invalid_argument(findings.errors().front());
}

/// The choice that the string at `key` names. Reads a discriminator before its group.
template <Choice T>
T choice_at(const ConfigNode& node, std::string_view key) {
  return *choice_named<T>(node.string_at(key, choice_names<T>()));
}

/// Every option, in order; what is not set is null. read_fields gives the same struct back.
/// Numbers must be finite (std::invalid_argument).
template <class T>
nlohmann::ordered_json write_fields(const T& value) {
  return fields_detail::write_value(value);
}

/// The options of T, with `defaults`.
template <class T>
std::vector<FieldDoc> describe_fields(const T& defaults = T{}) {
  return fields_detail::describe(defaults);
}

}  // namespace sae
