#!/usr/bin/env bash
# Sets up, builds and runs every test: on a fresh Debian 12 machine, from a clean clone.
#
#   scripts/test.sh [PRESET]    # cpu (default), debug, asan or tsan
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-cpu}

scripts/setup.sh
# A new build of the default preset compiles several files at once, the others one by one.
unity=()
[ "$preset" != cpu ] || [ -e build/cpu/CMakeCache.txt ] || unity=(-DLACUNA_UNITY=ON)
cmake --preset "$preset" -DLACUNA_TESTS=ON "${unity[@]}"
cmake --build --preset "$preset"
ctest --preset "$preset" --no-tests=error --parallel "$(nproc)"
