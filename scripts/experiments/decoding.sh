#!/usr/bin/env bash
# (e) Decoding: quality against tokens per pass, for every strategy and cache. Texts of 64 tokens in
# blocks of 16, judged by the bound under a larger model and by how much they repeat themselves. Uses the
# models of scaling.sh, which it runs where they are missing.
source "$(dirname "$0")/common.sh"
writer_and_judge
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
for cache in none prefix dual vicinity; do
  for n in 64 32 16 8; do decode fixed $n $cache --steps $n; done
  for value in 0.9 0.6 0.3; do decode threshold $value $cache --threshold $value; done
  for value in 1 2 4; do decode factor $value $cache --factor $value; done
  for value in 0.1 1 4; do decode entropy $value $cache --entropy-bound $value; done
  for value in 0.5 0.2; do decode margin $value $cache --threshold $value; done
  for value in 0.6 0.3; do decode wino $value $cache --threshold $value --revise-threshold 0.2; done
  for value in 0.7 0.4; do decode edit $value $cache --threshold $value; done
  for n in 64 128; do decode remdm $n $cache --steps $n --remask-rate 0.02; done
done
$python scripts/experiments/report.py decoding "$runs" --output "$runs/decoding.png"
