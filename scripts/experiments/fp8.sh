#!/usr/bin/env bash
# (h) Products in FP8: the quick start's model and book in f32, bf16 and with FP8 (emulated on a CPU), the same data,
# masks and initial weights for each seed; with Muon, as AdamW's runs of this length end while they leave a plateau,
# some steps sooner or later. Runs that are finished are skipped.
#   EXPERIMENT_SEEDS="1 2"  EXPERIMENT_TYPES="bf16 fp8 f32"  EXPERIMENT_THREADS=0
source "$(dirname "$0")/common.sh"

say "the King James Bible, as scripts/quickstart.sh has it"
kjv_text
[ -s "$data/recipe-validation.h5" ] || $lacuna prepare --tokenizer "$data/kjv.json" --input "$data/kjv.txt" \
  --output "$data/recipe-train.h5" --validation "$data/recipe-validation.h5"

train() {  # train NAME SEED [options]
  local run=$runs/fp8-$1-$2 count seed=$2 resume=(); count=$(steps 1000); shift 2
  [ ! -e "$run/finished" ] || return 0
  [ ! -d "$run/checkpoints" ] || resume=(--resume)
  say "$run, $count steps"
  $lacuna pretrain --config configs/quickstart.toml --set data.train="$data/recipe-train.h5" \
    --set data.validation="$data/recipe-validation.h5" --set train.output="$run" --set train.seed="$seed" \
    --set train.steps="$count" --set train.sample_every=0 --set train.eval_samples=512 --set train.eval_every=0.1 \
    --set train.log_every=10 --set train.checkpoint_every=1000 --set train.keep_checkpoints=1 \
    --set optimizer.name=muon --set optimizer.muon_learning_rate=0.0045 \
    --set compute.threads="${EXPERIMENT_THREADS:-0}" "$@" "${resume[@]}"
  [ -e "$run/checkpoints/$(printf 'step-%08d.h5' "$count")" ]  # not stopped by a signal
  touch "$run/finished"
}
options_of() {
  case $1 in
    f32) options=() ;;
    bf16) options=(--set compute.dtype=bf16) ;;
    fp8) options=(--set compute.dtype=bf16 --set compute.linear_dtype=fp8) ;;
    *) echo "unknown type $1" >&2; exit 2 ;;
  esac
}
for seed in ${EXPERIMENT_SEEDS:-1 2}; do
  for type in ${EXPERIMENT_TYPES:-bf16 fp8 f32}; do
    options_of "$type"
    train "$type" "$seed" "${options[@]}"
  done
done

say "the table and the plot"
$python scripts/experiments/report.py fp8 "$runs" --output "$runs/fp8.png"
