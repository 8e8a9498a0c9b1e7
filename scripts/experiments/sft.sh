#!/usr/bin/env bash
# (b) Fine-tuning: a model pretrained on plain glosses learns to answer "Define: …". The bound on
# held-out answers before and after, and what it says.
source "$(dirname "$0")/common.sh"

say "data"
[ -s "$data/sft.jsonl" ] || wordnet sft
tokenizer sft sft-corpus 4096
prepare sft-corpus sft jsonl
prepare sft sft chat
prepare sft-held-out sft chat

say "pretraining"
pretrain sft-base 3000 --set data.train="$data/sft-corpus.h5"

say "fine-tuning"
tune sft sft 600 --init "$runs/sft-base" --set data.train="$data/sft.h5" \
  --set data.validation="$data/sft-held-out.h5"

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
