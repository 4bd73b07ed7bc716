#!/usr/bin/env bash
# Builds torchrev on a machine that has a C++ compiler, CMake and Python 3, and
# runs the demo or the tests. What else is needed is found or installed; a
# second run installs and builds nothing.
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
#   CMAKE_BUILD_PARALLEL_LEVEL     compilers at once. Default: as many as cores
#                                  and memory allow.
set -euo pipefail

readonly torch_version=2.13.0
readonly memory_per_job_mib=2500
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build_dir=${TORCHREV_BUILD_DIR:-$source_dir/build}
python=python3
torch_dir=

say() { printf 'bootstrap: %s\n' "$*"; }
fail() {
  printf 'bootstrap: %s\n' "$@" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
  if [[ $(id -u) -eq 0 ]]; then "$@"; else sudo "$@"; fi
}
can_install() { have apt-get && { [[ $(id -u) -eq 0 ]] || have sudo; }; }

# logged FILE COMMAND...: shows what the command prints only where it fails.
logged() {
  local log=$build_dir/$1
  shift
  "$@" >"$log" 2>&1 </dev/null || {
    cat "$log" >&2
    return 1
  }
}

# install_packages PACKAGE...: Debian packages, by apt-get.
install_packages() {
  say "installing system packages: $*"
  logged apt-update.log as_root apt-get update ||
    say "going on with the package lists that are there"
  logged apt-install.log as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "$@"
}

# What nothing goes without.
require_tools() {
  local missing=() packages=() compiler=${CXX:-c++}
  have "${compiler%% *}" || { missing+=("a C++ compiler") packages+=(g++); }
  have cmake || { missing+=("CMake 3.18 or newer") packages+=(cmake); }
  have ninja || have make || { missing+=("Ninja") packages+=(ninja-build); }
  have python3 || { missing+=("Python 3") packages+=(python3-venv); }
  ((${#missing[@]})) || return 0
  can_install || fail "missing:" "${missing[@]/#/  }" \
    "Install it, or run this script as root or with sudo where there is" \
    "apt-get: it then installs ${packages[*]}."
  install_packages "${packages[@]}" || fail "missing:" "${missing[@]/#/  }"
}

# What saves a download (the libraries), time (Ninja) or a skipped test, and the
# images of train_revnet with the library that unpacks them.
add_useful_packages() {
  local package missing=()
  have ninja || missing+=(ninja-build)
  have clang-format || missing+=(clang-format)
  if have dpkg; then
    for package in libfmt-dev libgtest-dev libgmock-dev libcli11-dev \
      zlib1g-dev dataset-fashion-mnist; do
      dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
    done
  fi
  ((${#missing[@]})) || return 0
  if can_install && install_packages "${missing[@]}"; then return 0; fi
  say "going on without ${missing[*]}:"
  say "CMake downloads the sources of libraries that are not installed (without"
  say "zlib train_revnet reads unpacked images only), and without clang-format"
  say "the format test is skipped."
}

# The folder of TorchConfig.cmake in CMAKE_PREFIX_PATH, if it is there.
torch_in_prefix_path() {
  local prefix prefixes found
  IFS=':;' read -ra prefixes <<<"${CMAKE_PREFIX_PATH:-}"
  for prefix in "${prefixes[@]}"; do
    found=$(find -L "$prefix" -maxdepth 5 -name TorchConfig.cmake -printf %h \
      -quit 2>/dev/null) || true
    if [[ -n $found ]]; then
      echo "$found"
      return
    fi
  done
  return 1
}

# torch_in_python PYTHON: the same for the torch of that Python.
torch_in_python() {
  "$1" 2>/dev/null - <<'PYTHON'
import importlib.util, os, sys
spec = importlib.util.find_spec("torch")
folder = os.path.join(os.path.dirname(spec.origin), "share", "cmake", "Torch")
sys.exit(print(folder) if os.path.isdir(folder) else 1)
PYTHON
}

# Makes a virtual environment with torch in it, in the build folder.
install_torch() {
  say "no LibTorch in Torch_DIR, CMAKE_PREFIX_PATH or the active Python:"
  say "installing torch $torch_version with pip into $1 (some minutes)"
  if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
    can_install || fail "missing: the venv module of Python 3 (on Debian, the" \
      "package python3-venv)."
    install_packages python3-venv || fail "missing: python3-venv"
  fi
  logged venv.log python3 -m venv "$1"
  logged pip.log "$1/bin/python" -m pip install "torch==$torch_version" ||
    fail "pip cannot install torch $torch_version. Unpack a LibTorch instead" \
      "and name its folder in CMAKE_PREFIX_PATH."
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
      fail "the torch in $venv has no CMake package."
  fi
  [[ -d $torch_dir ]] || fail "there is no folder $torch_dir."
  torch_dir=$(cd "$torch_dir" && pwd)
  say "LibTorch: $torch_dir"
}

# configure [CMAKE-OPTION...]
configure() {
  local cache=$build_dir/CMakeCache.txt options=(-DCMAKE_BUILD_TYPE=Release)
  local executable
  executable=$("$python" -c 'import sys; print(sys.executable)')
  if [[ -e $cache ]] &&
    [[ $(sed -n 's/^Torch_DIR:[A-Z]*=//p' "$cache") != "$torch_dir" ]]; then
    say "the build folder is for another LibTorch: configuring it anew"
    rm -r "$cache" "$build_dir/CMakeFiles"
  fi
  if [[ ! -e $cache ]] && have ninja; then options+=(-G Ninja); fi
  say "configuring $build_dir"
  logged configure.log cmake -S "$source_dir" -B "$build_dir" "${options[@]}" \
    "-DTorch_DIR:PATH=$torch_dir" "-DPython3_EXECUTABLE:FILEPATH=$executable" \
    "$@" ||
    fail "CMake failed, see above. Where it asks for CUDA: this LibTorch" \
      "needs the CUDA toolkit; name a CPU build in CMAKE_PREFIX_PATH."
}

# How many compilers fit into the cores and the free memory.
parallel_jobs() {
  local cores memory
  cores=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
  memory=$(awk '/^MemAvailable/ {print int($2 / 1024)}' /proc/meminfo \
    2>/dev/null || echo "$memory_per_job_mib")
  local by_memory=$((memory / memory_per_job_mib))
  local jobs=$((cores < by_memory ? cores : by_memory))
  echo $((jobs > 0 ? jobs : 1))
}

# build TARGET
build() {
  local jobs=${CMAKE_BUILD_PARALLEL_LEVEL:-$(parallel_jobs)}
  say "building $1, $jobs compilers at once"
  cmake --build "$build_dir" --parallel "$jobs" --target "$1" </dev/null
}

main() {
  local what=${1:-}
  if [[ ! $what =~ ^(demo|test)$ ]]; then
    sed -n '2,/^set/ s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
  fi
  shift
  mkdir -p "$build_dir"
  build_dir=$(cd "$build_dir" && pwd)
  require_tools
  add_useful_packages
  find_torch
  configure "$@"
  if [[ $what == demo ]]; then
    build train_reformer
    exec "$build_dir/examples/train_reformer" --demo
  fi
  build all
  cd "$build_dir"
  exec ctest --output-on-failure
}

main "$@"
