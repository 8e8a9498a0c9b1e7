#!/usr/bin/env bash
# What attention reaches by each kind of kernels, forward and backward, in turns, so that a GPU that
# grows warm slows all of them alike: the median of the rounds in GFLOP/s, and its ratio to the first
# kind's.
#
#   scripts/compare_attention.sh LACUNA KERNELS SHAPE…
#   scripts/compare_attention.sh build/cuda/bin/lacuna hopper,hopper_fused 8b-2 8b-2@16384
#
# KERNELS are words of --attention-kernels; hopper_fused/on and hopper_fused/off are those with
# LACUNA_CLUSTERS set to that. LACUNA_ROUNDS (3) rounds on LACUNA_DEVICE (cuda).
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
lacuna=$1 kernels=${2//,/ }
for shape in "${@:3}"; do
  for round in $(seq "${LACUNA_ROUNDS:-3}"); do
    for kernel in $kernels; do
      clusters=${kernel#"${kernel%/*}"}
      LACUNA_CLUSTERS=${clusters#/} "$lacuna" bench --device "${LACUNA_DEVICE:-cuda}" --dtype bf16 \
        --shape "$shape" --ops attention --attention-kernels "${kernel%/*}" |
        sed -n "s|^attention|$kernel attention|p"
    done
  done | awk -v shape="$shape" -v kinds="$kernels" '
    !match($0, /[0-9.]+ GFLOP\/s/) { next }
    { value = substr($0, RSTART, RLENGTH) + 0
      op = substr($0, length($1) + 2, 24); sub(/ +$/, "", op)  # the first column of bench
      if (!(op in known)) { known[op] = 1; ops[++op_count] = op }
      rate[op, $1, ++count[op, $1]] = value }
    function median(op, kind,  n, i, j, x) {
      n = count[op, kind]
      for (i = 1; i <= n; i++) sorted[i] = rate[op, kind, i]
      for (i = 2; i <= n; i++)
        for (j = i; j > 1 && sorted[j - 1] > sorted[j]; j--) {
          x = sorted[j]; sorted[j] = sorted[j - 1]; sorted[j - 1] = x }
      return n ? (sorted[int((n + 1) / 2)] + sorted[int(n / 2) + 1]) / 2 : 0 }
    END { kind_count = split(kinds, kind, " ")
          for (o = 1; o <= op_count; o++)
            for (k = 1; k <= kind_count; k++) {
              value = median(ops[o], kind[k])
              if (k == 1) first = value
              if (!value || !first) { missing = 1; continue }
              printf "%-12s %-25s %-16s %10.1f GFLOP/s %6.3f\n", shape, ops[o], kind[k], value, value / first }
          exit missing || op_count == 0 }'
done
