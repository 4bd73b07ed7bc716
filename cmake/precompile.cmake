# A precompiled <torch/torch.h>: parsing it costs more than compiling most of
# the files that include it.
option(TORCHREV_PRECOMPILED_HEADERS
       "Precompile <torch/torch.h> for tests and examples"
       ${torchrev_top_level})

# ccache serves compiler calls that repeat; a launcher of the user's stays.
if(torchrev_top_level AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(TORCHREV_CCACHE ccache)
  mark_as_advanced(TORCHREV_CCACHE)
  if(TORCHREV_CCACHE)
    # Without these two ccache passes on every file that uses such a header.
    set(CMAKE_CXX_COMPILER_LAUNCHER
        "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros
        "${TORCHREV_CCACHE}")
  endif()
endif()

# What ccache needs to see a precompiled header in a preprocessed file (GCC),
# and to get the same one from the same text (Clang).
function(torchrev_cacheable_precompiled_header target)
  target_compile_options(
    ${target}
    PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>
            "$<$<CXX_COMPILER_ID:Clang>:SHELL:-Xclang -fno-pch-timestamp>")
endfunction()

# The target that owns the header, made by the first that asks for it. It is an
# executable's object in all but name: no -fPIC, the flags of torch and the
# language standard of torchrev, since a compiler passes over a precompiled
# header that was made with other flags.
function(torchrev_add_precompiled_header)
  if(TARGET torchrev_precompiled)
    return()
  endif()
  set(source "${PROJECT_BINARY_DIR}/torchrev_precompiled.cpp")
  file(GENERATE OUTPUT "${source}" CONTENT "// Owns the precompiled header.\n")
  add_library(torchrev_precompiled OBJECT "${source}")
  target_link_libraries(torchrev_precompiled PRIVATE torch)
  target_compile_features(torchrev_precompiled PRIVATE ${torchrev_cxx_standard})
  target_precompile_headers(torchrev_precompiled PRIVATE <torch/torch.h>)
  torchrev_cacheable_precompiled_header(torchrev_precompiled)
endfunction()

# torchrev_precompile(<target>): includes the precompiled <torch/torch.h> in
# every source of the executable <target>.
function(torchrev_precompile target)
  if(TORCHREV_PRECOMPILED_HEADERS)
    torchrev_add_precompiled_header()
    target_precompile_headers(${target} REUSE_FROM torchrev_precompiled)
    torchrev_cacheable_precompiled_header(${target})
  endif()
endfunction()

# torchrev_precompile_library(<target> <header>...): a precompiled header of its
# own for a library, whose code is position independent.
function(torchrev_precompile_library target)
  if(TORCHREV_PRECOMPILED_HEADERS)
    target_precompile_headers(${target} PRIVATE ${ARGN})
    torchrev_cacheable_precompiled_header(${target})
  endif()
endfunction()
