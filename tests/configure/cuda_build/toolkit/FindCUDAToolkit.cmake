# A toolkit to be found, and no more; of CASE part_of_a_toolkit, its compiler.
set(CUDAToolkit_FOUND TRUE)
if(NOT CASE STREQUAL "part_of_a_toolkit")
  foreach(name cudart cublas cufft curand)
    if(NOT TARGET CUDA::${name})
      add_library(CUDA::${name} INTERFACE IMPORTED)
    endif()
  endforeach()
endif()
