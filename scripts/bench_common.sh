# Sourced by bench_ranks.sh and bench_plan.sh: in the folder $1 (default: a new one under /tmp) a
# text, and the configuration of a model of 5 million parameters that learns from it.
lacuna=${LACUNA:-$PWD/build/cpu/bin/lacuna}
folder=${1:-$(mktemp -d)}
cores=$(nproc)
mkdir -p "$folder"
cd "$folder"
mpirun=(mpirun --allow-run-as-root --oversubscribe --bind-to none --mca mpi_yield_when_idle 1)

# Words of some frequencies, so that there is something to learn; any text would do.
awk 'BEGIN { srand(1); for (i = 0; i < 400000; ++i) printf "w%d ", int(exp(rand() * 8)) }' >text.txt
"$lacuna" tokenizer train --input text.txt --vocab-size 2048 --output tokenizer.json >log 2>&1
"$lacuna" prepare --tokenizer tokenizer.json --input text.txt --output train.h5 >log 2>&1
cat >bench.toml <<'END'
[model]
vocab_size = 4096
num_layers = 4
hidden_size = 256
num_heads = 4
intermediate_size = 704
max_seq_length = 256
[data]
train = "train.h5"
sequence_length = 256
[train]
output = "run"
steps = 12
batch_size = 16
micro_batch_size = 4
log_every = 1
checkpoint_every = 0
[optimizer]
warmup_steps = 0
decay_steps = 0
END

# run RANKS THREADS SETTINGS…: a fresh run, each rank with so many threads
run() {
  local ranks=$1 settings=(--set "compute.threads=$2"); shift 2
  rm -rf run
  for s in "$@"; do settings+=(--set "$s"); done
  local launcher=()
  [ "$ranks" = 1 ] || launcher=("${mpirun[@]}" -n "$ranks")
  "${launcher[@]}" "$lacuna" pretrain --config bench.toml "${settings[@]}" >log 2>&1 ||
    { cat log >&2; exit 1; }
}
# median: of the numbers on standard input, a line each.
median() { sort -g | awk '{ x[NR] = $1 } END { print x[int((NR + 1) / 2)] }'; }
# metric NAME: its median over the last run's steps from the fourth on.
metric() {
  grep -o "\"$1\":[0-9.e+-]*" run/metrics.jsonl | cut -d: -f2 | tail -n +4 | median
}
