#include "cuda/driver.h"

#include <dlfcn.h>
#include <link.h>

#include <stdexcept>

namespace sae::cuda {
namespace {

/// Folder of the libtorch_cuda.so in this process, or "".
std::string folder_of_torch_cuda() {
  std::string folder;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* found) {
        const std::string path = info->dlpi_name;
        const std::size_t slash = path.rfind('/');
        if (slash == std::string::npos || path.substr(slash + 1) != "libtorch_cuda.so") return 0;
        *static_cast<std::string*>(found) = path.substr(0, slash);
        return 1;
      },
      &folder);
  return folder;
}

/// What has the functions: this process, if it was linked with them, or the library beside
/// LibTorch's.
void* open_library() {
  if (dlsym(RTLD_DEFAULT, "nvrtcCompileProgram") && dlsym(RTLD_DEFAULT, "cuLaunchKernel")) {
    return RTLD_DEFAULT;
  }
  const std::string folder = folder_of_torch_cuda();
  if (folder.empty()) throw std::runtime_error("this LibTorch has no CUDA libraries");
  const std::string path = folder + "/libcaffe2_nvrtc.so";
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library) return library;
  const char* why = dlerror();
  throw std::runtime_error(why ? why : path + " cannot be opened");
}

template <class Function>
void find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  if (!function) throw std::runtime_error(std::string("the CUDA libraries have no ") + name);
}

Driver load() {
  void* library = open_library();
  Driver all{};
  const auto take = [&](const char* name, auto*& function) { find(library, name, function); };
  take("cuInit", all.cuInit);
  take("cuDeviceGet", all.cuDeviceGet);
  take("cuDeviceGetAttribute", all.cuDeviceGetAttribute);
  take("cuDevicePrimaryCtxRetain", all.cuDevicePrimaryCtxRetain);
  take("cuCtxGetCurrent", all.cuCtxGetCurrent);
  take("cuCtxSetCurrent", all.cuCtxSetCurrent);
  take("cuModuleLoadData", all.cuModuleLoadData);
  take("cuModuleGetFunction", all.cuModuleGetFunction);
  take("cuLaunchKernel", all.cuLaunchKernel);
  take("cuGetErrorName", all.cuGetErrorName);
  take("nvrtcVersion", all.nvrtcVersion);
  take("nvrtcGetNumSupportedArchs", all.nvrtcGetNumSupportedArchs);
  take("nvrtcGetSupportedArchs", all.nvrtcGetSupportedArchs);
  take("nvrtcCreateProgram", all.nvrtcCreateProgram);
  take("nvrtcCompileProgram", all.nvrtcCompileProgram);
  take("nvrtcGetProgramLogSize", all.nvrtcGetProgramLogSize);
  take("nvrtcGetProgramLog", all.nvrtcGetProgramLog);
  take("nvrtcGetCUBINSize", all.nvrtcGetCUBINSize);
  take("nvrtcGetCUBIN", all.nvrtcGetCUBIN);
  take("nvrtcGetPTXSize", all.nvrtcGetPTXSize);
  take("nvrtcGetPTX", all.nvrtcGetPTX);
  take("nvrtcDestroyProgram", all.nvrtcDestroyProgram);
  take("nvrtcGetErrorString", all.nvrtcGetErrorString);
  return all;
}

}  // namespace

const Driver& driver() {
  static const Driver loaded = load();
  return loaded;
}

void require_success(int error, const std::string& what) {
  if (error == 0) return;
  const char* name = nullptr;
  driver().cuGetErrorName(error, &name);
  throw std::runtime_error(what + ": " + (name ? name : "CUDA error " + std::to_string(error)));
}

}  // namespace sae::cuda
