# Sourced by the experiments: where things are, and steps that are skipped when their result is there.
# EXPERIMENT_STEPS=20 makes a quick pass over everything, whose figures mean nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
lacuna=${LACUNA:-build/cpu/bin/lacuna}
data=${EXPERIMENT_DATA:-data/experiments}
runs=${EXPERIMENT_RUNS:-runs/experiments}
quick=${EXPERIMENT_STEPS:-}
python=${PYTHON:-python3}
mkdir -p "$data" "$runs"

say() { printf '\n== %s\n' "$*"; }
steps() { echo "${quick:-$1}"; }

# run_name steps [options]: trains runs/experiments/run_name, or goes on with it.
pretrain() {
  local run=$1 count; count=$(steps "$2"); shift 2
  local resume=()
  [ ! -d "$runs/$run/checkpoints" ] || resume=(--resume)
  $lacuna pretrain --config configs/experiments/small.toml --set train.output="$runs/$run" \
    --set train.steps="$count" "$@" "${resume[@]}"
}
autoregressive=(--set model.attention=causal --set train.objective=autoregressive)

kjv() {
  [ -s "$data/kjv.txt" ] || bible -f gen1:1-rev22:21 >"$data/kjv.txt"
  [ -s "$data/kjv.json" ] || $lacuna tokenizer train --input "$data/kjv.txt" --vocab-size 4096 \
    --output "$data/kjv.json"
  [ -s "$data/kjv-validation.h5" ] || $lacuna prepare --tokenizer "$data/kjv.json" \
    --input "$data/kjv.txt" --output "$data/kjv-train.h5" --validation "$data/kjv-validation.h5" \
    --validation-parts 1  # the tail, as when docs/results.md was measured
}
wordnet() {
  local nouns=()
  [ -z "${WORDNET_NOUNS:-}" ] || nouns=(--nouns "$WORDNET_NOUNS")
  $python scripts/experiments/wordnet.py "$1" --output "$data" "${nouns[@]}"
}
