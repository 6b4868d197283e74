# Finds LibTorch and defines the target sae::torch, which links its shared libraries directly.
#
# TorchConfig.cmake is not used: the one in a CUDA wheel refuses to configure without a CUDA
# toolkit, and a program that includes no CUDA header needs none. The same few lines serve the
# official zip, conda and Python wheels, for this project and for those that use the installed one.
#
#   SAE_TORCH_VERSION   accept exactly this version (variable or environment); empty: 2.7 or newer
#   SAE_CUDA            link LibTorch's CUDA libraries: AUTO (if there and complete), ON, OFF; LATE: not
#                       linked, but opened if they are there when a device is chosen
#
# `cmake -P LibTorch.cmake` prints "found VERSION CUDA|CPU ROOT" or fails with the reason.

cmake_policy(PUSH)
cmake_policy(VERSION 3.22)
set(sae_torch_minimum 2.7)
set(sae_torch_default 2.11.0)  # the version that the set-up scripts install

# Prints the places to look in, best first, each the folder that holds lib/ and include/.
function(sae_torch_candidates out)
  if(NOT Torch_DIR AND DEFINED ENV{Torch_DIR})
    set(Torch_DIR "$ENV{Torch_DIR}")
  endif()
  if(Torch_DIR)  # an explicit wish: this one or none
    get_filename_component(root "${Torch_DIR}/../../.." ABSOLUTE)
    set(${out} "${root}" PARENT_SCOPE)
    return()
  endif()
  string(REPLACE ":" ";" prefixes "$ENV{CMAKE_PREFIX_PATH}")
  set(prefixes ${CMAKE_PREFIX_PATH} ${prefixes} "$ENV{VIRTUAL_ENV}" "$ENV{CONDA_PREFIX}")
  set(version ${SAE_TORCH_VERSION})
  if(NOT version)
    set(version ${sae_torch_default})
  endif()
  set(cache "$ENV{XDG_CACHE_HOME}")
  if(NOT cache)
    set(cache "$ENV{HOME}/.cache")
  endif()
  list(APPEND prefixes "${cache}/sae.cpp/torch-${version}" ${sae_torch_hint})
  set(roots)
  foreach(prefix IN LISTS prefixes)
    file(GLOB wheels "${prefix}/lib/python3*/site-packages/torch")
    # torch.utils.cmake_prefix_path of a wheel is <root>/share/cmake
    get_filename_component(above "${prefix}/../.." ABSOLUTE)
    foreach(root IN ITEMS "${prefix}" ${wheels} "${above}")
      if(prefix AND EXISTS "${root}/lib/libtorch_cpu.so" AND NOT root IN_LIST roots)
        list(APPEND roots "${root}")
      endif()
    endforeach()
  endforeach()
  set(${out} "${roots}" PARENT_SCOPE)
endfunction()

function(sae_torch_read_version root out)
  set(parts)
  foreach(header IN ITEMS torch/csrc/api/include/torch/version.h torch/headeronly/version.h)
    foreach(part IN ITEMS MAJOR MINOR PATCH)
      if(EXISTS "${root}/include/${header}")
        file(STRINGS "${root}/include/${header}" line REGEX "define TORCH_VERSION_${part} +[0-9]+")
        string(REGEX MATCH "[0-9]+" number "${line}")
        list(APPEND parts ${number})
      endif()
    endforeach()
  endforeach()
  list(JOIN parts "." version)
  set(${out} "${version}" PARENT_SCOPE)
endfunction()

# The shared libraries that `library` needs and the dynamic loader does not find.
function(sae_missing_libraries library out)
  execute_process(COMMAND ldd "${library}" OUTPUT_VARIABLE text ERROR_QUIET)
  string(REGEX MATCHALL "[^ \t\n]+ => not found" lines "${text}")
  list(TRANSFORM lines REPLACE " => not found" "")
  list(REMOVE_DUPLICATES lines)
  list(JOIN lines ", " missing)
  set(${out} "${missing}" PARENT_SCOPE)
endfunction()

# Why LibTorch in `root` cannot be used; empty if it can.
function(sae_torch_problem root version out)
  set(problem)
  sae_missing_libraries("${root}/lib/libtorch_cpu.so" missing)
  if(NOT EXISTS "${root}/lib/libtorch_cpu.so" OR NOT EXISTS "${root}/lib/libc10.so")
    set(problem "holds no lib/libtorch_cpu.so and lib/libc10.so")
  elseif(NOT version OR NOT EXISTS "${root}/include/torch/csrc/api/include/torch/types.h")
    set(problem "holds no headers")
  elseif(version VERSION_LESS sae_torch_minimum)
    set(problem "is version ${version}, older than ${sae_torch_minimum}")
  elseif(SAE_TORCH_VERSION AND NOT version VERSION_EQUAL SAE_TORCH_VERSION)
    set(problem "is version ${version}, not ${SAE_TORCH_VERSION}")
  elseif(sae_torch_series AND NOT version MATCHES "^${sae_torch_series}\\.")
    set(problem "is version ${version}, sae was built with ${sae_torch_series}")
  elseif(missing)
    set(problem "lacks ${missing}")
  endif()
  set(${out} "${problem}" PARENT_SCOPE)
