#!/usr/bin/env bash
# (d) Sampler: texts made in few and many steps, by low-confidence, random and block sampling, judged
# by the bound under a larger model and by how much they repeat themselves. Uses the models of
# scaling.sh, which it runs where they are missing.
source "$(dirname "$0")/common.sh"
scaling_models "$writer" "$judge"
texts=$([ -n "$quick" ] && echo 2 || echo 24)
mkdir -p "$runs/sampler"
$python scripts/experiments/report.py passages "$data/kjv.txt" --output "$runs/sampler/book.jsonl"
score "$runs/sampler/book"
for way in low_confidence random block; do
  for count in 4 8 16 32 64; do
    name=$runs/sampler/$way-$count
    options=(--remasking low_confidence)
    [ $way != random ] || options=(--remasking random)
    # Blocks of 16: at least a step each.
    [ $way != block ] || options+=(--block-length 16)
    $lacuna sample --checkpoint "$writer" --gen-length 64 --steps "$count" --temperature 0.7 \
      --num-samples "$texts" "${options[@]}" >"$name.txt"
    $python scripts/experiments/report.py texts "$name.txt" --output "$name.jsonl"
    score "$name"
  done
done
$python scripts/experiments/report.py sampler "$runs" --output "$runs/sampler.png"
