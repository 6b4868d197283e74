# The rooms of this house, lowest first. A file includes its own room and lower ones only.
#
#     cmake -DROOT=folder -P layers.cmake
#
# A tool includes no other tool (config_reference, which lists the options of all, excepted), and the
# command includes nothing but public headers and its own.
cmake_minimum_required(VERSION 3.22)
set(rooms
    base distributed config formats kernels cuda sparse models data metrics evaluation training results html report
    comparison tools)
set(everyone_s_tools config_reference)  # may include other tools

get_filename_component(ROOT "${ROOT}" ABSOLUTE)
file(GLOB_RECURSE files RELATIVE "${ROOT}" "${ROOT}/include/sae/*.h" "${ROOT}/src/*.h"
     "${ROOT}/src/*.cpp" "${ROOT}/apps/*.h" "${ROOT}/apps/*.cpp" "${ROOT}/tests/*.cpp")
if(NOT files)
  message(FATAL_ERROR "${ROOT}: no source file here; give the folder of the sources with -DROOT")
endif()

# tool_of(VARIABLE PATH): the tool that "include/sae/tools/x.h" or "src/tools/x/y.cpp" is a part of.
function(tool_of variable path)
  string(REGEX REPLACE "^.*tools/([a-z_]+).*$" "\\1" tool "${path}")
  set(${variable} "${tool}" PARENT_SCOPE)
endfunction()

function(complain text)
  message(SEND_ERROR "${text}")
endfunction()

foreach(file IN LISTS files)
  if(file MATCHES "^tests/")
    if(file MATCHES "^tests/(consumer|fuzz|support)/" OR NOT file MATCHES "/test_[a-z0-9_]+\\.cpp$")
      continue()
    endif()
    string(REGEX REPLACE "^tests/([a-z]+)/.*" "\\1" room "${file}")
    if(NOT room IN_LIST rooms AND NOT room STREQUAL "apps")
      complain("${file}: lies in no room; the rooms are ${rooms} apps")
    endif()
    continue()
  endif()
  file(STRINGS "${ROOT}/${file}" includes REGEX "^#include \"")
  if(file MATCHES "^apps/")
    foreach(line IN LISTS includes)
      if(NOT line MATCHES "^#include \"(sae/[a-z_/]+\\.h|[a-z_]+\\.h)\"")
        complain("${file}: ${line}: the command includes public headers (sae/...) and its own only")
      endif()
    endforeach()
    continue()
  endif()
  if(file STREQUAL "include/sae/sae.h")  # all of the public API
    continue()
  endif()
  string(REGEX REPLACE "^(include/sae|src)/([a-z]+)/.*" "\\2" room "${file}")
  list(FIND rooms "${room}" floor)
  if(floor EQUAL -1)
    complain("${file}: lies in no room; the rooms are ${rooms}")
    continue()
  endif()
  foreach(line IN LISTS includes)
    string(REGEX REPLACE "^#include \"(sae/)?([a-z]+)/.*" "\\2" other "${line}")
    list(FIND rooms "${other}" below)
    if(below EQUAL -1 OR below GREATER floor)
      complain("${file}: ${line} looks up from ${room}")
    elseif(room STREQUAL "tools" AND other STREQUAL "tools")
      tool_of(own "${file}")
      tool_of(their "${line}")
      if(NOT own STREQUAL their AND NOT own IN_LIST everyone_s_tools)
        complain("${file}: ${line}: ${own} includes another tool")
      endif()
    endif()
  endforeach()
endforeach()
