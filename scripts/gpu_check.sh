#!/usr/bin/env bash
# The CUDA backend on this machine's GPU, in one command and without the network: the tests of every
# operation, of the wgmma kernels (where the GPU is of sm_90), of the whole model and of the program
# (training, sampling, logits) against the CPU backend; what the operations, attention by each kernel,
# and whole training steps reach, these with cuBLASLt's first choice of algorithms and then with the
# fastest; then the operations once more under compute-sanitizer.
#
#   scripts/gpu_check.sh [BUILD_FOLDER] [OUTPUT_FOLDER]    # build/cuda, and there gpu_check
#
# A part that takes longer than LACUNA_PART_SECONDS (900) is ended and counts as failed.
#
# Takes the programs in BUILD_FOLDER/bin as they are if they are there, so that a build made on
# another machine can be carried here (scripts/carry_build.sh); else builds them. Exit code 0 only if
# every part passed.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:-build/cuda}")
output=$(realpath -m "${2:-$folder/gpu_check}")
export PATH="$PATH:/usr/local/cuda/bin"
# A carried build finds MPI, HDF5 and OpenBLAS beside it; the toolkit's libraries may be unknown to
# the loader.
export LD_LIBRARY_PATH="$folder/lib:${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/usr/local/cuda/lib64"
export LACUNA_PROGRAM="$folder/bin/lacuna"

command -v nvidia-smi >/dev/null || { echo "there is no nvidia-smi here, so no NVIDIA driver"; exit 1; }
nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total,clocks.max.sm,power.limit \
  --format=csv,noheader
if [ ! -x "$folder/bin/test_cuda" ]; then
  cmake --preset cuda
  cmake --build "$folder" --target lacuna test_cuda test_cuda_model test_nccl test_app
fi
mkdir -p "$output"
programs=("$folder"/bin/{lacuna,test_cuda,test_cuda_model,test_nccl,test_app})
for program in "${programs[@]}"; do
  [ -x "$program" ] || { echo "$program is not here: build it, or carry it here too"; exit 1; }
done
unfound=$(ldd "${programs[@]}" | awk '/not found/ {print $1}' | sort -u | xargs)
[ -z "$unfound" ] || { echo "not here: $unfound (scripts/carry_build.sh brings them)"; exit 1; }

failed=()
part() {  # part NAME COMMAND...: to the terminal and a file; a kernel that hangs ends its part alone
  echo "== $1 (at $SECONDS s)"
  timeout --kill-after=10 "${LACUNA_PART_SECONDS:-900}" "${@:2}" 2>&1 | tee "$output/${1// /_}.txt" ||
    failed+=("$1")
}
part operations "$folder/bin/test_cuda" --gtest_brief=1 '--gtest_filter=-*opper*'
hopper=
[ "$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1)" != 9.0 ] || hopper=yes
[ -z "$hopper" ] || part "hopper attention" "$folder/bin/test_cuda" --gtest_brief=1 '--gtest_filter=*opper*'
part model "$folder/bin/test_cuda_model" --gtest_brief=1
part program "$folder/bin/test_app" --gtest_brief=1 '--gtest_filter=Device*'
part nccl "$folder/bin/test_nccl" --gtest_brief=1
gpus=$(nvidia-smi --list-gpus | wc -l)
if [ "$gpus" -gt 1 ] && command -v mpirun >/dev/null; then
  part "nccl on $gpus GPUs" mpirun --allow-run-as-root -n "$gpus" \
    "$folder/bin/test_nccl" --gtest_brief=1
fi
bench=("$LACUNA_PROGRAM" bench --device cuda --dtype bf16)
kernels=(portable)
[ -z "$hopper" ] || kernels+=(hopper hopper_fused)
for shape in 1b-4 8b-2; do
  part "operations $shape" "${bench[@]}" --shape "$shape"
  part "operations $shape tuned" "${bench[@]}" --shape "$shape" --ops linear --tune-gemms
done
compared=$(IFS=,; echo "${kernels[*]}")
[ -z "$hopper" ] || compared+=,hopper_fused/off
part attention scripts/compare_attention.sh "$LACUNA_PROGRAM" "$compared" \
  1b-4 8b-2 1b-4@16384 8b-2@16384
for shape in 1b-4 8b-2; do
  for kernel in "${kernels[@]}"; do
    part "training $shape $kernel" "${bench[@]}" --shape "$shape" --train --attention-kernels "$kernel"
    part "training $shape $kernel tuned" \
      "${bench[@]}" --shape "$shape" --train --attention-kernels "$kernel" --tune-gemms
  done
  [ -z "$hopper" ] || part "training $shape fp8" "${bench[@]}" --shape "$shape" --train --fp8 --tune-gemms
done
if command -v compute-sanitizer >/dev/null; then
  # Calls that fail on purpose, for want of memory, are no errors.
  part memcheck compute-sanitizer --tool memcheck --report-api-errors no --error-exitcode 1 \
    "$folder/bin/test_cuda" --gtest_brief=1
  # These two do not know the order that the TMA unit's barriers in shared memory make.
  for tool in racecheck synccheck; do
    part "$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 \
      "$folder/bin/test_cuda" --gtest_brief=1 '--gtest_filter=-*opper*'
  done
else
  echo "== compute-sanitizer is not here: skipped"
fi
echo "what was printed lies in $output"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
