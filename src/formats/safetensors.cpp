#include "sae/formats/safetensors.h"

#include <torch/types.h>

#include <algorithm>
#include <set>

#include "formats/safetensors_header.h"
#include "formats/tensor_bytes.h"
#include "sae/base/error.h"
#include "sae/base/files.h"

namespace sae {

namespace fs = std::filesystem;

namespace {

std::string list_names(const std::vector<SafetensorsEntry>& entries) {
  std::string text;
  for (const auto& entry : entries) text += (text.empty() ? "" : ", ") + entry.name;
  return text.empty() ? "no tensors" : text;
}

/// `tensors` on the CPU, contiguous, larger elements first, otherwise in the given order.
NamedTensors in_file_order(const NamedTensors& tensors) {
  NamedTensors ordered;
  std::set<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    if (name == "__metadata__" || !names.insert(name).second) {
      throw std::invalid_argument("write_safetensors: name '" + name +
                                  "' is reserved or used twice");
    }
    if (!tensor.defined()) {
      throw std::invalid_argument("write_safetensors: tensor " + name + " is undefined");
    }
    ordered.emplace_back(name, tensor.detach().to(at::kCPU).contiguous());
  }
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return a.second.element_size() > b.second.element_size();
  });
  return ordered;
}

std::vector<SafetensorsEntry> entries_of(const NamedTensors& tensors) {
  std::vector<SafetensorsEntry> entries;
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const std::uint64_t end = offset + tensor.nbytes();
    entries.push_back(
        {name, safetensors_dtype(tensor.scalar_type()), tensor.sizes().vec(), offset, end});
    offset = end;
  }
  return entries;
}

}  // namespace

struct SafetensorsFile::Impl {
  explicit Impl(const fs::path& path)
      : file(path), header(parse_safetensors_header(file.bytes(), path.string())) {}

  const SafetensorsEntry& find(std::string_view name) const {
    for (const auto& entry : header.entries) {
      if (entry.name == name) return entry;
    }
    throw DataError(file.path().string() + ": no tensor " + std::string(name) + "; it has " +
                    list_names(header.entries));
  }

  MappedFile file;
  SafetensorsHeader header;
};

SafetensorsFile::SafetensorsFile(const fs::path& path) : impl_(std::make_unique<Impl>(path)) {}
SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;

const fs::path& SafetensorsFile::path() const { return impl_->file.path(); }

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const auto& entry : impl_->header.entries) names.push_back(entry.name);
  return names;
}

bool SafetensorsFile::contains(std::string_view name) const {
  const auto& entries = impl_->header.entries;
  return std::any_of(entries.begin(), entries.end(), [&](const auto& e) { return e.name == name; });
}

const Metadata& SafetensorsFile::metadata() const { return impl_->header.metadata; }

std::vector<std::int64_t> SafetensorsFile::shape(std::string_view name) const {
  return impl_->find(name).shape;
}

at::ScalarType SafetensorsFile::dtype(std::string_view name) const {
  return scalar_type(impl_->find(name).dtype);
}

at::Tensor SafetensorsFile::tensor(std::string_view name) const {
  const SafetensorsEntry& entry = impl_->find(name);
  impl_->file.check_unchanged();
  return tensor_of_bytes(bytes(name), entry.dtype, entry.shape);
}

void SafetensorsFile::check(std::string_view name, at::IntArrayRef shape,
                            at::ScalarType dtype) const {
  const SafetensorsEntry& entry = impl_->find(name);
  const bool fits = std::equal(entry.shape.begin(), entry.shape.end(), shape.begin(), shape.end(),
                               [](auto got, auto wanted) { return wanted == -1 || wanted == got; });
  if (fits && scalar_type(entry.dtype) == dtype) return;
  throw DataError(path().string() + ": tensor " + entry.name + " is " +
                  describe_tensor(entry.dtype, entry.shape) + ", expected " +
                  describe_tensor(safetensors_dtype(dtype), shape.vec()));
}

at::Tensor SafetensorsFile::expect(std::string_view name, at::IntArrayRef shape,
                                   at::ScalarType dtype) const {
  check(name, shape, dtype);
  return tensor(name);
}

void SafetensorsFile::expect_names(const std::vector<std::string>& names) const {
  for (const auto& name : names) impl_->find(name);
  for (const auto& entry : impl_->header.entries) {
    if (std::find(names.begin(), names.end(), entry.name) == names.end()) {
      throw DataError(path().string() + ": unexpected tensor " + entry.name);
    }
  }
}

std::string_view SafetensorsFile::bytes(std::string_view name) const {
  const SafetensorsEntry& entry = impl_->find(name);
  return impl_->file.bytes().substr(entry.begin, entry.end - entry.begin);
}

void SafetensorsFile::check_unchanged() const { impl_->file.check_unchanged(); }

void SafetensorsFile::will_need(std::string_view part) const {
  const auto begin = static_cast<std::size_t>(part.data() - impl_->file.bytes().data());
  impl_->file.will_need(begin, part.size());
}

void write_safetensors(const fs::path& path, const NamedTensors& tensors,
                       const Metadata& metadata) {
  const NamedTensors ordered = in_file_order(tensors);
  AtomicFile file(path);
  file.append(safetensors_header_bytes(entries_of(ordered), metadata));
  for (const auto& [name, tensor] : ordered) file.append(bytes_of(tensor));
  file.commit();
}

}  // namespace sae
