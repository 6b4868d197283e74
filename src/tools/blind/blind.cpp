#include "sae/tools/blind.h"

#include <torch/types.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/parallel.h"
#include "sae/base/device.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/folder_lock.h"
#include "sae/base/interrupt.h"
#include "sae/base/sha256.h"
#include "sae/base/text.h"
#include "sae/data/vocabulary.h"
#include "sae/evaluation/interp_items.h"
#include "sae/evaluation/judge.h"
#include "sae/models/sae_folder.h"
#include "sae/training/open.h"
#include "tools/blind/draws.h"
#include "tools/blind/study.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kPracticeItems = 5;
constexpr std::int64_t kControlRows = 4096;  // that a control is made from

/// An autoencoder with what it does on the sample.
struct BlindMember {
  std::string name;
  std::shared_ptr<Autoencoder> sae;
  SampleFirings firings = {};
  LatentSelection selection = {};
};

std::vector<OpenedSae> open_members(const BlindArguments& arguments) {
  if (arguments.members.size() < 2 && !(arguments.control && arguments.members.size() == 1)) {
    throw ConfigError("blind: got " + joined(arguments.members) +
                      (arguments.members.empty() ? "no autoencoder" : " alone") +
                      ", expected two autoencoders or more to tell apart");
  }
  std::vector<OpenedSae> out;
  std::set<fs::path> seen;
  for (const std::string& path : arguments.members) {
    if (!seen.insert(fs::weakly_canonical(path)).second) {
      throw ConfigError(path + ": given twice, expected different autoencoders");
    }
    out.push_back(open_sae(path));
    if (arguments.say) {
      for (const std::string& note : out.back().notes) arguments.say(note);
    }
  }
  return out;
}

Vocabulary require_vocabulary(const std::string& store) {
  auto vocabulary = vocabulary_of(store);
  if (!vocabulary) {
    throw DataError(store + ": has no vocabulary.json, expected one, for text to show; harvest " +
                    "the store with one");
  }
  return *std::move(vocabulary);
}

InterpSample sample_for(const BlindArguments& arguments, const ActivationStore& store) {
  if (!arguments.judge) return draw_sample(store, arguments.interp);
  JudgeFile judge = read_judge(*arguments.judge);
  require_judge_of(judge, store);
  return sample_of(store, std::move(judge.rows));
}

std::shared_ptr<Autoencoder> blind_control(const BlindArguments& arguments, const OpenedSae& of,
                                           const ActivationStore& store,
                                           const InterpSample& sample) {
  const std::span<const std::int64_t> rows(sample.rows());
  const auto count = std::min(rows.size(), static_cast<std::size_t>(kControlRows));
  return make_control(*arguments.control,
                      {of.folder.sae, &of.folder.config->at("model"), store.rows(rows.first(count)),
                       static_cast<std::uint64_t>(arguments.interp.seed)});
}

/// Rows of the window on which the latent fires, from the window's row; that row is one of them
/// whatever the batch that it is encoded in.
std::vector<std::int64_t> firing_offsets(const Autoencoder& sae, const ActivationStore& store,
                                         const TextWindow& window, std::int64_t latent) {
  const at::NoGradGuard no_grad;
  const at::Tensor x = store.rows(window.first, window.rows).to(sae.W_enc.device());
  const Codes codes = to_cpu(sae.encode(x));
  const SparseView view = view_of(codes);
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < window.rows; ++i) {
    bool fires = window.first + i == window.row;
    for (auto entry = view.begin(i); entry < view.end(i); ++entry) {
      const auto place = static_cast<std::size_t>(entry);
      fires = fires || (view.indices[place] == latent && view.values[place] > 0);
    }
    if (fires) out.push_back(window.first + i - window.row);
  }
  return out;
}

/// The members and the control, with what they do on the sample.
std::vector<BlindMember> look_at_members(
    const BlindArguments& arguments, const std::vector<OpenedSae>& opened,
    const ActivationStore& store, const InterpSample& sample,
    const std::function<void(std::int64_t, std::int64_t)>& on_member) {
  const at::Device device = parse_device(arguments.device.empty() ? "auto" : arguments.device);
  std::vector<BlindMember> members;
  for (std::size_t i = 0; i < opened.size(); ++i) {
    members.push_back({arguments.members[i], opened[i].folder.sae});
  }
  if (arguments.control) {
    members.push_back({"control: " + name_of(*arguments.control),
                       blind_control(arguments, opened.front(), store, sample)});
  }
  for (BlindMember& member : members) {
    if (on_member) on_member(&member - members.data(), std::ssize(members));
    member.sae->to(device);
    member.firings = collect_firings(*member.sae, store, sample, arguments.interp);
    member.selection = select_latents(sample, member.firings, arguments.interp);
  }
  return members;
}

