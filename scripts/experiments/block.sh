#!/usr/bin/env bash
# (f) Blocks: an autoregressive model, block diffusion in blocks of 4, 16 and 64 tokens, and full attention,
# each trained on the same tokens of the King James Bible: nats per token (exact, or a bound) and the
# speed of generation. The literature's order is autoregressive < 4 < 16 < full (arXiv:2503.09573).
source "$(dirname "$0")/common.sh"

say "the King James Bible"
kjv

say "training"
for kind in autoregressive 4 16 64 full; do
  options=()
  case $kind in
    autoregressive) options=("${autoregressive[@]}") ;;
    full) ;;
    *) options=(--set model.attention=block_causal --set model.block_size="$kind"
                --set train.objective=block_diffusion) ;;
  esac
  pretrain "block-$kind" 3000 --set data.train="$data/kjv-train.h5" \
    --set data.validation="$data/kjv-validation.h5" --set train.eval_samples=256 \
    --set model.hidden_size=128 --set model.num_heads=4 --set model.intermediate_size=352 \
    --set optimizer.learning_rate=2e-3 --set train.random_length_fraction=0 "${options[@]}"
done

say "generation"
for kind in autoregressive 4 16 64 full; do
  cache=()
  [ $kind != full ] || cache=(--preset fast)
  $lacuna bench --generate --checkpoint "$runs/block-$kind" --prompt-length 32 --gen-length 64 --json \
    "${cache[@]}" >"$runs/block-$kind-speed.json"
done
$python scripts/experiments/report.py block "$runs" --output "$runs/block.png"
