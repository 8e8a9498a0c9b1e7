#pragma once
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "decoding/batch.h"
#include "decoding/cache_slabs.h"
#include "decoding/cached_rows.h"
#include "decoding/decoder.h"
#include "decoding/device_rounds.h"
#include "decoding/make_strategy.h"
#include "decoding/prefix_cache.h"
#include "decoding/strategy.h"
#include "decoding/token_predictor.h"

namespace lacuna {

/// A request in the queue or in progress.
struct DecodingText {
  std::int64_t id, sample;
  std::int64_t room;    // rows it may come to have, shadows included
  std::int64_t length;  // of the text, now; the canvas may come to more
  DecodingOptions options;
  Canvas canvas;
  std::unique_ptr<Strategy> strategy;
  CachedRows cached;
  std::shared_ptr<const TokenConstraint> constraint = {};
  std::int64_t answer = 0;  // the constraint's rows begin here
  std::int64_t reused = 0;  // rows that PrefixCache had
  std::optional<CacheRows> slab = {};

  bool guided() const { return options.cfg_scale > 0; }
};

/// What a Decoder consists of. decoder.cpp has requests and the loop, decoder_rounds.cpp the steps
/// that are decided on a device.
struct Decoder::State {
  State(Ops& ops, const ModelConfig& c, const ModelWeights& weights, const DecoderLimits& l,
        Communicator* shares);

  void check(const DecodingRequest& request, const RequestRows& rows) const;
  const DecodingText* find(std::int64_t id) const;

  void reuse_prefix(DecodingText& text);
  void keep_prefix(const DecodingText& text);
  bool admit(DecodingText& text, std::int64_t tokens);
  void admit();
  void release(DecodingText& text);
  void retire();
  void finish(DecodingText& text);
  std::vector<PlannedStep> plans() const;
  std::vector<Change> fitting(const DecodingText& text, std::vector<Change> changes) const;
  bool commit(DecodingText& text, std::int32_t row, std::int32_t token, float probability);
  void grow(DecodingText& text, std::vector<std::int32_t>& committed);
  void take(DecodingText& text, const PlannedStep& step, std::span<const Change> changes,
            std::int64_t logit_rows, const DecodingObserver& observer);
  void count_pass(std::span<const PlannedStep> steps, const DecodingBatch& batch);
  void run_step(std::span<const PlannedStep> steps, const DecodingObserver& observer);
  /// Of the texts in progress, where there is a device.
  std::vector<CommitSchedule> schedules() const;
  std::int64_t passes_of_round(std::span<const PlannedStep> steps,
                               std::span<const CommitSchedule> schedules) const;
  void run_round(std::vector<PlannedStep> steps, const std::vector<CommitSchedule>& schedules,
                 std::int64_t passes, const DecodingObserver& observer);
  bool take_from_device(DecodingText& text, const PlannedStep& step, std::size_t first_draw,
                        const DecodingBatch& batch, const RoundCommits& commits,
                        std::int32_t number, const DecodingObserver& observer);

  const ModelConfig config;
  const bool causal;
  const std::int32_t mask;  // -1 of a causal model, which fills none
  const DecoderLimits limits;
  const BatchModel batch_model;
  TokenPredictor predictor;
  std::optional<DeviceRounds> device;  // where a device decides what is committed
  CacheSlabs slabs;
  std::optional<PrefixCache> prefixes;
  std::int64_t next_id = 0;
  std::deque<DecodingText> queue;
  // In progress: with a cache in the order of their slabs, else guided ones first.
  std::vector<DecodingText> live;
  std::vector<DecodingResult> results;
  DecodingStats stats;
};

}  // namespace lacuna
