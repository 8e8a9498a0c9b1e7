#!/usr/bin/env bash
# (b) Fine-tuning that ends with knowledge: a model pretrained on plain glosses learns to answer "Define: …"
# from half of these, until it knows the answers. Recall, choice and bound of answers whose facts were in both
# sets, in the glosses alone, and in neither; before and after.
source "$(dirname "$0")/common.sh"

say "data"
[ -s "$data/sft.jsonl" ] || wordnet sft
tokenizer sft sft-corpus 2048
prepare sft-corpus sft jsonl
prepare sft sft chat
prepare sft-held-out sft chat

say "pretraining"
muon=(--set optimizer.name=muon --set optimizer.muon_learning_rate=0.01 --set optimizer.min_learning_rate=1e-4
      --set train.stratified_mask_ratios=true)
pretrain sft-base 2500 --set data.train="$data/sft-corpus.h5" "${muon[@]}"

say "fine-tuning"
tune sft sft 1500 --init "$runs/sft-base" --set data.train="$data/sft.h5" \
  --set data.validation="$data/sft-held-out.h5" --set train.eval_every=0.1 \
  --set optimizer.learning_rate=1e-3 "${muon[@]}"

say "answers"
task() {  # task FILE GROUP TYPE PROMPT ANSWER CHAT
  cat >"$data/sft-$1.toml" <<EOF
[task]
type = "$3"
data = "sft-$2-task.jsonl"
limit = ${quick:-0}
prompt = "$4"
answer = "$5"
chat = $6
choice_prefix = ""
[sampler]
gen_length = 32
[likelihood]
samples = 32
EOF
}
groups=(both corpus-only held-out)
for group in "${groups[@]}"; do
  # The base model knows glosses alone, so that it is asked for one.
  task "$group-gloss" "$group" generation "{term}:" "{definition}" false
  task "$group-recall" "$group" generation "Define: {term}" "{definition}" true
  task "$group-choice" "$group" multiple_choice "Define: {term}" "{answer}" true
done
evaluate() {  # evaluate RUN TASK…
  local run=$1; shift
  $lacuna evaluate "${@/#/$data/sft-}" --checkpoint "$runs/$run" --json "$runs/$run-tasks.json"
  for group in "${groups[@]}"; do
    head -n "${quick:-1000}" "$data/sft-$group-score.jsonl" >"$data/sft-score.jsonl"
    $lacuna score --checkpoint "$runs/$run" --input "$data/sft-score.jsonl" --samples 16 --json \
      >"$runs/$run-$group-bound.jsonl"
  done
}
evaluate sft-base both-gloss.toml corpus-only-gloss.toml held-out-gloss.toml
evaluate sft {both,corpus-only,held-out}-{recall,choice}.toml

say "samples"
for group in "${groups[@]}"; do
  for line in 1 2 3; do
    term=$(sed -n "${line}s/.*\"term\": \"\([^\"]*\)\".*/\1/p" "$data/sft-$group-task.jsonl")
    printf '%s: %s: ' "$group" "$term"
    $lacuna sample --checkpoint "$runs/sft" --chat --prompt "Define: $term" --gen-length 32
  done
done
$python scripts/experiments/report.py sft "$runs" --output "$runs/sft.png"
