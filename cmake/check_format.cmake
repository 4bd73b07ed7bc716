# Fails with clang-format's own messages if a C++ file is not formatted as
# .clang-format says.
#
#   cmake -DCLANG_FORMAT=clang-format -DVERSION=14 -P cmake/check_format.cmake
#
# Without a CLANG_FORMAT, or with one of another major version, it says so in
# the words by which ctest reports the test as skipped.
cmake_minimum_required(VERSION 3.20)

if(NOT CLANG_FORMAT)
  message("Skipped: clang-format was not found.")
  return()
endif()
execute_process(COMMAND "${CLANG_FORMAT}" --version OUTPUT_VARIABLE version)
if(NOT version MATCHES "version ${VERSION}\\.")
  string(STRIP "${version}" version)
  message("Skipped: the sources are formatted with clang-format ${VERSION}, "
          "but \"${version}\" was found.")
  return()
endif()

get_filename_component(root "${CMAKE_CURRENT_LIST_DIR}" DIRECTORY)
set(patterns)
foreach(folder include csrc tests examples)
  list(APPEND patterns "${root}/${folder}/*.h" "${root}/${folder}/*.cpp")
endforeach()
file(GLOB_RECURSE sources ${patterns})
list(LENGTH sources count)
if(count EQUAL 0)
  message(FATAL_ERROR "No C++ file under ${root}.")
endif()

execute_process(COMMAND "${CLANG_FORMAT}" --dry-run --Werror ${sources}
                RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "Formatting differs from .clang-format. Repair it with:\n"
                      "  clang-format -i FILE...")
endif()
message("${count} files are formatted.")
