#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <system_error>

#include "metrics/event_writer.h"
#include "sae/base/files.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

template <class Unsigned>
Unsigned little_endian(std::string_view bytes) {
  Unsigned value = 0;
  for (std::size_t i = 0; i < sizeof value; ++i) {
    value |= static_cast<Unsigned>(static_cast<unsigned char>(bytes.at(i))) << (8 * i);
  }
  return value;
}

double as_double(std::string_view bytes) {
  return std::bit_cast<double>(little_endian<std::uint64_t>(bytes));
}

std::uint32_t masked(std::uint32_t crc) { return (crc >> 15 | crc << 17) + 0xa282ead8u; }

/// The payloads of a file's records, their lengths and checksums checked.
std::vector<std::string> records(std::string_view bytes) {
  std::vector<std::string> payloads;
  while (!bytes.empty()) {
    const auto size = little_endian<std::uint64_t>(bytes);
    EXPECT_EQ(little_endian<std::uint32_t>(bytes.substr(8)), masked(crc32c(bytes.substr(0, 8))));
    payloads.emplace_back(bytes.substr(12, size));
    EXPECT_EQ(little_endian<std::uint32_t>(bytes.substr(12 + size)),
              masked(crc32c(payloads.back())));
    bytes.remove_prefix(16 + size);
  }
  return payloads;
}

/// A protocol buffer message: field number -> raw values, numbers as 8 or 4 bytes or a varint's.
std::multimap<unsigned, std::string> fields(std::string_view bytes) {
  std::multimap<unsigned, std::string> fields;
  const auto varint = [&] {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes.at(0));
      bytes.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (!bytes.empty()) {
    const std::uint64_t key = varint();
    const auto number = static_cast<unsigned>(key >> 3);
    std::size_t size = 0;
    switch (key & 7) {
      case 0:
        fields.emplace(number, std::to_string(varint()));
        continue;
      case 1:
        size = 8;
        break;
      case 5:
        size = 4;
        break;
      case 2:
        size = varint();
        break;
      default:
        ADD_FAILURE() << "wire type " << (key & 7);
        return fields;
    }
    fields.emplace(number, bytes.substr(0, size));
    bytes.remove_prefix(size);
  }
  return fields;
}

std::string only(const std::multimap<unsigned, std::string>& fields, unsigned number) {
  EXPECT_EQ(fields.count(number), 1u) << "field " << number;
  const auto found = fields.find(number);
  return found == fields.end() ? "" : found->second;
}

TEST(EventWriter, ComputesThePublishedCheckValueOfCrc32c) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);  // RFC 3720, B.4
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43u);
}

TEST(EventWriter, StartsAFileAsTensorBoardExpects) {
  const TemporaryFolder folder;
  EventWriter writer(folder.path() / "run");
  EXPECT_EQ(writer.path().filename().string().rfind("events.out.tfevents.", 0), 0u);
  const std::string bytes = read_file(writer.path());
  EXPECT_EQ(bytes.substr(0, 12), std::string("\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22", 12));
  const auto payloads = records(bytes);
  ASSERT_EQ(payloads.size(), 1u);
  EXPECT_EQ(only(fields(payloads[0]), 3), "brain.Event:2");
  EXPECT_GT(as_double(only(fields(payloads[0]), 1)), 1.6e9);
}

TEST(EventWriter, WritesScalarsThatParseBack) {
  const TemporaryFolder folder;
  EventWriter writer(folder.path());
  writer.scalar("loss/total", 0.25, 300);
  writer.scalar("l0", -1, 0);
  writer.flush();
  const auto payloads = records(read_file(writer.path()));
  ASSERT_EQ(payloads.size(), 3u);
  EXPECT_EQ(only(fields(payloads[1]), 2), "300");
  const auto value = fields(only(fields(only(fields(payloads[1]), 5)), 1));
  EXPECT_EQ(only(value, 1), "loss/total");
  EXPECT_EQ(std::bit_cast<float>(little_endian<std::uint32_t>(only(value, 2))), 0.25f);
  EXPECT_EQ(only(fields(payloads[2]), 2), "0");
}

/// The bytes that Python's tensorboard 2.21 makes of the same event, wall_time 1.5:
/// Event(wall_time=1.5, step=300, summary=Summary(value=[Value(tag="l0", simple_value=2.5)])).
TEST(EventWriter, MakesTheSameBytesAsTheProtobufLibrary) {
  const TemporaryFolder folder;
  EventWriter writer(folder.path());
  writer.scalar("l0", 2.5, 300);
  writer.flush();
  std::string payload = records(read_file(writer.path())).at(1);
  const double wall_time = 1.5;
  std::memcpy(payload.data() + 1, &wall_time, sizeof wall_time);
  const unsigned char golden[] = {0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf8, 0x3f,
                                  0x10, 0xac, 0x02, 0x2a, 0x0b, 0x0a, 0x09, 0x0a, 0x02,
                                  0x6c, 0x30, 0x15, 0x00, 0x00, 0x20, 0x40};
  EXPECT_EQ(payload, std::string(reinterpret_cast<const char*>(golden), sizeof golden));
}

TEST(EventWriter, TellsTensorBoardToForgetTheStepsThatAResumeRepeats) {
  const TemporaryFolder folder;
  EventWriter writer(folder.path(), 500);
  const auto payloads = records(read_file(writer.path()));
  ASSERT_EQ(payloads.size(), 2u);
  EXPECT_EQ(only(fields(payloads[1]), 2), "500");
  EXPECT_EQ(only(fields(only(fields(payloads[1]), 7)), 1), "1");  // SessionLog.START
}

TEST(EventWriter, NeverTouchesAnExistingFile) {
  const TemporaryFolder folder;
  EventWriter first(folder.path());
  const std::string before = read_file(first.path());
  EventWriter second(folder.path());
  EXPECT_NE(first.path(), second.path());
  EXPECT_EQ(read_file(first.path()), before);
}

TEST(EventWriter, SaysWhereItCannotWrite) {
  const TemporaryFolder folder;
  write_file_atomically(folder.path() / "file", "");
  EXPECT_THROW(EventWriter(folder.path() / "file" / "run"), std::system_error);
}

}  // namespace
}  // namespace sae
