#!/usr/bin/env bash
# What nvcc makes of the CUDA kernels that matter most for speed: registers spilled to memory, wgmma
# products that the compiler serialised or lost, and a softmax that it moved away from them, are
# errors. Needs no GPU and no CMake; minutes the first time, nothing while the sources stay as they are.
#
#   scripts/check_kernels.sh [FOLDER [WORD]]
#
# FOLDER is where what it compiles is kept (build/kernels); WORD chooses the files whose names hold
# it, a regular expression. ctest looks at the attention kernels, which are nearest to the limit.
#
# Exit code 77, which ctest shows as skipped, where there is no nvcc. Where there is no cuobjdump (or
# one that CUOBJDUMP names) the instructions are not looked at, nor Blackwell's kernels, of which some
# spill outside of their loops, which only the instructions show.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-build/kernels}
word=${2:-}
export PATH="$PATH:/usr/local/cuda/bin"
command -v nvcc >/dev/null || { echo "no nvcc here: skipped"; exit 77; }
export CUOBJDUMP=${CUOBJDUMP:-$(command -v cuobjdump || true)}
architectures=(sm_80 sm_90a)
if [ -z "$CUOBJDUMP" ]; then
  echo "no cuobjdump here: registers alone are checked"
else
  for arch in 100 120; do
    if nvcc --list-gpu-arch | grep -qx "compute_$arch"; then architectures+=("sm_$arch"); fi
  done
fi

portable=(attention_mma_forward attention_mma_split attention_mma_backward attention_simple rmsnorm
  cross_entropy swiglu rope adamw row_stats)
hopper=(attention_hopper_forward attention_hopper_pingpong attention_hopper_backward
  attention_hopper_fused)
chosen() { printf '%s\n' "$@" | grep -e "$word" || true; }
mapfile -t portable < <(chosen "${portable[@]}")
mapfile -t hopper < <(chosen "${hopper[@]}")

mkdir -p "$folder"
compile() {  # compile NAME ARCHITECTURE
  local out=$folder/$1.$2
  # Kept while nvcc, its options and every file it read are the same.
  local state
  state=$({ nvcc --version; cat "$0" kernels/cuda/*.h kernels/cuda/*.cuh "kernels/cuda/$1.cu" \
    kernels/*.h kernels/platform/*.h kernels/platform/gpu/*.h src/core/*.h; } | sha256sum)
  [ "$(cat "$out.state" 2>/dev/null)" = "$state" ] && [ -f "$out.cubin" ] && return
  echo "compiling $1.cu for $2"
  nvcc -std=c++20 -O3 --expt-relaxed-constexpr -Isrc -I. -DLACUNA_CUDA -arch="$2" \
    -Xptxas -v -cubin -o "$out.cubin" "kernels/cuda/$1.cu" >"$out.log" 2>&1 ||
    { cat "$out.log"; exit 1; }
  echo "$state" >"$out.state"
}
export -f compile
export folder
{
  for name in "${portable[@]}"; do printf "$name %s\n" "${architectures[@]}"; done
  for name in "${hopper[@]}"; do printf '%s sm_90a\n' "$name"; done
} | xargs --max-procs="$(nproc)" --max-args=2 bash -euo pipefail -c 'compile "$1" "$2"' "$0"

failed=0
report() {  # report NAME ARCHITECTURE: a line for each kernel
  local out=$folder/$1.$2 spills_fail=1
  # Outside of loops spills are harmless; without the instructions each one counts.
  if [ -n "$CUOBJDUMP" ]; then
    spills_fail=0
    if grep -qE '[1-9][0-9]* bytes spill' "$out.log"; then
      scripts/check_sass_spills.sh "$out.cubin" "$1" || failed=1
    fi
  fi
  c++filt <"$out.log" | awk -v file="$1" -v arch="$2" -v spills_fail=$spills_fail '
    /Compiling entry function/ { name = $0; sub(/.*entry function ./, "", name)
                                 sub(/. for .sm_.*/, "", name); sub(/^void /, "", name)
                                 gsub(/lacuna::|\(anonymous namespace\)::|<unnamed>::/, "", name)
                                 sub(/\(.*/, "", name) }
    /bytes spill stores/       { spilled = $5 + $9 }
    /: Used [0-9]+ registers/  { sub(/.*Used /, ""); registers = $1; kernels++
                                 printf "%-7s %-60s %3d registers", arch, name, registers
                                 if (spilled > 0) { printf ", spills %d bytes", spilled; bad += spills_fail }
                                 print "" }
    /C75[0-9][0-9]|wgmma.*serializ/ { print file ": " $0; bad++ }
    END                        { if (kernels == 0) print file ": no kernels"
                                 exit kernels == 0 || bad > 0 }' || failed=1
}
for name in "${portable[@]}"; do
  for arch in "${architectures[@]}"; do report "$name" "$arch"; done
done
for name in "${hopper[@]}"; do
  report "$name" sm_90a
  [ -n "$CUOBJDUMP" ] || continue
  scripts/check_hopper_sass.sh "$folder/$name.sm_90a.cubin" "$name" || failed=1
done
exit $failed
