#!/usr/bin/env bash
# Whether every kernel compiled for sm_90a in FILE (an object, a library or a cubin) multiplies by
# HGMMA, reads by the TMA unit (UTMALDG) and uses no older product. For the Hopper attention kernels.
#
#   scripts/check_hopper_sass.sh FILE NAME    # NAME: what the lines printed call it
#
# Needs cuobjdump (or what CUOBJDUMP names) and c++filt.
set -euo pipefail
"${CUOBJDUMP:-cuobjdump}" --dump-sass -arch sm_90a "$1" | c++filt | awk -v file="$2" '
  function end() { if (kernel == "") return
                   if (!products || !copies || older) { bad++
                     printf "%s: %d HGMMA, %d UTMALDG, %d HMMA in %s\n", file, products, copies,
                            older, kernel } }
  /Function :/  { end(); kernel = $0; products = copies = older = 0; kernels++ }
  / HGMMA/      { products++ }
  / UTMALDG/    { copies++ }
  / HMMA/       { older++ }
  END           { end(); if (!bad) printf "%s: HGMMA and UTMALDG in all of %d kernels\n", file,
                                          kernels
                  exit kernels == 0 || bad > 0 }'
