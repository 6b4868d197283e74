// The axes of a comparison's grid, as its configuration gives them.
#pragma once

#include <string>
#include <vector>

#include "sae/config/config_node.h"

namespace sae {

/// Paths that take their values together, step by step. The first path's values are the axis's.
struct GridAxis {
  struct Path {
    std::string path;
    std::vector<ConfigNode> values;  ///< one a step
  };

  std::string name;  ///< the path; of several that move together, what they are called
  std::vector<Path> paths;
  bool is_level = false;

  std::size_t steps() const { return paths.front().values.size(); }
  std::string short_name() const;  ///< "lr" for "train.lr"
};

/// `node`'s axes: {"train.lr": [1e-3, 3e-3], "batch": {"train.batch": [512, 1024], "train.steps":
/// [2000, 1000]}}. ConfigError for what is no list of distinct values, and for lists that move
/// together and differ in length.
std::vector<GridAxis> read_axes(const ConfigNode& node);

/// ConfigError if two axes write to one path: what one of them says would be lost.
void require_distinct_paths(const std::vector<GridAxis>& axes, const ConfigNode& member);

/// ConfigError for a value that stands there twice: runs of the same options would be one run with
/// two names.
void require_distinct(const std::vector<ConfigNode>& values);

std::vector<ConfigNode> elements_of(const ConfigNode& list);

/// "4", "0.001", "topk": a value as part of a folder's name.
std::string short_text(const ConfigNode& value);

}  // namespace sae
