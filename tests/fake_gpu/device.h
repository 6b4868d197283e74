// The parts of the fake GPU: memory that the host cannot touch, and what has been counted.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>

#include <cstdint>
#include <mutex>
#include <string>

namespace fake_gpu {

inline constexpr at::DeviceType kType = at::kCUDA;

/// Guards all of the fake device: one operator at a time.
std::recursive_mutex& device_mutex();

c10::Allocator& device_memory();
c10::Allocator& pinned_memory();
bool is_pinned(const void* at);
std::int64_t bytes_at(const void* at);  ///< from there to the end of its block; 0 if not a device's

/// Makes the pages of a tensor, or all there are, accessible for a scope.
class Unlocked {
 public:
  explicit Unlocked(const at::Tensor& t);
  Unlocked();
  ~Unlocked();
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  std::unique_lock<std::recursive_mutex> lock_;
  char* at_ = nullptr;  // of a tensor
  bool all_ = false;
};

/// Operators called by operators are not counted.
class Inside {
 public:
  Inside();
  ~Inside();
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  bool before_;
};
bool is_inside();

void count_wait(const std::string& cause);
void count_operator(const std::string& name, std::int64_t bytes);

}  // namespace fake_gpu
