// Zip archives of a test's own making, plain ones without ZIP64, as right or as wrong as wanted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "formats/zip.h"

namespace sae {

struct TestEntry {
  std::string name;
  std::string data;  ///< as stored
  std::uint64_t method = 0;
  std::uint64_t flags = 0;
  std::uint64_t size = 0;  ///< that it claims, if deflated; 0: that of the data
  std::int64_t wrong_crc = 0;
  std::string local_name = {};  ///< if it differs
};

/// `shift` moves the place of every entry that the directory gives.
inline std::string test_zip(const std::vector<TestEntry>& entries, std::int64_t shift = 0) {
  std::string file;
  std::string directory;
  for (const TestEntry& entry : entries) {
    const std::size_t place = file.size();
    std::string common;
    put_number(common, 20, 2);
    put_number(common, entry.flags, 2);
    put_number(common, entry.method, 2);
    put_number(common, 0, 4);
    put_number(common, zip_checksum(0, entry.data) + static_cast<std::uint64_t>(entry.wrong_crc),
               4);
    put_number(common, entry.data.size(), 4);
    put_number(common, entry.size == 0 ? entry.data.size() : entry.size, 4);
    put_number(common, entry.name.size(), 2);
    put_number(common, 0, 2);
    const std::string& local_name = entry.local_name.empty() ? entry.name : entry.local_name;
    file += "PK\x03\x04" + common + local_name + entry.data;
    directory += std::string("PK\x01\x02\x14") + '\0' + common;
    put_number(directory, 0, 2 + 2 + 2 + 4);
    put_number(directory, static_cast<std::uint64_t>(static_cast<std::int64_t>(place) + shift), 4);
    directory += entry.name;
  }
  const std::size_t begin = file.size();
  file += directory + "PK\x05\x06";
  put_number(file, 0, 4);
  put_number(file, entries.size(), 2);
  put_number(file, entries.size(), 2);
  put_number(file, directory.size(), 4);
  put_number(file, begin, 4);
  put_number(file, 0, 2);
  return file;
}

}  // namespace sae
