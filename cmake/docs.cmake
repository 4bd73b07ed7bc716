# The target `docs`: the reference of the public headers, by Doxygen. A comment
# that Doxygen warns of, or a public name without one, fails the build.
find_package(Doxygen QUIET)
if(NOT DOXYGEN_FOUND)
  return()
endif()

set(DOXYGEN_PROJECT_NAME torchrev)
set(DOXYGEN_PROJECT_NUMBER ${PROJECT_VERSION})
set(DOXYGEN_PROJECT_BRIEF "${PROJECT_DESCRIPTION}")
set(DOXYGEN_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/docs")
set(DOXYGEN_STRIP_FROM_PATH "${PROJECT_SOURCE_DIR}/include")
set(DOXYGEN_GENERATE_LATEX NO)
set(DOXYGEN_QUIET YES)
set(DOXYGEN_WARN_AS_ERROR FAIL_ON_WARNINGS)
set(DOXYGEN_EXTRACT_ALL NO)
set(DOXYGEN_WARN_NO_PARAMDOC NO)
set(DOXYGEN_JAVADOC_AUTOBRIEF YES)
set(DOXYGEN_HAVE_DOT NO)
# What the library and LibTorch write with macros.
set(DOXYGEN_ENABLE_PREPROCESSING YES)
set(DOXYGEN_MACRO_EXPANSION YES)
set(DOXYGEN_EXPAND_ONLY_PREDEF YES)
set(DOXYGEN_PREDEFINED
    TORCHREV_API=
    "TORCH_ARG(T,name)=T name"
    "TORCH_MODULE(Name)=class Name : public torch::nn::ModuleHolder<Name##Impl> {}"
    "FORWARD_HAS_DEFAULT_ARGS(...)=")
set(DOXYGEN_EXCLUDE_SYMBOLS "torchrev::detail*")

doxygen_add_docs(docs "${PROJECT_SOURCE_DIR}/include/torchrev"
                 COMMENT "Reference in ${PROJECT_BINARY_DIR}/docs/html")