std::vector<BlindTask> tasks_of(const BlindArguments& arguments) {
  if (!arguments.matched) return {BlindTask::kIntruder};
  return {BlindTask::kIntruder, BlindTask::kIntruderMatched};
}

std::vector<ChosenItem> choose(const BlindArguments& arguments, const InterpSample& sample,
                               const std::vector<BlindMember>& members) {
  std::vector<LatentsByBin> bins;
  for (const BlindMember& member : members) {
    bins.push_back(latents_by_bin(member.firings, member.selection));
  }
  const std::int64_t groups = arguments.interp.quantiles;
  const auto make = [&](std::int64_t member, std::int64_t latent, std::int64_t group,
                        BlindTask task) {
    const Firings& own =
        members[static_cast<std::size_t>(member)].firings.latents[static_cast<std::size_t>(latent)];
    // The two tasks show different rows of a group: items are numbered by group first.
    const bool matched = task == BlindTask::kIntruderMatched;
    return intruder_item(sample, own, quantile_groups(own, groups), latent,
                         group + (matched ? groups : 0),
                         matched ? Intruder::kMatched : Intruder::kUniform, arguments.interp.seed);
  };
  auto chosen =
      choose_items(bins, groups, arguments.items, tasks_of(arguments), make, arguments.interp.seed);
  if (chosen.empty()) {
    throw DataError(arguments.data + ": no latents of these autoencoders fire about as often as " +
                    "each other on " + std::to_string(sample.size()) + " rows, on at least " +
                    std::to_string(arguments.interp.min_rows) +
                    "; there is nothing to ask about; give a larger store");
  }
  return chosen;
}

BlindOutcome outcome_of(const BlindArguments& arguments, const std::vector<BlindMember>& members,
                        const std::vector<ChosenItem>& chosen) {
  BlindOutcome out;
  for (const BlindMember& member : members) {
    out.members.push_back({member.name, member.selection.counts});
  }
  out.asked = arguments.items;
  for (const BlindTask task : tasks_of(arguments)) {
    const auto items = std::count_if(chosen.begin(), chosen.end(), [&](const ChosenItem& item) {
      return item.member == 0 && item.task == task;
    });
    out.tasks.push_back({name_of(task), items});
  }
  return out;
}

}  // namespace

std::int64_t BlindOutcome::shown() const {
  std::int64_t items = 0;
  for (const Task& task : tasks) items += task.items;
  return items * std::ssize(members) + repeats;
}

BlindOutcome write_blind(const BlindArguments& arguments,
                         const std::function<void(std::int64_t, std::int64_t)>& on_member) {
  use_threads(arguments.threads);
  const FolderLock lock = FolderLock::beside(arguments.out);
  if (fs::exists(arguments.out)) {
    throw ConfigError(fs::path(arguments.out).string() +
                      ": exists already; name a folder to be made");
  }
  const std::vector<OpenedSae> opened = open_members(arguments);
  const ActivationStore store(arguments.data);
  const Vocabulary vocabulary = require_vocabulary(arguments.data);
  const InterpSample sample = sample_for(arguments, store);
  StagedDirectory staged(arguments.out);  // a folder that cannot be written is noticed now
  const std::vector<BlindMember> members =
      look_at_members(arguments, opened, store, sample, on_member);
  const std::vector<ChosenItem> chosen = choose(arguments, sample, members);
  const std::int64_t seed = arguments.interp.seed;
  const auto texts = [&](std::size_t number) {
    check_interrupt();
    const ChosenItem& item = chosen[number];
    const Autoencoder& sae = *members[static_cast<std::size_t>(item.member)].sae;
    return texts_of(
        store, vocabulary, store_rows(sample, item.rows),
        blind_draw::rng(seed, blind_draw::kMarks | number),
        [&](const TextWindow& window) { return firing_offsets(sae, store, window, item.latent); });
  };
  const BlindStudy study = arrange(chosen, sample, texts, seed);
  const auto practice = practice_items(store, vocabulary, sample, kPracticeItems, seed);
  const std::string items = items_json(study.shown);

  BlindOutcome outcome = outcome_of(arguments, members, chosen);
  outcome.repeats = study.repeats;
  outcome.practice = std::ssize(practice);
  outcome.sha256 = sha256_hex(items);
  BlindKey key{outcome.sha256,
               store.path().string(),
               sha256_of_file(store.path() / "manifest.json"),
               seed,
               {},
               study.key};
  for (const BlindMember& member : members) key.members.push_back(member.name);
  write_file_atomically(staged.path() / "page.html", blind_page(items, practice));
  write_file_atomically(staged.path() / "key.json", to_text(key));
  staged.commit();
  return outcome;
}

}  // namespace sae
