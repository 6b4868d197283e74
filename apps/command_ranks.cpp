#include <memory>
#include <nlohmann/json.hpp>

#include "arguments.h"
#include "command_shared.h"
#include "sae/distributed/group.h"
#include "sae/distributed/membership.h"
#include "sae/tools/ranks.h"

namespace sae_cli {
namespace {

struct RanksArguments {
  double seconds = 2;
  std::int64_t timeout_s = 300;
  bool distributed = false;
};

int ranks(const RanksArguments& given, const Common& common) {
  sae::Membership member = sae::membership_in(given.distributed);
  member.timeout = std::chrono::seconds(given.timeout_s);
  sae::together(member, [&](const sae::Group& group) {
    const bool speaks = group.rank() == 0 && !common.quiet && !common.json;
    group.meet();
    if (speaks) {
      print(std::to_string(group.size()) + " ranks met at " + member.address + ":" +
            std::to_string(member.port) + "; float32, median times\n");
    }
    const sae::RanksResult result = sae::measure_ranks(group, member, given.seconds);
    if (speaks) print(to_text(result));
    if (group.rank() == 0 && common.json) print(to_json(result).dump(1) + "\n");
  });
  return 0;
}

}  // namespace

void add_ranks(Program& program) {
  auto given = std::make_shared<RanksArguments>();
  CLI::App* command = program.add("ranks", "See whether the processes of a launch reach each other",
                                  [given, &program] { return ranks(*given, program.common); });
  command->add_option("--seconds", given->seconds, "How long it measures, in all")
      ->type_name(kNumber)
      ->check(number_between(0, 1e6))
      ->capture_default_str();
  add_number(command, "--timeout-s", given->timeout_s, 1, "Seconds after which a rank is missing");
  command->add_flag("--distributed", given->distributed,
                    "Take ranks from srun's or mpirun's variables too");
  add_output(command, program.common);
  command->footer(
      "Which of how many ranks a process is stands in RANK and WORLD_SIZE, and where\n"
      "rank 0 is in MASTER_ADDR and MASTER_PORT: torchrun sets them, and so does\n"
      "scripts/launch on one machine.\n\n"
      "Examples:\n"
      "  scripts/launch 4 sae ranks\n"
      "  srun -n 16 sae ranks --distributed");
}

}  // namespace sae_cli
