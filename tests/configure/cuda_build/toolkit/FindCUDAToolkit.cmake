set(CUDAToolkit_FOUND TRUE) # a toolkit to be found, and no more
