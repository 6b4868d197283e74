// NVRTC and the CUDA driver of the fake GPU: kernels of ours, run by threads that are fibers.
//
// "Compiled" is the source itself with a seal, so that what a program caches and loads can be
// damaged; a module's functions are those of src/cuda that this file includes. Environment:
//     FAKE_GPU_NVRTC=fails   no kernel compiles
//     FAKE_GPU_REPORT=1      waits, operators and bytes go to standard error at the end
#include <array>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "counts.h"
#include "cuda/cuda_on_cpu.h"
#include "device.h"
// The prelude goes first.
// clang-format off
#include "../../src/cuda/common.cuh"
#include "../../src/cuda/adam.cu"
#include "../../src/cuda/draw.cu"
#include "../../src/cuda/nested.cu"
#include "../../src/cuda/select.cu"
#include "../../src/cuda/screen.cu"
#include "../../src/cuda/sparse.cu"
// clang-format on

namespace fake_gpu {
namespace {

struct Kernel {
  std::function<void(dim3 grid, dim3 block, void** arguments)> launch;
  std::function<std::int64_t(void** arguments)> bytes;  // of what its arguments point to
};

template <class... Arguments, std::size_t... Places>
void call(void (*kernel)(Arguments...), void** arguments, std::index_sequence<Places...>) {
  kernel(*static_cast<std::remove_cvref_t<Arguments>*>(arguments[Places])...);
}

template <class Argument>
std::int64_t bytes_behind(void* argument) {
  if constexpr (std::is_pointer_v<Argument>) return bytes_at(*static_cast<Argument*>(argument));
  return 0;
}

template <class... Arguments, std::size_t... Places>
std::int64_t bytes_of(void** arguments, std::index_sequence<Places...>) {
  return (std::int64_t{0} + ... + bytes_behind<std::remove_cvref_t<Arguments>>(arguments[Places]));
}

template <class... Arguments>
Kernel of(void (*kernel)(Arguments...)) {
  return {[kernel](dim3 grid, dim3 block, void** arguments) {
            cpu::launch(grid, block, [kernel, arguments] {
              call(kernel, arguments, std::index_sequence_for<Arguments...>());
            });
          },
          [](void** arguments) {
            return bytes_of<Arguments...>(arguments, std::index_sequence_for<Arguments...>());
          }};
}

std::map<std::string, Kernel>& kernels() {
  static auto* all = new std::map<std::string, Kernel>{
      {"adam_norm", of(adam_norm)},
      {"adam_products", of(adam_products)},
      {"adam_scalars", of(adam_scalars)},
      {"adam_update", of(adam_update)},
      {"adam_update_rounded", of(adam_update_rounded)},
      {"batch_clear", of(batch_clear)},
      {"batch_collect", of(batch_collect)},
      {"batch_collect_bf16", of(batch_collect_bf16)},
      {"batch_count", of(batch_count)},
      {"batch_count_bf16", of(batch_count_bf16)},
      {"batch_guess", of(batch_guess)},
      {"batch_low", of(batch_low)},
      {"batch_low_bf16", of(batch_low_bf16)},
      {"batch_offsets", of(batch_offsets)},
      {"batch_pick_high", of(batch_pick_high)},
      {"batch_pick_low", of(batch_pick_low)},
      {"batch_redo", of(batch_redo)},
      {"batch_redo_bf16", of(batch_redo_bf16)},
      {"batch_sample", of(batch_sample)},
      {"batch_sample_bf16", of(batch_sample_bf16)},
      {"batch_write", of(batch_write)},
      {"batch_write_bf16", of(batch_write_bf16)},
      {"bernoulli_mask", of(bernoulli_mask)},
      {"by_latent_tokens", of(by_latent_tokens)},
      {"count_above", of(count_above)},
      {"count_above_bf16", of(count_above_bf16)},
      {"gather_dot_4", of(gather_dot_4)},
      {"gather_dot_b8", of(gather_dot_b8)},
      {"gather_dot_bs", of(gather_dot_bs)},
      {"gather_dot_s", of(gather_dot_s)},
      {"gather_sum_1", of(gather_sum_1)},
      {"gather_sum_2", of(gather_sum_2)},
      {"gather_sum_3", of(gather_sum_3)},
      {"gather_sum_4", of(gather_sum_4)},
      {"gather_sum_b1", of(gather_sum_b1)},
      {"gather_sum_b2", of(gather_sum_b2)},
      {"gather_sum_bs", of(gather_sum_bs)},
      {"gather_sum_s", of(gather_sum_s)},
      {"latent_sum", of(latent_sum)},
      {"latent_sums", of(latent_sums)},
      {"nested_dots", of(nested_dots)},
      {"nested_errors_4", of(nested_errors_4)},
      {"nested_errors_s", of(nested_errors_s)},
      {"round_rows", of(round_rows)},
      {"row_topk", of(row_topk)},
      {"row_topk_bf16", of(row_topk_bf16)},
      {"scatter_finish_4", of(scatter_finish_4)},
      {"scatter_finish_s", of(scatter_finish_s)},
      {"scatter_sum_1", of(scatter_sum_1)},
      {"scatter_sum_2", of(scatter_sum_2)},
      {"scatter_sum_3", of(scatter_sum_3)},
      {"scatter_sum_4", of(scatter_sum_4)},
      {"scatter_sum_s", of(scatter_sum_s)},
      {"screen_exact", of(screen_exact)},
      {"screen_largest", of(screen_largest)},
      {"screen_pick", of(screen_pick)},
      {"screen_rows", of(screen_rows)},
      {"squared_error", of(squared_error)},
      {"squared_error_finish", of(squared_error_finish)},
      {"write_above", of(write_above)},
      {"write_above_bf16", of(write_above_bf16)},
  };
  return *all;
}

constexpr int kInvalidImage = 200;
constexpr int kNotFound = 500;
constexpr const char* kSeal = "fake cubin\n";
constexpr const char* kEnd = "\nend";

bool compiler_fails() {
  const char* value = std::getenv("FAKE_GPU_NVRTC");
  return value && std::string(value) == "fails";
}

struct Program {
  std::string source;
  std::string log;
};

Program& program(void* handle) { return *static_cast<Program*>(handle); }

std::string image_of(const Program& one) { return kSeal + one.source + kEnd; }

int give(const std::string& text, char* out) {
  std::copy(text.begin(), text.end(), out);
  return 0;
}

thread_local void* current_context = nullptr;
int context = 0;

struct Report {
  ~Report() {
    if (!std::getenv("FAKE_GPU_REPORT")) return;
    Counts all;
    fake_gpu_counts(&all);
    for (const auto& [cause, times] : all.waits) {
      std::fprintf(stderr, "fake GPU: wait %s: %lld\n", cause.c_str(),
                   static_cast<long long>(times));
    }
    for (const auto& [name, times] : all.operators) {
      std::fprintf(stderr, "fake GPU: operator %s: %lld, %lld bytes\n", name.c_str(),
                   static_cast<long long>(times), static_cast<long long>(all.bytes_of[name]));
    }
  }
} report;

}  // namespace

extern "C" {

int cuInit(unsigned) { return 0; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, 0; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
  return *value = attribute == 75 ? 9 : 0, 0;  // compute capability 9.0
}
int cuDevicePrimaryCtxRetain(void** made, int) { return *made = &context, 0; }
int cuCtxGetCurrent(void** found) { return *found = current_context, 0; }
int cuCtxSetCurrent(void* given) { return current_context = given, 0; }
int cuModuleLoadData(void** module, const void* image) {
  const std::string text = static_cast<const char*>(image);
  if (!text.starts_with(kSeal) || !text.ends_with(kEnd)) return kInvalidImage;
  *module = new std::string(text);  // for the life of the process, as a driver's
  return 0;
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
  const auto found = kernels().find(name);
  // In the module's source as "gather_sum_" and a number, so the last part may be missing there.
  const std::string whole = name;
  const std::string stem = whole.substr(0, whole.rfind('_'));
  const auto& source = *static_cast<const std::string*>(module);
  if (found == kernels().end() || source.find(stem) == std::string::npos) return kNotFound;
  *function = &*found;
  return 0;
}
int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                   unsigned block_x, unsigned block_y, unsigned block_z, unsigned, void*,
                   void** arguments, void**) {
  if (current_context != &context) return 201;
  const auto& [name, kernel] = *static_cast<std::pair<const std::string, Kernel>*>(function);
  count_operator("kernel " + name, kernel.bytes(arguments));
  const Unlocked pages;
  kernel.launch({grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, arguments);
  return 0;
}
int cuGetErrorName(int error, const char** name) {
  *name = error == kInvalidImage ? "CUDA_ERROR_INVALID_IMAGE" : "CUDA_ERROR_UNKNOWN";
  return 0;
}

int nvrtcVersion(int* major, int* minor) { return *major = 0, *minor = 1, 0; }
int nvrtcGetNumSupportedArchs(int* count) { return *count = 2, 0; }
int nvrtcGetSupportedArchs(int* known) { return known[0] = 80, known[1] = 90, 0; }
int nvrtcCreateProgram(void** made, const char* source, const char*, int, const char* const*,
                       const char* const*) {
  *made = new Program{source, ""};
  return 0;
}
int nvrtcCompileProgram(void* handle, int, const char* const*) {
  count_operator("compile", 0);
  if (!compiler_fails()) return 0;
  program(handle).log = "kernel.cu(1): error: the fake compiler was told to fail\n";
  return 6;
}
int nvrtcGetProgramLogSize(void* handle, std::size_t* size) {
  return *size = program(handle).log.size(), 0;
}
int nvrtcGetProgramLog(void* handle, char* log) { return give(program(handle).log, log); }
int nvrtcGetCUBINSize(void* handle, std::size_t* size) {
  return *size = image_of(program(handle)).size(), 0;
}
int nvrtcGetCUBIN(void* handle, char* image) { return give(image_of(program(handle)), image); }
int nvrtcGetPTXSize(void* handle, std::size_t* size) { return nvrtcGetCUBINSize(handle, size); }
int nvrtcGetPTX(void* handle, char* image) { return nvrtcGetCUBIN(handle, image); }
int nvrtcDestroyProgram(void** handle) {
  delete static_cast<Program*>(*handle);
  *handle = nullptr;
  return 0;
}
const char* nvrtcGetErrorString(int) { return "NVRTC_ERROR"; }

}  // extern "C"

}  // namespace fake_gpu
