#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <system_error>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/metrics/metrics_log.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

TEST(MetricsLog, WritesStepFirstAndNonFiniteNumbersAsNull) {
  EXPECT_EQ(to_json_line({12, {{"l0", 31.9}, {"a", kNan}, {"b", HUGE_VAL}, {"n", 3}}}),
            R"({"step":12,"a":null,"b":null,"l0":31.9,"n":3})");
  EXPECT_EQ(to_json_line({0, {{"quote\"", 1e-30}}}), R"({"step":0,"quote\"":1e-30})");
}

TEST(MetricsLog, ReadsBackTheSameDoubles) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "metrics.jsonl";
  const std::vector<MetricsRow> rows = {{0, {{"x", 0.1}, {"y", -1.0 / 3}}},
                                        {7, {{"x", 1e300}, {"y", 5e-324}}}};
  {
    MetricsLog log(path);
    log.append(rows[0]);
    EXPECT_EQ(read_metrics(path).size(), 1u) << "a row must be in the file once append returns";
    log.append(rows[1]);
  }
  EXPECT_EQ(read_metrics(path), rows);
}

TEST(MetricsLog, AppendsToWhatIsThere) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "metrics.jsonl";
  for (const std::int64_t step : {1, 2}) MetricsLog(path).append({step, {}});
  EXPECT_EQ(read_file(path), "{\"step\":1}\n{\"step\":2}\n");
}

TEST(MetricsLog, LeavesOutATornLastLine) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "metrics.jsonl";
  write(path, "{\"step\":1,\"a\":2}\n{\"step\":2,\"a\":");
  const auto rows = read_metrics(path);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0], (MetricsRow{1, {{"a", 2}}}));
}

TEST(MetricsLog, NamesTheMalformedLine) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "metrics.jsonl";
  for (const char* line :
       {"{\"step\":1.5}", "[]", "{\"a\":1}", "{\"step\":1,\"a\":\"x\"}", "{", ""}) {
    write(path, std::string("{\"step\":0}\n") + line + "\n{\"step\":2}\n");
    try {
      read_metrics(path);
      ADD_FAILURE() << "accepted " << line;
    } catch (const DataError& error) {
      EXPECT_EQ(std::string(error.what()).rfind(path.string() + ":2: expected one object", 0), 0u)
          << error.what();
    }
  }
}

TEST(MetricsLog, ReadsNullAsNotANumber) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "metrics.jsonl";
  MetricsLog(path).append({3, {{"loss", kNan}}});
  EXPECT_TRUE(std::isnan(read_metrics(path).at(0).values.at("loss")));
}

TEST(MetricsLog, TruncatesLaterStepsAndATornLineAndKeepsTheBytesOfTheRest) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "metrics.jsonl";
  const std::string kept = "{\"step\":10, \"a\": 1.50}\n{\"step\":20,\"a\":2}\n";
  write(path, kept + "{\"step\":30,\"a\":3}\n{\"step\":40,");
  truncate_metrics_after(path, 20);
  EXPECT_EQ(read_file(path), kept);
  MetricsLog(path).append({30, {}});
  EXPECT_EQ(read_file(path), kept + "{\"step\":30}\n");
}

TEST(MetricsLog, TruncatesAMissingOrAlreadyShortFileToItself) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "metrics.jsonl";
  truncate_metrics_after(path, 5);
  EXPECT_FALSE(std::filesystem::exists(path));
  write(path, "{\"step\":5}\n");
  truncate_metrics_after(path, 5);
  EXPECT_EQ(read_file(path), "{\"step\":5}\n");
  truncate_metrics_after(path, -1);
  EXPECT_EQ(read_file(path), "");
}

TEST(MetricsLog, RefusesToAppendAfterATornLine) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "metrics.jsonl";
  write(path, "{\"step\":5");
  EXPECT_THROW(MetricsLog{path}, DataError);
}

TEST(MetricsLog, SaysWhatItCannotWrite) {
  const TemporaryFolder folder;
  EXPECT_THROW(MetricsLog(folder.path() / "missing" / "metrics.jsonl"), std::system_error);
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  MetricsLog full("/dev/full");
  try {
    full.append({1, {}});
    ADD_FAILURE() << "a full disk went unnoticed";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ENOSPC);
  }
}

}  // namespace
}  // namespace sae
