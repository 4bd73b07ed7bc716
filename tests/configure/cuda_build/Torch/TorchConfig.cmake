# Does as PyTorch's package does: a build with CUDA looks for the toolkit unless
# torch::cudart exists, and stops where there is none.
set(Torch_VERSION 2.13.0)
get_filename_component(prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
file(GLOB with_cuda "${prefix}/lib/*torch_cuda*")
set(needs torch::cudart torch::nvtoolsext caffe2::cublas caffe2::cufft
          caffe2::curand caffe2::cudnn-public)

if(with_cuda AND NOT TARGET torch::cudart)
  find_package(CUDAToolkit QUIET)
  if(NOT CUDAToolkit_FOUND)
    message(FATAL_ERROR "This LibTorch uses CUDA, but there is no toolkit.")
  endif()
  foreach(name IN LISTS needs)
    add_library(${name} INTERFACE IMPORTED)
    target_link_libraries(${name} INTERFACE m)
  endforeach()
endif()
if(NOT TARGET torch)
  add_library(torch INTERFACE IMPORTED)
  if(with_cuda)
    target_link_libraries(torch INTERFACE ${needs})
  endif()
endif()
