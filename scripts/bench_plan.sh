#!/usr/bin/env bash
# What `lacuna plan` predicts of a training step, and what a step takes, on one machine: one rank, two
# data parallel ones, two tensor parallel ones, a thread each. Plan gets what is measured beside
# the runs, interleaved: the GEMM peak of a thread while another computes one, and the
# all-reduce bandwidth of two ranks, at the size of a gradient bucket and of a sum of activations.
# A second prediction has computing from the run on one rank instead, so that only what is divided
# and sent is predicted.
#   scripts/bench_plan.sh [FOLDER [ROUNDS]]     # of a minute each (default: 3)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/bench_common.sh
. scripts/bench_common.sh
bandwidth=$(dirname "$lacuna")/comm_bandwidth
rounds=${2:-3}

# Waits until nothing else has run for 2 seconds, 10 minutes at the most.
idle() {
  local quiet=0 running
  for ((i = 0; i < 600 && quiet < 2; ++i)); do
    sleep 1
    read -r _ _ _ running _ </proc/loadavg  # 1/80: this shell
    if [ "${running%/*}" -le 1 ]; then quiet=$((quiet + 1)); else quiet=0; fi
  done
}
peak() {
  "$lacuna" bench --threads 1 --shape 5m --ops "rmsnorm forward" --json |
    sed -n 's/.*"matmul_peak_flops": \([0-9.e+]*\).*/\1/p'
}
all_reduce() {
  "${mpirun[@]}" -n 2 "$bandwidth" "$1" 41 |
    sed -n 's/.* all_reduce *median.* \([0-9.]*\) GB\/s; best.*/\1/p'
}
# measure NAME RANKS SETTINGS…: a run's step time and its wait, added to a file of each
measure() {
  local name=$1 ranks=$2; shift 2
  idle
  run "$ranks" 1 "$@"
  metric tokens_per_second | awk '{ print 4096 / $1 }' >>"$name.step"
  metric communication_seconds >>"$name.wait"
}

rm -f -- *.step *.wait *.figure
for ((round = 1; round <= rounds; ++round)); do
  idle
  peak >>peak1.figure
  peak >>peak2.figure &
  peak >>peak2.figure
  wait
  idle
  all_reduce 16 >>data.figure   # MiB: a bucket
  all_reduce 1 >>tensor.figure  # 4 x 256 rows of 256
  measure one 1
  measure data 2
  measure tensor 2 parallel.tensor_parallel=2
done

figure() { median <"$1.figure"; }
peak1=$(figure peak1) peak2=$(figure peak2) data=$(figure data) tensor=$(figure tensor)
one=$(median <one.step)
awk -v r="$rounds" -v a="$peak1" -v b="$peak2" -v d="$data" -v t="$tensor" 'BEGIN {
  printf "%d rounds, medians; products reach %.1f GFLOP/s on one core, %.1f on each of two;\n",
         r, a / 1e9, b / 1e9
  printf "all_reduce of 2 ranks %.2f GB/s (16 MiB), %.2f GB/s (1 MiB)\n", d, t }'

# predict RANKS TENSOR TFLOPS GB/S: seconds of a step, then of waiting
predict() {
  "$lacuna" plan bench.toml --ranks "$1" --set parallel.tensor_parallel="$2" --tflops "$3" \
    --node-bandwidth "$4" --json |
    sed -n 's/.*"waiting_seconds":\([0-9.e+-]*\).*"step_seconds":\([0-9.e+-]*\).*/\2 \1/p'
}
# What training reaches on one rank, by plan's count of a step's operations.
reached=$(predict 1 1 0.01 1 | awk -v t="$one" '{ print $1 * 0.01 / t }')
compare() {
  local name=$1 ranks=$2 split=$3 wires=$4 peak=$5 from_peak from_one
  from_peak=$(predict "$ranks" "$split" "$(awk -v p="$peak" 'BEGIN { print p / 1e12 }')" "$wires")
  from_one=$(predict "$ranks" "$split" "$reached" "$wires")
  echo "$from_peak $from_one $(median <"$name.step") $(median <"$name.wait")" | awk -v n="$name" '{
    printf "%-7s measured %.3f s (waiting %.3f);  from the peak %.3f s (waiting %.3f), %.2f x;  " \
           "from one rank %.3f s, %.2f x\n", n, $5, $6, $1, $2, $5 / $1, $3, $5 / $3 }'
}
compare one 1 1 1 "$peak1"
compare data 2 1 "$data" "$peak2"
compare tensor 2 2 "$tensor" "$peak2"
