// Parsing with nlohmann's SAX interface, which leaves room for lines, duplicates and own messages.
#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <type_traits>
#include <unordered_map>

#include "config/config_entry.h"
#include "config/config_syntax.h"
#include "sae/base/error.h"
#include "sae/base/text.h"

namespace sae {
namespace {

using Entry = ConfigNode::Entry;
using Kind = Entry::Kind;
using Json = nlohmann::ordered_json;

/// Walks over the text and tells, through `consumed`, how far the lexer has read.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(std::string_view text, std::size_t offset, std::size_t* consumed)
      : text_(text), offset_(offset), consumed_(consumed) {}

  reference operator*() const { return text_[offset_]; }
  CountingIterator& operator++() {
    *consumed_ = ++offset_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return offset_ == other.offset_; }
  bool operator!=(const CountingIterator& other) const { return offset_ != other.offset_; }

 private:
  std::string_view text_;
  std::size_t offset_;
  std::size_t* consumed_;
};

/// Receives the parser's events and makes entries of them.
class Builder {
 public:
  Builder(std::string_view text, std::string name, bool lines)
      : source_(text, std::move(name), lines) {}

  Entry::Pointer parse(bool comments) {
    so_far_.comments = comments;
    const std::string_view text = source_.text();
    Json::sax_parse(CountingIterator(text, 0, &consumed_),
                    CountingIterator(text, text.size(), nullptr), this, Json::input_format_t::json,
                    true, comments);
    return root_;
  }

