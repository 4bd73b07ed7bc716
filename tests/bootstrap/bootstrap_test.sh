#!/usr/bin/env bash
# Runs bootstrap.sh where something is missing or broken, mends it, and runs it
# again: the first run ends with one sentence that says what to do, the second
# goes on from there.
#
#   bootstrap_test.sh CASE SOURCE_DIR WORK_DIR [TORCH_DIR]
#
# PATH is a folder of links in WORK_DIR, where what compiles, tests and installs
# is a stand-in that writes down how it was called.
set -euo pipefail

readonly case=$1 source_dir=$2 work_dir=$3 real_torch_dir=${4:-}
readonly bin=$work_dir/bin calls=$work_dir/calls output=$work_dir/output
unset Torch_DIR CMAKE_PREFIX_PATH TORCHREV_TORCH_INDEX CXX CC PYTHONPATH
unset PIP_FIND_LINKS PIP_INDEX_URL PIP_EXTRA_INDEX_URL VIRTUAL_ENV
export TORCHREV_BUILD_DIR=$work_dir/build CMAKE_BUILD_PARALLEL_LEVEL=1
export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1
real_cmake=$(command -v cmake)
real_python=$(python3 -c 'import sys; print(sys.executable)' 2>/dev/null || :)
server=

stop() {
  printf '%s\n' "$@" >&2
  [[ ! -e $output ]] || cat "$output" >&2
  exit 1
}
skip() {
  printf 'Skipped: %s\n' "$*"
  exit 0
}
trap '[[ -z $server ]] || kill "$server"' EXIT

# stand_in NAME: a program with the text of standard input for its body.
stand_in() {
  { printf '#!/bin/sh\necho "%s $*" >>"%s"\n' "$1" "$calls" && cat; } \
    >"$bin/$1"
  chmod +x "$bin/$1"
}

make_sandbox() {
  local tool
  rm -rf "$work_dir"
  mkdir -p "$bin"
  for tool in bash sh sed awk mkdir rm dirname head find cat getconf chmod \
    sysctl uname; do
    if command -v "$tool" >/dev/null; then
      ln -s "$(command -v "$tool")" "$bin/$tool"
    fi
  done
  stand_in id <<<'echo 1000'
  stand_in c++ <<<'exit 0'
  stand_in ninja <<<'exit 0'
  stand_in ctest <<<'exit 0'
  # Configures nothing, and leaves the cache that a configured folder has.
  stand_in cmake <<STAND_IN
[ ! -e "$work_dir/broken" ] || { echo "the source is broken"; exit 1; }
[ "\$1" = --build ] || echo "Torch_DIR:PATH=$work_dir/torch" >"$work_dir/build/CMakeCache.txt"
STAND_IN
  mkdir "$work_dir/torch"
}

# A Python whose pip installs only where there is a file $work_dir/network.
make_python() {
  stand_in python3 <<STAND_IN
case "\$*" in
"-m venv"*)
  rm -rf "\$4"
  mkdir -p "\$4/bin" && cp "\$0" "\$4/bin/python" ;;
"-m pip install"*)
  [ -e "$work_dir/network" ] || { echo "no network"; exit 1; }
  mkdir -p "\${0%/bin/python}/Torch" ;;
"-")
  cat >/dev/null
  [ -d "\${0%/bin/python}/Torch" ] && echo "\${0%/bin/python}/Torch" ;;
"- "*) cat >/dev/null; exit 1 ;;
"-c import sys"*) echo "\$0" ;;
esac
STAND_IN
  ln -s "$(command -v cp)" "$bin/cp"
}

# run: bootstrap.sh test, in the sandbox.
run() {
  PATH=$bin "$bin/bash" "$source_dir/cmake/bootstrap.sh" test "$@" \
    >"$output" 2>&1 </dev/null
}

# Lines are joined, since a sentence may be broken into several.
says() {
  tr -s ' \n' ' ' <"$output" | sed 's/bootstrap: //g' | grep -qF -- "$1"
}

# fails SENTENCE: the run fails and says so.
fails() {
  if run; then stop "expected bootstrap.sh to fail"; fi
  says "$1" || stop "expected to read: $1"
}
# passes [CMAKE-OPTION...]: the run gets to the tests.
passes() {
  : >"$calls"
  run "$@" || stop "expected bootstrap.sh to pass"
  called ctest || stop "expected the tests to be run"
}
called() { grep -q -- "$1" "$calls"; }

no_compiler() {
  export Torch_DIR=$work_dir/torch
  rm "$bin/c++"
  fails "expected a C++ compiler, but found none. Install it (on Debian: apt-get\
 install g++) and run this command again."
  stand_in c++ <<<'exit 0'
  passes
}

no_cmake() {
  export Torch_DIR=$work_dir/torch
  mv "$bin/cmake" "$bin/hidden"
  fails "expected CMake 3.20 or newer, but found none. Install it"
  mv "$bin/hidden" "$bin/cmake"
  passes
}

no_network() {
  make_python
  fails "Run this command again with a network, or unpack a LibTorch and name\
 its folder in CMAKE_PREFIX_PATH."
  : >"$work_dir/network"
  passes
  passes
  if called "pip install"; then stop "torch was installed twice"; fi
}

