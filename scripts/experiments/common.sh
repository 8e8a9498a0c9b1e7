# Sourced by the experiments: packages and build, where things are, and steps that are skipped when their
# result is there. EXPERIMENT_STEPS=20 makes a quick pass over everything, whose figures mean nothing, in
# folders of its own. LACUNA names a program that is built already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
quick=${EXPERIMENT_STEPS:-}
lacuna=${LACUNA:-build/cpu/bin/lacuna}
data=${EXPERIMENT_DATA:-data/experiments${quick:+-quick}}
runs=${EXPERIMENT_RUNS:-runs/experiments${quick:+-quick}}
# Debian's Python, for which setup.sh installs matplotlib; another may come first on the PATH.
python=${PYTHON:-/usr/bin/python3}

scripts/setup.sh --experiments
if [ -z "${LACUNA:-}" ]; then
  cmake --preset cpu >/dev/null
  cmake --build --preset cpu --target lacuna
fi
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
  if [ ! -s "$data/kjv.txt" ]; then
    bible -f gen1:1-rev22:21 >"$data/kjv.txt.partial"
    mv "$data/kjv.txt.partial" "$data/kjv.txt"
  fi
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
# The models of scaling.sh, trained where they are missing: one writes texts, the larger one judges them.
writer=$runs/scaling-diffusion-128 judge=$runs/scaling-diffusion-192
writer_and_judge() {
  local run
  for run in "$writer" "$judge"; do
    [ -d "$run/checkpoints" ] || scripts/experiments/scaling.sh
  done
}
score() {  # score NAME: the bounds of its texts under the larger model
  $lacuna score --checkpoint "$judge" --input "$1.jsonl" --samples 32 --json >"$1-score.jsonl"
}
