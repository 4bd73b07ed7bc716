# torchrev_find_torch(<argument of find_package>...): find_package(Torch), with
# the libraries of the very package that is found. TorchConfig.cmake looks for
# them in the folders of the system first, where another LibTorch may live,
# unless its own prefix is in CMAKE_PREFIX_PATH; what Python calls
# torch.utils.cmake_prefix_path is a folder within that prefix.
macro(torchrev_find_torch)
  set(torchrev_prefix_path "${CMAKE_PREFIX_PATH}")
  file(TO_CMAKE_PATH "$ENV{CMAKE_PREFIX_PATH}" torchrev_folders)
  list(TRANSFORM torchrev_folders APPEND "/Torch")
  foreach(dir IN LISTS CMAKE_PREFIX_PATH)
    list(APPEND torchrev_folders "${dir}/Torch")
  endforeach()
  foreach(dir "${Torch_DIR}" "$ENV{Torch_DIR}" ${torchrev_folders})
    if(EXISTS "${dir}/TorchConfig.cmake")
      get_filename_component(dir "${dir}/../../.." ABSOLUTE)
      list(APPEND CMAKE_PREFIX_PATH "${dir}")
    endif()
  endforeach()
  find_package(Torch ${ARGN})
  set(CMAKE_PREFIX_PATH "${torchrev_prefix_path}")
  unset(torchrev_prefix_path)
  unset(torchrev_folders)
endmacro()
