// The page, its key, and what is made of answers.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <sstream>

#include "sae/base/error.h"
#include "sae/base/sha256.h"
#include "sae/data/vocabulary.h"
#include "sae/evaluation/interp_items.h"
#include "sae/tools/blind.h"
#include "support/blind_testing.h"
#include "support/markup_testing.h"
#include "support/temporary_folder.h"
#include "tools/blind/page.h"
#include "tools/blind/selection.h"
#include "tools/blind/study.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

TEST(BlindWindows, SurroundARowWithinItsContext) {
  const TemporaryFolder folder;
  save_blind_store(folder.path() / "store");
  const ActivationStore store(folder.path() / "store");
  const TextWindow window = window_around(store, 27);
  EXPECT_EQ(window.first, 20);
  EXPECT_EQ(window.rows, 10);
  EXPECT_EQ(window_around(store, kBlindRows - 1).first, kBlindRows - 10);
  EXPECT_TRUE(window.contains(-7));
  EXPECT_FALSE(window.contains(3));
}

TEST(BlindWindows, MarkTokensAndWholeCharacters) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "store";
  StoreWriter writer(path, 1, at::kFloat, {});
  const at::Tensor tokens = integers({5, 3, 4, 6, 2, 7, 8});
  writer.append(at::zeros({7, 1}), tokens, at::zeros({7}, at::kLong));
  writer.add_file("vocabulary.json", blind_vocabulary().dump());
  writer.finish();
  const ActivationStore store(path);
  const auto vocabulary = vocabulary_of(path);
  const auto text = [&](const std::vector<std::int64_t>& marks) {
    return marked_text(store, *vocabulary, window_around(store, 3), marks);
  };
  const std::string dog = "\xf0\x9f\x90\x95";
  EXPECT_EQ(text({}), MarkedText{" wordaa" + dog + " wordab\n wordac wordad"});
  EXPECT_EQ(text({0}), (MarkedText{" wordaa" + dog + " ", "wordab", "\n wordac wordad"}));
  EXPECT_EQ(text({-1}), (MarkedText{" wordaa", dog, " wordab\n wordac wordad"}))
      << "a character of two tokens";
  EXPECT_EQ(text({-3, 2, 3}), (MarkedText{" ", "wordaa", dog + " wordab\n ", "wordac wordad"}));
  EXPECT_EQ(text({1}), (MarkedText{" wordaa" + dog + " wordab", "\n", " wordac wordad"}));
}

TEST(BlindWindows, GiveAnIntruderAsManyMarksWhereTheOthersHaveThem) {
  const auto marks = [](const std::vector<std::vector<std::int64_t>>& others,
                        const TextWindow& window, std::uint64_t index = 0) {
    return intruder_marks(others, window, Rng(0, Stream::kTest, index));
  };
  using Marks = std::vector<std::int64_t>;
  const TextWindow wide{100, 84, 33};
  EXPECT_EQ(marks({{0}, {0}, {0}, {0}}, wide), Marks{0});
  EXPECT_EQ(marks({{0, 1, 2}, {0, 1, 2}, {0, 1, 2}, {0, 1, 2}}, wide), (Marks{0, 1, 2}))
      << "one after the other, as theirs";
  EXPECT_EQ(marks({{0, 1}, {0, 1}, {0}, {0}}, wide).size(), 2U) << "1.5, rounded";
  EXPECT_EQ(marks({{0, 1}, {0}, {0}, {0}}, wide), Marks{0}) << "1.25";
  const TextWindow narrow{100, 99, 2};
  EXPECT_EQ(marks({{0, 5, 6}, {0, 5, 6}, {0, 5}, {0, 7}}, narrow), (Marks{-1, 0}))
      << "no more than its window has";
  std::set<Marks> drawn;
  for (std::uint64_t i = 0; i < 20; ++i) drawn.insert(marks({{-3, 0}, {0, 4}, {0, 9}}, wide, i));
  EXPECT_EQ(drawn, (std::set<Marks>{{-3, 0}, {0, 4}, {0, 9}}));
}

