#!/usr/bin/env bash
# (c) Bound against compute: the validation bound of diffusion models and the likelihood of causal
# baselines of three sizes, on the King James Bible. Writes runs/experiments/scaling.png and a table.
source "$(dirname "$0")/common.sh"

say "the King James Bible"
kjv

say "training"
for size in "64 1 192" "128 2 352" "192 3 512"; do
  read -r width heads ffn <<<"$size"
  for kind in diffusion autoregressive; do
    options=()
    [ $kind = diffusion ] || options=("${autoregressive[@]}")
    pretrain scaling-$kind-$width 1500 --set data.train="$data/kjv-train.h5" \
      --set data.validation="$data/kjv-validation.h5" --set train.eval_samples=256 \
      --set model.width="$width" --set model.heads="$heads" --set model.ffn_width="$ffn" \
      "${options[@]}"
  done
done
$python scripts/experiments/report.py scaling "$runs" --output "$runs/scaling.png"
