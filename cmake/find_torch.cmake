# torchrev_find_torch(<argument of find_package>...): find_package(Torch), with
# the libraries of the very package that is found. TorchConfig.cmake looks for
# them in the folders of the system first, where another LibTorch may live,
# unless its own prefix is in CMAKE_PREFIX_PATH.
macro(torchrev_find_torch)
  set(torchrev_prefix_path "${CMAKE_PREFIX_PATH}")
  foreach(dir "${Torch_DIR}" "$ENV{Torch_DIR}")
    if(dir)
      get_filename_component(dir "${dir}/../../.." ABSOLUTE)
      list(APPEND CMAKE_PREFIX_PATH "${dir}")
    endif()
  endforeach()
  find_package(Torch ${ARGN})
  set(CMAKE_PREFIX_PATH "${torchrev_prefix_path}")
  unset(torchrev_prefix_path)
endmacro()
