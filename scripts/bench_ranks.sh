#!/usr/bin/env bash
# What several ranks cost on one machine: training steps of 1, 2 and 4 ranks on the same cores, and
# saving and reading a checkpoint of about 500 MB beside plain writing and reading of as many bytes.
#   scripts/bench_ranks.sh [FOLDER]     # needs 2 GB there (default: a new one under /tmp)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/bench_common.sh
. scripts/bench_common.sh

# run_shared RANKS SETTINGS…: with the cores shared out evenly
run_shared() {
  local ranks=$1 threads=$((cores / $1)); shift
  run "$ranks" $((threads > 0 ? threads : 1)) "$@"
}

echo "$cores cores; the median of 9 steps; 3 rounds, interleaved"
for round in 1 2 3; do
  for layout in "1" "2" "2 zero_stage=1" "2 tensor_parallel=2" "4" "4 tensor_parallel=2"; do
    read -r ranks words <<<"$layout"
    settings=()
    for w in $words; do settings+=("parallel.$w"); done
    run_shared "$ranks" "${settings[@]}"
    printf '%s: %.0f tokens/s\n' "$ranks ranks${words:+, $words}" "$(metric tokens_per_second)"
  done
done

echo
echo "a checkpoint of 42 million parameters (weights and moments)"
big=(model.hidden_size=512 model.num_heads=8 model.intermediate_size=1408 model.num_layers=12 train.steps=1
     train.batch_size=4 train.micro_batch_size=1)
for ranks in 1 4; do
  run_shared $ranks "${big[@]}"
  file=$(echo run/checkpoints/*.h5)
  # The file appears under a temporary name and is renamed when it is complete and on the disk.
  stat -c '%.9W %.9Z %s' "$file" | awk -v r=$ranks \
    '{ printf "%d ranks save %.0f MB in %.2f s\n", r, $3 / 1e6, $2 - $1 }'
  launcher=()
  [ $ranks = 1 ] || launcher=("${mpirun[@]}" -n $ranks)
  settings=()
  for s in "${big[@]}"; do settings+=(--set "$s"); done
  begin=$(date +%s.%N)
  "${launcher[@]}" "$lacuna" pretrain --config bench.toml "${settings[@]}" --resume >log 2>&1
  end=$(date +%s.%N)
  awk -v r=$ranks -v b="$begin" -v e="$end" \
    'BEGIN { printf "%d ranks start, read and check it in %.2f s\n", r, e - b }'
done
size=$(stat -c %s "$file")
begin=$(date +%s.%N)
dd if="$file" of=plain bs=4M conv=fsync status=none
end=$(date +%s.%N)
awk -v s="$size" -v b="$begin" -v e="$end" \
  'BEGIN { printf "dd writes %.0f MB in %.2f s (with fsync)\n", s / 1e6, e - b }'
begin=$(date +%s.%N)
dd if=plain of=/dev/null bs=4M status=none
end=$(date +%s.%N)
awk -v b="$begin" -v e="$end" 'BEGIN { printf "dd reads them in %.2f s (from memory)\n", e - b }'
