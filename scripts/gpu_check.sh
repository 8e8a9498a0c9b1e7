#!/usr/bin/env bash
# The CUDA backend on this machine's GPU, in one command and without the network: the tests of every
# operation and of the whole model against the CPU backend, then the former once more under
# compute-sanitizer (memcheck, racecheck, synccheck).
#
#   scripts/gpu_check.sh [BUILD_FOLDER]    # build/cuda (default)
#
# Takes the programs in BUILD_FOLDER/bin as they are if they are there, so that a build made on
# another machine can be carried here; else builds them. Exit code 0 only if every part passed.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-build/cuda}
export PATH="$PATH:/usr/local/cuda/bin"

nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total --format=csv,noheader
if [ ! -x "$folder/bin/test_cuda" ]; then
  cmake --preset cuda
  cmake --build "$folder" --target test_cuda test_cuda_model
fi

failed=()
part() {  # part NAME COMMAND...
  echo "== $1"
  "${@:2}" || failed+=("$1")
}
part operations "$folder/bin/test_cuda" --gtest_brief=1
# Missing shared libraries (MPI, HDF5) end this one before its first test; say so instead.
if ldd "$folder/bin/test_cuda_model" 2>/dev/null | grep -q 'not found'; then
  echo "== model: skipped: $(ldd "$folder/bin/test_cuda_model" | awk '/not found/ {print $1}' | xargs) not here"
else
  part model "$folder/bin/test_cuda_model" --gtest_brief=1
fi
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck synccheck; do
    part "$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 \
      "$folder/bin/test_cuda" --gtest_brief=1
  done
else
  echo "== compute-sanitizer is not here: skipped"
fi
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
