# Searches bootstrap.sh for what bash 3.2 or the tools of BSD do not know.
cmake_minimum_required(VERSION 3.20)
set(script "${CMAKE_CURRENT_LIST_DIR}/../../cmake/bootstrap.sh")
file(READ "${script}" text)
foreach(pattern "nproc" "-printf" "-quit" "mapfile" "readarray" "declare -A"
                "readlink -f" "sed -i" "\\^\\^}" ",,}")
  if(text MATCHES "${pattern}")
    message(FATAL_ERROR "bootstrap.sh has ${pattern}.")
  endif()
endforeach()
