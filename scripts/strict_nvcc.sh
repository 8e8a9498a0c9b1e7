#!/usr/bin/env bash
# Runs a command of nvcc, its arguments, and fails when ptxas says that a kernel is slower than it was
# written to be: messages C7500 to C7599, such as "wgmma.mma_async instructions are serialized" and
# "setmaxnreg ignored", which ptxas calls information. A compiler launcher for CMake.
set -euo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
"$@" -Xptxas=-v >"$log" 2>&1 || status=$?
# What -v adds, but for those messages.
grep -vE '^ptxas info +: (Compiling entry|Function properties|Used [0-9]|[0-9]+ bytes gmem|Compile time)|^ +[0-9]+ bytes stack frame' \
  "$log" >&2 || true
if grep -qE 'C75[0-9][0-9]|wgmma.*serializ' "$log"; then
  echo "ptxas made a kernel slower than it was written to be (above)" >&2
  exit 1
fi
exit "$status"
