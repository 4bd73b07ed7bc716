# Finds the package installed in PREFIX while the only LibTorch around is
# another than the TORCH_VERSION that it was built against, or one of the other
# ABI, which is not TORCH_ABI.
cmake_minimum_required(VERSION 3.20)

file(GLOB_RECURSE config "${PREFIX}/*/torchrev-config.cmake")
get_filename_component(torchrev_dir "${config}" DIRECTORY)

# expect_refusal(<text of TorchConfig.cmake> <message>)
function(expect_refusal torch_config expected)
  file(WRITE "${WORK_DIR}/TorchConfig.cmake" "${torch_config}")
  set(Torch_DIR "${WORK_DIR}")
  set(torchrev_DIR "${torchrev_dir}")
  find_package(torchrev CONFIG QUIET)
  string(APPEND expected " Name another in CMAKE_PREFIX_PATH, or build torchrev "
         "with this one.")
  if(torchrev_FOUND)
    message(FATAL_ERROR "The package was found with another LibTorch.")
  elseif(NOT torchrev_NOT_FOUND_MESSAGE STREQUAL expected)
    message(FATAL_ERROR "Expected \"${expected}\", but got "
                        "\"${torchrev_NOT_FOUND_MESSAGE}\".")
  endif()
endfunction()

expect_refusal(
  "set(Torch_VERSION 1.2.3)\n"
  "torchrev ${VERSION} was built against LibTorch ${TORCH_VERSION}, but 1.2.3 \
was found.")
math(EXPR other "1 - ${TORCH_ABI}")
expect_refusal(
  "set(Torch_VERSION ${TORCH_VERSION})
set(TORCH_CXX_FLAGS -D_GLIBCXX_USE_CXX11_ABI=${other})\n"
  "torchrev ${VERSION} was built against a LibTorch with \
_GLIBCXX_USE_CXX11_ABI=${TORCH_ABI}, but one with ${other} was found.")
