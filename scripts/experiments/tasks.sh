#!/usr/bin/env bash
# (j) Tasks at equal compute: the models of scaling.sh, of both kinds and three widths, choose how
# passages of the held-out part of the King James Bible go on, among four continuations, and which of
# four words comes next. Prints a table.
source "$(dirname "$0")/common.sh"

say "passages"
kjv_text
[ -s "$data/passages-words.jsonl" ] || $python scripts/experiments/passages.py "$data/kjv.txt" \
  --output "$data"
for name in continuations words; do
  task "passages-$name" multiple_choice "passages-$name" "${quick:-0}" "{text}" "{answer}" \
    'choice_prefix = ""' "[likelihood]" "samples = 32"
done

for seed in $seeds; do
  for width in 64 128 192; do
    for kind in diffusion autoregressive; do
      run=scaling-$kind-$width-3000-$seed results=$runs/tasks-$kind-$width-$seed.json
      [ ! -s "$results" ] || continue
      scaling_models "$runs/$run"
      say "$run"
      $lacuna evaluate "$data/passages-continuations.toml" "$data/passages-words.toml" \
        --checkpoint "$runs/$run" --json "$results"
    done
  done
done
$python scripts/experiments/report.py tasks "$runs" --output "$runs/tasks.png"
