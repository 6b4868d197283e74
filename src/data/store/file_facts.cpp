#include "data/store/file_facts.h"

#include <ctime>

#include "sae/base/sha256.h"

namespace sae {
namespace {

constexpr std::size_t kWhole = std::size_t{1} << 30;
constexpr std::size_t kBlocks = 256;
constexpr std::size_t kBlock = std::size_t{1} << 20;

}  // namespace

bool has_settled(const MappedFile& file) {
  constexpr std::int64_t kSeconds = 2;
  return std::time(nullptr) - file.identity()[3] > kSeconds;
}

std::string sha256_of(const MappedFile& file) {
  static FileFacts<std::string> facts;
  return facts.get(file, [](const MappedFile& one) { return sha256_hex(one.bytes()); });
}

std::string content_digest(const MappedFile& file) {
  if (file.bytes().size() <= kWhole) return "sha256:" + sha256_of(file);
  return sampled_digest(file.bytes(), kBlocks, kBlock);
}

std::string sampled_digest(std::string_view bytes, std::size_t blocks, std::size_t block) {
  Sha256 hash;
  hash.update(std::to_string(bytes.size()) + "\n");
  const std::size_t last = bytes.size() - block;  // where the last block begins
  const std::size_t gaps = blocks - 1;
  for (std::size_t i = 0; i < blocks; ++i) {
    const std::size_t begin = last / gaps * i + last % gaps * i / gaps;
    hash.update(bytes.substr(begin, block));
  }
  return "sampled-sha256:" + hash.hex();
}

}  // namespace sae
