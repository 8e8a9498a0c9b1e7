#!/usr/bin/env bash
# (b) Fine-tuning that ends with knowledge: a model pretrained on plain glosses learns to answer "Define: …"
# from dialogues of half of these, until it knows the answers; once from the dialogues alone, once with all
# glosses among them. Recall, choice and bound of answers whose facts were in both sets, in the glosses alone,
# and in neither; before and after.
source "$(dirname "$0")/common.sh"

say "data"
[ -s "$data/sft-dialogues.jsonl" ] || wordnet sft
tokenizer sft sft-corpus 2048
prepare sft-corpus sft jsonl
prepare sft-dialogues sft chat
prepare sft-rehearsal sft chat
prepare sft-held-out sft chat

muon=(--set optimizer.name=muon --set optimizer.muon_learning_rate=0.01 --set optimizer.min_learning_rate=1e-4
      --set train.stratified_mask_ratios=true)
for seed in $seeds; do
  say "pretraining and fine-tuning"
  pretrain "sft-base-$seed" 6000 --set train.seed="$seed" --set data.train="$data/sft-corpus.h5" "${muon[@]}"
  for kind in dialogues rehearsal; do
    tune sft "sft-$kind-$seed" 1500 --init "$runs/sft-base-$seed" --set train.seed="$seed" \
      --set data.train="$data/sft-$kind.h5" --set data.validation="$data/sft-held-out.h5" --set train.eval_every=0.1 \
      --set optimizer.learning_rate=1e-3 "${muon[@]}"
  done
done

say "answers"
groups=(both corpus-only held-out)
for group in "${groups[@]}"; do
  # The base model knows glosses alone, so that it is asked for one.
  task "sft-$group-gloss" generation "sft-$group-task" "${quick:-0}" "{term}:" "{definition}" "${written[@]}"
  task "sft-$group-recall" generation "sft-$group-task" "${quick:-0}" "Define: {term}" "{definition}" \
    "chat = true" "${written[@]}"
  task "sft-$group-choice" multiple_choice "sft-$group-task" "${quick:-0}" "Define: {term}" "{answer}" \
    "chat = true" 'choice_prefix = ""' "[likelihood]" "samples = 32"
done
evaluate() {  # evaluate RUN TASK…
  local run=$1; shift
  [ ! -s "$runs/$run-tasks.json" ] || return 0
  for group in "${groups[@]}"; do
    head -n "${quick:-1000}" "$data/sft-$group-score.jsonl" >"$data/sft-score.jsonl"
    $lacuna score --checkpoint "$runs/$run" --input "$data/sft-score.jsonl" --samples 16 --json \
      >"$runs/$run-$group-bound.jsonl"
  done
  $lacuna evaluate "${@/#/$data/sft-}" --checkpoint "$runs/$run" --json "$runs/$run-tasks.json"
}
for seed in $seeds; do
  evaluate "sft-base-$seed" {both,corpus-only,held-out}-gloss.toml
  for kind in dialogues rehearsal; do
    evaluate "sft-$kind-$seed" {both,corpus-only,held-out}-{recall,choice}.toml
  done
done

say "samples"
for group in "${groups[@]}"; do
  for line in 1 2 3; do
    term=$(sed -n "${line}s/.*\"term\": \"\([^\"]*\)\".*/\1/p" "$data/sft-$group-task.jsonl")
    printf '%s: %s: ' "$group" "$term"
    $lacuna sample --checkpoint "$runs/sft-rehearsal-${seeds%% *}" --chat --prompt "Define: $term" --gen-length 32
  done
done
$python scripts/experiments/report.py sft "$runs" --output "$runs/sft.png"