TEST(BlindSelection, SharesItemsByTheLatentsOfABin) {
  const auto latents = [](std::int64_t first, std::int64_t count) {
    std::vector<std::int64_t> out(static_cast<std::size_t>(count));
    std::iota(out.begin(), out.end(), first);
    return out;
  };
  const std::vector<LatentsByBin> members = {
      {{6, latents(0, 60)}, {7, latents(60, 30)}},
      {{5, latents(0, 9)}, {6, latents(9, 60)}, {7, latents(80, 10)}}};
  const auto cells = items_of_cells(members, 5, 80);
  EXPECT_EQ(cells.size(), 10U) << "bin 5 is not both's";
  for (const auto& [cell, count] : cells) {
    EXPECT_EQ(count, cell.bin == 6 ? 12 : 4) << "120 and 40 of 160 latents";
  }
  std::int64_t all = 0;
  for (const auto& [cell, count] : items_of_cells(members, 5, 1000)) {
    all += count;
    EXPECT_LE(count, cell.bin == 6 ? 60 : 10);
  }
  EXPECT_EQ(all, 2 * 60 + 2 * 10) << "two items of each latent of the member that has fewest";
  EXPECT_EQ(items_of_cells(members, 1, 1000, 2).at({6, 0}), 60) << "one of each task";
  EXPECT_TRUE(items_of_cells({{{6, {1}}}, {{7, {1}}}}, 5, 80).empty());
}

TEST(BlindSelection, GivesNoMemberWhatAnotherLacks) {
  const std::vector<LatentsByBin> members = {{{6, {0, 1, 2, 3}}}, {{6, {4, 5, 6, 7}}}};
  const auto make = [](std::int64_t member, std::int64_t latent, std::int64_t group, BlindTask) {
    const bool none = member == 1 && group == 0 && latent != 5;
    return none ? std::nullopt : std::optional(IntruderItem{0, group, {}});
  };
  const auto chosen = choose_items(members, 2, 8, {BlindTask::kIntruder}, make, 0);
  std::map<std::pair<std::int64_t, std::int64_t>, int> counts;
  for (const ChosenItem& item : chosen) ++counts[{item.member, item.cell.group}];
  const std::map<std::pair<std::int64_t, std::int64_t>, int> expected = {
      {{0, 0}, 1}, {{0, 1}, 4}, {{1, 0}, 1}, {{1, 1}, 4}};
  EXPECT_EQ(counts, expected);
}

TEST(BlindStudy, RepeatsATenthFarFromTheFirstTime) {
  const auto order = shown_order(160, 3);
  ASSERT_EQ(order.size(), 176U);
  std::map<std::size_t, std::vector<std::size_t>> places;
  for (std::size_t i = 0; i < order.size(); ++i) places[order[i]].push_back(i);
  EXPECT_EQ(places.size(), 160U);
  std::size_t repeated = 0, early = 0;
  for (const auto& [item, at] : places) {
    early += at[0] < 53 ? item : 0;
    if (at.size() == 1) continue;
    ++repeated;
    EXPECT_LT(at[0], 53U);
    EXPECT_GE(at[1], 107U);
  }
  EXPECT_EQ(repeated, 16U);
  EXPECT_NEAR(static_cast<double>(early) / 53, 79.5, 20) << "in no order of the items";
  EXPECT_NE(shown_order(160, 4), order);
  EXPECT_EQ(shown_order(1, 0), std::vector<std::size_t>{0});
}

class Blind : public testing::Test {
 protected:
  void SetUp() override {
    members_ = {save_blind_member(at("prima"), 1), save_blind_member(at("seconda"), 2)};
    save_blind_store(at("store"));
  }

  fs::path at(const std::string& name) const { return folder_.path() / name; }

  BlindArguments arguments(const std::string& out = "study") const {
    BlindArguments given;
    given.members = {at("prima").string(), at("seconda").string()};
    given.data = at("store").string();
    given.out = at(out).string();
    given.items = 40;
    given.device = "cpu";
    given.threads = 1;
    return given;
  }

  /// A file of answers.
  fs::path save_answers(const std::string& name, const Json& answers) const {
    write_text(at(name), answers.dump(1));
    return at(name);
  }

