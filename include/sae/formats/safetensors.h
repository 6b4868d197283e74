// Tensors in files: the safetensors format, read by memory map and written atomically.
//
// The file is u64 N (little-endian), N bytes of JSON {name: {dtype, shape, data_offsets}} with an
// optional "__metadata__" of strings, then the tensors' bytes in C order. Everything the header
// says is checked against the file before a byte of data is used. Format:
// https://github.com/huggingface/safetensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sae {

/// Named tensors in order.
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;
/// The string map that a safetensors file carries beside its tensors.
using Metadata = std::map<std::string, std::string>;

/// A file opened for reading. Types: F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL. Every
/// error is a DataError that starts with the file's path.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;

  const std::filesystem::path& path() const;
  std::vector<std::string> names() const;  ///< in the file's order
  bool contains(std::string_view name) const;
  const Metadata& metadata() const;

  std::vector<std::int64_t> shape(std::string_view name) const;
  at::ScalarType dtype(std::string_view name) const;

  /// A copy on the CPU. It outlives the file.
  at::Tensor tensor(std::string_view name) const;

  /// The same, after checking shape and dtype. A size of -1 accepts any.
  /// Otherwise: "path: tensor W_enc is F32 [2304, 16384], expected F32 [16384, 2304]".
  at::Tensor expect(std::string_view name, at::IntArrayRef shape, at::ScalarType dtype) const;

  /// Checks as `expect` does, without reading the data.
  void check(std::string_view name, at::IntArrayRef shape, at::ScalarType dtype) const;

  /// Throws unless the file holds exactly these names: "path: unexpected tensor scale".
  void expect_names(const std::vector<std::string>& names) const;

  /// The tensor's bytes inside the mapped file; they may be unaligned. Valid while the file is.
  std::string_view bytes(std::string_view name) const;

  void check_unchanged() const;                          ///< see MappedFile
  void will_need(std::string_view part_of_bytes) const;  ///< a hint; see MappedFile

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Writes `path` atomically. The bytes depend on the arguments only; tensors may be on any device
/// and of any strides. Data starts at a multiple of 64 bytes, and larger element types come first
/// so that every tensor is aligned.
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const Metadata& metadata = {});

/// "F32" for at::kFloat, and so on; std::invalid_argument for types the format lacks.
std::string safetensors_dtype(at::ScalarType dtype);

}  // namespace sae
