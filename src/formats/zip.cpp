#include "formats/zip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <new>
#include <set>
#include <utility>

#include "base/bytes.h"
#include "formats/zip_format.h"
#include "sae/base/error.h"
#include "sae/base/text.h"

namespace sae {
namespace {

constexpr std::size_t kCentralSize = 46;
constexpr std::size_t kEndSize = 22;
constexpr std::size_t kLocator64Size = 20;

struct Directory {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t entries = 0;
};

class Parser {
 public:
  Parser(std::string_view file, const std::string& place) : file_(file), place_(place) {}

  std::vector<ZipEntry> parse() {
    directory_ = find_directory();
    std::vector<ZipEntry> entries;
    std::set<std::string_view> names;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
    std::uint64_t at = directory_.begin;
    for (std::uint64_t i = 0; i < directory_.entries; ++i) {
      std::uint64_t local = 0;
      entries.push_back(central(at, local));
      const auto end = static_cast<std::uint64_t>(entries.back().data.data() - file_.data()) +
                       entries.back().data.size();
      ranges.emplace_back(local, end);
    }
    if (at != directory_.end) fail("zip directory has bytes after its last entry");
    for (const ZipEntry& entry : entries) {
      if (!names.insert(entry.name).second) fail_at(entry.name, "appears twice");
    }
    std::sort(ranges.begin(), ranges.end());
    for (std::size_t i = 1; i < ranges.size(); ++i) {
      if (ranges[i].first < ranges[i - 1].second) fail("zip entries overlap");
    }
    return entries;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw DataError(place_ + ": " + what); }
  [[noreturn]] void fail_at(const std::string& name, const std::string& what) const {
    fail("zip entry '" + printable(name) + "' " + what);
  }

  bool starts(std::uint64_t at, std::string_view signature) const {
    return at <= file_.size() && file_.substr(at).starts_with(signature);
  }

  Directory find_directory() const {
    if (!is_zip(file_)) fail("not a zip archive");
    constexpr std::size_t kLongestComment = 0xffff;
    if (file_.size() < kEndSize) fail("zip archive without its directory; is it truncated?");
    std::size_t at = file_.size() - kEndSize;
    const std::size_t last = at < kLongestComment ? 0 : at - kLongestComment;
    while (!starts(at, kEnd) || at + kEndSize + number_at(file_, at + 20, 2) != file_.size()) {
      if (at-- == last) fail("zip archive without its directory; is it truncated?");
    }
    Directory found{number_at(file_, at + 16, 4), number_at(file_, at + 12, 4),
                    number_at(file_, at + 10, 2)};
    const std::uint64_t disks = number_at(file_, at + 4, 4);
    std::uint64_t end = at;
    if (at >= kLocator64Size && starts(at - kLocator64Size, kLocator64)) {
      const std::uint64_t end64 = number_at(file_, at - kLocator64Size + 8, 8);
      if (end64 > at - kLocator64Size || at - kLocator64Size - end64 < kEnd64Size ||
          !starts(end64, kEnd64)) {
        fail("zip archive with a damaged ZIP64 end record");
      }
      found = {number_at(file_, end64 + 48, 8), number_at(file_, end64 + 40, 8),
               number_at(file_, end64 + 32, 8)};
      end = end64;
    } else if (disks != 0) {
      fail("part of a zip archive of several files, expected a whole one");
    }
    // `end` of `found` is the directory's size up to here.
    if (found.begin > end || found.end != end - found.begin) {
      fail("zip directory of " + std::to_string(found.end) + " bytes at " +
           std::to_string(found.begin) + " does not end at its end record, " + std::to_string(end));
    }
    found.end = end;
    return found;
  }

  /// The directory's entry at `at`, which moves on; `local` becomes the place of its local header.
  ZipEntry central(std::uint64_t& at, std::uint64_t& local) const {
    if (directory_.end - at < kCentralSize || !starts(at, kCentral))
      fail("zip directory is cut off");
    const std::uint64_t name_size = number_at(file_, at + 28, 2);
    const std::uint64_t extra_size = number_at(file_, at + 30, 2);
    const std::uint64_t rest = name_size + extra_size + number_at(file_, at + 32, 2);
    if (directory_.end - at - kCentralSize < rest) fail("zip directory is cut off");
    ZipEntry entry;
    entry.name = file_.substr(at + kCentralSize, name_size);
    const std::uint64_t flags = number_at(file_, at + 8, 2);
    const std::uint64_t method = number_at(file_, at + 10, 2);
    entry.crc = static_cast<std::uint32_t>(number_at(file_, at + 16, 4));
    std::uint64_t stored = number_at(file_, at + 20, 4);
    entry.size = number_at(file_, at + 24, 4);
    local = number_at(file_, at + 42, 4);
    read_zip64(entry.name, file_.substr(at + kCentralSize + name_size, extra_size),
               {&entry.size, &stored, &local});
    if ((flags & 1U) != 0) fail_at(entry.name, "is encrypted");
    if (method != 0 && method != 8) {
      fail_at(entry.name, "has compression method " + std::to_string(method) +
                              ", expected 0 (stored) or 8 (deflated)");
    }
    entry.deflated = method == 8;
    if (!entry.deflated && stored != entry.size) {
      fail_at(entry.name, "is stored as " + std::to_string(stored) + " bytes, but has " +
                              std::to_string(entry.size));
    }
    entry.data = data_of(entry.name, local, stored);
    at += kCentralSize + rest;
    return entry;
  }