  template <class Work>
  std::string error(const Work& work) const {
    try {
      work();
    } catch (const DataError& error) {
      return std::string("data: ") + error.what();
    } catch (const ConfigError& error) {
      return std::string("config: ") + error.what();
    }
    return "no error";
  }

  TemporaryFolder folder_;
  std::vector<std::shared_ptr<Autoencoder>> members_;
};

/// A page without its items, its practice and their hash.
std::string skeleton(std::string page) {
  const auto cut = [&](const std::string& from, const std::string& to) {
    const std::size_t begin = page.find(from) + from.size();
    page.erase(begin, page.find(to, begin) - begin);
  };
  cut("data-sha256=\"", "\"");
  cut("id=\"items\">", "</script>");
  cut("id=\"practice\">", "</script>");
  return page;
}

TEST_F(Blind, PageHoldsTextsAndIdsAndNothingElse) {
  BlindArguments given = arguments();
  given.matched = true;
  given.control = Control::kRandom;
  const BlindOutcome outcome = write_blind(given);
  const std::string page = read_file(at("study/page.html"));
  EXPECT_EQ(skeleton(page), skeleton(blind_page("[]", {}))) << "the same for any members";
  const BlindKey key = key_in(at("study"));
  EXPECT_EQ(key.members,
            (std::vector<std::string>{given.members[0], given.members[1], "control: random"}));
  const std::string items = items_of_page(page);
  EXPECT_EQ(sha256_hex(items), key.sha256);
  EXPECT_EQ(outcome.sha256, key.sha256);
  EXPECT_NE(page.find(key.sha256), std::string::npos) << "the page shows it";
  const Json list = Json::parse(items);
  ASSERT_EQ(list.size(), key.items.size());
  EXPECT_EQ(static_cast<std::int64_t>(list.size()), outcome.shown());
  for (std::size_t i = 0; i < list.size(); ++i) {
    ASSERT_EQ(list[i].size(), 2U) << "id and texts";
    EXPECT_EQ(list[i]["id"], key.items[i].id);
    ASSERT_EQ(list[i]["texts"].size(), 5U);
    for (const Json& text : list[i]["texts"]) EXPECT_GE(text.size(), 2U) << "something is marked";
  }
  EXPECT_EQ(items.find_first_of("<"), std::string::npos) << "no text ends the script";
  for (const char* part : {"prima", "seconda", "latent", "http:", "https:", "@import", "url(",
                           "fetch(", "innerHTML"}) {
    EXPECT_EQ(page.find(part), std::string::npos) << part;
  }
  for (const std::string& name : key.members) EXPECT_EQ(page.find(name), std::string::npos) << name;
}

TEST_F(Blind, ItemsAreFourRowsOfALatentAndOneThatIsNot) {
  BlindArguments given = arguments();
  given.matched = true;
  write_blind(given);
  const BlindKey key = key_in(at("study"));
  const ActivationStore store(at("store"));
  const Vocabulary vocabulary = *vocabulary_of(at("store"));
  const Json shown = Json::parse(items_of_page(read_file(at("study/page.html"))));
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> f;  // [N, F] of each
  for (const auto& sae : members_) f.push_back(sae->encode(store.rows(0, kBlindRows)).to_dense());
  const at::Tensor tokens = store.tokens(0, kBlindRows);
  for (std::size_t i = 0; i < key.items.size(); ++i) {
    const KeyItem& item = key.items[i];
    const at::Tensor own = f[static_cast<std::size_t>(item.member)].select(1, item.latent);
    const std::int64_t firings = own.gt(0).sum().item<std::int64_t>();
    EXPECT_EQ(item.bin, std::ilogb(static_cast<double>(firings)));
    std::set<std::int64_t> contexts, shared;
    for (std::size_t k = 0; k < 5; ++k) {
      const std::int64_t row = item.rows[k];
      contexts.insert(row / kBlindContext);
      const bool intrudes = static_cast<std::int64_t>(k) + 1 == item.intruder;
      EXPECT_EQ(own[row].item<float>() > 0, !intrudes);
      std::string text;
      for (const Json& part : shown[i]["texts"][k]) text += part.get<std::string>();
      const TextWindow window = window_around(store, row);
      EXPECT_EQ(text, marked_text(store, vocabulary, window, {})[0]);
      if (intrudes) continue;
      shared.insert(tokens[row].item<std::int64_t>());
      const auto below = own.gt(0).logical_and(own.lt(own[row])).sum().item<std::int64_t>();
      EXPECT_GE(below, item.group * firings / 5);
      EXPECT_LT(below, (item.group + 1) * firings / 5);
      std::vector<std::int64_t> marks;
      for (std::int64_t other = window.first; other < window.first + window.rows; ++other) {
        if (own[other].item<float>() > 0) marks.push_back(other - row);
      }
      EXPECT_EQ(shown[i]["texts"][k].get<MarkedText>(),
                marked_text(store, vocabulary, window, marks));
    }
    EXPECT_EQ(contexts.size(), 5U);
    if (item.task == BlindTask::kIntruderMatched) {
      const std::int64_t intruder = item.rows[static_cast<std::size_t>(item.intruder - 1)];
      EXPECT_TRUE(shared.contains(tokens[intruder].item<std::int64_t>()));
    }
  }
}

