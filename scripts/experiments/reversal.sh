#!/usr/bin/env bash
# (a) Reversal: facts seen in one order each are asked for in both, of the diffusion model and of the
# causal baseline trained on the same data with the same number of tokens. Prints a table; the tasks'
# results are in runs/experiments/reversal-*.json.
source "$(dirname "$0")/common.sh"

say "facts"
[ -s "$data/reversal.jsonl" ] || wordnet reversal
tokenizer reversal reversal 2048
prepare reversal reversal jsonl

say "training"
pretrain_both reversal-KIND 8000 --set data.train="$data/reversal.h5"

say "tasks"
limit=${quick:+12}
limit=${limit:-200}
task reversal-choice reversal reversal-test "$limit" "term: {term} | definition:" "{definition}" \
  'reverse_prompt = "definition: {definition} | term:"' 'reverse_answer = "{term}"' "distractors = 9" \
  "[likelihood]" "samples = 16"
task reversal-recall-forward generation reversal-test "$limit" "term: {term} | definition:" \
  "{definition}" "${written[@]}"
task reversal-recall-reverse generation reversal-test "$limit" "definition: {definition} | term:" \
  "{term}" "${written[@]}"
task reversal-gap infilling reversal-test "$limit" "{text}" "{answer}"
for kind in diffusion autoregressive; do
  say "$kind"
  tasks=(choice recall-forward recall-reverse)
  [ $kind = autoregressive ] || tasks+=(gap)
  tasks=("${tasks[@]/#/$data/reversal-}")
  $lacuna evaluate "${tasks[@]/%/.toml}" --checkpoint "$runs/reversal-$kind" \
    --json "$runs/reversal-$kind.json" --outcomes "$runs/reversal-$kind-outcomes.jsonl"
done
$python scripts/experiments/report.py reversal "$runs" --output "$runs/reversal.png"