  /// Replaces those of `values` that are in the ZIP64 field.
  void read_zip64(const std::string& name, std::string_view extra,
                  std::initializer_list<std::uint64_t*> values) const {
    std::string_view field;
    while (extra.size() >= 4) {
      const std::uint64_t id = number_at(extra, 0, 2);
      const std::uint64_t size = number_at(extra, 2, 2);
      extra.remove_prefix(4);
      if (size > extra.size()) fail_at(name, "has a damaged extra field");
      if (id == kZip64Id) field = extra.substr(0, size);
      extra.remove_prefix(size);
    }
    for (std::uint64_t* value : values) {
      if (*value != kIn64) continue;
      if (field.size() < 8) fail_at(name, "has no ZIP64 size");
      *value = number_at(field, 0, 8);
      field.remove_prefix(8);
    }
  }

  std::string_view data_of(const std::string& name, std::uint64_t local,
                           std::uint64_t stored) const {
    const std::uint64_t limit = directory_.begin;
    if (local > limit || limit - local < kLocalSize || !starts(local, kLocal)) {
      fail_at(name, "is not at its place " + std::to_string(local));
    }
    const std::uint64_t name_size = number_at(file_, local + 26, 2);
    const std::uint64_t header = kLocalSize + name_size + number_at(file_, local + 28, 2);
    if (limit - local < header || limit - local - header < stored) {
      fail_at(name, "has " + std::to_string(stored) + " bytes, more than the archive");
    }
    if (file_.substr(local + kLocalSize, name_size) != name) {
      fail_at(name, "has another name at its place");
    }
    return file_.substr(local + header, stored);
  }

  std::string_view file_;
  const std::string& place_;
  Directory directory_;
};

/// DEFLATE packs at most 258 bytes into two bits.
constexpr std::uint64_t kLargestRatio = 1032;

/// zlib's state and what it has read and written; its own counters have 32 bits.
class Inflater {
 public:
  Inflater(std::string_view data, std::string& out) : data_(data), out_(out) {
    constexpr int kNoHeader = -MAX_WBITS;
    if (inflateInit2(&stream_, kNoHeader) != Z_OK) throw std::bad_alloc();
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  ~Inflater() { inflateEnd(&stream_); }

  /// Goes on until the stream ends, `out` is full, or zlib finds a fault.
  int run() {
    int state = Z_OK;
    while (state == Z_OK) {
      const auto input = piece(data_.size() - read_);
      const auto room = piece(out_.size() - written_);
      // zlib asks for bytes that it could change, and does not.
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data_.data() + read_));
      stream_.avail_in = input;
      stream_.next_out = reinterpret_cast<Bytef*>(out_.data() + written_);
      stream_.avail_out = room;
      state = inflate(&stream_, Z_NO_FLUSH);
      read_ += input - stream_.avail_in;
      written_ += room - stream_.avail_out;
    }
    if (state == Z_MEM_ERROR) throw std::bad_alloc();
    return state;
  }

  std::size_t written() const { return written_; }
  bool read_all() const { return read_ == data_.size(); }
  std::string fault() const { return stream_.msg == nullptr ? "cannot be read" : stream_.msg; }

 private:
  static uInt piece(std::size_t size) {
    return static_cast<uInt>(std::min<std::size_t>(size, std::numeric_limits<uInt>::max()));
  }

  std::string_view data_;
  std::string& out_;
  z_stream stream_{};
  std::size_t read_ = 0;
  std::size_t written_ = 0;
};

/// The `size` bytes that `data` was made from. Memory is bounded by what can be packed into `data`,
/// whatever `size` says.
std::string inflated(std::string_view data, std::uint64_t size, const std::string& place) {
  if (size / kLargestRatio > data.size()) {
    throw DataError(place + ": compressed data of " + std::to_string(data.size()) +
                    " bytes cannot hold the " + std::to_string(size) + " bytes it claims");
  }
  std::string out(static_cast<std::size_t>(size) + 1, '\0');  // one more shows that there is more
  Inflater inflater(data, out);
  const int state = inflater.run();
  const std::string fault = inflater.written() > size   ? "holds more bytes than it should"
                            : state == Z_BUF_ERROR      ? "ends too early"
                            : state != Z_STREAM_END     ? "is broken: " + inflater.fault()
                            : inflater.written() < size ? "holds fewer bytes than it should"
                            : !inflater.read_all()      ? "goes on after its end"
                                                        : "";
  if (!fault.empty()) {
    throw DataError(place + ": compressed data " + fault + "; is the file damaged?");
  }
  out.resize(static_cast<std::size_t>(size));
  return out;
}

}  // namespace

bool is_zip(std::string_view file) { return file.starts_with(kLocal) || file.starts_with(kEnd); }

std::uint32_t zip_checksum(std::uint32_t of_before, std::string_view bytes) {
  if (bytes.empty()) return of_before;  // zlib takes no bytes for the beginning
  return static_cast<std::uint32_t>(
      crc32_z(of_before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

std::vector<ZipEntry> parse_zip(std::string_view file, const std::string& place) {
  return Parser(file, place).parse();
}

std::string_view zip_contents(const ZipEntry& entry, std::string& buffer,
                              const std::string& place) {
  const std::string where = place + ": zip entry '" + printable(entry.name) + "'";
  std::string_view contents = entry.data;
  if (entry.deflated) {
    buffer = inflated(entry.data, entry.size, where);
    contents = buffer;
  }
  if (zip_checksum(0, contents) != entry.crc) {
    throw DataError(where + " does not have its checksum; is the file damaged?");
  }
  return contents;
}

}  // namespace sae
