#!/usr/bin/env bash
# The CUDA backend on this machine's GPU, in one command and without the network: the tests of every
# operation, of the whole model and of the program (training, sampling, logits) against the CPU
# backend; the operations once more under compute-sanitizer (memcheck, racecheck, synccheck); then
# what the operations and whole training steps reach.
#
#   scripts/gpu_check.sh [BUILD_FOLDER] [OUTPUT_FOLDER]    # build/cuda, and there gpu_check
#
# Takes the programs in BUILD_FOLDER/bin as they are if they are there, so that a build made on
# another machine can be carried here (scripts/carry_build.sh); else builds them. LACUNA_HOPPER=1
# also times attention by wgmma. Exit code 0 only if every part passed.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:-build/cuda}")
output=$(realpath -m "${2:-$folder/gpu_check}")
export PATH="$PATH:/usr/local/cuda/bin"
# A carried build finds MPI, HDF5 and OpenBLAS beside it; the toolkit's libraries may be unknown to
# the loader.
export LD_LIBRARY_PATH="$folder/lib:${LD_LIBRARY_PATH:-}:/usr/local/cuda/lib64"
export LACUNA_PROGRAM="$folder/bin/lacuna"

nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total,clocks.max.sm,power.limit \
  --format=csv,noheader
if [ ! -x "$folder/bin/test_cuda" ]; then
  cmake --preset cuda
  cmake --build "$folder" --target lacuna test_cuda test_cuda_model test_nccl test_app
fi
mkdir -p "$output"
unfound=$(ldd "$folder"/bin/{lacuna,test_cuda,test_cuda_model,test_nccl,test_app} | awk '/not found/ {print $1}' |
  sort -u | xargs)
[ -z "$unfound" ] || { echo "not here: $unfound (scripts/carry_build.sh brings them)"; exit 1; }

failed=()
part() {  # part NAME COMMAND...: to the terminal and a file
  echo "== $1"
  "${@:2}" 2>&1 | tee "$output/${1// /_}.txt" || failed+=("$1")
}
part operations "$folder/bin/test_cuda" --gtest_brief=1
part model "$folder/bin/test_cuda_model" --gtest_brief=1
part program "$folder/bin/test_app" --gtest_brief=1 '--gtest_filter=Device*'
part nccl "$folder/bin/test_nccl" --gtest_brief=1
gpus=$(nvidia-smi --list-gpus | wc -l)
if [ "$gpus" -gt 1 ] && command -v mpirun >/dev/null; then
  part "nccl on $gpus GPUs" mpirun --allow-run-as-root -n "$gpus" \
    "$folder/bin/test_nccl" --gtest_brief=1
fi
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck synccheck; do
    part "$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 \
      "$folder/bin/test_cuda" --gtest_brief=1
  done
else
  echo "== compute-sanitizer is not here: skipped"
fi
bench() { "$LACUNA_PROGRAM" bench --device cuda --dtype bf16 "$@"; }
for shape in 1b-4 8b-2; do
  part "operations $shape" bench --shape $shape
  part "training $shape" bench --shape $shape --train --tune-products
  [ -z "${LACUNA_HOPPER:-}" ] ||
    part "hopper attention $shape" bench --shape $shape --ops attention --attention-kernels hopper
done
echo "what was printed lies in $output"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
