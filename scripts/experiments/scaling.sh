#!/usr/bin/env bash
# (c) Bound against compute: the validation bound of diffusion models and the likelihood of causal
# baselines of three sizes, on the King James Bible. Writes runs/experiments/scaling.png and a table.
source "$(dirname "$0")/common.sh"

say "the King James Bible"
kjv

say "training"
# Learning rates: 2e-3 at width 128, less for wider ones; more does not help the narrow one.
for size in "64 2 192 2e-3" "128 4 352 2e-3" "192 6 512 1.3e-3"; do
  read -r width heads ffn rate <<<"$size"
  for kind in diffusion autoregressive; do
    options=()
    [ $kind = diffusion ] || options=("${autoregressive[@]}")
    pretrain scaling-$kind-$width 3000 --set data.train="$data/kjv-train.h5" \
      --set data.validation="$data/kjv-validation.h5" --set train.eval_samples=256 \
      --set model.hidden_size="$width" --set model.num_heads="$heads" --set model.intermediate_size="$ffn" \
      --set optimizer.learning_rate="$rate" "${options[@]}"
  done
done
$python scripts/experiments/report.py scaling "$runs" --output "$runs/scaling.png"
