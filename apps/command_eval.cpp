#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "command_shared.h"
#include "log.h"
#include "sae/tools/evaluate.h"

namespace sae_cli {
namespace {

void print_suites(const std::vector<sae::SubjectOutcome>& subjects) {
  for (const sae::SubjectOutcome& subject : subjects) {
    for (const sae::SuiteOutcome& suite : subject.suites) {
      const bool control = subject.name != "sae";
      std::printf("%s%s%s%s\n",
                  &subject == &subjects.front() && &suite == &subject.suites.front() ? "" : "\n",
                  suite.suite.c_str(), control ? ", control: " : "",
                  control ? subject.name.c_str() : "");
      for (const auto& [name, value] : suite.mean) {
        std::printf("  %-42s %.5g", name.c_str(), value);
        if (suite.sd.count(name) != 0) std::printf(" +- %.2g", suite.sd.at(name));
        std::printf("\n");
      }
      if (!suite.remark.empty()) std::printf("  %s\n", suite.remark.c_str());
    }
  }
}

}  // namespace

void add_eval(CLI::App& app, Common& common, std::function<int()>& action) {
  auto given = std::make_shared<sae::EvaluateArguments>();
  CLI::App* command = app.add_subcommand("eval", "Evaluate a trained autoencoder");
  command
      ->add_option("SAE", given->path,
                   "Folder of a run, finished or not, of a checkpoint or an autoencoder, or "
                   "anything that sae convert reads")
      ->required();
  command
      ->add_option("--data", given->data,
                   "A store, a world's preset, or a data group as JSON (default: held-out data of "
                   "the training); a file of labelled activations, for absorption; a folder of "
                   "them, for probing. Repeatable")
      ->allow_extra_args(false);
  command
      ->add_option("--suite", given->suites,
                   "core, absorption, probing, truth (comma-separated), or all there is data for")
      ->delimiter(',')
      ->allow_extra_args(false);
  command
      ->add_option("--controls", given->controls,
                   "Evaluate these too: identity, pca, random, permuted, untrained, or all")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("--repeats", given->repeats,
                      "Evaluation seeds of absorption and probing: prints mean and deviation");
  command->add_option("--set", given->sets, "Change an option: eval.tokens=100000; repeatable")
      ->allow_extra_args(false);
  add_common(command, common);
  command->footer(
      "Examples:\n"
      "  sae eval runs/topk\n"
      "  sae eval runs/topk --data acts/heldout --set eval.tokens=100000 --json\n"
      "  sae eval runs/topk --data letters.safetensors --suite absorption --repeats 5\n"
      "  sae eval runs/topk --data acts/heldout --data tasks/ --suite core,probing \\\n"
      "      --controls all\n\n"
      "Labelled activations are made by scripts/first_letter.py, word_classes.py and\n"
      "probing_tasks.py. Options of the suites: sae config print core, absorption,\n"
      "probing.");
  command->callback([given, &common, &action] {
    action = [given, &common] {
      given->device = common.device;
      given->threads = common.threads;
      given->say = log_warning;
      if (given->suites.empty() && given->controls.empty()) {
        const sae::Evaluation result = sae::evaluate_path(*given);
        print_result(common, sae::to_json(result.values), [&] { print_metrics(result.values); });
        return 0;
      }
      const auto subjects = sae::evaluate_suites(*given);
      print_result(common, sae::to_json(subjects), [&] { print_suites(subjects); });
      return 0;
    };
  });
}

}  // namespace sae_cli