endfunction()

# Sets SAE_TORCH_ROOT, SAE_TORCH_FOUND_VERSION and SAE_TORCH_HAS_CUDA, or sae_torch_error.
function(sae_find_torch)
  if(NOT SAE_TORCH_VERSION AND DEFINED ENV{SAE_TORCH_VERSION})
    set(SAE_TORCH_VERSION $ENV{SAE_TORCH_VERSION})
  endif()
  set(rejected "")
  sae_torch_candidates(roots)
  foreach(root IN LISTS roots)
    sae_torch_read_version("${root}" version)
    sae_torch_problem("${root}" "${version}" problem)
    set(cuda FALSE)
    if(NOT problem AND NOT "${SAE_CUDA}" MATCHES "^(OFF|LATE)$")
      sae_missing_libraries("${root}/lib/libtorch_cuda.so" missing)
      if(EXISTS "${root}/lib/libtorch_cuda.so" AND NOT missing)
        set(cuda TRUE)
      elseif("${SAE_CUDA}" STREQUAL ON)
        set(problem "has no CUDA libraries, or not all (missing: ${missing}), and SAE_CUDA is ON")
      endif()
    endif()
    if(NOT problem)
      set(SAE_TORCH_ROOT "${root}" PARENT_SCOPE)
      set(SAE_TORCH_FOUND_VERSION ${version} PARENT_SCOPE)
      set(SAE_TORCH_HAS_CUDA ${cuda} PARENT_SCOPE)
      return()
    endif()
    string(APPEND rejected "  not usable: ${root} ${problem}\n")
  endforeach()

  set(version ${SAE_TORCH_VERSION})
  set(wanted "LibTorch ${version}")
  if(NOT version)
    set(version ${sae_torch_default})
    set(wanted "LibTorch ${sae_torch_minimum} or newer")
  endif()
  set(sae_torch_error "${wanted} was not found.\n${rejected}Do one of:\n\
  scripts/quickstart                               (in sae.cpp's folder: installs what is missing)\n\
  python3 -m venv venv && . venv/bin/activate && pip install torch==${version}\n\
  cmake -DCMAKE_PREFIX_PATH=/path/to/libtorch ...  (an unpacked zip, a conda or a Python environment)" PARENT_SCOPE)
endfunction()

# The OpenMP runtime that LibTorch itself loads: libgomp of a wheel, libiomp5 or libomp of others.
function(sae_torch_openmp out)
  execute_process(COMMAND ldd "${SAE_TORCH_ROOT}/lib/libtorch_cpu.so" OUTPUT_VARIABLE text
                  ERROR_QUIET)
  set(found)
  if(text MATCHES "lib(gomp|iomp5|omp)[^ \t\n]* => ([^\n]+) \\(0x")
    set(found "${CMAKE_MATCH_2}")
  endif()
  set(${out} "${found}" PARENT_SCOPE)
endfunction()

# Defines sae::torch for the LibTorch that sae_find_torch found.
function(sae_add_torch_target)
  add_library(sae::torch INTERFACE IMPORTED GLOBAL)
  set(libraries torch_cpu c10)
  if(SAE_TORCH_HAS_CUDA)
    list(APPEND libraries torch_cuda c10_cuda)
    # Nothing refers to these two by name, they register themselves when loaded.
    set_property(TARGET sae::torch PROPERTY INTERFACE_LINK_OPTIONS "LINKER:--no-as-needed")
  endif()
  foreach(library IN LISTS libraries)
    add_library(sae::${library} SHARED IMPORTED GLOBAL)
    set_property(TARGET sae::${library} PROPERTY IMPORTED_LOCATION
                                                 "${SAE_TORCH_ROOT}/lib/lib${library}.so")
    set_property(TARGET sae::torch APPEND PROPERTY INTERFACE_LINK_LIBRARIES sae::${library})
  endforeach()
  # at::parallel_for is compiled into its caller and runs on one thread without -fopenmp. Two OpenMP
  # runtimes in a process would each bring threads of their own, so it is LibTorch's that is linked.
  sae_torch_openmp(openmp)
  if(openmp AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    set_property(TARGET sae::torch APPEND PROPERTY INTERFACE_LINK_LIBRARIES "${openmp}")
    set_property(TARGET sae::torch PROPERTY INTERFACE_COMPILE_OPTIONS -fopenmp)
  endif()
  set_property(TARGET sae::torch PROPERTY INTERFACE_INCLUDE_DIRECTORIES "${SAE_TORCH_ROOT}/include"
                                          "${SAE_TORCH_ROOT}/include/torch/csrc/api/include")
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  sae_find_torch()
  if(NOT SAE_TORCH_ROOT)
    message(FATAL_ERROR "${sae_torch_error}")
  endif()
  set(kind CPU)
  if(SAE_TORCH_HAS_CUDA)
    set(kind CUDA)
  endif()
  execute_process(COMMAND "${CMAKE_COMMAND}" -E echo
                          "found ${SAE_TORCH_FOUND_VERSION} ${kind} ${SAE_TORCH_ROOT}")
endif()
cmake_policy(POP)
