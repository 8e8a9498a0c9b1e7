#!/usr/bin/env bash
# Makes a build of the cuda preset run on a machine that has the NVIDIA driver and the CUDA toolkit's
# libraries but none of the packages Lacuna needs (MPI, HDF5, OpenBLAS, …): puts copies of their
# shared libraries into BUILD_FOLDER/lib, where the programs look first ($ORIGIN/../lib).
#
#   scripts/carry_build.sh [BUILD_FOLDER]    # build/cuda (default)
#
# Carry BUILD_FOLDER/bin and BUILD_FOLDER/lib there together with scripts/, then run
# scripts/gpu_check.sh. That machine's C library must be as new as this one's.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-build/cuda}
programs=("$folder"/bin/{lacuna,test_cuda,test_cuda_model,test_nccl,test_app})
mkdir -p "$folder/lib"
# Of the C library there may be but one, and CUDA's own come with its toolkit and driver.
never='^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|cuda|cudart|cublas|cublasLt|nvidia.*)\.so.*)$'
blas=$(ldconfig -p | awk '/libopenblas\.so\.0 / {print $NF; exit}')  # loaded by name at run time
{
  ldd "${programs[@]}" | awk '$2 == "=>" && $3 ~ /^\// {print $3}'
  [ -z "$blas" ] || { echo "$blas"; ldd "$blas" | awk '$2 == "=>" {print $3}'; }
} | sort -u | while read -r library; do
  [[ $(basename "$library") =~ $never ]] || cp --dereference --update "$library" "$folder/lib/"
done
# Not every library looks where the program does for what it needs itself.
if command -v patchelf >/dev/null; then
  for library in "$folder"/lib/*; do patchelf --set-rpath '$ORIGIN' "$library"; done
fi
strip --strip-debug "$folder"/lib/* 2>/dev/null || true
du -sh "$folder/bin" "$folder/lib"
