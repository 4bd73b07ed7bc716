# What surrounds the code: its formatting, and torchrev as others get it.

# Other releases of clang-format format differently.
set(torchrev_clang_format_version 14)
find_program(TORCHREV_CLANG_FORMAT
             NAMES clang-format-${torchrev_clang_format_version} clang-format)
mark_as_advanced(TORCHREV_CLANG_FORMAT)
add_test(
  NAME format
  COMMAND
    "${CMAKE_COMMAND}" "-DCLANG_FORMAT=${TORCHREV_CLANG_FORMAT}"
    -DVERSION=${torchrev_clang_format_version} -P
    "${PROJECT_SOURCE_DIR}/cmake/check_format.cmake")
set_tests_properties(format PROPERTIES SKIP_REGULAR_EXPRESSION "Skipped:")

if(NOT TORCHREV_INSTALL)
  return()
endif()

set(consumer_dir "${CMAKE_CURRENT_LIST_DIR}/consumer")
set(consumer_build_dir "${CMAKE_CURRENT_BINARY_DIR}/consumer")
set(installed_dir "${consumer_build_dir}/moved")

# Installs once and moves the result: the fixture of the tests that use it.
# (Sanitizers write the paths of the sources into what they check.)
set(forbidden_paths "")
if(NOT TORCHREV_SANITIZE)
  set(forbidden_paths "${PROJECT_SOURCE_DIR}/" "${TORCH_INSTALL_PREFIX}/lib/lib")
endif()
add_test(
  NAME consumer.install
  COMMAND
    "${CMAKE_COMMAND}" "-DBUILD_DIR=${PROJECT_BINARY_DIR}"
    "-DPREFIX=${installed_dir}"
    "-DFORBIDDEN=${forbidden_paths}" -P "${consumer_dir}/install.cmake")
set_tests_properties(consumer.install PROPERTIES FIXTURES_SETUP installed)

add_test(
  NAME consumer.refuses_other_libtorch
  COMMAND
    "${CMAKE_COMMAND}" "-DPREFIX=${installed_dir}"
    -DVERSION=${PROJECT_VERSION} -DTORCH_VERSION=${Torch_VERSION}
    -DTORCH_ABI=${torchrev_torch_abi}
    "-DWORK_DIR=${consumer_build_dir}/other_libtorch" -P
    "${consumer_dir}/other_libtorch.cmake")
set_tests_properties(consumer.refuses_other_libtorch
                     PROPERTIES FIXTURES_REQUIRED installed)

# add_consumer_test(<name> <options>...): configures the consumer project with
# these options in a build folder of its own, builds it and runs its tests.
function(add_consumer_test name)
  set(flags "${CMAKE_CXX_FLAGS}")
  if(TORCHREV_SANITIZE)
    string(APPEND flags " -fsanitize=${TORCHREV_SANITIZE}")
  endif()
  add_test(
    NAME consumer.${name}
    COMMAND
      "${CMAKE_CTEST_COMMAND}" --build-and-test "${consumer_dir}"
      "${consumer_build_dir}/${name}" --build-generator "${CMAKE_GENERATOR}"
      --build-noclean --build-options "-DTorch_DIR=${Torch_DIR}"
      "-DCMAKE_BUILD_TYPE=${CMAKE_BUILD_TYPE}" "-DCMAKE_CXX_FLAGS=${flags}"
      "-DCMAKE_C_COMPILER=${CMAKE_C_COMPILER}"
      "-DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}"
      "-DCMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER}" ${ARGN}
      --test-command
      "${CMAKE_CTEST_COMMAND}" --output-on-failure)
  set_tests_properties(consumer.${name} PROPERTIES PROCESSORS 2)
endfunction()

add_consumer_test(build_and_run "-DCMAKE_PREFIX_PATH=${installed_dir}")
set_tests_properties(consumer.build_and_run PROPERTIES FIXTURES_REQUIRED
                                                       installed)
# It builds the library once more: as fast as here.
add_consumer_test(
  fetch_content
  "-DTORCHREV_SOURCE_DIR=${PROJECT_SOURCE_DIR}"
  "-DTORCHREV_PRECOMPILED_HEADERS=${TORCHREV_PRECOMPILED_HEADERS}"
  "-DCMAKE_UNITY_BUILD=${CMAKE_UNITY_BUILD}"
  "-DCMAKE_UNITY_BUILD_BATCH_SIZE=${CMAKE_UNITY_BUILD_BATCH_SIZE}")

if(torchrev_top_level)
  add_test(
    NAME package_contents
    COMMAND
      "${CMAKE_COMMAND}" "-DCPACK=${CMAKE_CPACK_COMMAND}"
      "-DBUILD_DIR=${PROJECT_BINARY_DIR}" "-DSOURCE_DIR=${PROJECT_SOURCE_DIR}"
      "-DWORK_DIR=${consumer_build_dir}/packages" -DVERSION=${PROJECT_VERSION}
      "-DLIBDIR=${CMAKE_INSTALL_LIBDIR}" "-DCONFIG=${CMAKE_BUILD_TYPE}" -P
      "${consumer_dir}/package_contents.cmake")
endif()
