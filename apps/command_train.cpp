#include <chrono>
#include <filesystem>
#include <memory>

#include "command_shared.h"
#include "config_arguments.h"
#include "sae/distributed/group.h"
#include "sae/distributed/membership.h"
#include "stop.h"

namespace sae_cli {
namespace {

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

struct TrainArguments {
  ConfigArguments config;
  std::string from;
  bool resume = false;
  bool distributed = false;
};

/// What the command line says, by this rank of `world`, the first of which speaks for all.
int train(const TrainArguments& given, const Common& common, const sae::RunOptions& options,
          const sae::Mesh& mesh) {
  const std::filesystem::path out = given.config.folder();
  const bool speaks = mesh.world.rank() == 0;
  TrainProgress progress(common.quiet || !speaks);
  const sae::RunOutcome outcome =
      sae::train(options, out, given.resume,
                 {.on_step = [&](const sae::StepReport& report,
                                 std::int64_t total) { progress.update(report, total); },
                  .should_stop = {},
                  .on_notice =
                      [&](const sae::Notice& notice) {
                        if (speaks) print_notices({notice}, common);
                      }},
                 mesh);
  progress.clear();
  if (!outcome.finished) return speaks ? report_stop() : stop_status();
  const Json result{{"folder", out.string()},
                    {"steps", outcome.step},
                    {"metrics", sae::to_json(outcome.metrics)}};
  if (!speaks) return 0;
  print_result(common, result, [&] {
    return metrics_text(outcome.metrics) + "\nautoencoder: " + (out / "sae").string() + "\n";
  });
  return 0;
}

/// The configuration's arguments, with what --from says as the option that it is.
ConfigArguments with_from(const TrainArguments& given) {
  ConfigArguments config = given.config;
  if (!given.from.empty()) config.sets.push_back("train.from=" + json_text(given.from));
  return config;
}

int train(const TrainArguments& given, const Program& program) {
  const Common& common = program.common;
  const sae::RunOptions options = read_run(with_from(given), common);
  std::string way_on = given.config.way_on(program, "train");
  if (!given.from.empty()) way_on += option_words("--from", given.from);
  set_way_on(way_on + " --resume");
  sae::Membership member = sae::membership_in(given.distributed);
  member.timeout = std::chrono::seconds(options.distributed.timeout_s);
  int status = 0;
  sae::together(member, [&](const sae::Group& world) {
    const sae::Mesh mesh =
        sae::mesh_of(world, options.distributed.latents, options.distributed.data);
    status = train(given, common, sae::on_rank(options, member), mesh);
  });
  return status;
}

}  // namespace

void add_train(Program& program) {
  auto given = std::make_shared<TrainArguments>();
  CLI::App* command = program.add("train", "Train one autoencoder",
                                  [given, &program] { return train(*given, program); });
  add_config_arguments(command, given->config);
  add_out(command, given->config.out, "Folder of the run (default: runs/<config's name>)");
  add_text(command, "--from", given->from, kPath,
           "Autoencoder to start from, of any format that sae convert reads (train.from)");
  command->add_flag("--resume", given->resume, "Go on from the newest checkpoint in the folder");
  command->add_flag("--distributed", given->distributed,
                    "Take ranks from srun's or mpirun's variables too");
  add_common(command, program.common);
  command->footer(
      "Ctrl-C saves a checkpoint and prints the command that goes on.\n\n"
      "Examples:\n"
      "  sae train configs/topk.json\n"
      "  sae train configs/atm.json --set model.mask.threshold=0.5 --out runs/atm-low\n"
      "  sae train configs/topk.json --resume        after a stop or a kill\n"
      "  sae train configs/topk.json --resume --set train.steps=60000   more steps\n"
      "  sae train configs/atm.json --from downloads/sae   a mask on a public one\n"
      "  scripts/launch 4 sae train configs/topk.json   latents over four processes");
}

}  // namespace sae_cli