TEST_F(Blind, MembersHaveAsManyItemsOfEachBinAndGroup) {
  const BlindOutcome outcome = write_blind(arguments());
  const BlindKey key = key_in(at("study"));
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, std::int64_t> cells;
  std::map<std::pair<std::int64_t, std::int64_t>, int> uses;
  std::map<std::int64_t, int> positions;
  std::int64_t repeats = 0;
  for (const KeyItem& item : key.items) {
    ++positions[item.intruder];
    if (!item.repeats.empty()) {
      ++repeats;
      continue;
    }
    ++cells[{item.member, item.bin, item.group}];
    ++uses[{item.member, item.latent}];
  }
  std::int64_t of_first = 0;
  for (const auto& [cell, count] : cells) {
    const auto [member, bin, group] = cell;
    of_first += member == 0 ? count : 0;
    EXPECT_EQ((cells[{1 - member, bin, group}]), count) << bin << " " << group;
  }
  EXPECT_EQ(of_first, 40);
  EXPECT_EQ(outcome.tasks.at(0).items, 40);
  EXPECT_EQ(repeats, 8);
  EXPECT_EQ(outcome.repeats, 8);
  for (const auto& [latent, count] : uses) EXPECT_LE(count, 2);
  EXPECT_EQ(positions.size(), 5U) << "the intruder is anywhere";
}

TEST_F(Blind, PracticesOnTokensWithAnswers) {
  EXPECT_EQ(write_blind(arguments()).practice, 5);
  const std::string page = read_file(at("study/page.html"));
  const Json practice = Json::parse(part_of(page, "id=\"practice\">", "</script>").substr(14));
  ASSERT_EQ(practice.size(), 5U);
  for (const Json& item : practice) {
    for (std::size_t k = 0; k < 5; ++k) {
      const Json& text = item["texts"][k];
      std::string shared = item["shared"].get<std::string>();
      EXPECT_TRUE(shared.starts_with(" word")) << "words come first";
      const bool intrudes = k + 1 == item["answer"].get<std::size_t>();
      bool marked = false;
      for (std::size_t i = 1; i < text.size(); i += 2) {
        marked = marked || (" " + text[i].get<std::string>()).find(shared) != std::string::npos;
      }
      EXPECT_EQ(marked, !intrudes) << text << shared;
    }
  }
}

TEST_F(Blind, TheSameArgumentsGiveTheSameBytes) {
  write_blind(arguments("one"));
  write_blind(arguments("two"));
  BlindArguments other = arguments("three");
  other.interp.seed = 1;
  write_blind(other);
  for (const char* file : {"page.html", "key.json"}) {
    EXPECT_EQ(read_file(at("one") / file), read_file(at("two") / file));
    EXPECT_NE(read_file(at("one") / file), read_file(at("three") / file));
  }
}

