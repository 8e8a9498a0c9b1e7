# Sourced by the experiments: packages and build, where things are, and steps that are skipped when their
# result is there. EXPERIMENT_STEPS=20 makes a quick pass over everything, whose figures mean nothing, in
# folders of its own. LACUNA names a program that is built already. EXPERIMENT_OPTIONS="--set compute.dtype=bf16"
# is added to every training run. EXPERIMENT_SEEDS="1 2" trains experiments of several seeds with these.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
quick=${EXPERIMENT_STEPS:-}
lacuna=${LACUNA:-build/cpu/bin/lacuna}
data=${EXPERIMENT_DATA:-data/experiments${quick:+-quick}}
runs=${EXPERIMENT_RUNS:-runs/experiments${quick:+-quick}}
# Debian's Python, for which setup.sh installs matplotlib; another may come first on the PATH.
python=${PYTHON:-/usr/bin/python3}
read -ra extra <<<"${EXPERIMENT_OPTIONS:-}"
seeds=${EXPERIMENT_SEEDS:-1 2 3}

scripts/setup.sh --experiments
if [ -z "${LACUNA:-}" ]; then
  cmake --preset cpu >/dev/null
  cmake --build --preset cpu --target lacuna
fi
mkdir -p "$data" "$runs"

say() { printf '\n== %s\n' "$*"; }
steps() { echo "${quick:-$1}"; }

tokenizer() {  # tokenizer NAME CORPUS VOCABULARY: trained on the texts of CORPUS.jsonl
  [ -s "$data/$1.json" ] || $lacuna tokenizer train --input "$data/$2.jsonl" --vocab-size "$3" \
    --output "$data/$1.json"
}
prepare() {  # prepare NAME TOKENIZER FORMAT: NAME.h5 of NAME.jsonl
  [ -s "$data/$1.h5" ] || $lacuna prepare --tokenizer "$data/$2.json" --format "$3" \
    --input "$data/$1.jsonl" --output "$data/$1.h5"
}

task() {  # task NAME TYPE DATA LIMIT PROMPT ANSWER [LINE…]: NAME.toml, of DATA.jsonl; the lines end it
  printf '%s\n' "[task]" "type = \"$2\"" "data = \"$3.jsonl\"" "limit = $4" "prompt = \"$5\"" \
    "answer = \"$6\"" "${@:7}" >"$data/$1.toml"
}
written=("[sampler]" "gen_length = 32")  # definitions have at most some twenty tokens, terms eight

train_or_resume() {  # train_or_resume COMMAND CONFIG RUN [options]
  local command=$1 config=$2 run=$3 resume=(); shift 3
  [ ! -d "$runs/$run/checkpoints" ] || resume=(--resume)
  $lacuna "$command" --config "configs/experiments/$config.toml" --set train.output="$runs/$run" \
    "$@" "${extra[@]}" "${resume[@]}"
}
pretrain() {  # pretrain RUN STEPS [options]
  train_or_resume pretrain small "$1" --set train.steps="$(steps "$2")" "${@:3}"
}
tune() {  # tune COMMAND RUN STEPS [options]: by sft or dpo
  train_or_resume "$1" sft "$2" --set train.steps="$(steps "$3")" "${@:4}"
}
autoregressive=(--set model.attention=causal --set train.objective=autoregressive)
pretrain_both() {  # pretrain_both RUN STEPS [options]: RUN with the kind of model for KIND
  local kind options
  for kind in diffusion autoregressive; do
    options=()
    [ $kind = diffusion ] || options=("${autoregressive[@]}")
    pretrain "${1/KIND/$kind}" "$2" "${@:3}" "${options[@]}"
  done
}

kjv_text() {  # the King James Bible, with a tokenizer
  if [ ! -s "$data/kjv.txt" ]; then
    bible -f gen1:1-rev22:21 >"$data/kjv.txt.partial"
    mv "$data/kjv.txt.partial" "$data/kjv.txt"
  fi
  [ -s "$data/kjv.json" ] || $lacuna tokenizer train --input "$data/kjv.txt" --vocab-size 4096 \
    --output "$data/kjv.json"
}
kjv() {
  kjv_text
  [ -s "$data/kjv-validation.h5" ] || $lacuna prepare --tokenizer "$data/kjv.json" \
    --input "$data/kjv.txt" --output "$data/kjv-train.h5" --validation "$data/kjv-validation.h5" \
    --validation-parts 1  # the tail, as when docs/results.md was measured
}
recipe_data() {  # the same book cut as scripts/quickstart.sh cuts it
  kjv_text
  [ -s "$data/recipe-validation.h5" ] || $lacuna prepare --tokenizer "$data/kjv.json" --input "$data/kjv.txt" \
    --output "$data/recipe-train.h5" --validation "$data/recipe-validation.h5"
}
quickstart_run() {  # quickstart_run RUN SEED STEPS [options]: the quick start's; nothing if it is finished
  local run=$runs/$1 count resume=(); count=$(steps "$3")
  [ ! -e "$run/finished" ] || return 0
  [ ! -d "$run/checkpoints" ] || resume=(--resume)
  say "$run, $count steps"
  $lacuna pretrain --config configs/quickstart.toml --set data.train="$data/recipe-train.h5" \
    --set data.validation="$data/recipe-validation.h5" --set train.output="$run" --set train.seed="$2" \
    --set train.steps="$count" --set train.sample_every=0 --set train.eval_samples=512 \
    --set train.keep_checkpoints=1 "${@:4}" "${extra[@]}" "${resume[@]}"
  [ -e "$run/checkpoints/$(printf 'step-%08d.h5' "$count")" ]  # not stopped by a signal
  touch "$run/finished"
}
wordnet() {
  local nouns=()
  [ -z "${WORDNET_NOUNS:-}" ] || nouns=(--nouns "$WORDNET_NOUNS")
  $python scripts/experiments/wordnet.py "$1" --output "$data" "${nouns[@]}"
}
scaling_models() {  # scaling_models RUN…: models of scaling.sh, trained where one is missing
  local run
  for run in "$@"; do
    [ -d "$run/checkpoints" ] || EXPERIMENT_SEEDS=${run##*-} scripts/experiments/scaling.sh
  done
}
# One writes texts, the larger one judges them.
writer=$runs/scaling-diffusion-128-3000-1 judge=$runs/scaling-diffusion-192-3000-1
score() {  # score NAME: the bounds of its texts under the larger model
  $lacuna score --checkpoint "$judge" --input "$1.jsonl" --samples 32 --json >"$1-score.jsonl"
}
