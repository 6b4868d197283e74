# Installs sae into a fresh folder, then configures, builds and runs the consumer against it; then
# configures the consumer with sae as a subdirectory.
file(REMOVE_RECURSE "${WORK_DIR}")

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE text ERROR_VARIABLE text)
  message("${text}")
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "failed (${result}): ${command}")
  endif()
endfunction()

set(configure "${CMAKE_COMMAND}" -S "${CMAKE_CURRENT_LIST_DIR}" -G "${GENERATOR}"
              "-DCMAKE_CXX_COMPILER=${COMPILER}" -DCMAKE_BUILD_TYPE=None)

run("${CMAKE_COMMAND}" --install "${SAE_BINARY_DIR}" --prefix "${WORK_DIR}/prefix")
run(${configure} -B "${WORK_DIR}/installed" "-DCMAKE_PREFIX_PATH=${WORK_DIR}/prefix")
run("${CMAKE_COMMAND}" --build "${WORK_DIR}/installed")
run("${WORK_DIR}/installed/consumer")

get_filename_component(source "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
run(${configure} -B "${WORK_DIR}/subdirectory" "-DSAE_SUBDIRECTORY=${source}")
if(EXISTS "${WORK_DIR}/subdirectory/sae/tests")
  message(FATAL_ERROR "sae configures its tests inside of another project")
endif()
