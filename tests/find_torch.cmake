# How scripts/cmake/LibTorch.cmake chooses, on folders that only look like LibTorch.
file(REMOVE_RECURSE "${WORK_DIR}")

function(fake_torch root version)
  string(REPLACE "." ";" parts ${version})
  list(GET parts 0 major)
  list(GET parts 1 minor)
  foreach(file IN ITEMS lib/libtorch_cpu.so lib/libc10.so include/torch/csrc/api/include/torch/types.h)
    file(WRITE "${WORK_DIR}/${root}/${file}" "")
  endforeach()
  file(WRITE "${WORK_DIR}/${root}/include/torch/headeronly/version.h" "\
#define TORCH_VERSION_MAJOR ${major}\n#define TORCH_VERSION_MINOR ${minor}\n#define TORCH_VERSION_PATCH 0\n")
endfunction()

# Runs the finder with these environment settings and expects this in what it prints.
function(expect text)
  execute_process(
    COMMAND ${CMAKE_COMMAND} -E env --unset=Torch_DIR --unset=CMAKE_PREFIX_PATH --unset=VIRTUAL_ENV
            --unset=CONDA_PREFIX --unset=SAE_TORCH_VERSION "XDG_CACHE_HOME=${WORK_DIR}/cache" ${ARGN}
            ${CMAKE_COMMAND} -P "${CMAKE_CURRENT_LIST_DIR}/../scripts/cmake/LibTorch.cmake"
    OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(FIND "${output}" "${text}" position)
  if(position EQUAL -1)
    message(SEND_ERROR "expected: ${text}\nwith: ${ARGN}\ngot: ${output}")
  endif()
endfunction()

set(wheel lib/python3.11/site-packages/torch)
fake_torch(zip 2.12.0)
fake_torch("my venv/${wheel}" 2.13.0)
fake_torch(old/${wheel} 2.6.0)

expect("LibTorch 2.7 or newer was not found")
expect("pip install torch==2.9.0" SAE_TORCH_VERSION=2.9.0)
fake_torch(cache/sae.cpp/torch-2.11.0/${wheel} 2.11.0)
fake_torch(cache/sae.cpp/torch-2.15.0/${wheel} 2.15.0)
expect("found 2.11.0 CPU ${WORK_DIR}/cache/sae.cpp/torch-2.11.0/${wheel}")
expect("found 2.15.0" SAE_TORCH_VERSION=2.15.0 "VIRTUAL_ENV=${WORK_DIR}/my venv")
expect("found 2.13.0 CPU ${WORK_DIR}/my venv/${wheel}" "VIRTUAL_ENV=${WORK_DIR}/my venv")
expect("found 2.12.0 CPU ${WORK_DIR}/zip" "CMAKE_PREFIX_PATH=/nowhere:${WORK_DIR}/zip"
       "VIRTUAL_ENV=${WORK_DIR}/my venv")
expect("found 2.13.0" "CMAKE_PREFIX_PATH=${WORK_DIR}/my venv/${wheel}/share/cmake")
expect("found 2.11.0" VIRTUAL_ENV=${WORK_DIR}/old)
# What is named must be usable, nothing else is taken for it.
expect("is version 2.6.0, older than 2.7" Torch_DIR=${WORK_DIR}/old/${wheel}/share/cmake/Torch)
expect("holds no lib/libtorch_cpu.so" Torch_DIR=${WORK_DIR}/share/cmake/Torch)
expect("is version 2.12.0, not 2.13.0" SAE_TORCH_VERSION=2.13.0 CMAKE_PREFIX_PATH=${WORK_DIR}/zip)
# An interrupted installation is none.
file(REMOVE "${WORK_DIR}/cache/sae.cpp/torch-2.11.0/${wheel}/lib/libc10.so")
expect("holds no lib/libtorch_cpu.so and lib/libc10.so")
