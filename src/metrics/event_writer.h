// TensorBoard event files: scalars, without protobuf.
//
// Record: u64 length, u32 masked CRC-32C of those 8 bytes, data, u32 masked CRC-32C of the data;
// all little-endian. The data is an `Event` message (tensorboard/compat/proto/event.proto).
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace sae {

/// CRC-32C (Castagnoli); the check value is crc32c("123456789") = 0xE3069283.
std::uint32_t crc32c(std::string_view bytes);

/// Writes one new file `events.out.tfevents.<unix time>.<host>.<pid>` in `folder` (made if missing)
/// and never touches existing ones; TensorBoard merges a folder's files by step. Buffered: what was
/// written reaches the disk every few seconds, on `flush` and at the end. Throws
/// std::system_error when writing fails.
class EventWriter {
 public:
  /// `purge_step`: of earlier files, TensorBoard shall forget this and all later steps (a resume).
  explicit EventWriter(const std::filesystem::path& folder,
                       std::optional<std::int64_t> purge_step = std::nullopt);

  void scalar(std::string_view tag, double value, std::int64_t step);
  void flush();

  const std::filesystem::path& path() const { return path_; }

 private:
  void write(std::string_view event);

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
  double flushed_at_ = 0;  // seconds since the epoch
};

}  // namespace sae
