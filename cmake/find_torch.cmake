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
  torchrev_stand_in_for_cuda()
  find_package(Torch ${ARGN})
  set(CMAKE_PREFIX_PATH "${torchrev_prefix_path}")
  unset(torchrev_prefix_path)
  unset(torchrev_folders)
endmacro()

# A LibTorch with CUDA, which is what pip gives on Linux, brings all that its
# programs run with. Its CMake package still stops where there is no CUDA
# toolkit to compile with, unless the targets that it takes from the toolkit
# exist already. torchrev compiles nothing for CUDA: empty targets will do.
#
# With a toolkit, PyTorch's package uses that one; a part of one (a compiler
# without libraries, say), of which it would say that it cannot find CUDA, counts
# as none. Where this is not wanted, CMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON
# passes over it.
function(torchrev_stand_in_for_cuda)
  unset(torchrev_torch_cuda CACHE)
  find_library(torchrev_torch_cuda torch_cuda HINTS "${Torch_ROOT}"
                                                    "$ENV{Torch_ROOT}"
               PATH_SUFFIXES lib)
  set(with_cuda "${torchrev_torch_cuda}")
  unset(torchrev_torch_cuda CACHE)
  # torch::cudart exists where find_package(Torch) has been called before.
  if(NOT with_cuda OR TARGET torch::cudart)
    return()
  endif()
  find_package(CUDAToolkit QUIET)
  if(CUDAToolkit_FOUND
     AND TARGET CUDA::cudart
     AND TARGET CUDA::cublas
     AND TARGET CUDA::cufft
     AND TARGET CUDA::curand)
    return()
  endif()
  foreach(name torch::cudart torch::nvtoolsext caffe2::cublas caffe2::cufft
               caffe2::curand caffe2::cudnn-public)
    if(NOT TARGET ${name})
      # Global, as those who link torch may be in another directory.
      add_library(${name} INTERFACE IMPORTED GLOBAL)
    endif()
  endforeach()
endfunction()
