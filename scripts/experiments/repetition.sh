#!/usr/bin/env bash
# (i) Little data, often: both kinds of model on one megabyte of the King James Bible, repeated 10, 100
# and 300 times, each with a schedule of its own. The bound and the likelihood of held-out parts of it.
source "$(dirname "$0")/common.sh"

say "data"
kjv_text
if [ ! -s "$data/megabyte.h5" ]; then
  head -c 1000000 "$data/kjv.txt" >"$data/megabyte.txt"
  $lacuna prepare --tokenizer "$data/kjv.json" --input "$data/megabyte.txt" \
    --output "$data/megabyte.h5" --validation "$data/megabyte-validation.h5"
fi

say "training"
# A run of 300 epochs takes an hour: only the first two seeds have it.
read -r first second _ <<<"$seeds"
for seed in $seeds; do
  for epochs in 10 100 300; do
    [ $epochs != 300 ] || [[ " $first $second " == *" $seed "* ]] || continue
    for kind in diffusion autoregressive; do
      options=()
      [ $kind = diffusion ] || options=("${autoregressive[@]}")
      # EXPERIMENT_STEPS makes it so many steps.
      length=(--set train.epochs=$epochs)
      [ -z "$quick" ] || length=(--set train.steps="$quick")
      train_or_resume pretrain small "repetition-$kind-$epochs-$seed" --set train.seed="$seed" \
        --set data.train="$data/megabyte.h5" --set data.validation="$data/megabyte-validation.h5" \
        --set train.eval_samples=256 --set train.eval_every=0.05 --set model.hidden_size=128 \
        --set model.num_heads=4 --set model.intermediate_size=352 --set optimizer.learning_rate=2e-3 \
        --set train.batch_size=32 "${length[@]}" "${options[@]}"
    done
  done
done
$python scripts/experiments/report.py repetition "$runs" --output "$runs/repetition.png"
