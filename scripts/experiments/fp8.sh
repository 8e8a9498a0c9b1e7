#!/usr/bin/env bash
# (l) Products in FP8: the quick start's model and book in f32, bf16 and with FP8 (emulated on a CPU), the same data,
# masks and initial weights for each seed; with Muon, as AdamW's runs of this length end while they leave a plateau,
# some steps sooner or later. Runs that are finished are skipped.
#   EXPERIMENT_TYPES="bf16 fp8 f32"
source "$(dirname "$0")/common.sh"

say "the King James Bible, as scripts/quickstart.sh has it"
recipe_data

options_of() {
  case $1 in
    f32) options=() ;;
    bf16) options=(--set compute.dtype=bf16) ;;
    fp8) options=(--set compute.dtype=bf16 --set compute.linear_dtype=fp8) ;;
    *) echo "unknown type $1" >&2; exit 2 ;;
  esac
}
for seed in $seeds; do
  for type in ${EXPERIMENT_TYPES:-bf16 fp8 f32}; do
    options_of "$type"
    quickstart_run "fp8-$type-$seed" "$seed" 1000 --set train.eval_every=0.1 --set train.log_every=10 \
      --set train.checkpoint_every=1000 --set optimizer.name=muon --set optimizer.muon_learning_rate=0.0045 \
      "${options[@]}"
  done
done

say "the table and the plot"
$python scripts/experiments/report.py fp8 "$runs" --output "$runs/fp8.png"