TEST_F(Blind, RefusesWhatCannotBeAskedAbout) {
  const auto complaint = [&](const std::function<void(BlindArguments&)>& change) {
    BlindArguments given = arguments("none");
    change(given);
    const std::string said = error([&] { write_blind(given); });
    EXPECT_FALSE(fs::exists(at("none")));
    return said;
  };
  EXPECT_NE(complaint([](auto& given) {
              given.members.pop_back();
            }).find("prima alone, expected two autoencoders or more"),
            std::string::npos);
  EXPECT_NE(complaint([](auto& given) {
              given.members[1] = given.members[0] + "/.";
            }).find("given twice"),
            std::string::npos);
  save_blind_store(at("bare"), false);
  EXPECT_NE(complaint([&](auto& given) {
              given.data = at("bare").string();
            }).find("bare: has no vocabulary.json, expected one"),
            std::string::npos);
  EXPECT_NE(complaint([](auto& given) {
              given.interp.min_rows = 3000;
            }).find("there is nothing to ask about"),
            std::string::npos);
  write_text(at("judge"), "no tensors");
  EXPECT_NE(complaint([&](auto& given) { given.judge = at("judge").string(); }).find("data: "),
            std::string::npos);
  write_blind(arguments());
  EXPECT_NE(error([&] { write_blind(arguments()); }).find("exists already"), std::string::npos);
}

/// Who is right about a member's items with these probabilities; of the second showing of an item
/// says the same with probability .9.
std::vector<Json> simulated_raters(const BlindKey& key, const std::vector<double>& skills,
                                   std::uint64_t raters) {
  std::vector<Json> out;
  for (std::uint64_t rater = 0; rater < raters; ++rater) {
    Rng rng(rater, Stream::kTest, 9);
    std::map<std::string, bool> first;
    out.push_back(blind_answers(key, std::string("r") + static_cast<char>('a' + rater),
                                [&](const KeyItem& item) -> std::int64_t {
                                  const double skill =
                                      skills[static_cast<std::size_t>(item.member)];
                                  bool right = rng.uniform() < skill;
                                  if (!item.repeats.empty() && rng.uniform() < 0.9) {
                                    right = first[item.repeats];
                                  }
                                  first[item.id] = right;
                                  return right ? item.intruder : wrong_choice(item);
                                }));
  }
  return out;
}

TEST_F(Blind, RecoversTheSkillOfRaters) {
  write_blind(arguments());
  const BlindKey key = key_in(at("study"));
  std::vector<fs::path> files;
  for (const Json& answers : simulated_raters(key, {0.85, 0.45}, 5)) {
    files.push_back(save_answers(answers["rater"].get<std::string>() + ".json", answers));
  }
  const BlindGrade grade = grade_blind(at("study"), files);
  ASSERT_EQ(grade.tasks.size(), 1U);
  const BlindGrade::Task& task = grade.tasks[0];
  ASSERT_EQ(task.members.size(), 2U);
  for (std::size_t member = 0; member < 2; ++member) {
    const BlindGrade::Member& own = task.members[member];
    EXPECT_EQ(own.answers, 5 * 40);
    EXPECT_EQ(own.name, key.members[member]);
    const double truth = member == 0 ? 0.85 : 0.45;
    EXPECT_LE(own.accuracy.low, truth);
    EXPECT_GE(own.accuracy.high, truth);
    EXPECT_LT(own.accuracy.high - own.accuracy.low, 0.35);
  }
  ASSERT_EQ(task.differences.size(), 1U);
  EXPECT_LE(task.differences[0].difference.low, 0.4);
  EXPECT_GE(task.differences[0].difference.high, 0.4);
  EXPECT_LT(task.differences[0].p, 0.001);
  EXPECT_EQ(task.differences[0].p_holm, task.differences[0].p) << "one pair";
  EXPECT_EQ(grade.between.answers, 10 * 80) << "ten pairs of raters, on 80 items";
  // Who guess apart from each other agree by chance alone: .85^2 + .15^2 and .45^2 + .55^2.
  EXPECT_NEAR(grade.between.share, (0.745 + 0.505) / 2, 0.06);
  EXPECT_EQ(grade.within.answers, 5 * 8);
  EXPECT_GT(grade.within.share, 0.8);
  EXPECT_GT(grade.within.kappa, grade.between.kappa);
  ASSERT_EQ(grade.raters.size(), 5U);
  EXPECT_EQ(grade.raters[2].name, "rc");
  EXPECT_EQ(grade.raters[2].answers, 80);
  EXPECT_NEAR(grade.raters[2].median_s, 1 + 0.01 * 43.5, 1e-9) << "88 answers, 10 ms apart";
  EXPECT_EQ(grade.judge, "");
  EXPECT_FALSE(task.judge_may_be_quoted());
  const Json json = to_json(grade);
  EXPECT_EQ(json["judge"], nullptr);
  EXPECT_EQ(json["tasks"]["intruder"]["members"][0]["accuracy"]["value"],
            task.members[0].accuracy.value);
  EXPECT_EQ(to_json(grade_blind(at("study"), files)), json) << "twice the same";
  const std::string text = to_text(grade);
  EXPECT_NE(text.find("\nprima less seconda: ."), std::string::npos) << text;
  EXPECT_NE(text.find("p .0001\n"), std::string::npos) << text;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80U) << line;
}