  // The SAX interface.
  bool null() { return scalar(nullptr); }
  bool boolean(bool value) { return scalar(value); }
  bool number_integer(std::int64_t value) { return number(value); }
  bool number_unsigned(std::uint64_t value) { return number(value); }
  bool number_float(double value, const std::string& text) { return number(value, text); }
  bool string(std::string& value) { return scalar(std::move(value)); }
  bool binary(Json::binary_t&) { return false; }
  bool start_object(std::size_t) { return open(Kind::kObject); }
  bool start_array(std::size_t) { return open(Kind::kArray); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(std::string& key) {
    Frame& top = stack_.back();
    const auto [known, is_new] = top.keys.emplace(key, source_.line_at(consumed_));
    if (!is_new) {
      const std::string where = source_.line_place(consumed_) + ": " + join_path(path(), key);
      throw ConfigError(
          where + ": duplicate key" +
          (source_.has_lines() ? "; first given on line " + std::to_string(known->second) : ""));
    }
    top.key = std::move(key);
    top.key_line = known->second;
    has_read(ReadSoFar::kKey, consumed_);
    return true;
  }

  template <class Exception>
  bool parse_error(std::size_t, const std::string&, const Exception&) {
    so_far_.too_large = std::is_same_v<Exception, Json::out_of_range>;
    so_far_.still_open = still_open();
    throw ConfigError(syntax_error(source_, so_far_));
  }

 private:
  struct Frame {
    std::shared_ptr<Entry> entry;
    std::size_t line;
    std::string key{};  ///< whose value comes next
    std::size_t key_line = 0;
    std::unordered_map<std::string, std::size_t> keys{};  ///< and the line of each
  };

  std::string path() const {
    std::string result;
    for (std::size_t i = 0; i + 1 < stack_.size(); ++i) {
      const Frame& frame = stack_[i];
      result = join_path(result, frame.entry->kind == Kind::kObject
                                     ? frame.key
                                     : std::to_string(frame.entry->items.size()));
    }
    return result;
  }

  std::shared_ptr<Entry> make(Kind kind) const {
    auto entry = std::make_shared<Entry>();
    entry->kind = kind;
    entry->source = source_.name();
    if (source_.has_lines() && !stack_.empty()) {
      const Frame& parent = stack_.back();
      entry->line =
          parent.entry->kind == Kind::kObject ? parent.key_line : source_.line_at(consumed_ - 1);
    }
    return entry;
  }

  void has_read(ReadSoFar what, std::size_t end) {
    so_far_.read = what;
    so_far_.end = end;
  }

  void add(std::shared_ptr<Entry> entry, std::size_t end) {
    if (stack_.empty()) {
      root_ = std::move(entry);
      has_read(ReadSoFar::kDocument, end);
    } else {
      Frame& top = stack_.back();
      top.entry->items.emplace_back(top.entry->kind == Kind::kObject ? top.key : "",
                                    std::move(entry));
      const bool object = top.entry->kind == Kind::kObject;
      has_read(object ? ReadSoFar::kValueInObject : ReadSoFar::kValueInArray, end);
    }
  }

  bool scalar(Json value, const std::string& text, std::size_t end) {
    std::shared_ptr<Entry> entry = make(Kind::kScalar);
    entry->scalar = std::move(value);
    entry->text = text;
    add(std::move(entry), end);
    return true;
  }

  bool scalar(Json value) { return scalar(std::move(value), "", consumed_); }

  /// A number ends where the lexer sees another character, which it has consumed then: a digit too,
  /// behind a leading 0.
  bool number(Json value, const std::string& text = "") {
    constexpr std::string_view kOfNumbers = "0123456789.eE+-";
    const char last = source_.text()[consumed_ - 1];
    const bool beyond =
        consumed_ < source_.text().size() || kOfNumbers.find(last) == kOfNumbers.npos;
    return scalar(std::move(value), text, beyond ? consumed_ - 1 : consumed_);
  }

  bool open(Kind kind) {
    if (stack_.size() == static_cast<std::size_t>(kMaxConfigDepth)) {
      throw ConfigError(source_.column_place(consumed_ - 1) + ": nested more than " +
                        std::to_string(kMaxConfigDepth) + " deep");
    }
    std::shared_ptr<Entry> entry = make(kind);
    stack_.push_back({std::move(entry), source_.line_at(consumed_)});
    has_read(kind == Kind::kObject ? ReadSoFar::kObjectBegin : ReadSoFar::kArrayBegin, consumed_);
    return true;
  }

  bool close() {
    std::shared_ptr<Entry> entry = std::move(stack_.back().entry);
    stack_.pop_back();
    add(std::move(entry), consumed_);
    return true;
  }

  std::string still_open() const {
    if (stack_.empty() || !source_.has_lines()) return "";
    const bool object = stack_.back().entry->kind == Kind::kObject;
    return std::string("; the ") + (object ? "object" : "array") + " opened on line " +
           std::to_string(stack_.back().line) + " is not closed";
  }

  SourceText source_;
  std::size_t consumed_ = 0;
  SyntaxError so_far_;
  std::vector<Frame> stack_;
  Entry::Pointer root_;
};

/// The file beside `file` that was probably meant, as the end of a sentence.
std::string meant_file(const std::filesystem::path& file) {
  const std::filesystem::path folder = file.parent_path();
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(folder.empty() ? "." : folder, error)) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  const std::string name = file.filename().string();
  const std::string near = nearest_name(name.ends_with(".json") ? name : name + ".json", names);
  return near.empty() ? "" : "; did you mean '" + (folder / near).string() + "'?";
}

}  // namespace

Entry::Pointer parse_entry(std::string_view text, std::string name, bool lines, bool comments) {
  return Builder(text, std::move(name), lines).parse(comments);
}

ConfigNode parse_config(std::string_view text, std::string name) {
  ConfigNode root(parse_entry(text, std::move(name), true, true), "");
  if (!root.is_object()) root.fail("got " + root.got() + ", expected an object");
  return root;
}

ConfigNode read_config(const std::string& file) {
  constexpr std::uintmax_t kLargest = 16 << 20;
  std::error_code error;
  if (std::filesystem::is_directory(file, error)) {
    throw ConfigError(file + ": is a folder, expected a JSON file" + meant_file(file));
  }
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    const std::string why = std::generic_category().message(errno);
    throw ConfigError(file + ": cannot be read: " + why + meant_file(file));
  }
  const std::uintmax_t size = std::filesystem::file_size(file, error);
  if (!error && size > kLargest) throw ConfigError(file + ": too large for a configuration");
  const std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  if (stream.bad()) throw ConfigError(file + ": cannot be read");
  return parse_config(text, file);
}

}  // namespace sae
