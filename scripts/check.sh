#!/usr/bin/env bash
# Checks of the sources themselves: what a review should not have to look for.
#
#   scripts/check.sh [format] [includes] [tidy]    # all three by default
#
# format    clang-format changes nothing
# includes  each folder includes only what docs/architecture.md lets it
# tidy      clang-tidy finds nothing (needs build/cpu: scripts/test.sh makes it; minutes)
set -euo pipefail
cd "$(dirname "$0")/.."
checks=("$@")
[ ${#checks[@]} -gt 0 ] || checks=(format includes tidy)

need() {  # need PROGRAM PACKAGE
  command -v "$1" >/dev/null && return
  local root=()
  [ "$(id -u)" = 0 ] || root=(sudo)
  "${root[@]}" apt-get install --yes -qq "$2" >/dev/null
}

check_format() {
  need clang-format clang-format
  git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs clang-format --dry-run --Werror
}

check_includes() { python3 scripts/check_includes.py; }

check_tidy() {
  need clang-tidy clang-tidy
  [ -f build/cpu/compile_commands.json ] || cmake --preset cpu >/dev/null
  git ls-files 'src/*.cpp' 'kernels/cpu/*.cpp' 'kernels/bench/*.cpp' |
    xargs --max-procs="$(nproc)" --max-args=4 clang-tidy --quiet -p build/cpu 2>/dev/null
}

failed=0
for check in "${checks[@]}"; do
  case $check in
    format | includes | tidy) ;;
    *) echo "usage: $0 [format] [includes] [tidy]" >&2; exit 2 ;;
  esac
  echo "== $check"
  "check_$check" || failed=1
done
exit $failed
