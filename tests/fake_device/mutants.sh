#!/usr/bin/env bash
# Seeded faults: each patch in mutants/ is a fault in csrc, which a test of the
# fake device has to find. Applies them to a copy of the sources, one by one,
# builds torchrev_fake_device_tests, runs it, and prints a table of them.
#
#   tests/fake_device/mutants.sh BUILD [NAME...]
#
# BUILD: a folder that CMake has configured; the copy, and its build, go to
# BUILD/mutants. NAME: some of them; all by default. Fails if one lives.
set -euo pipefail

build="$(cd "$1" && pwd)"
shift
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
work="$build/mutants"
tests=torchrev_fake_device_tests
seconds=120

setting() {
  sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"
}

# A file that has not changed keeps its age, so that what was built of it counts.
copy_sources() {
  local file
  (cd "$root" &&
    find CMakeLists.txt LICENSE README.md cmake csrc examples include tests \
      -type f) | while IFS= read -r file; do
    if ! cmp -s "$root/$file" "$work/source/$file"; then
      mkdir -p "$work/source/$(dirname "$file")"
      cp "$root/$file" "$work/source/$file"
    fi
  done
}

configure() {
  cmake -S "$work/source" -B "$work/build" -G Ninja \
    -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0 \
    -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=3 \
    -DCMAKE_PREFIX_PATH="$(setting CMAKE_PREFIX_PATH)" \
    -DTorch_DIR="$(setting Torch_DIR)" -DTORCHREV_BUILD_EXAMPLES=OFF \
    -DTORCHREV_INSTALL=OFF >"$work/configure.log" 2>&1
}

compile() {
  cmake --build "$work/build" --target "$tests" >"$work/build.log" 2>&1
}

# The tests that fail, or what else ends the run.
killers() {
  local status=0
  OMP_NUM_THREADS=1 timeout "$seconds" "$work/build/tests/$tests" \
    --gtest_brief=1 >"$work/tests.log" 2>&1 || status=$?
  if [ "$status" -eq 0 ]; then
    return
  fi
  local failed
  failed="$(sed -n 's/^\[  FAILED  \] \([A-Za-z0-9_/.]*\).*(.*/\1/p' \
    "$work/tests.log" | sort -u)"
  if [ -z "$failed" ]; then
    echo "the program (status $status)"
  else
    local count
    count="$(wc -l <<<"$failed")"
    head -1 <<<"$failed" | tr -d '\n'
    [ "$count" -eq 1 ] || printf ' and %d more' "$((count - 1))"
    echo
  fi
}

copy_sources
configure || { tail -30 "$work/configure.log" >&2; exit 1; }
compile || { tail -30 "$work/build.log" >&2; exit 1; }
if [ -n "$(killers)" ]; then
  echo "The tests fail without a fault: see $work/tests.log" >&2
  exit 1
fi

names=("$@")
if [ "${#names[@]}" -eq 0 ]; then
  for patch in "$here"/mutants/*.patch; do
    names+=("$(basename "$patch" .patch)")
  done
fi

living=0
echo "| fault | what it is | killed by |"
echo "|---|---|---|"
for name in "${names[@]}"; do
  patch="$here/mutants/$name.patch"
  patch -s -F0 -p1 -d "$work/source" <"$patch"
  if compile; then
    killed="$(killers)"
  else
    killed="the compiler: mend the patch"
    living=1
  fi
  [ -n "$killed" ] || { killed="**nobody**"; living=1; }
  echo "| \`$name\` | $(head -1 "$patch") | $killed |"
  patch -s -R -F0 -p1 -d "$work/source" <"$patch"
done
exit "$living"
