#!/usr/bin/env bash
# From nothing to a small masked-diffusion language model of the King James Bible and text it wrote,
# on a CPU: packages, build, corpus, tokenizer, training, a plot of the loss, samples.
# Every step is skipped when its result is there; training goes on where it was interrupted.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }
began=$SECONDS
lacuna=build/cpu/bin/lacuna
data=data/kjv
run=runs/kjv

say "packages and build"
scripts/setup.sh --quickstart
# A new build compiles several files at once: half of the time.
unity=()
[ -e build/cpu/CMakeCache.txt ] || unity=(-DLACUNA_UNITY=ON)
cmake --preset cpu "${unity[@]}" >/dev/null
cmake --build --preset cpu --target lacuna

say "the King James Bible, from the Debian package bible-kjv"
mkdir -p "$data"
if [ ! -s "$data/kjv.txt" ]; then
  bible -f gen1:1-rev22:21 >"$data/kjv.txt.partial"
  mv "$data/kjv.txt.partial" "$data/kjv.txt"
fi
wc -lc <"$data/kjv.txt" | awk '{print $1 " verses, " $2 " bytes"}'

say "tokenizer and token files"
[ -s "$data/tokenizer.json" ] ||
  $lacuna tokenizer train --input "$data/kjv.txt" --vocab-size 4096 --output "$data/tokenizer.json"
[ -s "$data/validation.h5" ] ||
  $lacuna prepare --tokenizer "$data/tokenizer.json" --input "$data/kjv.txt" \
    --output "$data/train.h5" --validation "$data/validation.h5"

say "training (Ctrl-C saves; run this script again to go on)"
resume=()
[ ! -d "$run/checkpoints" ] || resume=(--resume)
$lacuna pretrain --config configs/quickstart.toml "${resume[@]}"

say "loss curve"
# Debian's Python, for which setup.sh installs matplotlib; another may come first on the PATH.
/usr/bin/python3 scripts/plot.py "$run" --output "$run/loss.png"

say "what it writes"
for seed in 1 2 3; do
  $lacuna sample "$run" --prompt "And it came to pass" --gen-length 96 --steps 96 \
    --block-length 8 --temperature 1 --seed $seed --show
  echo
done
say "done in $((SECONDS - began)) s; more text: $lacuna sample $run --show --prompt ..."
