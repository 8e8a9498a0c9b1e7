#!/usr/bin/env bash
# Whether no kernel in FILE (an object, a library or a cubin) reaches local memory (LDL, STL) inside a
# loop: registers that are put there before a loop and fetched after it cost nothing. A warp function
# that finds its lanes apart (BRA.DIV) goes on behind the kernel's end and jumps back from there, which
# makes no loop.
#
#   scripts/check_sass_spills.sh FILE NAME    # NAME: what the lines printed call it
#
# Needs cuobjdump (or what CUOBJDUMP names) and c++filt.
set -euo pipefail
"${CUOBJDUMP:-cuobjdump}" --dump-sass "$1" | c++filt | awk -v file="$2" '
  function number(hex,  i, n) {
    n = 0
    for (i = 1; i <= length(hex); i++) n = 16 * n + index("0123456789abcdef", substr(hex, i, 1)) - 1
    return n
  }
  function end(  i, j, inside) {
    for (i = 1; i <= locals; i++)
      for (j = 1; j <= loops; j++)
        if (to[j] < behind && at[i] >= from[j] && at[i] <= to[j]) { inside++; break }
    if (inside) { bad++; print file ": " arch ": " kernel ": " inside " accesses to local memory in loops" }
  }
  /code for sm_/ { end(); locals = loops = 0; behind = 2 ^ 52; arch = $3 }
  /Function :/   { end(); kernel = $0; sub(/.*Function : /, "", kernel)
                   gsub(/lacuna::|\(anonymous namespace\)::/, "", kernel); sub(/\(.*/, "", kernel)
                   sub(/^void /, "", kernel); locals = loops = 0; behind = 2 ^ 52; kernels++ }
  match($0, /\/\*[0-9a-f]+\*\//) { address = number(substr($0, RSTART + 2, RLENGTH - 4)) }
  / (LDL|STL)/   { at[++locals] = address }
  / BRA/ && match($0, /0x[0-9a-f]+/) {
                   target = number(substr($0, RSTART + 2, RLENGTH - 2))
                   if (/BRA\.DIV/) { if (target < behind) behind = target }
                   else if (target < address) { from[++loops] = target; to[loops] = address } }
  END            { end(); if (kernels == 0) print file ": no kernels"
                   exit kernels == 0 || bad > 0 }'
