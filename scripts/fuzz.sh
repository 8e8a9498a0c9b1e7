#!/usr/bin/env bash
# Feeds mutated files to every reader of files that anybody may have made, and mutated requests to the
# server's parsers, guided by coverage, under AddressSanitizer and UndefinedBehaviorSanitizer, with limits
# on single allocations and on memory.
#
#   scripts/fuzz.sh [TARGET|all] [RUNS]     # all, as many at a time as there are cores; 1,000,000 inputs each
#
# build/fuzz/bin/fuzz lists the targets.
#
# What it has found so far is kept in build/fuzz/corpus/TARGET, and an input that is handled wrongly in
# build/fuzz/found/TARGET-…: mend the reader and add the input to tests/fuzz/found/TARGET.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${2:-1000000}
targets=(hdf5 safetensors index gguf parquet compressed tokenizer regex config task pattern record corpus dialogue chat_template
  hugging_face_config metrics http_request api_request)
[ "${1:-all}" = all ] || targets=("$1")
if ! command -v clang++ >/dev/null; then
  root=()
  [ "$(id -u)" = 0 ] || root=(sudo)
  "${root[@]}" apt-get install --yes -qq clang libclang-rt-dev >/dev/null
fi
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
mkdir -p build/fuzz/found
fuzz() {  # fuzz TARGET RUNS
  local corpus=build/fuzz/corpus/$1 log=build/fuzz/$1.log result=0
  mkdir -p "$corpus"
  build/fuzz/bin/fuzz --target="$1" --write-seeds="$corpus" || return
  build/fuzz/bin/fuzz --target="$1" -runs="$2" -max_len=8192 -timeout=10 -malloc_limit_mb=256 \
    -rss_limit_mb=1024 -print_final_stats=1 -verbosity=1 -artifact_prefix="build/fuzz/found/$1-" \
    "$corpus" 2>"$log" || result=1
  echo "== $1
$(grep -E 'cov: |ERROR|SUMMARY|stat::number_of_executed|Test unit written' "$log" | tail -4)"
  return $result
}
export -f fuzz
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c "fuzz {} $runs" || exit 1
