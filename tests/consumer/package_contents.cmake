# Makes the .tar.gz and the .deb of the build tree BUILD_DIR and compares the
# files in each with what belongs there, neither more nor less.
cmake_minimum_required(VERSION 3.20)

# list_archive(<archive> <variable>): the files in it, folders left out.
function(list_archive archive variable)
  execute_process(
    COMMAND "${CMAKE_COMMAND}" -E tar tf "${archive}"
    OUTPUT_VARIABLE files
    RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${archive} cannot be read.")
  endif()
  string(REGEX REPLACE "[^\n]*/\n" "" files "${files}")
  string(STRIP "${files}" files)
  string(REPLACE "\n" ";" files "${files}")
  set(${variable} "${files}" PARENT_SCOPE)
endfunction()

# compare(<what> <prefix> <files>): every file under prefix, all as expected.
function(compare what prefix files)
  list(TRANSFORM files REPLACE "^${prefix}/(.*)$" "\\1")
  list(SORT files)
  foreach(file IN LISTS files)
    message("${what}: ${file}")
  endforeach()
  if(NOT "${files}" STREQUAL "${expected}")
    string(REPLACE ";" "\n  " wanted "${expected}")
    message(FATAL_ERROR "${what} should hold\n  ${wanted}")
  endif()
endfunction()

file(GLOB_RECURSE headers RELATIVE "${SOURCE_DIR}" "${SOURCE_DIR}/include/*.h")
string(REGEX MATCH "^[0-9]+\\.[0-9]+" soversion "${VERSION}")
string(TOLOWER "${CONFIG}" config)
set(expected
    ${headers}
    include/torchrev/export.h
    ${LIBDIR}/libtorchrev.so
    ${LIBDIR}/libtorchrev.so.${soversion}
    ${LIBDIR}/libtorchrev.so.${VERSION}
    ${LIBDIR}/cmake/torchrev/find_torch.cmake
    ${LIBDIR}/cmake/torchrev/torchrev-config.cmake
    ${LIBDIR}/cmake/torchrev/torchrev-config-version.cmake
    ${LIBDIR}/cmake/torchrev/torchrev-targets.cmake
    ${LIBDIR}/cmake/torchrev/torchrev-targets-${config}.cmake
    share/doc/torchrev/LICENSE)
list(SORT expected)

file(REMOVE_RECURSE "${WORK_DIR}")
execute_process(
  COMMAND "${CPACK}" --config "${BUILD_DIR}/CPackConfig.cmake" -B "${WORK_DIR}"
  RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "cpack failed.")
endif()

file(GLOB archive "${WORK_DIR}/*.tar.gz")
list_archive("${archive}" files)
compare(".tar.gz" "[^/]*" "${files}")

# A .deb is an ar archive of control.tar.gz and data.tar.gz.
file(GLOB deb "${WORK_DIR}/*.deb")
execute_process(COMMAND "${CMAKE_COMMAND}" -E tar xf "${deb}"
                WORKING_DIRECTORY "${WORK_DIR}")
list_archive("${WORK_DIR}/data.tar.gz" files)
compare(".deb" "\\./usr" "${files}")
