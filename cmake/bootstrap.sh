#!/usr/bin/env bash
# Builds torchrev on a machine that has a C++ compiler and CMake, and runs the
# demo or the tests. What else is needed is found or fetched; a second run goes
# on where the first one stopped, and builds nothing that is built.
#
#   bash cmake/bootstrap.sh demo [CMAKE-OPTION...]
#   bash cmake/bootstrap.sh test [CMAKE-OPTION...]
#
# Options go to CMake's configure step. With the LibTorch 1.13.1 of Debian,
# for instance (apt-get install libtorch-dev libopenblas0):
#
#   Torch_DIR=/usr/lib/x86_64-linux-gnu/cmake/Torch \
#   TORCHREV_BUILD_DIR=build-1.13 \
#   bash cmake/bootstrap.sh test -DTORCHREV_BUILD_EXAMPLES=OFF
#
# Variables that it reads:
#   Torch_DIR, CMAKE_PREFIX_PATH   a LibTorch of yours. Without one: that of the
#                                  active Python, else torch from pip, installed
#                                  into the build folder.
#   TORCHREV_BUILD_DIR             the build folder. Default: ./build.
#   TORCHREV_TORCH_INDEX           a pip index to take torch from. Default:
#                                  PyTorch's index of CPU builds.
#   CMAKE_BUILD_PARALLEL_LEVEL     compilers at once. Default: as many as cores
#                                  and memory allow.
#
# Packages of the system are installed only where that needs no password: by
# `demo` where root runs it, by `test` also where sudo asks for none.
set -euo pipefail