TEST_F(Blind, CountsCannotTellAsChanceAndAnItemOnce) {
  write_blind(arguments());
  const BlindKey key = key_in(at("study"));
  Json answers = blind_answers(key, "ab", [](const KeyItem&) { return 0; });
  answers["answers"].erase(0);  // who did not answer all
  const auto grade = grade_blind(at("study"), {save_answers("ab", answers)});
  const auto& members = grade.tasks[0].members;
  EXPECT_EQ(members[0].answers + members[1].answers, 79);
  for (const auto& member : members) {
    EXPECT_DOUBLE_EQ(member.accuracy.value, 0.2);
    EXPECT_DOUBLE_EQ(member.accuracy.low, 0.2);
    EXPECT_EQ(member.cannot_tell, 1);
  }
  EXPECT_EQ(grade.tasks[0].differences[0].p, 1);
  EXPECT_EQ(grade.between.answers, 0);
  const Json json = to_json(grade);
  EXPECT_EQ(json["between_raters"]["share"], nullptr);
  EXPECT_EQ(json["with_oneself"]["kappa"], nullptr) << "never right";
  EXPECT_NE(to_text(grade).find(".20"), std::string::npos);
  answers["answers"] = Json::array();
  EXPECT_EQ(
      to_json(grade_blind(
          at("study"),
          {save_answers("ab", answers)}))["tasks"]["intruder"]["members"][0]["accuracy"]["value"],
      nullptr);
}

/// A judge's vectors, and the margin of an item by the definition.
struct PlantedJudge {
  at::Tensor whole = normal({kBlindRows, 4}, 77).to(at::kFloat);

  double margin(const KeyItem& item) const {
    const at::Tensor rows =
        whole.index_select(0, at::tensor(at::ArrayRef<std::int64_t>(item.rows))).to(at::kDouble);
    const at::Tensor e = rows / rows.norm(2, 1, true);
    const at::Tensor sums = at::mm(e, e.t()).sum(1) - 1;
    const double intruder = sums[item.intruder - 1].item<double>();
    double least = 10;
    for (std::int64_t i = 0; i < 5; ++i) {
      if (i + 1 != item.intruder) least = std::min(least, sums[i].item<double>());
    }
    return least - intruder;
  }

  void write(const fs::path& path, const std::string& store,
             const at::Tensor& rows = at::arange(kBlindRows)) const {
    write_safetensors(path, {{"rows", rows}, {"whole", whole.index_select(0, rows)}},
                      {{"task", "judge"},
                       {"model", "planted"},
                       {"revision", "1"},
                       {"window", "16"},
                       {"store", store}});
  }
};

