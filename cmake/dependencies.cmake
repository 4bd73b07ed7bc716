# LibTorch comes from CMAKE_PREFIX_PATH or Torch_DIR and is never downloaded
# here; cmake/bootstrap.sh does that for those who want it.
#
# Its targets are part of torchrev's interface: where torchrev is a
# subdirectory, the project around it has to see them too. (From CMake 3.24 on;
# with an older one, that project calls find_package(Torch) itself.)
set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)
include("${CMAKE_CURRENT_LIST_DIR}/find_torch.cmake")
torchrev_find_torch(REQUIRED)
unset(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL)

if(Torch_VERSION VERSION_LESS 1.13)
  message(FATAL_ERROR "torchrev: expected LibTorch 1.13 or newer, but got "
                      "${Torch_VERSION} (${Torch_DIR}). Name the folder of a "
                      "newer one in CMAKE_PREFIX_PATH.")
elseif(Torch_VERSION VERSION_LESS 2.13)
  set(torchrev_cxx_standard cxx_std_17)
else()
  set(torchrev_cxx_standard cxx_std_20)
  torchrev_require_cxx20()
endif()

# A LibTorch with the old string ABI does not link with system packages.
if(TORCH_CXX_FLAGS MATCHES "_GLIBCXX_USE_CXX11_ABI=0")
  set(torchrev_system_packages OFF)
else()
  set(torchrev_system_packages ON)
endif()

include(FetchContent)
if(POLICY CMP0135)
  cmake_policy(SET CMP0135 NEW) # another archive is another source: build anew
endif()

# torchrev_download(<package> <url> <sha256> <variable>): the path of the
# archive, which a second run finds downloaded.
function(torchrev_download package url sha256 variable)
  string(TOUPPER ${package} name)
  set(${variable} "${url}" PARENT_SCOPE)
  if(FETCHCONTENT_FULLY_DISCONNECTED OR FETCHCONTENT_SOURCE_DIR_${name})
    return()
  endif()
  set(archive "${PROJECT_BINARY_DIR}/downloads/${package}.tar.gz")
  message(STATUS "${package} is not installed: fetching ${url}")
  if(NOT EXISTS "${archive}")
    file(DOWNLOAD ${url} "${archive}.part" STATUS status TLS_VERIFY ON
         INACTIVITY_TIMEOUT 60)
    list(POP_FRONT status code reason)
    if(NOT code EQUAL 0)
      message(FATAL_ERROR
        "torchrev: expected ${package} to be installed, or to be fetched from "
        "${url}, but got: ${reason}. Install ${package}, or run this again "
        "with a network.")
    endif()
    file(RENAME "${archive}.part" "${archive}")
  endif()
  set(${variable} "${archive}" PARENT_SCOPE)
endfunction()

# torchrev_dependency(<package> <target> <url> <sha256>): the installed package
# if there is one, else its source, pinned by tag and hash. Sources are never
# installed along with torchrev.
function(torchrev_dependency package target url sha256)
  if(TARGET ${target})
    return()
  endif()
  if(torchrev_system_packages)
    find_package(${package} CONFIG QUIET)
  endif()
  if(NOT TARGET ${target})
    set(INSTALL_GTEST OFF)
    set(FMT_INSTALL OFF)
    set(CLI11_INSTALL OFF)
    set(CMAKE_POLICY_DEFAULT_CMP0077 NEW) # option() keeps the three above
    torchrev_download(${package} ${url} ${sha256} source)
    FetchContent_Declare(${package} URL "${source}" URL_HASH SHA256=${sha256})
    FetchContent_MakeAvailable(${package})
  endif()
endfunction()

torchrev_dependency(
  fmt fmt::fmt-header-only
  https://github.com/fmtlib/fmt/archive/refs/tags/10.2.1.tar.gz
  1250e4cc58bf06ee631567523f48848dc4596133e163f02615c97f78bab6c811)

if(TORCHREV_BUILD_TESTS)
  torchrev_dependency(
    GTest GTest::gmock
    https://github.com/google/googletest/archive/refs/tags/v1.14.0.tar.gz
    8ad598c73ad796e0d8280b082cebd82a630d73e73cd3c70057938a6501bba5d7)
  # The string ABI of LibTorch, for a GoogleTest built here.
  get_target_property(imported GTest::gmock IMPORTED)
  if(NOT imported AND TORCH_CXX_FLAGS)
    target_compile_options(gtest PUBLIC ${TORCH_CXX_FLAGS})
  endif()
endif()

if(TORCHREV_BUILD_EXAMPLES OR TORCHREV_BUILD_BENCHMARKS)
  torchrev_dependency(
    CLI11 CLI11::CLI11
    https://github.com/CLIUtils/CLI11/archive/refs/tags/v2.4.2.tar.gz
    f2d893a65c3b1324c50d4e682c0cdc021dd0477ae2c048544f39eed6654b699a)
endif()
