#!/usr/bin/env bash
# What can be checked of the CUDA backend without a GPU: it compiles and links for every
# architecture, ptxas says of no kernel that it serialised products or ignored setmaxnreg (messages
# C75xx), no kernel spills registers to memory inside a loop, the Hopper kernels multiply by HGMMA, and
# their softmax lies beside products. Prints what each kernel uses.
#
#   scripts/check_cuda.sh [BUILD_FOLDER [CMAKE_ARGUMENT…]]
#
# BUILD_FOLDER, build/cuda_checked by default, is made and built if need be; the arguments are for
# cmake, such as -DLACUNA_NCCL=OFF where nccl.h is not.
#
# Needs a CUDA toolkit (nvcc, cuobjdump or what CUOBJDUMP names, c++filt), 12.8 or newer. Where it has
# no cuobjdump and nvdisasm, the packages nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm of PyPI do.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-build/cuda_checked}
export PATH="$PATH:/usr/local/cuda/bin"
# The launcher makes an error of what ptxas only mentions, so that the object is built again until
# there is nothing to mention.
cmake --preset cuda -B "$folder" -DCMAKE_CUDA_COMPILER_LAUNCHER="$PWD/scripts/strict_nvcc.sh" "${@:2}"
cmake --build "$folder" --target lacuna_cuda test_cuda

library=$folder/kernels/cuda/liblacuna_cuda.a
"${CUOBJDUMP:-cuobjdump}" --dump-resource-usage "$library" 2>/dev/null | c++filt | awk '
  /arch = /      { arch = $3 }
  /Function /    { name = $0; sub(/^ *Function /, "", name); sub(/:$/, "", name)
                   gsub(/lacuna::|\(anonymous namespace\)::|<unnamed>::|void /, "", name)
                   sub(/\(.*/, "", name) }
  / REG:/        { match($0, /REG:[0-9]+/);    registers = substr($0, RSTART + 4, RLENGTH - 4)
                   match($0, /STACK:[0-9]+/);  stack = substr($0, RSTART + 6, RLENGTH - 6)
                   match($0, /SHARED:[0-9]+/); shared = substr($0, RSTART + 7, RLENGTH - 7)
                   match($0, /LOCAL:[0-9]+/);  local = substr($0, RSTART + 6, RLENGTH - 6)
                   printf "%-8s %-64s %3d registers, %5d B static shared", arch, name, registers, shared
                   if (stack + local > 0) { printf ", spills: %d B stack, %d B local", stack, local; spill++ }
                   print ""; kernels++ }
  END            { printf "%d kernels, %d of them spill\n", kernels, spill; exit kernels == 0 }'
scripts/check_sass_spills.sh "$library" liblacuna_cuda.a

for name in attention_hopper_{forward,pingpong,backward,fused}; do
  object=$(find "$folder/kernels/cuda" -name "$name.cu.o")
  scripts/check_hopper_sass.sh "$object" "$name"
done
