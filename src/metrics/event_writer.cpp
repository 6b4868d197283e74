#include "metrics/event_writer.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>

namespace sae {
namespace {

constexpr double kFlushSeconds = 5;

// Protocol buffer wire format: a field is a varint (number << 3 | type), then its value.
enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

template <class Unsigned>
void put_little_endian(std::string& out, Unsigned value) {
  for (std::size_t i = 0; i < sizeof value; ++i) out += static_cast<char>(value >> (8 * i));
}

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void put_key(std::string& out, unsigned field, WireType type) {
  put_varint(out, field << 3 | type);
}

void put_double(std::string& out, unsigned field, double value) {
  put_key(out, field, kFixed64);
  put_little_endian(out, std::bit_cast<std::uint64_t>(value));
}

void put_bytes(std::string& out, unsigned field, std::string_view bytes) {
  put_key(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string new_event() {
  std::string event;
  put_double(event, 1, now());
  return event;
}

std::string new_event(std::int64_t step) {
  std::string event = new_event();
  put_key(event, 2, kVarint);
  put_varint(event, static_cast<std::uint64_t>(step));
  return event;
}

std::uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8u;
}

std::string file_name() {
  char host[256] = "";
  if (::gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') std::strcpy(host, "localhost");
  return "events.out.tfevents." + std::to_string(static_cast<std::int64_t>(now())) + "." + host +
         "." + std::to_string(::getpid());
}

[[noreturn]] void fail_write(const std::filesystem::path& path, int error) {
  throw std::system_error(error, std::generic_category(), path.string() + ": cannot write");
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> entries{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
      entries[i] = crc;
    }
    return entries;
  }();
  std::uint32_t crc = ~0u;
  for (const char byte : bytes)
    crc = crc >> 8 ^ table[(crc ^ static_cast<unsigned char>(byte)) & 0xff];
  return ~crc;
}

EventWriter::EventWriter(const std::filesystem::path& folder,
                         std::optional<std::int64_t> purge_step) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail_write(folder, error.value());
  const std::string name = file_name();
  // Two writers of one process may start within a second; "x" keeps them apart.
  for (int copy = 0; !file_ && copy < 1000; ++copy) {
    path_ = folder / (copy == 0 ? name : name + "." + std::to_string(copy));
    file_.reset(std::fopen(path_.c_str(), "wbx"));
    if (!file_ && errno != EEXIST) break;
  }
  if (!file_) fail_write(path_, errno);
  flushed_at_ = now();

  std::string version = new_event();
  put_bytes(version, 3, "brain.Event:2");
  write(version);
  if (purge_step) {
    std::string start = new_event(*purge_step);
    put_bytes(start, 7, "\x08\x01");  // SessionLog { status: START }
    write(start);
  }
  flush();
}

void EventWriter::scalar(std::string_view tag, double value, std::int64_t step) {
  std::string entry;
  put_bytes(entry, 1, tag);
  put_key(entry, 2, kFixed32);
  put_little_endian(entry, std::bit_cast<std::uint32_t>(static_cast<float>(value)));
  std::string summary;
  put_bytes(summary, 1, entry);
  std::string event = new_event(step);
  put_bytes(event, 5, summary);
  write(event);
}

void EventWriter::write(std::string_view event) {
  std::string record;
  put_little_endian(record, static_cast<std::uint64_t>(event.size()));
  put_little_endian(record, masked_crc(record));
  record += event;
  put_little_endian(record, masked_crc(event));
  if (std::fwrite(record.data(), 1, record.size(), file_.get()) != record.size()) {
    fail_write(path_, errno);
  }
  if (now() - flushed_at_ > kFlushSeconds) flush();
}

void EventWriter::flush() {
  if (std::fflush(file_.get()) != 0) fail_write(path_, errno);
  flushed_at_ = now();
}

}  // namespace sae