readonly torch_version=2.13.0
readonly torch_index=${TORCHREV_TORCH_INDEX:-https://download.pytorch.org/whl/cpu}
readonly memory_per_job_mib=2500
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build_dir=${TORCHREV_BUILD_DIR:-$source_dir/build}
what=${1:-}
python=python3
torch_dir=

say() { printf 'bootstrap: %s\n' "$*"; }
fail() {
  printf 'bootstrap: %s\n' "$@" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

is_root() { [[ $(id -u) -eq 0 ]]; }
as_root() { if is_root; then "$@"; else sudo -n "$@"; fi; }
can_install() {
  have apt-get && { is_root || { [[ $what == test ]] && have sudo &&
    sudo -n true 2>/dev/null; }; }
}

# logged FILE COMMAND...: shows what the command prints only where it fails.
logged() {
  local log=$build_dir/$1
  shift
  "$@" >"$log" 2>&1 </dev/null || {
    cat "$log" >&2
    return 1
  }
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y \
    --no-install-recommends "$@"
}

# install_packages PACKAGE...: Debian packages, by apt-get.
install_packages() {
  say "installing system packages: $*"
  as_root apt-get update >"$build_dir/apt-update.log" 2>&1 </dev/null ||
    say "going on with the package lists that are there"
  logged apt-install.log apt_install "$@"
}

# require PACKAGE WORDS: installs what nothing goes without, or says what to do.
require() {
  if can_install && install_packages "$1"; then return 0; fi
  fail "expected $2, but found none. Install it (on Debian: apt-get install" \
    "$1) and run this command again."
}

require_tools() {
  local compiler=${CXX:-c++}
  have "$compiler" || have "${compiler%% *}" || require g++ "a C++ compiler"
  have cmake || require cmake "CMake 3.20 or newer"
  have ninja || have make || require ninja-build "Ninja or Make"
}

# What saves a download (the libraries), time (Ninja) or a skipped test, and the
# images of train_revnet with the library that unpacks them.
add_useful_packages() {
  local package packages=(libfmt-dev libcli11-dev) missing=()
  have ninja || missing=(ninja-build)
  if [[ $what == test ]]; then
    packages=(libfmt-dev libcli11-dev libgtest-dev libgmock-dev zlib1g-dev
      dataset-fashion-mnist)
    have clang-format || missing=(${missing[@]+"${missing[@]}"} clang-format)
  fi
  have dpkg || return 0
  for package in "${packages[@]}"; do
    dpkg -s "$package" >/dev/null 2>&1 ||
      missing=(${missing[@]+"${missing[@]}"} "$package")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  if can_install; then
    install_packages "${missing[@]}" 2>/dev/null && return 0
    # One that does not exist here must not stop the others.
    for package in "${missing[@]}"; do
      apt_install "$package" >>"$build_dir/apt-install.log" 2>&1 </dev/null ||
        say "going on without $package"
    done
    return 0
  fi
  say "going on without ${missing[*]}: CMake fetches the sources of libraries"
  say "that it cannot do without; the tests of what is missing are skipped."
}

# The folder of TorchConfig.cmake in CMAKE_PREFIX_PATH, if it is there.
torch_in_prefix_path() {
  local prefix found
  local IFS=':;'
  for prefix in ${CMAKE_PREFIX_PATH:-}; do
    found=$(find -L "$prefix" -maxdepth 5 -name TorchConfig.cmake 2>/dev/null |
      head -n 1) || true
    if [[ -n $found ]]; then
      dirname "$found"
      return
    fi
  done
  return 1
}

# torch_in_python PYTHON: the same for the torch of that Python, if all of it is
# there: pip writes a package's metadata last.
torch_in_python() {
  "$1" 2>/dev/null - <<'PYTHON'
import importlib.metadata, importlib.util, os, sys
importlib.metadata.version("torch")
spec = importlib.util.find_spec("torch")
folder = os.path.join(os.path.dirname(spec.origin), "share", "cmake", "Torch")
sys.exit(print(folder) if os.path.isdir(folder) else 1)
PYTHON
}

# Whether the index of CPU builds answers within ten seconds.
index_answers() {
  "$1" - "$torch_index/torch/" >/dev/null 2>&1 <<'PYTHON'
import signal, sys, urllib.request
signal.alarm(10)
sys.exit(urllib.request.urlopen(sys.argv[1], timeout=10).status != 200)
PYTHON
}

# Makes a virtual environment with torch in it, in the build folder. The CPU
# build is a tenth of what pip fetches otherwise on Linux, a build with CUDA.
install_torch() {
  local install=("$1/bin/python" -m pip install "torch==$torch_version")
  say "no LibTorch in Torch_DIR, CMAKE_PREFIX_PATH or the active Python:"
  have python3 || require python3-venv "Python 3 (to fetch LibTorch)"
  python3 -c 'import ensurepip, venv' >/dev/null 2>&1 ||
    require python3-venv "the venv module of Python 3"
  say "installing torch $torch_version with pip into $1 (some minutes)"
  logged venv.log python3 -m venv --clear "$1" ||
    fail "expected to make a virtual environment in $1, but Python failed, see" \
      "above. Remove that folder and run this command again."
  if index_answers "$1/bin/python" &&
    "${install[@]}" --index-url "$torch_index" >"$build_dir/pip.log" 2>&1 \
      </dev/null; then
    return 0
  fi
  say "$torch_index does not offer it: taking what pip takes by itself"
  logged pip.log "${install[@]}" ||
    fail "expected pip to install torch $torch_version, but it failed, see" \
      "above. Run this command again with a network, or unpack a LibTorch and" \
      "name its folder in CMAKE_PREFIX_PATH."
}

find_torch() {
  local venv=$build_dir/venv
  if [[ -n ${Torch_DIR:-} ]]; then
    torch_dir=$Torch_DIR
  elif ! torch_dir=$(torch_in_prefix_path) &&
    ! torch_dir=$(torch_in_python "$python"); then
    python=$venv/bin/python
    torch_in_python "$python" >/dev/null || install_torch "$venv"
    torch_dir=$(torch_in_python "$python") ||
      fail "expected a CMake package in the torch in $venv, but found none." \
        "Remove that folder and run this command again."
  fi
  [[ -d $torch_dir ]] ||
    fail "expected the folder of TorchConfig.cmake in Torch_DIR, but got" \
      "$torch_dir, which is no folder."
  torch_dir=$(cd "$torch_dir" && pwd)
  say "LibTorch: $torch_dir"
}

# configure [CMAKE-OPTION...]
configure() {
  local cache=$build_dir/CMakeCache.txt first= executable
  # Nothing here compiles for CUDA: a toolkit, whatever its version, is not used.
  local options=(-DCMAKE_BUILD_TYPE=Release "-DTorch_DIR:PATH=$torch_dir"
    -DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON)
  if executable=$("$python" -c 'import sys; print(sys.executable)' 2>/dev/null)
  then
    options=("${options[@]}" "-DPython3_EXECUTABLE:FILEPATH=$executable")
  fi
  if [[ -e $cache ]] &&
    [[ $(sed -n 's/^Torch_DIR:[A-Z]*=//p' "$cache") != "$torch_dir" ]]; then
    say "the build folder is for another LibTorch: configuring it anew"
    rm -rf "$cache" "$build_dir/CMakeFiles"
  fi
  # The demo needs no test, nor what tests need.
  if [[ $what == test ]]; then
    options=("${options[@]}" -DTORCHREV_BUILD_TESTS=ON)
  elif [[ ! -e $cache ]]; then
    options=("${options[@]}" -DTORCHREV_BUILD_TESTS=OFF)
  fi
  if [[ ! -e $cache ]]; then
    first=yes
    if have ninja; then options=("${options[@]}" -G Ninja); fi
    # Parsing LibTorch costs more than compiling most of the files that include
    # it: ten of them compiled as one take half the time.
    options=("${options[@]}" -DCMAKE_UNITY_BUILD=ON
      -DCMAKE_UNITY_BUILD_BATCH_SIZE=10)
  fi
  say "configuring $build_dir"
  logged configure.log cmake -S "$source_dir" -B "$build_dir" "${options[@]}" \
    "$@" || {
    # The next run looks for a compiler again; what an earlier run has built
    # stays.
    if [[ -n $first ]]; then rm -rf "$cache" "$build_dir/CMakeFiles"; fi
    fail "expected CMake to configure torchrev, but it stopped. Mend what it" \
      "says above, and run this command again: it goes on from here."
  }
}

# How many compilers fit into the cores and the memory.
parallel_jobs() {
  local cores memory
  cores=$(getconf _NPROCESSORS_ONLN)
  if [[ -r /proc/meminfo ]]; then
    memory=$(awk '/^MemAvailable/ {print int($2 / 1024)}' /proc/meminfo)
  else
    memory=$(($(sysctl -n hw.memsize 2>/dev/null || echo 0) / 1048576))
  fi
  local by_memory=$((memory / memory_per_job_mib))
  local jobs=$((cores < by_memory ? cores : by_memory))
  echo $((jobs > 0 ? jobs : 1))
}

# build TARGET
build() {
  say "building $1, $jobs compilers at once"
  cmake --build "$build_dir" --parallel "$jobs" --target "$1" </dev/null ||
    fail "expected $1 to be built, but the build stopped. Mend what it says" \
      "above, and run this command again: it goes on from here."
}

main() {
  if [[ ! $what =~ ^(demo|test)$ ]]; then
    sed -n '2,/^set/ s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
  fi
  shift
  { mkdir -p "$build_dir" && [[ -w $build_dir ]]; } 2>/dev/null ||
    fail "expected to write to $build_dir, but may not. Name another folder in" \
      "TORCHREV_BUILD_DIR."
  build_dir=$(cd "$build_dir" && pwd)
  local jobs=${CMAKE_BUILD_PARALLEL_LEVEL:-$(parallel_jobs)}
  require_tools
  add_useful_packages
  find_torch
  configure "$@"
  if [[ $what == demo ]]; then
    build train_reformer
    exec "$build_dir/examples/train_reformer" --demo
  fi
  build all
  exec ctest --test-dir "$build_dir" --output-on-failure --parallel "$jobs"
}

main "$@"
