#!/usr/bin/env bash
# (e) Decoding: quality against tokens per pass, for every strategy and cache. Texts of 64 tokens in
# blocks of 16, judged by the bound under a larger model and by how much they repeat themselves; and
# definitions of a learned fact, which are right or wrong. Uses the models of scaling.sh and reversal.sh,
# which it runs where they are missing.
source "$(dirname "$0")/common.sh"
scaling_models "$writer" "$judge"
texts=$([ -n "$quick" ] && echo 2 || echo 24)
mkdir -p "$runs/decoding"
$python scripts/experiments/report.py passages "$data/kjv.txt" --output "$runs/decoding/book.jsonl"
decode() {  # decode STRATEGY VALUE CACHE [options]
  local name=$runs/decoding/$1-$2-$3
  [ ! -s "$name-score.jsonl" ] || return 0
  $lacuna sample --checkpoint "$writer" --gen-length 64 --block-length 16 --temperature 0.7 \
    --num-samples "$texts" --strategy "$1" --cache "$3" --stats-json "$name.json" "${@:4}" >"$name.txt"
  $python scripts/experiments/report.py texts "$name.txt" --output "$name.jsonl"
  score "$name"
}
score "$runs/decoding/book"
# each COMMAND CACHE STEPS: every strategy with some values, of texts with so many tokens.
each() {
  local n=$3 value
  for value in 1 2 4 8; do $1 fixed $((n / value)) "$2" --steps $((n / value)); done
  for value in 0.9 0.6 0.3; do $1 threshold $value "$2" --threshold $value; done
  for value in 0.9 0.5; do $1 dynamic $value "$2" --threshold $value --steps $((n / 2)); done
  for value in 1 2 4; do $1 factor $value "$2" --factor $value; done
  for value in 0.1 1 4; do $1 entropy $value "$2" --entropy-bound $value; done
  for value in 0.5 0.2; do $1 margin $value "$2" --threshold $value; done
  for value in 0.6 0.3; do $1 wino $value "$2" --threshold $value --revise-threshold 0.2; done
  for value in 0.7 0.4; do $1 edit $value "$2" --threshold $value; done
  for value in 1 2; do $1 remdm $((n * value)) "$2" --steps $((n * value)) --remask-rate 0.02; done
}
for cache in none prefix dual vicinity; do each decode $cache 64; done

say "texts that have one right answer: definitions that the model of reversal.sh has learned"
[ -d "$runs/reversal-diffusion/checkpoints" ] || scripts/experiments/reversal.sh
task reversal-decoding generation reversal-test "$([ -n "$quick" ] && echo 12 || echo 200)" \
  "term: {term} | definition:" "{definition}" "${written[@]}" "block_length = 16"
recall() {  # recall STRATEGY VALUE CACHE [options]
  local name=$runs/decoding/recall-$1-$2-$3.json settings=() key
  [ ! -s "$name" ] || return 0
  for ((i = 4; i < $#; i += 2)); do
    key=${!i} value_at=$((i + 1))
    key=${key#--}
    settings+=(--set "sampler.${key//-/_}=${!value_at}")
  done
  $lacuna evaluate "$data/reversal-decoding.toml" --checkpoint "$runs/reversal-diffusion" \
    --set "sampler.strategy=$1" --set "sampler.cache=$3" "${settings[@]}" --json "$name"
}
for cache in none dual; do each recall $cache 32; done
$python scripts/experiments/report.py decoding "$runs" --output "$runs/decoding.png"
