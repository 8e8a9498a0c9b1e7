#!/usr/bin/env bash
# (k) Preference tuning: a model that answers "Define: …" with whole definitions learns to prefer their
# first four words, from pairs of one half of its facts; the other half shows what became of its answers.
# VRPO (masks shared with the reference model) beside masks of the reference model's own, 8 masks or one.
source "$(dirname "$0")/common.sh"

say "data"
[ -s "$data/preference.jsonl" ] || wordnet preference
tokenizer preference preference-corpus 2048
prepare preference-corpus preference jsonl
prepare preference-sft preference chat
prepare preference preference preference
prepare preference-held-out preference preference

say "pretraining and fine-tuning"
pretrain preference-base 1500 --set data.train="$data/preference-corpus.h5"
tune sft preference-sft 3000 --init "$runs/preference-base" --set data.train="$data/preference-sft.h5" \
  --set train.eval_every=0 --set train.log_every=500 --set train.stratified_mask_ratios=true \
  --set optimizer.name=muon --set optimizer.muon_learning_rate=0.01 \
  --set optimizer.learning_rate=1e-3 --set optimizer.min_learning_rate=1e-4

task preference-task generation preference-test "${quick:-200}" "Define: {term}" "{definition}" \
  "chat = true" "${written[@]}"
answers() {  # answers RUN
  [ -s "$runs/$1-answers.jsonl" ] || $lacuna evaluate "$data/preference-task.toml" --checkpoint "$runs/$1" \
    --outcomes "$runs/$1-answers.jsonl"
}
answers preference-sft

say "preference tuning"
for seed in $seeds; do
  for masks in 8 1; do
    for shared in true false; do
      run=preference-$masks-$shared-$seed
      tune dpo "$run" 100 --init "$runs/preference-sft" --set data.train="$data/preference.h5" \
        --set data.validation="$data/preference-held-out.h5" --set train.seed=$seed \
        --set train.batch_size=16 --set train.eval_every=0 --set train.log_every=20 \
        --set optimizer.learning_rate=3e-5 --set optimizer.min_learning_rate=3e-6 \
        --set dpo.mask_samples=$masks --set dpo.shared_masks=$shared
      answers "$run"
    done
  done
done
$python scripts/experiments/report.py preference "$runs" --output "$runs/preference.png"
