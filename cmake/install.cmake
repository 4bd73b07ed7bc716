# What `cmake --install` and CPack deliver: the library, its headers, and a
# package for find_package(torchrev CONFIG). No absolute path is written into
# any of it, so the installed tree can be moved.
include(CMakePackageConfigHelpers)

set(torchrev_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/torchrev")

install(
  TARGETS torchrev
  EXPORT torchrev-targets
  RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}"
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/torchrev"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(FILES "${PROJECT_BINARY_DIR}/include/torchrev/export.h"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/torchrev")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE"
        DESTINATION "${CMAKE_INSTALL_DOCDIR}")
install(
  EXPORT torchrev-targets
  NAMESPACE torchrev::
  DESTINATION "${torchrev_package_dir}")

string(REGEX MATCH "^[0-9]+\\.[0-9]+" torchrev_torch_minor "${Torch_VERSION}")
string(REPLACE "." "\\\\." torchrev_torch_minor_regex "${torchrev_torch_minor}")
set(torchrev_torch_abi 1)
if("${TORCH_CXX_FLAGS}" MATCHES "_GLIBCXX_USE_CXX11_ABI=0")
  set(torchrev_torch_abi 0)
endif()
configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/torchrev-config.cmake.in"
  "${PROJECT_BINARY_DIR}/torchrev-config.cmake"
  INSTALL_DESTINATION "${torchrev_package_dir}")
write_basic_package_version_file(
  "${PROJECT_BINARY_DIR}/torchrev-config-version.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/torchrev-config.cmake"
              "${PROJECT_BINARY_DIR}/torchrev-config-version.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/find_torch.cmake"
        DESTINATION "${torchrev_package_dir}")

# CPack belongs to the project that is built, and that may be another one.
if(NOT torchrev_top_level)
  return()
endif()

set(CPACK_GENERATOR TGZ DEB)
set(CPACK_PACKAGE_VENDOR "The torchrev authors")
set(CPACK_PACKAGE_CONTACT "The torchrev authors")
set(CPACK_RESOURCE_FILE_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON) # and run ldconfig
# A LibTorch of the system is a dependency that dpkg knows of; any other is the
# user's to provide, and torchrev-config.cmake checks its version.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libc6, libgcc-s1, libstdc++6")
if("${TORCH_INSTALL_PREFIX}" STREQUAL "/usr")
  string(REGEX REPLACE "^.*\\." "" minor "${torchrev_torch_minor}")
  string(REGEX REPLACE "\\..*$" "" major "${torchrev_torch_minor}")
  math(EXPR minor "${minor} + 1")
  string(APPEND CPACK_DEBIAN_PACKAGE_DEPENDS
         ", libtorch-dev (>= ${torchrev_torch_minor}), "
         "libtorch-dev (<< ${major}.${minor})")
endif()
include(CPack)
