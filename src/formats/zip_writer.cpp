#include "formats/zip_writer.h"

#include <algorithm>

#include "formats/crc32.h"
#include "formats/zip_format.h"

namespace sae {
namespace {

constexpr std::uint64_t kVersion = 45;        // the first with ZIP64
constexpr std::uint64_t kPaddingId = 0x4246;  // what PyTorch pads with
constexpr std::size_t kAlignment = 64;
constexpr std::uint64_t kDate = 0x21;  // 1980-01-01, the first that the format knows

void put(std::string& to, std::uint64_t value, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i, value >>= 8)
    to.push_back(static_cast<char>(value & 0xffU));
}

}  // namespace

void ZipWriter::append(std::string_view bytes) {
  file_.append(bytes);
  written_ += bytes.size();
}

void ZipWriter::add(const std::string& name, std::initializer_list<std::string_view> pieces) {
  std::uint64_t size = 0;
  std::uint32_t crc = 0;
  for (const std::string_view piece : pieces) {
    size += piece.size();
    crc = crc32(crc, piece);
  }
  const std::uint64_t local = written_;
  // version 4.5, no flags, stored, midnight of kDate, checksum, sizes in the ZIP64 field
  std::string common;
  put(common, kVersion, 2);
  put(common, 0, 2 + 2 + 2);
  put(common, kDate, 2);
  put(common, crc, 4);
  put(common, kIn64, 4);
  put(common, kIn64, 4);
  put(common, name.size(), 2);
  std::string zip64;
  put(zip64, kZip64Id, 2);
  put(zip64, 8 + 8, 2);
  put(zip64, size, 8);
  put(zip64, size, 8);

  const std::size_t unpadded = kLocalSize + name.size() + zip64.size() + 4;
  const std::size_t padding = (kAlignment - (local + unpadded) % kAlignment) % kAlignment;
  std::string header(kLocal);
  header += common;
  put(header, zip64.size() + 4 + padding, 2);
  header += name + zip64;
  put(header, kPaddingId, 2);
  put(header, padding, 2);
  header.append(padding, 'Z');
  append(header);
  for (const std::string_view piece : pieces) append(piece);

  directory_ += kCentral;
  put(directory_, kVersion, 2);
  directory_ += common;
  put(directory_, zip64.size() + 8, 2);
  put(directory_, 0, 2 + 2 + 2 + 4);  // comment, disk, attributes
  put(directory_, kIn64, 4);
  directory_ += name;
  zip64[2] = 8 + 8 + 8;
  put(zip64, local, 8);
  directory_ += zip64;
  ++entries_;
}

void ZipWriter::commit() {
  const std::uint64_t begin = written_;
  const std::uint64_t size = directory_.size();
  std::string end = std::move(directory_);
  end += kEnd64;
  put(end, kEnd64Size - 12, 8);
  put(end, kVersion, 2);
  put(end, kVersion, 2);
  put(end, 0, 4 + 4);
  put(end, entries_, 8);
  put(end, entries_, 8);
  put(end, size, 8);
  put(end, begin, 8);
  end += kLocator64;
  put(end, 0, 4);
  put(end, begin + size, 8);
  put(end, 1, 4);
  end += kEnd;
  put(end, 0, 2 + 2);
  const std::uint64_t count = std::min<std::uint64_t>(entries_, 0xffff);
  put(end, count, 2);
  put(end, count, 2);
  put(end, std::min(size, kIn64), 4);
  put(end, std::min(begin, kIn64), 4);
  put(end, 0, 2);
  append(end);
  file_.commit();
}

}  // namespace sae
