#!/usr/bin/env bash
# Compares the stand-ins for NVIDIA's headers (kernels/platform/emulated/toolkit/*.h) with the real ones of
# a CUDA toolkit: every constant has the same value, every function the same signature, every struct
# that is read or written as bytes the same size. Compiles one file; needs no GPU.
#
#   scripts/check_stand_ins.sh [INCLUDE_FOLDER]    # of cuda_runtime.h: /usr/local/cuda/include
#
# Exit code 77, which ctest shows as skipped, where there is no such folder.
set -euo pipefail
cd "$(dirname "$0")/.."
real=${1:-/usr/local/cuda/include}
[ -f "$real/cuda_runtime.h" ] && [ -f "$real/cublasLt.h" ] ||
  { echo "no cuda_runtime.h and cublasLt.h in $real: skipped"; exit 77; }
stand_ins=kernels/platform/emulated/toolkit
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT

{
  printf '#include <%s>\n' cuda.h cublasLt.h cuda_runtime.h
  # Declared once more, a function must be the same, or overload nothing: they are extern "C".
  echo '#define LACUNA_DECLARATIONS_ONLY'
  for header in cuda cublasLt cuda_runtime; do
    sed '/^#pragma once/d' "$stand_ins/$header.h"
  done
  grep -hoE '\b(cuda|CUDA_|CU_|CUBLAS)[A-Za-z0-9_]+ = [0-9]+' "$stand_ins"/cuda*.h "$stand_ins/cublasLt.h" |
    sed -E 's/(.*) = (.*)/static_assert(int(\1) == \2, "\1");/'
  for size in 'CUtensorMap 128' 'cudaUUID_t 16' 'cublasLtMatmulAlgo_t 64' \
    'cublasLtMatmulHeuristicResult_t 96'; do
    echo "static_assert(sizeof(${size% *}) == ${size#* });"
  done
} >"$folder/real.cpp"
{
  printf '#include "%s.h"\n' cuda cublasLt cuda_runtime
  grep '^static_assert(sizeof' "$folder/real.cpp"
} >"$folder/ours.cpp"

constants=$(grep -c '^static_assert(int' "$folder/real.cpp")
functions=$(grep -hcE '^(CUresult|cudaError_t|cublasStatus_t|const char\*|std::size_t) c' "$folder/real.cpp")
[ "$constants" -gt 50 ] && [ "$functions" -gt 40 ] || { echo "too few found to compare"; exit 1; }
"${CXX:-c++}" -std=c++20 -fsyntax-only -isystem "$real" "$folder/real.cpp"
"${CXX:-c++}" -std=c++20 -fsyntax-only -I "$stand_ins" "$folder/ours.cpp"
echo "$constants constants and $functions functions are those of $real"