TEST_F(Blind, HoldsTheJudgeAgainstPeople) {
  const PlantedJudge judge;
  const std::string manifest = sha256_of_file(at("store") / "manifest.json");
  judge.write(at("judge.safetensors"), manifest);
  BlindArguments given = arguments();
  given.judge = at("judge.safetensors").string();
  write_blind(given);
  const BlindKey key = key_in(at("study"));
  const auto graded = [&](const std::string& file,
                          const std::function<bool(const KeyItem&)>& right) {
    const Json answers = blind_answers(key, "ab", [&](const KeyItem& item) {
      return right(item) ? item.intruder : wrong_choice(item);
    });
    return grade_blind(at("study"), {save_answers("ab.json", answers)}, at(file));
  };
  const BlindGrade like =
      graded("judge.safetensors", [&](const KeyItem& item) { return judge.margin(item) > 0; });
  EXPECT_EQ(like.judge, "planted");
  EXPECT_EQ(like.tasks[0].judge.value, 1);
  EXPECT_TRUE(like.tasks[0].judge_may_be_quoted());
  EXPECT_EQ(to_json(like)["tasks"]["intruder"]["judge"]["may_be_quoted"], true);
  Rng rng(0, Stream::kTest, 4);
  const BlindGrade unlike =
      graded("judge.safetensors", [&](const KeyItem&) { return rng.uniform() < 0.5; });
  EXPECT_LT(unlike.tasks[0].judge.low, 0.5);
  EXPECT_GT(unlike.tasks[0].judge.high, 0.5);
  EXPECT_NE(to_text(unlike).find("do not quote the judge"), std::string::npos);

  judge.write(at("other.safetensors"), std::string(64, '0'));
  judge.write(at("short.safetensors"), manifest, at::arange(20));
  const auto always = [](const KeyItem&) { return true; };
  EXPECT_NE(error([&] { graded("other.safetensors", always); }).find("a judge of another store"),
            std::string::npos);
  EXPECT_NE(
      error([&] { graded("short.safetensors", always); }).find("short.safetensors: has no row "),
      std::string::npos);
}

TEST_F(Blind, RefusesAnswersToOtherItems) {
  write_blind(arguments());
  BlindArguments other = arguments("other");
  other.interp.seed = 1;
  write_blind(other);
  const BlindKey key = key_in(at("study"));
  const Json good = blind_answers(key, "ab", [](const KeyItem& item) { return item.intruder; });
  const auto complaint = [&](const Json& answers, const std::string& folder = "study") {
    return error([&] { grade_blind(at(folder), {save_answers("ab.json", answers)}); });
  };
  EXPECT_EQ(complaint(good), "no error");
  EXPECT_NE(complaint(good, "other")
                .find("ab.json: answers about items " + key.sha256.substr(0, 12) +
                      "..., expected items "),
            std::string::npos);
  fs::copy_file(at("other/page.html"), at("study/page.html"), fs::copy_options::overwrite_existing);
  EXPECT_NE(complaint(good).find("key.json: is the key of items " + key.sha256.substr(0, 12)),
            std::string::npos);
  fs::remove(at("study/page.html"));
  EXPECT_EQ(complaint(good), "no error") << "the page may be elsewhere";
  save_answers("ac.json", good);
  EXPECT_NE(error([&] {
              grade_blind(at("study"), {at("ab.json"), at("ac.json")});
            }).find("ac.json: answers of rater \"ab\", as another file has"),
            std::string::npos);
  Json unknown = good;
  unknown["answers"][3]["id"] = "000000000000";
  EXPECT_NE(complaint(unknown).find("id 000000000000: no such item"), std::string::npos);
  EXPECT_NE(error([&] { grade_blind(at("store"), {}); }).find("key.json: cannot read"),
            std::string::npos)
      << error([&] { grade_blind(at("store"), {}); });
}

