# Installs the build tree BUILD_DIR, moves the result to PREFIX, and searches it
# for paths of the machine that built it: those in FORBIDDEN.
set(first "${PREFIX}-before-the-move")
file(REMOVE_RECURSE "${PREFIX}" "${first}")

execute_process(
  COMMAND "${CMAKE_COMMAND}" --install "${BUILD_DIR}" --prefix "${first}"
          --strip
  RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "Installing ${BUILD_DIR} failed.")
endif()
file(RENAME "${first}" "${PREFIX}")

foreach(path "${first}" ${FORBIDDEN})
  execute_process(COMMAND grep -rlF -- "${path}" "${PREFIX}"
                  OUTPUT_VARIABLE files)
  if(files)
    message(FATAL_ERROR "The path ${path} is baked into\n${files}")
  endif()
endforeach()
