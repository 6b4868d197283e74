#include "formats/zip_writer.h"

#include <algorithm>

#include "base/bytes.h"
#include "formats/zip.h"
#include "formats/zip_format.h"

namespace sae {
namespace {

constexpr std::uint64_t kVersion = 45;        // the first with ZIP64
constexpr std::uint64_t kPaddingId = 0x4246;  // what PyTorch pads with
constexpr std::size_t kAlignment = 64;
constexpr std::uint64_t kDate = 0x21;  // 1980-01-01, the first that the format knows

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
    crc = zip_checksum(crc, piece);
  }
  const std::uint64_t local = written_;
  // version 4.5, no flags, stored, midnight of kDate, checksum, sizes in the ZIP64 field
  std::string common;
  put_number(common, kVersion, 2);
  put_number(common, 0, 2 + 2 + 2);
  put_number(common, kDate, 2);
  put_number(common, crc, 4);
  put_number(common, kIn64, 4);
  put_number(common, kIn64, 4);
  put_number(common, name.size(), 2);
  std::string zip64;
  put_number(zip64, kZip64Id, 2);
  put_number(zip64, 8 + 8, 2);
  put_number(zip64, size, 8);
  put_number(zip64, size, 8);

  const std::size_t unpadded = kLocalSize + name.size() + zip64.size() + 4;
  const std::size_t padding = (kAlignment - (local + unpadded) % kAlignment) % kAlignment;
  std::string header(kLocal);
  header += common;
  put_number(header, zip64.size() + 4 + padding, 2);
  header += name + zip64;
  put_number(header, kPaddingId, 2);
  put_number(header, padding, 2);
  header.append(padding, 'Z');
  append(header);
  for (const std::string_view piece : pieces) append(piece);

  directory_ += kCentral;
  put_number(directory_, kVersion, 2);
  directory_ += common;
  put_number(directory_, zip64.size() + 8, 2);
  put_number(directory_, 0, 2 + 2 + 2 + 4);  // comment, disk, attributes
  put_number(directory_, kIn64, 4);
  directory_ += name;
  zip64[2] = 8 + 8 + 8;
  put_number(zip64, local, 8);
  directory_ += zip64;
  ++entries_;
}

void ZipWriter::commit() {
  const std::uint64_t begin = written_;
  const std::uint64_t size = directory_.size();
  std::string end = std::move(directory_);
  end += kEnd64;
  put_number(end, kEnd64Size - 12, 8);
  put_number(end, kVersion, 2);
  put_number(end, kVersion, 2);
  put_number(end, 0, 4 + 4);
  put_number(end, entries_, 8);
  put_number(end, entries_, 8);
  put_number(end, size, 8);
  put_number(end, begin, 8);
  end += kLocator64;
  put_number(end, 0, 4);
  put_number(end, begin + size, 8);
  put_number(end, 1, 4);
  end += kEnd;
  put_number(end, 0, 2 + 2);
  const std::uint64_t count = std::min<std::uint64_t>(entries_, 0xffff);
  put_number(end, count, 2);
  put_number(end, count, 2);
  put_number(end, std::min(size, kIn64), 4);
  put_number(end, std::min(begin, kIn64), 4);
  put_number(end, 0, 2);
  append(end);
  file_.commit();
}

}  // namespace sae
