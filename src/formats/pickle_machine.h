// The few instructions of Python's pickle that build dicts, lists, tuples, numbers, strings and
// tensors. A pickle is a program; here it can do nothing else. No LibTorch.
// Instructions: https://docs.python.org/3/library/pickletools.html.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sae {

enum class PickleKind {
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kTuple,
  kList,
  kDict,
  kGlobal,   // text: "torch.FloatStorage"
  kStorage,  // items: "storage", type, key, device, elements
  kTensor    // items: storage, offset, shape, strides, ...
};

/// "a dict", for messages.
const char* name_of(PickleKind kind);

/// Values refer to each other by number, so that sharing and cycles cost nothing.
using PickleRef = std::uint32_t;

struct PickleNode {
  PickleKind kind = PickleKind::kNone;
  std::int64_t integer = 0;  // of a bool too
  double real = 0;
  std::string text;
  std::vector<PickleRef> items;  // of a dict: key, value, key, value, ...
};

/// "F32" for "torch.FloatStorage"; empty if that is no storage.
std::string dtype_of_storage(std::string_view global);
/// The reverse.
std::string storage_of_dtype(std::string_view dtype);

/// Runs a pickle. Everything that is not a dict of tensors, numbers and strings is refused by name:
/// "wants to run os.system". Tensors are those of torch.save; their storages' types, keys, sizes,
/// offsets, shapes and strides have the right kinds, nothing more. Errors are DataErrors.
class PickleMachine {
 public:
  PickleMachine(std::string_view pickle, const std::string& place);

  PickleRef run();  ///< what the whole pickle stands for
  const PickleNode& at(PickleRef ref) const { return nodes_[ref]; }
  /// The same of a value that must be of this kind.
  const PickleNode& expect(PickleRef ref, PickleKind kind, const char* what) const;
  [[noreturn]] void fail(const std::string& what) const;

 private:
  using Refs = std::vector<PickleRef>;
  struct Instruction {
    unsigned char code;
    void (*run)(PickleMachine&);
  };
  static const Instruction kInstructions[];

  // Reading.
  std::string_view take(std::uint64_t size);
  std::uint64_t number(std::size_t size);  // little-endian
  std::string_view line();

  // The stack, which marks divide.
  PickleNode& push(PickleKind kind);
  void push_items(PickleKind kind, Refs items) { push(kind).items = std::move(items); }
  void push_integer(PickleKind kind, std::int64_t value) { push(kind).integer = value; }
  PickleRef pop();
  PickleRef top();
  Refs pop(std::size_t count);
  Refs pop_to_mark();

  // What single instructions do.
  void push_text(std::uint64_t size);
  void push_long(std::size_t size);
  void push_float();
  void push_global();
  void push_global(std::string_view module, std::string_view name);
  void push_named_global();
  void push_storage();
  void add_items(PickleKind kind, const Refs& items);
  void remember(std::uint64_t slot) { memo_[slot] = top(); }
  void recall(std::uint64_t slot);
  void check_protocol();
  void reduce();
  void build();

  std::string_view in_;
  const std::string& place_;
  std::size_t at_ = 0;
  bool done_ = false;
  std::vector<PickleNode> nodes_;
  Refs stack_;
  std::vector<std::size_t> marks_;
  std::map<std::uint64_t, PickleRef> memo_;
};

}  // namespace sae
