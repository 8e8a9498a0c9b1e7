#!/usr/bin/env bash
# (b) Fine-tuning: a model pretrained on plain glosses learns to answer "Define: …". The bound on
# held-out answers before and after, and what it says.
source "$(dirname "$0")/common.sh"

say "data"
[ -s "$data/sft.jsonl" ] || wordnet sft
[ -s "$data/sft.json" ] || $lacuna tokenizer train --input "$data/sft-corpus.jsonl" \
  --vocab-size 4096 --output "$data/sft.json"
[ -s "$data/sft-corpus.h5" ] || $lacuna prepare --tokenizer "$data/sft.json" --format jsonl \
  --input "$data/sft-corpus.jsonl" --output "$data/sft-corpus.h5"
for part in sft sft-held-out; do
  [ -s "$data/$part.h5" ] || $lacuna prepare --tokenizer "$data/sft.json" --format chat \
    --input "$data/$part.jsonl" --output "$data/$part.h5"
done

say "pretraining"
pretrain sft-base 3000 --set data.train="$data/sft-corpus.h5"

say "fine-tuning"
count=$(steps 600)
resume=()
[ ! -d "$runs/sft/checkpoints" ] || resume=(--resume)
$lacuna sft --config configs/experiments/sft.toml --init "$runs/sft-base" \
  --set data.train="$data/sft.h5" --set data.validation="$data/sft-held-out.h5" \
  --set train.output="$runs/sft" --set train.steps="$count" \
  "${resume[@]}"

say "held-out answers: bound before and after (nats per token, with standard error)"
head -n "${quick:-200}" "$data/sft-held-out-score.jsonl" >"$data/sft-score.jsonl"
for run in sft-base sft; do
  $lacuna score --checkpoint "$runs/$run" --input "$data/sft-score.jsonl" --samples 16 --json \
    2>"$runs/$run-bound.txt" >"$runs/$run-bound.jsonl"
  printf '%-9s %s\n' "$run" "$(tail -n 1 "$runs/$run-bound.txt")"
done

say "samples"
for term in "river" "hammer" "physician" "happiness"; do
  printf '%s: ' "$term"
  $lacuna sample --checkpoint "$runs/sft" --chat --prompt "Define: $term" --gen-length 32
done
$python scripts/experiments/report.py sft "$runs" --output "$runs/sft.png"
