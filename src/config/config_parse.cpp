// Parsing with nlohmann's SAX interface, which leaves room for lines, duplicates and own messages.
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <unordered_map>

#include "config/config_entry.h"
#include "config/config_syntax.h"
#include "sae/base/error.h"

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
    const std::string_view text = source_.text();
    Json::sax_parse(CountingIterator(text, 0, &consumed_),
                    CountingIterator(text, text.size(), nullptr), this,
                    nlohmann::detail::input_format_t::json, true, comments);
    return root_;
  }

  // The SAX interface.
  bool null() { return scalar(nullptr); }
  bool boolean(bool value) { return scalar(value); }
  bool number_integer(std::int64_t value) { return scalar(value); }
  bool number_unsigned(std::uint64_t value) { return scalar(value); }
  bool number_float(double value, const std::string& text) { return scalar(value, text); }
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
    return true;
  }

  template <class Exception>
  bool parse_error(std::size_t, const std::string&, const Exception& error) {
    throw ConfigError(syntax_error(source_, consumed_, error.what(), still_open()));
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

  void add(std::shared_ptr<Entry> entry) {
    if (stack_.empty()) {
      root_ = std::move(entry);
    } else {
      Frame& top = stack_.back();
      top.entry->items.emplace_back(top.entry->kind == Kind::kObject ? top.key : "",
                                    std::move(entry));
    }
  }

  bool scalar(Json value, const std::string& text = "") {
    std::shared_ptr<Entry> entry = make(Kind::kScalar);
    entry->scalar = std::move(value);
    entry->text = text;
    add(std::move(entry));
    return true;
  }

  bool open(Kind kind) {
    if (stack_.size() == static_cast<std::size_t>(kMaxConfigDepth)) {
      throw ConfigError(source_.column_place(consumed_ - 1) + ": nested more than " +
                        std::to_string(kMaxConfigDepth) + " deep");
    }
    std::shared_ptr<Entry> entry = make(kind);
    stack_.push_back({std::move(entry), source_.line_at(consumed_)});
    return true;
  }

  bool close() {
    std::shared_ptr<Entry> entry = std::move(stack_.back().entry);
    stack_.pop_back();
    add(std::move(entry));
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
  std::vector<Frame> stack_;
  Entry::Pointer root_;
};

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
    throw ConfigError(file + ": is a folder, expected a JSON file");
  }
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    throw ConfigError(file + ": cannot be read: " + std::generic_category().message(errno));
  }
  const std::uintmax_t size = std::filesystem::file_size(file, error);
  if (!error && size > kLargest) throw ConfigError(file + ": too large for a configuration");
  const std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  if (stream.bad()) throw ConfigError(file + ": cannot be read");
  return parse_config(text, file);
}

}  // namespace sae
