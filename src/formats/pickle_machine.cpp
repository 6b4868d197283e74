#include "formats/pickle_machine.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <utility>

#include "base/bytes.h"
#include "sae/base/error.h"
#include "sae/base/text.h"

namespace sae {
namespace {

constexpr std::uint64_t kLongestText = 4096;  // values are copied wherever they are recalled
constexpr std::string_view kOrderedDict = "collections.OrderedDict";
constexpr std::string_view kTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kParameter = "torch._utils._rebuild_parameter";
constexpr std::pair<std::string_view, std::string_view> kStorages[] = {
    {"torch.FloatStorage", "F32"},     {"torch.DoubleStorage", "F64"}, {"torch.HalfStorage", "F16"},
    {"torch.BFloat16Storage", "BF16"}, {"torch.LongStorage", "I64"},   {"torch.IntStorage", "I32"},
    {"torch.ShortStorage", "I16"},     {"torch.CharStorage", "I8"},    {"torch.ByteStorage", "U8"},
    {"torch.BoolStorage", "BOOL"}};

}  // namespace

using Kind = PickleKind;

const char* name_of(PickleKind kind) {
  static constexpr const char* kNames[] = {"None",     "a bool",    "an int",  "a float",
                                           "a string", "a tuple",   "a list",  "a dict",
                                           "a type",   "a storage", "a tensor"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::string dtype_of_storage(std::string_view global) {
  for (const auto& [name, dtype] : kStorages) {
    if (name == global) return std::string(dtype);
  }
  return {};
}

std::string storage_of_dtype(std::string_view dtype) {
  for (const auto& [name, type] : kStorages) {
    if (type == dtype) return std::string(name);
  }
  return {};
}

const PickleMachine::Instruction PickleMachine::kInstructions[] = {
    {0x80, [](PickleMachine& m) { m.check_protocol(); }},
    {0x95, [](PickleMachine& m) { m.number(8); }},  // FRAME
    {'.', [](PickleMachine& m) { m.done_ = true; }},
    // Values of their own.
    {'N', [](PickleMachine& m) { m.push(Kind::kNone); }},
    {0x88, [](PickleMachine& m) { m.push_integer(Kind::kBool, 1); }},
    {0x89, [](PickleMachine& m) { m.push_integer(Kind::kBool, 0); }},
    {'K',
     [](PickleMachine& m) { m.push_integer(Kind::kInt, static_cast<std::uint8_t>(m.number(1))); }},
    {'M',
     [](PickleMachine& m) { m.push_integer(Kind::kInt, static_cast<std::uint16_t>(m.number(2))); }},
    {'J',
     [](PickleMachine& m) { m.push_integer(Kind::kInt, static_cast<std::int32_t>(m.number(4))); }},
    {0x8a, [](PickleMachine& m) { m.push_long(m.number(1)); }},
    {'G', [](PickleMachine& m) { m.push_float(); }},
    {0x8c, [](PickleMachine& m) { m.push_text(m.number(1)); }},
    {'X', [](PickleMachine& m) { m.push_text(m.number(4)); }},
    {0x8d, [](PickleMachine& m) { m.push_text(m.number(8)); }},
    {'}', [](PickleMachine& m) { m.push(Kind::kDict); }},
    {']', [](PickleMachine& m) { m.push(Kind::kList); }},
    {')', [](PickleMachine& m) { m.push(Kind::kTuple); }},
    {'c', [](PickleMachine& m) { m.push_global(); }},
    // Values of those on the stack.
    {'(', [](PickleMachine& m) { m.marks_.push_back(m.stack_.size()); }},
    {'t', [](PickleMachine& m) { m.push_items(Kind::kTuple, m.pop_to_mark()); }},
    {0x85, [](PickleMachine& m) { m.push_items(Kind::kTuple, m.pop(1)); }},
    {0x86, [](PickleMachine& m) { m.push_items(Kind::kTuple, m.pop(2)); }},
    {0x87, [](PickleMachine& m) { m.push_items(Kind::kTuple, m.pop(3)); }},
    {'a', [](PickleMachine& m) { m.add_items(Kind::kList, m.pop(1)); }},
    {'e', [](PickleMachine& m) { m.add_items(Kind::kList, m.pop_to_mark()); }},
    {'s', [](PickleMachine& m) { m.add_items(Kind::kDict, m.pop(2)); }},
    {'u', [](PickleMachine& m) { m.add_items(Kind::kDict, m.pop_to_mark()); }},
    {0x93, [](PickleMachine& m) { m.push_named_global(); }},
    {'Q', [](PickleMachine& m) { m.push_storage(); }},
    {'R', [](PickleMachine& m) { m.reduce(); }},
    {'b', [](PickleMachine& m) { m.build(); }},
    // Values seen before.
    {'q', [](PickleMachine& m) { m.remember(m.number(1)); }},
    {'r', [](PickleMachine& m) { m.remember(m.number(4)); }},
    {0x94, [](PickleMachine& m) { m.remember(m.memo_.size()); }},
    {'h', [](PickleMachine& m) { m.recall(m.number(1)); }},
    {'j', [](PickleMachine& m) { m.recall(m.number(4)); }},
};

PickleMachine::PickleMachine(std::string_view pickle, const std::string& place)
    : in_(pickle), place_(place) {}

PickleRef PickleMachine::run() {
  while (!done_) {
    const auto code = static_cast<unsigned char>(take(1)[0]);
    const auto* found = std::find_if(std::begin(kInstructions), std::end(kInstructions),
                                     [code](const Instruction& i) { return i.code == code; });
    if (found == std::end(kInstructions)) {
      static constexpr const char* kDigits = "0123456789abcdef";
      std::string what = "has the instruction 0x";
      what += kDigits[code >> 4];
      what += kDigits[code & 15];
      what.append(", which no dict of tensors, numbers and strings needs");
      fail(what);
    }
    found->run(*this);
  }
  if (at_ != in_.size()) fail("goes on after its end");
  if (stack_.size() != 1 || !marks_.empty()) fail("does not end with one value");
  return stack_.back();
}

const PickleNode& PickleMachine::expect(PickleRef ref, PickleKind kind, const char* what) const {
  if (at(ref).kind != kind) {
    fail(std::string("has ") + name_of(at(ref).kind) + " as " + what + ", expected " +
         name_of(kind));
  }
  return at(ref);
}

void PickleMachine::fail(const std::string& what) const {
  throw DataError(place_ + ": pickle " + what);
}

std::string_view PickleMachine::take(std::uint64_t size) {
  if (size > in_.size() - at_) fail("ends too early; is the file truncated?");
  const std::string_view taken = in_.substr(at_, size);
  at_ += taken.size();
  return taken;
}

std::uint64_t PickleMachine::number(std::size_t size) { return number_at(take(size), 0, size); }

std::string_view PickleMachine::line() {
  const std::size_t end = in_.find('\n', at_);
  if (end == in_.npos) fail("ends too early; is the file truncated?");
  const std::string_view text = take(end - at_);
  ++at_;
  return text;
}

PickleNode& PickleMachine::push(PickleKind kind) {
  stack_.push_back(static_cast<PickleRef>(nodes_.size()));
  PickleNode& node = nodes_.emplace_back();
  node.kind = kind;
  return node;
}

PickleRef PickleMachine::pop() {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back()))
    fail("takes a value that is not there");
  const PickleRef ref = stack_.back();
  stack_.pop_back();
  return ref;
}

PickleRef PickleMachine::top() {
  const PickleRef ref = pop();
  stack_.push_back(ref);
  return ref;
}

PickleMachine::Refs PickleMachine::pop(std::size_t count) {
  Refs values(count);
  for (std::size_t i = count; i-- > 0;) values[i] = pop();
  return values;
}

PickleMachine::Refs PickleMachine::pop_to_mark() {
  if (marks_.empty()) fail("takes a mark that is not there");
  const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  Refs values(begin, stack_.end());
  stack_.erase(begin, stack_.end());
  marks_.pop_back();
  return values;
}

void PickleMachine::push_text(std::uint64_t size) {
  if (size > kLongestText) {
    fail("has a string of " + std::to_string(size) + " bytes, expected at most " +
         std::to_string(kLongestText));
  }
  push(Kind::kString).text = take(size);
}

void PickleMachine::push_long(std::size_t size) {
  if (size > 8) fail("has an integer of " + std::to_string(size) + " bytes, expected at most 8");
  std::uint64_t value = number(size);
  const bool negative = size > 0 && (value >> (8 * size - 1) & 1U) != 0;
  if (negative && size < 8) value |= ~std::uint64_t{0} << 8 * size;
  push_integer(Kind::kInt, static_cast<std::int64_t>(value));
}

void PickleMachine::push_float() {
  std::uint64_t value = 0;
  for (const char c : take(8)) value = value << 8 | static_cast<unsigned char>(c);
  push(Kind::kFloat).real = std::bit_cast<double>(value);
}

void PickleMachine::push_global() {
  const std::string_view module = line();
  push_global(module, line());
}

void PickleMachine::push_named_global() {
  const Refs names = pop(2);
  push_global(expect(names[0], Kind::kString, "a module").text,
              expect(names[1], Kind::kString, "a name").text);
}

void PickleMachine::push_global(std::string_view module, std::string_view name) {
  std::string global = std::string(module) + "." + std::string(name);
  if (global != kOrderedDict && global != kTensor && global != kParameter &&
      dtype_of_storage(global).empty()) {
    fail("wants to run " + printable(global) +
         "; only a dict of tensors, numbers and strings is read, as state_dict() gives");
  }
  push(Kind::kGlobal).text = std::move(global);
}

void PickleMachine::push_storage() {
  const PickleNode& id = expect(pop(), Kind::kTuple, "a persistent id");
  if (id.items.size() != 5 || at(id.items[0]).text != "storage") {
    fail("has an unknown persistent id");
  }
  Refs items = id.items;
  const std::string& type = expect(items[1], Kind::kGlobal, "a storage's type").text;
  if (dtype_of_storage(type).empty()) fail("has " + type + " as a storage's type");
  expect(items[2], Kind::kString, "a storage's key");
  expect(items[4], Kind::kInt, "a storage's size");
  push_items(Kind::kStorage, std::move(items));
}

void PickleMachine::add_items(PickleKind kind, const Refs& items) {
  const PickleRef target = top();
  expect(target, kind, "the target of items");
  if (kind == Kind::kDict && items.size() % 2 != 0) fail("has a key without a value");
  Refs& to = nodes_[target].items;
  to.insert(to.end(), items.begin(), items.end());
}

void PickleMachine::recall(std::uint64_t slot) {
  const auto found = memo_.find(slot);
  if (found == memo_.end()) fail("recalls a value that it has not kept");
  stack_.push_back(found->second);
}

void PickleMachine::check_protocol() {
  const std::uint64_t version = number(1);
  if (version < 2 || version > 5) {
    fail("has protocol " + std::to_string(version) + ", expected 2 to 5");
  }
}

void PickleMachine::reduce() {
  const Refs& all = expect(pop(), Kind::kTuple, "arguments").items;
  // A tensor's first four are all that is used; keeping more would let a pickle grow in memory.
  const Refs arguments(all.begin(), all.begin() + std::min<std::ptrdiff_t>(std::ssize(all), 4));
  const std::string callable = expect(pop(), Kind::kGlobal, "what to call").text;
  if (callable == kOrderedDict && arguments.empty()) {
    push(Kind::kDict);
  } else if (callable == kTensor && arguments.size() == 4) {
    expect(arguments[0], Kind::kStorage, "a tensor's storage");
    expect(arguments[1], Kind::kInt, "a tensor's offset");
    expect(arguments[2], Kind::kTuple, "a tensor's shape");
    expect(arguments[3], Kind::kTuple, "a tensor's strides");
    push_items(Kind::kTensor, arguments);
  } else if (callable == kParameter && !arguments.empty()) {
    expect(arguments[0], Kind::kTensor, "a parameter");
    stack_.push_back(arguments[0]);
  } else {
    fail("calls " + callable + " with unknown arguments");
  }
}

void PickleMachine::build() {
  // The state of an OrderedDict is the _metadata of a state_dict: versions of modules.
  pop();
  expect(top(), Kind::kDict, "the target of a state");
}

}  // namespace sae
