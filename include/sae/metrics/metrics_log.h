// metrics.jsonl: one JSON object per logged step, the record every other view of a run is made
// from.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "sae/metrics/metric_values.h"

namespace sae {

/// {"step":12,"l0":31.9,...}: step first, then names in order; non-finite numbers become null.
std::string to_json_line(const MetricsRow& row);

/// Appends rows to a file, each flushed before `append` returns, so a killed process loses nothing
/// that it logged. Throws std::system_error when the file cannot be written (full disk), DataError
/// when its last line is torn.
class MetricsLog {
 public:
  explicit MetricsLog(const std::filesystem::path& path);

  void append(const MetricsRow& row);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
};

/// All rows in file order. A last line without its newline was torn by a kill and is left out; any
/// other malformed line is a DataError that names it. null reads as NaN.
std::vector<MetricsRow> read_metrics(const std::filesystem::path& path);

/// Makes the file what it was when `step` had just been logged: later rows and a torn last line go.
/// Atomic (written aside, fsynced, renamed); surviving lines keep their bytes. A missing file is
/// left missing. Call before opening a MetricsLog to resume a run.
void truncate_metrics_after(const std::filesystem::path& path, std::int64_t step);

}  // namespace sae
