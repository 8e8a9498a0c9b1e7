#!/usr/bin/env bash
# (h) Reversal, with facts seen in several forms: each fact in one order, in two of three forms of it.
# Asked for in the third form of its order, and in the other order; of the diffusion model and of the
# causal baseline trained on the same data with the same number of tokens.
source "$(dirname "$0")/common.sh"

say "facts"
[ -s "$data/forms.jsonl" ] || wordnet forms
tokenizer forms forms 2048
prepare forms forms jsonl

say "training"
for seed in $seeds; do
  pretrain_both "forms-KIND-$seed" 8000 --set train.seed="$seed" --set data.train="$data/forms.h5"
done

say "tasks"
forward=("term: {term} | definition:" "what is {term}?" "{term} means")
backward=("definition: {definition} | term:" "what is it called? {definition}:"
          "{definition} is the meaning of")
tasks=()
ask() {  # ask NAME PROMPT ANSWER GROUP
  task "forms-$1" generation "forms-$k" "${quick:-0}" "$2" "$3" "group = \"$4\"" "${written[@]}"
}
for k in 0 1 2; do
  # Of the facts that were not seen in form k: in a form they were seen in, in form k, and backwards.
  ask seen-$k "${forward[$(((k + 1) % 3))]}" "{definition}" "seen form"
  ask other-$k "${forward[$k]}" "{definition}" "other form"
  ask reverse-$k "${backward[$k]}" "{term}" "other order"
  tasks+=("$data/forms-seen-$k.toml" "$data/forms-other-$k.toml" "$data/forms-reverse-$k.toml")
done
for seed in $seeds; do
  for kind in diffusion autoregressive; do
    run=forms-$kind-$seed
    [ ! -s "$runs/$run.json" ] || continue
    say "$run"
    $lacuna evaluate "${tasks[@]}" --checkpoint "$runs/$run" --json "$runs/$run.json" \
      --outcomes "$runs/$run-outcomes.jsonl"
  done
done
$python scripts/experiments/report.py forms "$runs" --output "$runs/forms.png"
