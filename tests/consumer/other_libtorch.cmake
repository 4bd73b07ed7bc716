# Finds the package installed in PREFIX while the only LibTorch around is
# another than the TORCH_VERSION that it was built against.
cmake_minimum_required(VERSION 3.20)

file(WRITE "${WORK_DIR}/TorchConfig.cmake" "set(Torch_VERSION 1.2.3)\n")
set(Torch_DIR "${WORK_DIR}")
file(GLOB_RECURSE config "${PREFIX}/*/torchrev-config.cmake")
get_filename_component(torchrev_DIR "${config}" DIRECTORY)
find_package(torchrev CONFIG QUIET)

set(expected "torchrev ${VERSION} was built against LibTorch ${TORCH_VERSION}, \
but 1.2.3 was found.")
if(torchrev_FOUND)
  message(FATAL_ERROR "The package was found with another LibTorch.")
elseif(NOT torchrev_NOT_FOUND_MESSAGE STREQUAL expected)
  message(FATAL_ERROR "Expected \"${expected}\", but got "
                      "\"${torchrev_NOT_FOUND_MESSAGE}\".")
endif()
