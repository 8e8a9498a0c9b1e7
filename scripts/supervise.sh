#!/usr/bin/env bash
# Keeps a training run going: starts it, and after a failure starts it again from its newest
# checkpoint. Under Slurm, scripts/slurm/pretrain.sbatch does that by requeueing.
#
#   scripts/supervise.sh --run runs/llada-8b -- \
#     mpirun -n 8 build/cuda/bin/lacuna pretrain --config configs/llada-8b.toml
#   scripts/supervise.sh --run runs/llada-8b --hostfile hosts --nodes 4 -- \
#     mpirun -n 32 --hostfile {hosts} build/cuda/bin/lacuna pretrain --config configs/llada-8b.toml
#
#   --run DIR        the run's folder, train.output: a failure before a newer checkpoint appears in
#                    it is one without progress
#   --failures K     give up after K failures in a row without progress [5]
#   --wait S         seconds before a restart; doubled after each failure without progress, to at
#                    most 600 [10]
#   --stall S        a job that has written neither metrics nor a checkpoint for S seconds is ended
#                    and counts as failed; 0: never [3600]
#   --hostfile FILE  hosts, one per line, as mpirun reads them; with --nodes
#   --nodes N        each start uses the first N hosts that answer, the others are spares; {hosts} in
#                    the command stands for a file of these N lines
#   --probe COMMAND  how a host is asked, {host} in it being its name
#                    [ssh -o BatchMode=yes -o ConnectTimeout=10 {host} true]
#
# The command gets --resume at its end. SIGTERM, SIGINT, SIGUSR1 or SIGUSR2 to this script makes the
# ranks save and end (SIGUSR1 to the command, which mpirun forwards), and nothing is started again; a
# second one ends the command at once. Exit code: 0 when the command ended with 0; 2 for a
# mistake in options, command line or configuration, which no restart mends; else the command's last.
set -uo pipefail

usage() {
  sed -n '2,/^set -u/{/^#/s/^# \{0,1\}//p}' "$0"
  exit "$1"
}
say() { printf 'supervise: %s\n' "$*" >&2; }
mistake() {
  say "$*; see --help"
  exit 2
}
number() {
  [[ $2 =~ ^[0-9]+$ ]] || mistake "$1 takes a whole number, not '$2'"
}

run='' failures=5 wait=10 stall=3600 hostfile='' nodes=''
probe='ssh -o BatchMode=yes -o ConnectTimeout=10 {host} true'
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage 0 ;;
    --) break ;;
    --run | --failures | --wait | --stall | --hostfile | --nodes | --probe)
      [ $# -ge 2 ] || mistake "$1 needs a value"
      case $1 in
        --run | --hostfile | --probe) ;;
        *) number "$1" "$2" ;;
      esac
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    *) mistake "unknown option '$1'" ;;
  esac
