# What is asked of the compiler, and only where it can do it.
include(CheckCXXCompilerFlag)
include(CheckCXXSourceCompiles)
include(CheckLinkerFlag)

# torchrev_require_cxx20(): stops where C++20 was asked for and the compiler
# knows the option, but not the language.
function(torchrev_require_cxx20)
  set(CMAKE_REQUIRED_FLAGS "${CMAKE_CXX20_STANDARD_COMPILE_OPTION}")
  check_cxx_source_compiles(
    "#include <compare>
     #include <concepts>
     template <std::integral T> constexpr T twice(T x) { return x + x; }
     int main() { return (twice(0) <=> 0) == 0 ? 0 : 1; }"
    TORCHREV_COMPILER_KNOWS_CXX20)
  if(NOT TORCHREV_COMPILER_KNOWS_CXX20)
    # The next run asks again: the compiler may have been updated.
    unset(TORCHREV_COMPILER_KNOWS_CXX20 CACHE)
    message(
      FATAL_ERROR
        "torchrev: expected a C++20 compiler, which LibTorch ${Torch_VERSION} "
        "needs, but got ${CMAKE_CXX_COMPILER_ID} "
        "${CMAKE_CXX_COMPILER_VERSION} (${CMAKE_CXX_COMPILER}). Name a newer "
        "one in the environment variable CXX, such as g++ 11 or clang++ 14.")
  endif()
endfunction()

check_linker_flag(CXX "-Wl,--as-needed" TORCHREV_LINKER_HAS_AS_NEEDED)

# torchrev_warnings(<target>)
function(torchrev_warnings target)
  if(MSVC)
    target_compile_options(${target} PRIVATE /W3
                                             $<$<BOOL:${TORCHREV_WERROR}>:/WX>)
  else()
    target_compile_options(
      ${target} PRIVATE -Wall -Wextra -Wno-unused-parameter
                        $<$<BOOL:${TORCHREV_WERROR}>:-Werror>)
  endif()
endfunction()

# torchrev_hide_folders(<target> <folder>...): errors name source files, not
# folders of one machine.
function(torchrev_hide_folders target)
  check_cxx_compiler_flag("-fmacro-prefix-map=a=b" TORCHREV_COMPILER_MAPS_PATHS)
  if(TORCHREV_COMPILER_MAPS_PATHS)
    foreach(folder IN LISTS ARGN)
      target_compile_options(${target}
                             PRIVATE "-fmacro-prefix-map=${folder}/=")
    endforeach()
  endif()
endfunction()
