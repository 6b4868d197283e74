#include "commands.h"

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <utility>

#include "command_shared.h"
#include "log.h"
#include "progress.h"
#include "sae/base/error.h"
#include "sae/base/text.h"
#include "sae/comparison/compare.h"
#include "sae/config/config_node.h"
#include "sae/models/architectures.h"
#include "sae/tools/config_reference.h"
#include "sae/tools/info.h"
#include "sae/tools/synth.h"
#include "sae/training/run.h"

namespace sae_cli {

std::atomic<int> stop_signal = 0;

namespace {

constexpr int kStoppedBySignal = 128;  // plus the signal, as shells have it

/// `text` as one word of a shell's command line.
std::string shell_word(const std::string& text) {
  const bool plain = text.find_first_not_of(
                         "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./=,:") ==
                     std::string::npos;
  if (plain && !text.empty()) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

/// A configuration file with --set, --threads and --device applied, in this order.
struct ConfigArguments {
  std::string file;
  std::vector<std::string> sets;

  /// The command line that says the same, where and how it is computed left out.
  std::string command_line(const std::string& verb) const {
    std::string line = "sae " + verb + " " + shell_word(file);
    for (const std::string& set : sets) line += " --set " + shell_word(set);
    return line;
  }

  /// `--out`, or runs/<the configuration's name>.
  std::filesystem::path folder(const std::string& out) const {
    if (!out.empty()) return out;
    return std::filesystem::path("runs") / std::filesystem::path(file).stem();
  }

  /// `notices` gets what --set made of it.
  sae::ConfigNode read(const Common& common, std::vector<sae::Notice>& notices,
                       const std::string& prefix = "") const {
    sae::ConfigNode config = sae::with_sets(sae::read_config(file), sets, notices);
    if (common.threads >= 0) {
      config = sae::with_set(config, prefix + "threads=" + std::to_string(common.threads));
    }
    if (!common.device.empty()) {
      config = sae::with_set(config, prefix + "device=\"" + common.device + "\"");
      if (config.has("devices")) config = sae::with_set(config, "devices=[]");
    }
    return config;
  }
};

void add_config(CLI::App* command, ConfigArguments& config) {
  command->add_option("CONFIG", config.file, "Configuration file (JSON)")->required();
  command
      ->add_option("--set", config.sets,
                   "Change an option: a.b=value, where value is JSON or else a string; a.b= goes "
                   "back to the default; repeatable")
      ->take_all();
}

/// Warnings always, notes unless --quiet.
void print_notices(const std::vector<sae::Notice>& notices, const Common& common) {
  for (const sae::Notice& notice : notices) {
    if (notice.kind == sae::Notice::Kind::kWarning) {
      log_warning(notice.text);
    } else if (!common.quiet) {
      log_note(notice.text);
    }
  }
}

sae::RunOptions read_run(const ConfigArguments& config, const Common& common) {
  std::vector<sae::Notice> notices;
  const sae::ConfigNode document = config.read(common, notices);
  sae::RunOptions options = sae::read_run(document);
  print_notices(notices, common);
  print_notices(options.notices, common);
  return options;
}

sae::ComparisonPlan read_plan(const ConfigArguments& config, const Common& common) {
  std::vector<sae::Notice> notices;
  const sae::ConfigNode document = config.read(common, notices, "base.");
  sae::ComparisonPlan plan = sae::plan_comparison(document);
  print_notices(notices, common);
  print_notices(plan.notices, common);
  return plan;
}

double value_of(const sae::MetricValues& values, const char* name) {
  const auto found = values.find(name);
  return found == values.end() ? sae::Progress::kUnknown : found->second;
}

/// The latest logged values of a run, drawn as often as the line wants.
class TrainProgress {
 public:
  explicit TrainProgress(bool quiet) : line_(sae::progress_style(quiet)) {}

  void update(const sae::StepReport& report, std::int64_t total) {
    if (report.values.contains("loss")) {
      shown_.loss = value_of(report.values, "loss");
      shown_.l0 = value_of(report.values, "l0");
      shown_.explained_variance = value_of(report.values, "explained_variance");
      shown_.dead = value_of(report.values, "dead");
      shown_.tokens_per_s = value_of(report.values, "tokens_per_s");
    }
    shown_.step = report.step;
    shown_.total = total;
    line_.update(shown_);
  }
  void clear() { line_.clear(); }

 private:
  sae::ProgressLine line_;
  sae::Progress shown_;
};

int stopped(const std::string& how_to_go_on) {
  log_warning("stopped; everything is saved. Go on with: " + how_to_go_on);
  return kStoppedBySignal + stop_signal;
}

void add_train(CLI::App& app, Common& common, std::function<int()>& action) {
  struct Arguments {
    ConfigArguments config;
    std::string out;
    bool resume = false;
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("train", "Train one autoencoder");
  add_config(command, given->config);
  command->add_option("--out", given->out, "Folder of the run (default: runs/<config's name>)");
  command->add_flag("--resume", given->resume, "Go on from the newest checkpoint in the folder");
  add_common(command, common);
  command->footer(
      "Examples:\n"
      "  sae train configs/topk.json\n"
      "  sae train configs/atm.json --set model.mask.threshold=0.5 --out runs/atm-low\n"
      "  sae train configs/topk.json --resume        after a stop or a kill\n"
      "  sae train configs/topk.json --resume --set train.steps=60000      more steps");
  command->callback([given, &common, &action] {
    action = [given, &common] {
      const std::filesystem::path out = given->config.folder(given->out);
      const sae::RunOptions options = read_run(given->config, common);
      TrainProgress progress(common.quiet);
      const sae::RunOutcome outcome = sae::train(
          options, out, given->resume,
          {.on_step = [&](const sae::StepReport& report,
                          std::int64_t total) { progress.update(report, total); },
           .should_stop = [] { return stop_signal != 0; },
           .on_notice = [&](const sae::Notice& notice) { print_notices({notice}, common); }});
      progress.clear();
      if (!outcome.finished) {
        return stopped(given->config.command_line("train") + " --out " + shell_word(out.string()) +
                       " --resume");
      }
      print_result(common,
                   Json{{"folder", out.string()},
                        {"steps", outcome.step},
                        {"metrics", sae::to_json(outcome.metrics)}},
                   [&] {
                     print_metrics(outcome.metrics);
                     std::printf("\nautoencoder: %s\n", (out / "sae").c_str());
                   });
      return 0;
    };
  });
}

void add_compare(CLI::App& app, Common& common, std::function<int()>& action) {
  struct Arguments {
    ConfigArguments config;
    std::string out;
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("compare", "Train and compare many on the same data");
  add_config(command, given->config);
  command->add_option("--out", given->out, "Folder (default: runs/<config's name>)");
  add_common(command, common);
  command->footer(
      "An interrupted comparison goes on where it stopped when the command is repeated.\n"
      "Runs that do not fit into memory together are trained one wave after the other (option\n"
      "\"memory\"), and several devices share the runs (\"devices\"): sae config print compare.\n\n"
      "Examples:\n"
      "  sae compare configs/compare/quick.json\n"
      "  sae compare configs/compare/full.json --set seeds=[0] --out runs/one-seed");
  command->callback([given, &common, &action] {
    action = [given, &common] {
      const std::filesystem::path out = given->config.folder(given->out);
      sae::ComparisonPlan plan = read_plan(given->config, common);
      if (common.threads > 0) plan.basics.jobs = common.threads;
      const std::string command_line = given->config.command_line("compare");
      sae::ProgressLine line(sae::progress_style(common.quiet));
      const std::string runs = std::to_string(plan.runs.size());
      const sae::CompareOutcome outcome = sae::compare(
          plan, out, command_line,
          {.on_progress =
               [&](std::int64_t done, std::int64_t total, std::int64_t finished) {
                 draw_progress(line, std::to_string(finished) + "/" + runs + " runs", done, total);
               },
           .on_evaluation =
               [&](std::int64_t done, std::int64_t total) {
                 draw_progress(line, "evaluated", done, total);
               },
           .should_stop = [] { return stop_signal != 0; },
           .on_notice = [&](const sae::Notice& notice) { print_notices({notice}, common); }});
      line.clear();
      if (!outcome.finished) return stopped(command_line + " --out " + shell_word(out.string()));
      if (common.json) {
        std::cout << sae::to_json(outcome.result) << "\n";
      } else if (!common.quiet) {
        std::cout << sae::results_table(outcome.result)
                  << "\nreport: " << (out / "report.html").string() << "\n";
      }
      return 0;
    };
  });
}

void add_synth(CLI::App& app, Common& common, std::function<int()>& action) {
  struct Arguments {
    std::string preset = "small";
    std::int64_t tokens = 100'000;
    std::vector<std::string> sets;
    std::string out;
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("synth", "Write a synthetic world with its ground truth as a store");
  command->add_option("--preset", given->preset, sae::joined(sae::world_presets()));
  command->add_option("--tokens", given->tokens, "Samples to write");
  command
      ->add_option("--set", given->sets, "Change an option of the world: bias_norm=0; repeatable")
      ->take_all();
  command->add_option("--out", given->out, "Folder of the store")->required();
  add_output(command, common);
  command->footer("Example:\n  sae synth --preset small-zipf --tokens 1000000 --out acts/zipf");
  command->callback([given, &common, &action] {
    action = [given, &common] {
      sae::ProgressLine line(sae::progress_style(common.quiet));
      std::vector<sae::Notice> notices;
      const sae::SynthOptions options =
          sae::read_synth(given->preset, given->tokens, given->sets, &notices);
      print_notices(notices, common);
      const std::int64_t total = options.tokens;
      sae::write_world(options, given->out,
                       [&](std::int64_t done) { draw_progress(line, "samples", done, total); });
      line.clear();
      print_result(common, Json{{"folder", given->out}, {"tokens", total}}, [&] {
        std::printf("%lld samples in %s\n", static_cast<long long>(total), given->out.c_str());
      });
      return 0;
    };
  });
}

void add_info(CLI::App& app, Common& common, std::function<int()>& action) {
  auto path = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("info", "Say what a run, autoencoder, store or checkpoint holds");
  command->add_option("PATH", *path, "Folder or file")->required();
  add_output(command, common);
  command->footer("Example:\n  sae info runs/topk --json");
  command->callback([path, &common, &action] {
    action = [path, &common] {
      const Json facts = sae::describe_path(*path);
      print_result(common, facts, [&] { print_facts(facts); });
      return 0;
    };
  });
}

void add_config_command(CLI::App& app, Common& common, std::function<int()>& action) {
  CLI::App* command = app.add_subcommand("config", "Print, check or describe configurations");
  command->require_subcommand(1);
  command->footer("Examples:\n  sae config print topk\n  sae config check configs/atm.json");

  auto only = std::make_shared<std::string>();
  CLI::App* print = command->add_subcommand("print", "Every option: default, range and meaning");
  print->add_option("WHICH", *only,
                    "An architecture, or run, model, data, train, eval, core, absorption, "
                    "probing, diagnose, compare (default: all)");
  print->callback([only, &action] {
    action = [only] {
      std::cout << sae::config_reference(*only);
      return 0;
    };
  });

  auto given = std::make_shared<ConfigArguments>();
  CLI::App* check = command->add_subcommand("check", "Check a configuration and print it resolved");
  add_config(check, *given);
  add_common(check, common);
  check->callback([given, &common, &action] {
    action = [given, &common] {
      const std::string command = sae::command_for(sae::read_config(given->file));
      if (command == "compare") {
        const sae::ComparisonPlan plan = read_plan(*given, common);
        if (!common.quiet) {
          for (const sae::PlannedRun& run : plan.runs) std::cout << run.name << "\n";
        }
      } else {
        const Json resolved = sae::resolve_run(read_run(*given, common));
        if (!common.quiet) std::cout << resolved.dump(2) << "\n";
      }
      if (!common.quiet) log_note(given->file + ": for sae " + command);
      return 0;
    };
  });

  command->add_subcommand("schema", "JSON Schema of a run's configuration, for editors")
      ->callback([&action] {
        action = [] {
          std::cout << sae::config_schema().dump(2) << "\n";
          return 0;
        };
      });
}

}  // namespace

void add_commands(CLI::App& app, std::function<int()>& action) {
  static Common common;
  add_train(app, common, action);
  add_eval(app, common, action);
  add_compare(app, common, action);
  add_synth(app, common, action);
  add_info(app, common, action);
  add_bench(app, common, action);
  add_inspect(app, common, action);
  add_features(app, common, action);
  add_diagnose(app, common, action);
  add_convert(app, common, action);
  add_config_command(app, common, action);
}

}  // namespace sae_cli
