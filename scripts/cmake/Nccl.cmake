# NCCL: LibTorch's library has it, but not the headers that its own header for it includes.
#
#   SAE_NCCL            AUTO (if all of them and LibTorch's CUDA libraries are there), ON, OFF
#   SAE_NCCL_INCLUDE    folders to look in besides the CUDA toolkit's and the nvidia-* packages beside torch
#
# The packages of PyTorch with CUDA have them all but two, which are 3 MB: nvidia-cuda-crt and nvidia-cuda-cccl.
set(SAE_NCCL_INCLUDE "" CACHE STRING "Folders with nccl.h and CUDA's headers")

# sae_nccl_headers(FOLDERS MISSING): where they are, and the first that is nowhere.
function(sae_nccl_headers folders missing)
  file(GLOB beside LIST_DIRECTORIES TRUE "${SAE_TORCH_ROOT}/../nvidia/*/include")
  set(places ${SAE_NCCL_INCLUDE} ${beside} "$ENV{CUDA_HOME}/include" /usr/local/cuda/include)
  set(found)
  foreach(header nccl.h cuda.h cuda_runtime.h crt/host_defines.h nv/target cublas_v2.h cublasLt.h cusparse.h
          cusolverDn.h)
    unset(place)
    find_path(place ${header} PATHS ${places} NO_DEFAULT_PATH NO_CACHE)
    if(NOT place)
      set(${missing} ${header} PARENT_SCOPE)
      return()
    endif()
    list(APPEND found "${place}")
  endforeach()
  list(REMOVE_DUPLICATES found)
  set(${folders} ${found} PARENT_SCOPE)
  set(${missing} "" PARENT_SCOPE)
endfunction()

function(sae_use_nccl)
  set(file src/distributed/backend_nccl.cpp)
  set_source_files_properties(${file} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON SKIP_PRECOMPILE_HEADERS ON)
  if(SAE_NCCL STREQUAL OFF OR (SAE_NCCL STREQUAL AUTO AND NOT SAE_TORCH_HAS_CUDA))
    return()
  endif()
  sae_nccl_headers(folders missing)
  if(missing)
    set(text "NCCL: no ${missing} in SAE_NCCL_INCLUDE, a CUDA toolkit or packages beside torch")
    if(SAE_NCCL STREQUAL ON)
      message(FATAL_ERROR "${text}, and SAE_NCCL is ON")
    endif()
    message(STATUS "${text}; GPUs of several ranks send by their hosts")
    return()
  endif()
  message(STATUS "NCCL: ${folders}")
  set_source_files_properties(${file} PROPERTIES
    COMPILE_DEFINITIONS "SAE_HAS_NCCL;USE_DISTRIBUTED;USE_C10D_NCCL" INCLUDE_DIRECTORIES "${folders}")
endfunction()
