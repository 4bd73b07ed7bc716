# Tests that are Python programs. They run in the Python whose torch is the
# LibTorch in use, and are reported as skipped where there is none.
find_package(Python3 COMPONENTS Interpreter)

# torchrev_torch_of(<python> <result>): the folder of its torch, or "".
function(torchrev_torch_of python result)
  set(program
      "import importlib.util, os"
      "origin = importlib.util.find_spec('torch').origin"
      "print(os.path.dirname(os.path.realpath(origin)))")
  list(JOIN program "\n" program)
  execute_process(
    COMMAND "${python}" -c "${program}"
    OUTPUT_VARIABLE folder
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  set(${result} "${folder}" PARENT_SCOPE)
endfunction()

# The active Python, or that of the virtual environment that LibTorch is in.
set(torchrev_python "")
get_filename_component(torch_in_use "${TORCH_INSTALL_PREFIX}" REALPATH)
foreach(candidate "${Python3_EXECUTABLE}"
                  "${TORCH_INSTALL_PREFIX}/../../../../bin/python3")
  torchrev_torch_of("${candidate}" torch_of_candidate)
  if(NOT torchrev_python AND torch_of_candidate STREQUAL torch_in_use)
    set(torchrev_python "${candidate}")
  endif()
endforeach()

set(torchrev_python_skipped "")
if(NOT torchrev_python)
  set(torchrev_python_skipped
      "Skipped: there is no Python whose torch is the LibTorch in use.")
endif()

set(torchrev_python_environment
    OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1)

# Python is not sanitized, so that the runtime of a sanitized library has to be
# loaded before it, along with the C++ runtime whose exceptions it follows.
# What the interpreter never frees is no leak of the library's.
if(TORCHREV_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  foreach(runtime asan stdc++)
    execute_process(
      COMMAND "${CMAKE_CXX_COMPILER}" -print-file-name=lib${runtime}.so
      OUTPUT_VARIABLE ${runtime}
      OUTPUT_STRIP_TRAILING_WHITESPACE)
  endforeach()
  list(APPEND torchrev_python_environment "LD_PRELOAD=${asan}:${stdc++}"
       ASAN_OPTIONS=detect_leaks=0)
elseif(TORCHREV_SANITIZE)
  set(torchrev_python_skipped
      "Skipped: Python does not run with these sanitizers.")
endif()

# torchrev_add_python_test(<name> <script> <argument>...)
function(torchrev_add_python_test name script)
  if(torchrev_python_skipped)
    add_test(NAME ${name} COMMAND "${CMAKE_COMMAND}" -E echo
                                  "${torchrev_python_skipped}")
    set_tests_properties(${name} PROPERTIES SKIP_REGULAR_EXPRESSION "Skipped:")
  else()
    add_test(NAME ${name} COMMAND "${torchrev_python}" "${script}" ${ARGN})
    set_tests_properties(${name} PROPERTIES ENVIRONMENT
                                            "${torchrev_python_environment}")
  endif()
endfunction()
