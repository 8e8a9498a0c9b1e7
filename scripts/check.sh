#!/usr/bin/env bash
# Checks of the sources themselves: what a review should not have to look for.
#
#   scripts/check.sh [--staged] [format] [includes] [words] [tidy]    # all by default
#
# format    clang-format changes nothing
# includes  each folder includes only what docs/architecture.md lets it
# words     terms of the field, not private ones (docs/contributing.md)
# tidy      clang-tidy finds nothing (minutes)
#
# --staged  only the files that the next commit changes, and not tidy by default: seconds.
#           A hook runs it before each commit:  git config core.hooksPath scripts/hooks
set -euo pipefail
cd "$(dirname "$0")/.."
staged=
if [ "${1:-}" = --staged ]; then
  staged=yes
  shift
fi
checks=("$@")
if [ ${#checks[@]} = 0 ]; then
  checks=(format includes words)
  [ "$staged" ] || checks+=(tidy)
fi

need() {  # need PROGRAM PACKAGE
  command -v "$1" >/dev/null && return
  local root=()
  [ "$(id -u)" = 0 ] || root=(sudo)
  "${root[@]}" apt-get install --yes -qq "$2" >/dev/null
}

files() {  # files PATTERN…: the chosen files of these, each followed by a NUL
  if [ "$staged" ]; then
    git diff --cached --name-only --diff-filter=d -z -- "$@"
  else
    git ls-files -z "$@"
  fi
}

check_format() {
  need clang-format clang-format
  local patterns=('*.h' '*.cpp' '*.cu' '*.cuh') file failed=0
  if [ -z "$staged" ]; then
    files "${patterns[@]}" | xargs -0 clang-format --dry-run --Werror
    return
  fi
  # What is staged, which the file on disk may not be.
  while IFS= read -r -d '' file; do
    git show ":$file" | clang-format --dry-run --Werror --assume-filename="$file" || failed=1
  done < <(files "${patterns[@]}")
  return $failed
}

check_includes() { python3 scripts/check_includes.py; }

check_words() { python3 scripts/check_words.py; }

check_tidy() {
  need clang-tidy clang-tidy
  # Without g++'s precompiled header, which clang cannot read.
  cmake --preset cpu -B build/tidy -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON -DLACUNA_TESTS=OFF >/dev/null
  files 'src/*.cpp' 'kernels/cpu/*.cpp' 'kernels/bench/*.cpp' |
    xargs -0 --no-run-if-empty --max-procs="$(nproc)" --max-args=4 \
      clang-tidy --quiet -p build/tidy 2>/dev/null
}

failed=0
for check in "${checks[@]}"; do
  case $check in
    format | includes | words | tidy) ;;
    *) echo "usage: $0 [--staged] [format] [includes] [words] [tidy]" >&2; exit 2 ;;
  esac
  echo "== $check"
  "check_$check" || failed=1
done
exit $failed
