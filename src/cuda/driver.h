// The CUDA driver and NVRTC, found at run time: no CUDA header, nothing to link.
//
// LibTorch's CUDA build has libcaffe2_nvrtc.so beside libtorch_cuda.so, which depends on both
// libcuda and libnvrtc, so that one handle gives the functions of both. The declarations below are
// those of the CUDA driver API and of NVRTC, with handles as void*; every function returns 0 for
// success.
#pragma once

#include <string>

namespace sae::cuda {

struct Driver {
  int (*cuInit)(unsigned flags);
  int (*cuDeviceGet)(int* device, int ordinal);
  int (*cuDeviceGetAttribute)(int* value, int attribute, int device);
  int (*cuDevicePrimaryCtxRetain)(void** context, int device);
  int (*cuCtxGetCurrent)(void** context);
  int (*cuCtxSetCurrent)(void* context);
  int (*cuModuleLoadData)(void** module, const void* image);
  int (*cuModuleGetFunction)(void** function, void* module, const char* name);
  int (*cuLaunchKernel)(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                        void* stream, void** arguments, void** extra);
  int (*cuGetErrorName)(int error, const char** name);

  int (*nvrtcVersion)(int* major, int* minor);
  int (*nvrtcGetNumSupportedArchs)(int* count);
  int (*nvrtcGetSupportedArchs)(int* architectures);
  int (*nvrtcCreateProgram)(void** program, const char* source, const char* name, int headers,
                            const char* const* header_sources, const char* const* header_names);
  int (*nvrtcCompileProgram)(void* program, int count, const char* const* options);
  int (*nvrtcGetProgramLogSize)(void* program, std::size_t* size);
  int (*nvrtcGetProgramLog)(void* program, char* log);
  int (*nvrtcGetCUBINSize)(void* program, std::size_t* size);
  int (*nvrtcGetCUBIN)(void* program, char* image);
  int (*nvrtcGetPTXSize)(void* program, std::size_t* size);
  int (*nvrtcGetPTX)(void* program, char* image);
  int (*nvrtcDestroyProgram)(void** program);
  const char* (*nvrtcGetErrorString)(int error);
};

/// Loaded once. std::runtime_error, each time, if it or a function of it is not there.
const Driver& driver();

/// std::runtime_error unless a call of the driver returned 0; `what` was tried.
void require_success(int error, const std::string& what);

}  // namespace sae::cuda
