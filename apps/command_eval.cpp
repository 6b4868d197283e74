#include <memory>

#include "command_shared.h"
#include "sae/base/text.h"
#include "sae/evaluation/controls.h"
#include "sae/tools/evaluate.h"

namespace sae_cli {
namespace {

/// Lines of a terminal's width that begin with `indent`, and further in from the second on.
std::string paragraph(const std::string& indent, const std::string& text) {
  std::string lines;
  for (const std::string& line : sae::wrapped(text, 78 - indent.size())) {
    lines += indent + (lines.empty() ? "" : "  ") + line + "\n";
  }
  return lines;
}

std::string suite_text(const std::string& subject, const sae::SuiteOutcome& suite) {
  std::string text = suite.suite + (subject == "sae" ? "" : ", control: " + subject) + "\n";
  for (const auto& [name, value] : by_importance(suite.mean)) {
    text += formatted("  %-42s %.5g", name.c_str(), value);
    if (suite.sd.count(name) != 0) text += formatted(" +- %.2g", suite.sd.at(name));
    text += "\n";
  }
  if (!suite.basis.empty()) text += paragraph("  ", "rests on " + suite.basis);
  return text + (suite.remark.empty() ? "" : paragraph("  ", suite.remark));
}

std::string suites_text(const std::vector<sae::SubjectOutcome>& subjects) {
  std::string text;
  for (const sae::SubjectOutcome& subject : subjects) {
    for (const sae::SuiteOutcome& suite : subject.suites) {
      text += (text.empty() ? "" : "\n") + suite_text(subject.name, suite);
    }
  }
  return text;
}

int evaluate(sae::EvaluateArguments given, const Common& common) {
  given.device = common.device;
  given.threads = static_cast<int>(common.threads);
  given.say = print_warning;
  if (given.suites.empty() && given.controls.empty()) {
    const sae::Evaluation result = sae::evaluate_path(given);
    print_notices(result.notices, common);
    Json json = sae::to_json(result.values);
    if (!result.degenerate.empty()) json["degenerate"] = result.degenerate;
    print_result(common, json, [&] {
      const std::string& why = result.degenerate;
      return metrics_text(result.values) + (why.empty() ? "" : paragraph("", "degenerate: " + why));
    });
    return 0;
  }
  const auto subjects = sae::evaluate_suites(given);
  print_result(common, sae::to_json(subjects), [&] { return suites_text(subjects); });
  return 0;
}

std::vector<std::string> with_all(std::vector<std::string> names) {
  names.emplace_back("all");
  return names;
}

}  // namespace

void add_eval(Program& program) {
  auto given = std::make_shared<sae::EvaluateArguments>();
  CLI::App* command =
      program.add("eval", "Evaluate a trained autoencoder",
                  [given, &common = program.common] { return evaluate(*given, common); });
  add_text(command, "SAE", given->path, kPath,
           "Folder of a run, finished or not, of a checkpoint or an autoencoder, or anything that "
           "sae convert reads")
      ->required();
  add_texts(command, "--data", given->data, kPath,
            "A store, a world's preset, or a data group as JSON (default: held-out data of the "
            "training); a file of labelled activations, for absorption; a folder of them, for "
            "probing; a judge file, for interp. Repeatable");
  add_texts(command, "--suite", given->suites, kName,
            "core, absorption, probing, interp, truth (comma-separated), or all there is data "
            "for")
      ->delimiter(',')
      ->check(one_of(with_all(sae::suite_names())));
  add_texts(command, "--controls", given->controls, kName,
            "Evaluate these too: identity, pca, random, permuted, untrained, or all")
      ->delimiter(',')
      ->check(one_of(with_all(sae::choice_names<sae::Control>())));
  add_number(command, "--repeats", given->repeats, 1,
             "Evaluation seeds of absorption and probing: prints mean and deviation")
      ->capture_default_str();
  add_sets(command, given->sets, "Change an option: eval.tokens=100000; repeatable");
  add_common(command, program.common);
  command->footer(
      "Examples:\n"
      "  sae eval runs/topk\n"
      "  sae eval runs/topk --data acts/heldout --set eval.tokens=100000 --json\n"
      "  sae eval runs/topk --data acts/zipf --suite truth \\\n"
      "      --set eval.truth.min_match_cosine=0.7\n"
      "  sae eval runs/topk --data letters.safetensors --suite absorption --repeats 5\n"
      "  sae eval runs/topk --data acts/heldout --data tasks/ --suite core,probing \\\n"
      "      --controls all\n"
      "  sae eval runs/topk --data acts/heldout --data judge.safetensors \\\n"
      "      --suite interp --controls random\n\n"
      "Scores of codes that are dead, nearly so, or too dense are printed as not\n"
      "ranked, with the reason: low absorption means nothing there. Every suite says\n"
      "what it rests on.\n\n"
      "Truth needs a world's preset, or a store that sae synth wrote: it is measured on\n"
      "the held-out rows with the stored features of exactly those. Of its averages,\n"
      "micro is over events, macro over parent features; a parent counts from a\n"
      "|cosine| of eval.truth.min_match_cosine (0.5) with its latent, and where none\n"
      "does there is no score.\n\n"
      "Absorption prints L0 and explained variance on the words, to be read beside\n"
      "those on text, and scores given a main latent (_given_main). With --controls\n"
      "random it says where a random dictionary scores as much.\n\n"
      "Interp asks a judge of likeness, a small embedding model (scripts/judge.py) or\n"
      "without its file the tokens alone, whether it can tell a latent's rows from\n"
      "others. What it says of the same activations on random rows (shuffled_) is\n"
      "chance.\n\n"
      "Labelled activations are made by scripts/first_letter.py, word_classes.py and\n"
      "probing_tasks.py. Options of the suites: sae config print core, absorption,\n"
      "probing, interp.");
}

}  // namespace sae_cli
