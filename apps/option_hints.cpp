#include "option_hints.h"

#include <algorithm>

#include "command_line.h"
#include "sae/base/text.h"
#include "sae/tools/config_reference.h"
#include "usage.h"

namespace sae_cli {
namespace {

/// "--learning-rate" as "learning_rate".
std::string plain(const std::string& option) {
  std::string name = option.substr(std::min(option.find_first_not_of('-'), option.size()));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

/// The value that the command line gives to the option `word`; empty if none.
std::string value_of(const std::string& word, const std::vector<std::string>& words) {
  if (const std::size_t equals = word.find('='); equals != std::string::npos) {
    return word.substr(equals + 1);
  }
  const auto place = std::find(words.begin(), words.end(), word);
  if (place == words.end() || place + 1 == words.end()) return "";
  const std::string& next = *(place + 1);
  const bool option = next.size() > 1 && next[0] == '-' && (next[1] < '0' || next[1] > '9');
  return option ? "" : next;
}

/// Words of habit and of other tools: the first is what it is called here.
using Synonyms = std::vector<std::vector<std::string>>;

/// The first word of the row that has `name` further back; empty if none has.
std::string first_of(const Synonyms& rows, const std::string& name) {
  for (const std::vector<std::string>& row : rows) {
    if (std::find(row.begin() + 1, row.end(), name) != row.end()) return row.front();
  }
  return "";
}

const Synonyms& names_of_options() {
  static const Synonyms rows = {
      {"--out", "o", "output", "output_dir", "out_dir", "outdir", "save_dir", "save_path", "dir"},
      {"--set", "s", "override", "option"},
      {"--threads", "j", "t", "num_threads", "workers", "num_workers", "jobs", "cpus"},
      {"--device cuda", "gpu", "cuda"},
      {"--device cpu", "cpu"},
      {"--resume", "r", "continue", "restart"},
      {"--quiet", "silent", "s"},
      {"--data", "d", "dataset", "store", "activations"},
      {"--to", "format"},
      {"--tokens", "n", "num_tokens", "samples"},
      {"--arch", "architecture"},
  };
  return rows;
}

const Synonyms& names_of_keys() {
  static const Synonyms rows = {
      {"lr", "learning_rate"},
      {"batch", "batch_size", "bs", "b"},
      {"steps", "num_steps", "max_steps", "n_steps", "iterations", "iters"},
      {"tokens", "num_tokens", "n_tokens", "training_tokens", "total_tokens", "max_tokens"},
      {"seed", "random_seed", "s"},
      {"seeds", "seed"},
      {"k", "top_k", "topk"},
      {"target_l0", "l0"},
      {"sparsity", "l1", "l1_coeff", "l1_coefficient", "l1_lambda", "sparsity_coefficient"},
      {"d_sae", "dict_size", "d_dict", "num_latents", "n_latents", "latents", "n_features",
       "num_features", "features", "width", "hidden", "d_hidden"},
      {"d_in", "d_model", "input_dim", "d_input", "activation_dim"},
      {"architecture", "arch", "model", "type"},
      {"lr_warmup_steps", "warmup", "warmup_steps"},
      {"precision", "dtype"},
      {"path", "data", "dataset", "store", "activations", "data_path"},
  };
  return rows;
}

std::string leaf(const std::string& path) {
  const std::size_t dot = path.rfind('.');
  return dot == std::string::npos ? path : path.substr(dot + 1);
}

/// The path that ends in `key`; empty if none does.
std::string path_to(const std::string& key, const std::vector<std::string>& paths) {
  const auto found = std::find_if(paths.begin(), paths.end(),
                                  [&](const std::string& path) { return leaf(path) == key; });
  return found == paths.end() ? "" : *found;
}

/// The path that the option `name` stands for: of that name or of what others call so, in the
/// outermost group before those further in. Data and latents are seldom those of ranks.
std::string path_for(const std::string& name, const std::vector<std::string>& paths) {
  const std::string other = first_of(names_of_keys(), name);
  for (const std::string& key : {name, other}) {
    if (std::find(paths.begin(), paths.end(), key) != paths.end()) return key;
  }
  const std::string path = path_to(name, paths);
  const bool of_ranks = path.starts_with("distributed.") && !other.empty();
  return path.empty() || of_ranks ? path_to(other, paths) : path;
}

/// Names of the options of `command`: "--out".
std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

/// The path that ends in something like `name`.
std::string path_near(const std::string& name, const std::vector<std::string>& paths) {
  if (name.size() < 3) return "";  // a single letter is near to every other one
  std::vector<std::string> leaves;
  for (const std::string& one : paths) leaves.push_back(leaf(one));
  return path_to(sae::nearest_name(name, leaves), paths);
}

std::string suggested(const std::string& name) { return "did you mean '" + name + "'?"; }

}  // namespace

std::string option_hint(const CLI::App& command, const std::string& word,
                        const std::vector<std::string>& words) {
  const std::string option = word.substr(0, word.find('='));
  const std::string name = plain(option);
  const std::string value = value_of(word, words);
  if ((name == "config" || name == "c" || name == "cfg") && command.get_option_no_throw("CONFIG")) {
    return "say " + full_name(&command) + " " + (value.empty() ? "CONFIG" : shell_word(value));
  }
  const std::vector<std::string> options = option_names(command);
  std::string habit = first_of(names_of_options(), name);
  if (std::find(options.begin(), options.end(), habit.substr(0, habit.find(' '))) ==
      options.end()) {
    habit.clear();  // this command has no such option
  }
  if (!habit.empty() && habit != "--threads") return suggested(habit);

  const std::vector<std::string> paths = sae::settable_paths(path_of(&command));
  std::string path = path_for(name, paths);
  if (path.empty()) {
    if (!habit.empty()) return suggested(habit);
    const std::string near = sae::nearest_name(option, options);
    if (!near.empty()) return suggested(near);
    path = path_near(name, paths);
  }
  if (path.empty()) return "";
  return "say --set " + path + "=" + (value.empty() ? "..." : shell_word(value));
}

}  // namespace sae_cli
