#include "comparison/axes.h"

#include <cctype>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

GridAxis::Path read_path(const std::string& path, const ConfigNode& values) {
  if (!values.is_array() || values.size() == 0) {
    values.fail("got " + values.got() + ", expected a list of values");
  }
  if (path == "seed") values.fail("the runs' seeds are those of \"seeds\"; list them there");
  return {path, elements_of(values)};
}

/// Paths that move together, under a name of their own.
GridAxis read_together(const std::string& name, const ConfigNode& group) {
  GridAxis axis{name, {}, false};
  for (const std::string& path : group.keys()) {
    axis.paths.push_back(read_path(path, group.at(path)));
    const GridAxis::Path& first = axis.paths.front();
    const std::size_t count = axis.paths.back().values.size();
    if (count != axis.steps()) {
      group.at(path).fail("got " + std::to_string(count) + " values, expected " +
                          std::to_string(axis.steps()) + ", as many as " + first.path +
                          " has: they move together");
    }
  }
  if (axis.paths.empty()) group.fail("got {}, expected paths that move together");
  return axis;
}

}  // namespace

std::string GridAxis::short_name() const { return name.substr(name.rfind('.') + 1); }

std::vector<GridAxis> read_axes(const ConfigNode& node) {
  std::vector<GridAxis> axes;
  if (!node.has("axes")) return axes;
  const ConfigNode group = node.at("axes");
  for (const std::string& name : group.keys()) {
    const ConfigNode values = group.at(name);
    axes.push_back(values.is_object() ? read_together(name, values)
                                      : GridAxis{name, {read_path(name, values)}, false});
    require_distinct(axes.back().paths.front().values);
  }
  return axes;
}

void require_distinct_paths(const std::vector<GridAxis>& axes, const ConfigNode& member) {
  std::set<std::string> paths;
  for (const GridAxis& axis : axes) {
    for (const GridAxis::Path& one : axis.paths) {
      if (!paths.insert(one.path).second) {
        member.fail("two axes vary " + one.path + "; leave out one of them");
      }
    }
  }
}

void require_distinct(const std::vector<ConfigNode>& values) {
  std::set<Json> seen;
  for (const ConfigNode& value : values) {
    if (!seen.insert(value.json()).second) {
      value.fail("got " + value.got() + " a second time, expected distinct values");
    }
  }
}

std::vector<ConfigNode> elements_of(const ConfigNode& list) {
  std::vector<ConfigNode> values;
  for (std::size_t i = 0; i < list.size(); ++i) values.push_back(list.at(i));
  return values;
}

std::string short_text(const ConfigNode& value) {
  const Json json = value.json();
  std::string text = json.is_string() ? json.get<std::string>() : json.dump();
  for (char& c : text) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '-') c = '_';
  }
  return text;
}

}  // namespace sae