done
if [ "${1-}" != -- ] || [ $# -lt 2 ]; then mistake "the command is missing: -- mpirun ..."; fi
shift
[ -n "$run" ] || mistake "--run is missing: the run's folder"
[ "$failures" -ge 1 ] || mistake "--failures must be at least 1"
if [ -n "$hostfile$nodes" ]; then
  if [ -z "$hostfile" ] || [ -z "$nodes" ]; then mistake "--hostfile and --nodes belong together"; fi
  [ -r "$hostfile" ] || mistake "--hostfile: cannot read $hostfile"
  [ "$nodes" -ge 1 ] || mistake "--nodes must be at least 1"
  [[ " $* " == *'{hosts}'* ]] || mistake "the command has no {hosts}, where the hosts that answer go"
elif [[ " $* " == *'{hosts}'* ]]; then
  mistake "{hosts} needs --hostfile and --nodes"
fi

hosts=$(mktemp) || exit 1
trap 'rm -f "$hosts"' EXIT
command=()
resume=--resume
for word in "$@"; do
  [ "$word" = --resume ] && resume=''
  command+=("${word//'{hosts}'/$hosts}")
done
[ -n "$resume" ] && command+=("$resume")

newest() {  # the name of the newest checkpoint: step numbers have leading zeros
  local all=("$run"/checkpoints/step-*.h5)
  [ -e "${all[-1]}" ] && printf %s "${all[-1]##*/}"
}
last_sign() {  # when the run last wrote something, in seconds
  stat -c %Y "$run/metrics.jsonl" "$run"/checkpoints "$1" 2>/dev/null | sort -n | tail -n 1
}
choose_hosts() {
  local line host found=0
  : >"$hosts"
  while IFS= read -r line && [ "$found" -lt "$nodes" ]; do
    read -r host _ <<<"${line%%#*}"
    [ -n "$host" ] || continue
    if bash -c "${probe//'{host}'/$(printf %q "$host")}" </dev/null >/dev/null 2>&1; then
      printf '%s\n' "$line" >>"$hosts"
      found=$((found + 1))
    else
      say "$host does not answer: left out"
    fi
  done < <(cat "$hostfile"; echo)
  [ "$found" -eq "$nodes" ] && return
  say "$found of $nodes hosts answer"
  return 1
}

child='' stopping=''
# shellcheck disable=SC2317  # called by trap
stop() {
  if [ -n "$stopping" ]; then
    [ -n "$child" ] && kill -TERM "$child" 2>/dev/null
  else
    say "asked to stop: the ranks finish the step and save"
    stopping=yes
    [ -n "$child" ] && kill -USR1 "$child" 2>/dev/null
  fi
}
trap stop TERM INT USR1 USR2

# Sleeps without delaying a signal.
pause() {
  sleep "$1" &
  local sleeping=$!
  wait "$sleeping"
  kill "$sleeping" 2>/dev/null
}
# Ends a job that stalls: its launcher gets ten seconds to end the ranks.
watch() {
  while kill -0 "$1" 2>/dev/null; do
    sleep "$((stall < 20 ? 1 : 10))" >/dev/null 2>&1
    local sign
    sign=$(last_sign "$hosts")
    [ "$(($(date +%s) - sign))" -gt "$stall" ] || continue
    say "no metrics and no checkpoint for $stall seconds: the job is ended"
    kill -TERM "$1" 2>/dev/null
    sleep 10 >/dev/null 2>&1
    kill -KILL -- "-$1" "$1" 2>/dev/null
    return
  done
}
run_once() {
  touch "$hosts"  # the start is a sign of life
  set -m  # a process group of its own
  "${command[@]}" </dev/null &  # its group may not read the terminal
  child=$!
  set +m
  local watcher=''
  if [ "$stall" -gt 0 ]; then
    watch "$child" &
    watcher=$!
  fi
  local code
  wait "$child"
  code=$?
  while kill -0 "$child" 2>/dev/null; do  # the wait ended by a signal to this script
    wait "$child"
    code=$?
  done
  child=''
  [ -n "$watcher" ] && kill "$watcher" 2>/dev/null
  return "$code"
}

failed=0 delay=$wait
while [ -z "$stopping" ]; do
  before=$(newest)
  code=1
  if [ -z "$nodes" ] || choose_hosts; then
    run_once
    code=$?
    [ "$code" -eq 0 ] && exit 0
    [ -n "$stopping" ] && exit "$code"
    [ "$code" -eq 126 ] || [ "$code" -eq 127 ] && exit "$code"
    if [ "$code" -eq 2 ]; then
      say "exit code 2, a mistake in the command line or the configuration: not started again"
      exit 2
    fi
  fi
  after=$(newest)
  if [ "$after" != "$before" ]; then
    failed=0 delay=$wait
  else
    failed=$((failed + 1))
  fi
  if [ "$failed" -ge "$failures" ]; then
    say "exit code $code; no newer checkpoint than ${after:-none} in $failed starts: giving up"
    exit "$code"
  fi
  say "exit code $code; goes on in $delay s from ${after:-the beginning}"
  pause "$delay"
  [ "$failed" -eq 0 ] || delay=$((delay < 300 ? 2 * delay : 600))
done
exit "$code"