TEST_F(Blind, RefusesDamagedAnswersAndKeys) {
  write_blind(arguments());
  const BlindKey key = key_in(at("study"));
  const Json good = blind_answers(key, "ab", [](const KeyItem& item) { return item.intruder; });
  using Change = std::function<void(Json&)>;
  const std::vector<std::pair<std::string, Change>> answers = {
      {"\"format\": \"sae-blind-answers\"", [](Json& of) { of["format"] = "sae-blind-key"; }},
      {"version: expected 1", [](Json& of) { of["version"] = 2; }},
      {"key \"rater\" is missing", [](Json& of) { of.erase("rater"); }},
      {"rater: got \"\", expected a text", [](Json& of) { of["rater"] = ""; }},
      {"unknown key \"more\"", [](Json& of) { of["more"] = 1; }},
      {"answers: got 5, expected a list", [](Json& of) { of["answers"] = 5; }},
      {"answers[2]: choice: got 6, expected a whole number from 0 to 5",
       [](Json& of) { of["answers"][2]["choice"] = 6; }},
      {"choice: got 1.5", [](Json& of) { of["answers"][2]["choice"] = 1.5; }},
      {"ms: got -1, expected a whole number, 0 or more",
       [](Json& of) { of["answers"][0]["ms"] = -1; }},
      {"ms: got 18446744073709551615",
       [](Json& of) { of["answers"][0]["ms"] = 18446744073709551615U; }},
      {"answers[1]: id: got", [](Json& of) { of["answers"][1]["id"] = of["answers"][0]["id"]; }},
      {"id: got \"A\", expected 12 hexadecimal", [](Json& of) { of["answers"][1]["id"] = "A"; }},
      {"sha256: got \"00\", expected 64", [](Json& of) { of["sha256"] = "00"; }},
  };
  for (const auto& [part, change] : answers) {
    Json damaged = good;
    change(damaged);
    const std::string said = error([&] { parse_rater_answers(damaged.dump(), "ab.json"); });
    EXPECT_EQ(said.find("data: ab.json"), 0U) << said;
    EXPECT_NE(said.find(part), std::string::npos) << said << "\nexpected " << part;
  }
  std::size_t second = 0;  // showing of an item
  while (key.items[second].repeats.empty()) ++second;
  const std::vector<std::pair<std::string, Change>> keys = {
      {"task: got \"guess\", expected one of intruder, intruder_matched",
       [](Json& of) { of["items"][0]["task"] = "guess"; }},
      {"member: got 2, expected a whole number from 0 to 1",
       [](Json& of) { of["items"][0]["member"] = 2; }},
      {"members: got a list, expected at least two", [](Json& of) { of["members"] = {"one"}; }},
      {"rows: got a list, expected a list of 5 rows",
       [](Json& of) {
         of["items"][1]["rows"] = {1, 2, 3, 4};
       }},
      {"intruder: got 0", [](Json& of) { of["items"][1]["intruder"] = 0; }},
      {"items[1]: id: got", [](Json& of) { of["items"][1]["id"] = of["items"][0]["id"]; }},
      {"repeats: got",
       [&](Json& of) { of["items"][second]["repeats"] = of["items"][second]["id"]; }},
      {"repeats: got", [&](Json& of) { of["items"][second]["rows"][0] = 0; }},
  };
  const Json good_key = Json::parse(read_file(at("study/key.json")));
  for (const auto& [part, change] : keys) {
    Json damaged = good_key;
    change(damaged);
    const std::string said = error([&] { parse_blind_key(damaged.dump(), "key.json"); });
    EXPECT_EQ(said.find("data: key.json"), 0U) << said;
    EXPECT_NE(said.find(part), std::string::npos) << said << "\nexpected " << part;
  }
  EXPECT_EQ(to_text(parse_blind_key(good_key.dump(), "key")), read_file(at("study/key.json")));
}

TEST_F(Blind, SaysHowManyRatersItTakes) {
  const BlindOutcome outcome = write_blind(arguments());
  const Json json = to_json(outcome);
  EXPECT_EQ(json["answers_needed"], 354);
  EXPECT_EQ(json["raters_needed"], 9);  // 354 / 40
  EXPECT_EQ(json["shown"], 88);
  EXPECT_EQ(json["members"][0]["latents"]["eligible"].get<int>() +
                json["members"][0]["latents"]["rare"].get<int>() +
                json["members"][0]["latents"]["dense"].get<int>() +
                json["members"][0]["latents"]["silent"].get<int>(),
            40);
  const std::string text = to_text(outcome);
  EXPECT_NE(text.find("354 answers about each: 9 raters"), std::string::npos) << text;
  EXPECT_NE(text.find("1 rater from .40"), std::string::npos) << text;
}

}  // namespace
}  // namespace sae
