#!/usr/bin/env bash
# What nvcc made of the Hopper attention kernels in FILE (an object, a library or a cubin), for sm_90a.
# No test of results sees any of it. Of every kernel in the table below, and of no other kernel that
# multiplies by HGMMA, it must be so that
#
# - it has as many HGMMA as written, reads by the TMA unit (UTMALDG) and uses no older product (HMMA);
# - it has as many copies to both blocks of a cluster (UTMALDG.MULTICAST) as written, none where not
#   given, and as many arrivals at both (SYNCS.ARRIVE...RED), none of them behind a MEMBAR of its own;
# - it has as many waits for products (WARPGROUP.DEPBAR) as written: where ptxas serialises products it
#   adds one behind each;
# - that many exponentials (MUFU.EX2) at least lie between a wait that leaves products under way (gsb0,
#   0x1) and the next wait: ptxas moves waits freely. 64 are a thread's of a tile of 128 keys;
# - its warpgroups, two that compute and one that copies, take no more registers by setmaxnreg than the
#   64 Ki there are, and the code uses none above what they take;
# - no loop reaches local memory.
#
#   scripts/check_hopper_sass.sh FILE NAME    # NAME: what the lines printed call it
#
# Needs cuobjdump (or what CUOBJDUMP names) and c++filt.
set -euo pipefail
"${CUOBJDUMP:-cuobjdump}" --dump-sass -arch sm_90a "$1" | c++filt | awk -v file="$2" '
  BEGIN {  #                            HGMMA, waits, exponentials[, copies and arrivals to both blocks]
    expected["forward_kernel<64>"] =          "24 4 64"
    expected["forward_kernel<128>"] =         "32 4 64"
    expected["pingpong_forward_kernel<64, 1>"] = "24 4 64"
    expected["pingpong_forward_kernel<128, 1>"] = "32 4 64"
    expected["pingpong_forward_kernel<128, 2>"] = "32 4 64 2 4"
    expected["backward_keys_kernel<64>"] =    "16 3 32"
    expected["backward_keys_kernel<128>"] =   "24 3 32"
    expected["backward_queries_kernel<64>"] = "16 3 64"
    expected["backward_queries_kernel<128>"] = "20 3 32"
    expected["backward_kernel<64>"] =         "32 4 64"
    expected["backward_kernel<128>"] =        "32 4 32"
  }
  function fault(what) { bad++; print file ": " kernel ": " what }
  function end(  name, e) {
    name = kernel; sub(/^hopper::/, "", name)
    if (!(name in expected)) {
      if (products) fault("multiplies by HGMMA, but scripts/check_hopper_sass.sh does not know it")
      return
    }
    split(expected[name], e, " ")
    if (products != e[1] || !copies || older)
      fault(products + 0 " HGMMA of " e[1] ", " copies + 0 " UTMALDG, " older + 0 " HMMA")
    if (multicasts != e[4] + 0 || arrivals != e[5] + 0 || fenced)
      fault(multicasts + 0 " UTMALDG.MULTICAST of " e[4] + 0 ", " arrivals + 0 " arrivals at both blocks of " \
            e[5] + 0 ", " fenced + 0 " of them behind a MEMBAR")
    if (waits != e[2]) fault(waits + 0 " waits for products of " e[2])
    if (overlapped < e[3])
      fault(overlapped + 0 " exponentials between the waits for products, of " e[3])
    if (2 * more + fewer > 3 * 168 || !more || !fewer || highest >= more)
      fault("registers: " more + 0 " for those that compute, " fewer + 0 " for those that copy, R" highest " in use")
    printf "%s: %s: %d HGMMA, %d exponentials under a product, R%d of %d registers\n", file, kernel,
           products, overlapped, highest, more
  }
  function number(hex,  i, n) {
    n = 0
    for (i = 1; i <= length(hex); i++) n = 16 * n + index("0123456789abcdef", substr(hex, i, 1)) - 1
    return n
  }
  function immediate() { match($0, /0x[0-9a-f]+/); return number(substr($0, RSTART + 2, RLENGTH - 2)) }
  /Function :/  { end(); kernel = $0; sub(/.*Function : /, "", kernel); sub(/\(lacuna::.*/, "", kernel)
                  gsub(/lacuna::|\(anonymous namespace\)::|void /, "", kernel)
                  multicasts = arrivals = fenced = bar = 0
                  products = copies = older = waits = overlapped = between = more = fewer = highest = 0; kernels++ }
  / HGMMA/      { products++ }
  / UTMALDG/    { copies++ }
  / UTMALDG.*MULTICAST/ { multicasts++ }
  / MEMBAR\.ALL\.GPU/ { bar = NR }
  / SYNCS\.ARRIVE.*\.RED/ { arrivals++; fenced += bar && NR - bar < 12 }
  / HMMA/       { older++ }
  / MUFU\.EX2/  { if (between) overlapped++ }
  / WARPGROUP\.DEPBAR/ { waits++; between = /gsb0, 0x1/ }
  / USETMAXREG\.TRY_ALLOC/ { more = immediate() }
  / USETMAXREG\.DEALLOC/   { fewer = immediate() }
  { line = $0
    while (match(line, /[ ,\[|-]R[0-9]+/)) {
      at = substr(line, RSTART + 2, RLENGTH - 2) + 0; if (at > highest) highest = at
      line = substr(line, RSTART + RLENGTH) } }
  END           { end(); if (kernels == 0) print file ": no kernels for sm_90a"
                  exit kernels == 0 || bad > 0 }'
"$(dirname "$0")/check_sass_spills.sh" "$1" "$2"