# Whoever runs the test: no folder can be made below a file.
no_write_permission() {
  export Torch_DIR=$work_dir/torch
  : >"$work_dir/file"
  TORCHREV_BUILD_DIR=$work_dir/file/build fails "expected to write to\
 $work_dir/file/build, but may not. Name another folder in TORCHREV_BUILD_DIR."
  passes
  if [[ $(command -p id -u) -ne 0 ]]; then
    mkdir "$work_dir/read_only"
    chmod 555 "$work_dir/read_only"
    TORCHREV_BUILD_DIR=$work_dir/read_only fails "expected to write to"
  fi
}

no_libtorch_there() {
  Torch_DIR=$work_dir/nowhere fails "expected the folder of TorchConfig.cmake in\
 Torch_DIR, but got $work_dir/nowhere, which is no folder."
  export Torch_DIR=$work_dir/torch
  passes
}

# What an interrupted pip, or an interrupted compiler, leaves.
half_finished() {
  make_python
  : >"$work_dir/network"
  mkdir -p "$work_dir/build/venv/bin"
  cp "$bin/python3" "$work_dir/build/venv/bin/python"
  passes
  called "pip install" || stop "half of a torch was taken for a whole one"
  : >"$work_dir/broken"
  fails "Mend what it says above, and run this command again: it goes on from\
 here."
  rm "$work_dir/broken"
  passes
  if called "pip install"; then stop "torch was installed twice"; fi
}

# A compiler that knows the option for C++20, not the language.
old_compiler() {
  local real make
  [[ -n $real_torch_dir ]] || skip "this LibTorch does not need C++20"
  real=$(command -v c++) || skip "there is no c++"
  make=$(command -v make) || skip "there is no make"
  export Torch_DIR=$real_torch_dir
  rm "$bin/ninja"
  ln -s "$make" "$bin/make"
  # CMake and the compilers are real, and find what they need; nothing is built.
  stand_in cmake <<STAND_IN
[ "\$1" = --build ] && exit 0
PATH='$PATH' exec "$real_cmake" "\$@"
STAND_IN
  stand_in old_c++ <<STAND_IN
for word; do
  shift
  case \$word in -std=*++2*) word=-std=gnu++17 ;; esac
  set -- "\$@" "\$word"
done
PATH='$PATH' exec "$real" "\$@"
STAND_IN
  CXX=$bin/old_c++ fails "expected a C++20 compiler, which LibTorch"
  says "Name a newer one in the environment variable CXX" ||
    stop "expected to read what to do"
  CXX=$real passes -DTORCHREV_BUILD_EXAMPLES=OFF -DTORCHREV_INSTALL=OFF
}

# make_wheel FOLDER ORIGIN: a torch of a few bytes, which says where it is from.
make_wheel() {
  mkdir -p "$1"
  "$real_python" - "$1/torch-2.13.0-py3-none-any.whl" "$2" <<'PYTHON'
import sys, zipfile
info = "torch-2.13.0.dist-info/"
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("torch/__init__.py", "")
    wheel.writestr("torch/origin", sys.argv[2])
    wheel.writestr("torch/share/cmake/Torch/TorchConfig.cmake", "")
    wheel.writestr(info + "METADATA",
                   "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n")
    wheel.writestr(info + "WHEEL",
                   "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "")
PYTHON
}

# serve PROGRAM: a Python program that prints the port it listens at.
serve() {
  local tries=0
  "$real_python" -c "$1" "$work_dir/index" >"$work_dir/port" 2>/dev/null &
  server=$!
  until [[ -s $work_dir/port ]]; do
    tries=$((tries + 1))
    [[ $tries -lt 100 ]] || stop "the index does not start"
    sleep 0.1
  done
  export TORCHREV_TORCH_INDEX=http://127.0.0.1:$(cat "$work_dir/port")
}

prepare_index() {
  [[ -n $real_python ]] && "$real_python" -c 'import ensurepip, venv' ||
    skip "there is no Python 3 with venv"
  ln -s "$real_python" "$bin/python3"
  # The Python of the test may have a torch of its own.
  if "$real_python" -c 'import torch' 2>/dev/null; then
    skip "this Python has a torch"
  fi
  make_wheel "$work_dir/pip" "pip"
  make_wheel "$work_dir/index/torch" "the index"
  # As a URL: pip splits what is given here at spaces.
  export PIP_FIND_LINKS=file://${work_dir// /%20}/pip no_proxy=127.0.0.1
}

comes_from() {
  local origin
  origin=$(cat "$work_dir"/build/venv/lib/python*/site-packages/torch/origin)
  [[ $origin == "$1" ]] || stop "expected torch from $1, but got it from $origin"
}

index_that_answers() {
  prepare_index
  unset PIP_FIND_LINKS
  serve 'import functools, http.server as h, sys
handler = functools.partial(h.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = h.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print(server.server_port, flush=True)
server.serve_forever()'
  passes
  comes_from "the index"
}

# The index accepts connections and says nothing: pip's own way is taken.
index_that_hangs() {
  prepare_index
  export PIP_NO_INDEX=1
  serve 'import socket, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
time.sleep(600)'
  passes
  comes_from "pip"
}

make_sandbox
"$case"
echo "$case: as expected"
