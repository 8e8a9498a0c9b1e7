#!/usr/bin/env bash
# (c) Bound against compute: the validation bound of diffusion models and the likelihood of causal
# baselines of three sizes, and of four lengths of training at one size, on the King James Bible. Writes
# runs/experiments/scaling.png and tables, with slopes fitted to them.
source "$(dirname "$0")/common.sh"

say "the King James Bible"
kjv

say "training"
train() {  # train WIDTH HEADS FFN RATE STEPS
  pretrain_both "scaling-KIND-$1-$5-$seed" "$5" --set train.seed="$seed" --set data.train="$data/kjv-train.h5" \
    --set data.validation="$data/kjv-validation.h5" --set train.eval_samples=256 \
    --set model.hidden_size="$1" --set model.num_heads="$2" --set model.intermediate_size="$3" \
    --set optimizer.learning_rate="$4"
}
# Learning rates: 2e-3 at width 128, less for wider ones; more does not help the narrow one.
for seed in $seeds; do
  for size in "64 2 192 2e-3" "128 4 352 2e-3" "192 6 512 1.3e-3"; do
    read -r width heads ffn rate <<<"$size"
    train "$width" "$heads" "$ffn" "$rate" 3000
  done
  # Each length with a schedule of its own.
  for count in 750 1500 6000; do
    train 128 4 352 2e-3 "$count"
  done
done
$python scripts/experiments/report.py scaling "$runs" --output "$runs/scaling.png"
