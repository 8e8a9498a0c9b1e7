#!/usr/bin/env bash
# Whether every forward and backward kernel compiled for sm_90a in FILE (an object, a library or a cubin) multiplies by
# HGMMA, reads by the TMA unit (UTMALDG) and uses no older product; and whether the forward kernels
# take their softmax while products are under way: between the wait that leaves one group of products
# (WARPGROUP.DEPBAR gsb0, 0x1) and the wait for the last (gsb0, 0x0) there are the exponentials
# (MUFU.EX2) of a tile's 128 keys, 64 for each thread. ptxas moves such a wait freely, and no test of
# results sees it. For the Hopper attention kernels.
#
#   scripts/check_hopper_sass.sh FILE NAME    # NAME: what the lines printed call it
#
# Needs cuobjdump (or what CUOBJDUMP names) and c++filt.
set -euo pipefail
"${CUOBJDUMP:-cuobjdump}" --dump-sass -arch sm_90a "$1" | c++filt | awk -v file="$2" '
  function fault(what) { bad++; print file ": " kernel ": " what }
  function end() { if (kernel == "") return
                   if (kernel !~ /ward_kernel/) return  # what only prepares and rounds
                   if (!products || !copies || older)
                     fault(products + 0 " HGMMA, " copies + 0 " UTMALDG, " older + 0 " HMMA")
                   if (kernel ~ /forward_kernel/ && overlapped < 64)
                     fault(overlapped + 0 " exponentials between the waits for products, of 64")
                   printf "%s: %s: %d HGMMA, %d exponentials under a product\n", file, kernel,
                          products, overlapped }
  /Function :/  { end(); kernel = $0; sub(/.*Function : /, "", kernel); sub(/\(lacuna::Tensor.*/, "", kernel)
                  gsub(/lacuna::|\(anonymous namespace\)::|void /, "", kernel)
                  products = copies = older = overlapped = between = 0; kernels++ }
  / HGMMA/      { products++ }
  / UTMALDG/    { copies++ }
  / HMMA/       { older++ }
  / MUFU\.EX2/  { exponentials++ }
  / WARPGROUP\.DEPBAR.*gsb0, 0x1/ { between = 1; exponentials = 0 }
  / WARPGROUP\.DEPBAR.*gsb0, 0x0/ { if (between) overlapped += exponentials; between = 0 }
  END           { end(); if (kernels == 0) print file ": no kernels for sm_90a"
                  exit kernels == 0 || bad > 0 }'
