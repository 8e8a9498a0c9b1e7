#!/usr/bin/env bash
# (g) The recipe: each option of training alone and in combinations, on the quick start's book with its model and
# a smaller one, several seeds each: bounds after the same number of steps. Runs that are finished are skipped, so
# that the experiment can be stopped and begun again. The first seed of everything comes first.
#   EXPERIMENT_SIZES="quickstart small"  EXPERIMENT_ONLY="muon ema"
source "$(dirname "$0")/common.sh"
sizes=${EXPERIMENT_SIZES:-quickstart small}

say "the King James Bible, as scripts/quickstart.sh has it"
recipe_data

# What each variant changes. `muon` has AdamW's rate; the prefix of another names its matrices' rate.
set_() { local arguments=() setting; for setting in "$@"; do arguments+=(--set "$setting"); done; options+=("${arguments[@]}"); }
stratified() { set_ train.stratified_mask_ratios=true; }
qk_norm() { set_ model.qk_norm=true; }
muon() { set_ optimizer.name=muon optimizer.muon_learning_rate="$1"; }
together() { stratified; qk_norm; }
blocks() { set_ model.attention=block_causal train.objective=block_diffusion model.block_size="$1"; }
options_of() {  # options_of VARIANT SIZE SEED
  local before=${1%autoregressive-*}
  if [ "$before" != "$1" ]; then  # the options of what stands before, for each half
    before=${before%-}
    options_of "${before:-adamw}" "$2" "$3"
    case $1 in
      *-half) options+=("${autoregressive[@]}") ;;
      *-first) set_ model.logits_shift=true train.init="$runs/$2-${1%first}half-$3" ;;
    esac
    return
  fi
  options=(--set optimizer.name=adamw)  # unless a variant says otherwise
  case $1 in
    adamw) ;;
    stratified) stratified ;;
    qk-norm) qk_norm ;;
    stratified-qk-norm) together ;;
    muon) muon 0 ;;
    muon-0.0045) muon 0.0045 ;;
    muon-0.0045-together) muon 0.0045; together ;;
    muon-0.009-together) muon 0.009; together ;;
    muon-0.018-together) muon 0.018; together ;;
    ema) set_ optimizer.ema_decay=0.995 ;;
    muon-0.0045-together-ema) muon 0.0045; together; set_ optimizer.ema_decay=0.995 ;;
    count) set_ train.mask_form=mask_count ;;
    count-stratified) stratified; set_ train.mask_form=mask_count ;;
    pairs) set_ train.batch_size=8 train.micro_batch_size=8 train.noisy_views=2 train.complementary_masks=true ;;
    pairs-stratified) stratified
      set_ train.batch_size=8 train.micro_batch_size=8 train.noisy_views=2 train.complementary_masks=true ;;
    block-4) blocks 4 ;;
    block-16) blocks 16 ;;
    growing-blocks) blocks 128; set_ train.block_sizes=4,16,128 ;;
    long) ;;
    muon-0.0045-long) muon 0.0045 ;;
    *) echo "unknown variant $1" >&2; exit 2 ;;
  esac
}
groups=(
  "adamw stratified stratified-qk-norm muon-0.0045-together muon-0.009-together"
  "qk-norm muon muon-0.0045 muon-0.018-together ema muon-0.0045-together-ema"
  "count count-stratified pairs pairs-stratified autoregressive-first muon-0.0045-autoregressive-first"
  "block-4 block-16 growing-blocks"
  "long muon-0.0045-long"
)
steps_of() {
  case $1 in
    *long) echo 8000 ;;
    *autoregressive-first | *autoregressive-half) echo 1000 ;;  # each: together as many as the others
    *) echo 2000 ;;
  esac
}

train() {  # train SIZE VARIANT SEED
  local size=()
  options_of "$2" "$1" "$3"
  [ "$1" = quickstart ] || size=(--set model.hidden_size=64 --set model.intermediate_size=176)
  quickstart_run "$1-$2-$3" "$3" "$(steps_of "$2")" --set train.eval_every=0.125 --set train.checkpoint_every=500 \
    "${options[@]}" "${size[@]}"
}
for group in "${groups[@]}"; do
  for seed in $seeds; do
    for size in $sizes; do
      for variant in $group; do
        [ -z "${EXPERIMENT_ONLY:-}" ] || [[ " $EXPERIMENT_ONLY " == *" $variant "* ]] || continue
        [[ $variant != *autoregressive-first ]] || train "$size" "${variant%first}half" "$seed"
        train "$size" "$variant" "$seed"
      done
    done
  done
done

say "the table and the plot"
$python scripts/experiments/report.py recipe "$runs" --output "$runs/recipe.png"
