#include "sae/metrics/metrics_log.h"

#include <cerrno>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/text.h"

namespace sae {
namespace {

[[noreturn]] void fail_write(const std::filesystem::path& path) {
  throw std::system_error(errno, std::generic_category(), path.string() + ": cannot write");
}

MetricsRow parse_line(std::string_view line, const std::filesystem::path& path,
                      std::int64_t number) {
  const nlohmann::json object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  MetricsRow row;
  bool has_step = false;
  bool good = object.is_object();
  if (good) {
    for (const auto& [key, value] : object.items()) {
      if (key == "step" && value.is_number_integer()) {
        row.step = value.get<std::int64_t>();
        has_step = true;
      } else if (value.is_number() || value.is_null()) {
        row.values[key] =
            value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
      } else {
        good = false;
      }
    }
  }
  if (!good || !has_step) {
    throw DataError(path.string() + ":" + std::to_string(number) +
                    ": expected one object of numbers with an integer step, got '" +
                    std::string(line.substr(0, 60)) + "'");
  }
  return row;
}

/// Calls visit(line with its newline, parsed row) for every complete line.
template <class Visit>
void for_each_line(std::string_view text, const std::filesystem::path& path, Visit&& visit) {
  std::int64_t number = 0;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string_view::npos;
       begin = end + 1) {
    visit(text.substr(begin, end + 1 - begin),
          parse_line(text.substr(begin, end - begin), path, ++number));
  }
}

}  // namespace

std::string to_json_line(const MetricsRow& row) {
  std::string line = "{\"step\":" + std::to_string(row.step);
  for (const auto& [name, value] : row.values) {
    line +=
        "," + nlohmann::json(name).dump() + ":" + (std::isfinite(value) ? shortest(value) : "null");
  }
  return line + "}";
}

MetricsLog::MetricsLog(const std::filesystem::path& path) : path_(path) {
  file_.reset(std::fopen(path.c_str(), "a+b"));
  if (!file_) fail_write(path);
  if (!std::filesystem::is_regular_file(path)) return;
  if (std::fseek(file_.get(), -1, SEEK_END) == 0 && std::fgetc(file_.get()) != '\n') {
    throw DataError(path.string() +
                    ": last line is torn; truncate the file to the step to resume from");
  }
  std::fseek(file_.get(), 0, SEEK_END);
}

void MetricsLog::append(const MetricsRow& row) {
  const std::string line = to_json_line(row) + "\n";
  if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() ||
      std::fflush(file_.get()) != 0) {
    fail_write(path_);
  }
}

std::vector<MetricsRow> read_metrics(const std::filesystem::path& path) {
  std::vector<MetricsRow> rows;
  for_each_line(read_file(path), path,
                [&](std::string_view, MetricsRow row) { rows.push_back(std::move(row)); });
  return rows;
}

void truncate_metrics_after(const std::filesystem::path& path, std::int64_t step) {
  if (!std::filesystem::exists(path)) return;
  const std::string text = read_file(path);
  std::string kept;
  for_each_line(text, path, [&](std::string_view line, const MetricsRow& row) {
    if (row.step <= step) kept += line;
  });
  if (kept.size() != text.size()) write_file_atomically(path, kept);
}

}  // namespace sae
