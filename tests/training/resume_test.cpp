#include "training/resume.h"

#include <functional>

#include "tests/support/support.h"
#include "tests/training/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::write_cycle;

/// What resolving a config against a token file (18 ids, mask 16, end 17) says is wrong.
std::string resolve_error(const std::function<void(Config&)>& change) {
  const Folder folder;
  write_cycle(folder / "t.h5", 100);
  const TokenFile file(folder / "t.h5");
  Config config;
  change(config);
  return error_of<UsageError>([&] { resolve_model(config, file, -1); });
}

TEST(ResolveModel, TakesWhatIsNotSetFromTheData) {
  const Folder folder;
  write_cycle(folder / "t.h5", 100);
  const TokenFile file(folder / "t.h5");
  const ModelConfig m = resolve_model(Config(), file, -1).model;
  EXPECT_EQ(m.vocab_size, 18);
  EXPECT_EQ(m.mask_token, 16);
  EXPECT_EQ(m.eos_token, 17);
  EXPECT_EQ(m.pad_token, 17);  // LLaDA pads with the end token
  EXPECT_EQ(m.num_kv_heads, Config().model.num_heads);
  EXPECT_EQ(resolve_model(Config(), file, 3).model.pad_token, 3);
  Config padded;
  padded.model.vocab_size = 64;
  EXPECT_EQ(resolve_model(padded, file, -1).model.vocab_size, 64);
}

TEST(ResolveModel, FindsTheTokenThatBeginsEveryText) {
  const Folder folder;
  const auto file_of = [&](const char* name, const std::vector<std::vector<std::int32_t>>& texts) {
    TokenFileWriter writer(folder / name, {10, 8, 9, ""});
    for (const auto& text : texts) {
      writer.append(text);
      writer.end_document();
    }
    writer.finish();
    writer.commit();
    return TokenFile(folder / name);
  };
  EXPECT_TRUE(all_begin_with(7, file_of("a.h5", {{7, 1}, {7}, {7, 7, 2}})));
  EXPECT_FALSE(all_begin_with(7, file_of("b.h5", {{7, 1}, {1, 7}})));
  EXPECT_FALSE(all_begin_with(6, file_of("c.h5", {{7, 1}})));
}

TEST(ResolveModel, RefusesWhatContradictsTheData) {
  EXPECT_TRUE(contains(resolve_error([](Config& c) { c.model.vocab_size = 17; }),
                       "model.vocab_size = 17, but "));
  EXPECT_TRUE(contains(resolve_error([](Config& c) { c.model.vocab_size = 17; }),
                       "holds ids up to 17; set it to 18 or more"));
  EXPECT_TRUE(contains(resolve_error([](Config& c) { c.model.mask_token = 15; }),
                       "model.mask_token = 15, but "));
  EXPECT_TRUE(contains(resolve_error([](Config& c) { c.model.eos_token = 0; }),
                       "model.eos_token = 0, but "));
  EXPECT_TRUE(contains(resolve_error([](Config& c) { c.model.pad_token = 18; }),
                       "model.pad_token = 18 lies outside the vocabulary of 18"));
}

TEST(ResolveModel, DiffusionNeedsAMask) {
  const Folder folder;
  TokenFileWriter writer(folder / "t.h5", {10, -1, 9, ""});
  writer.append(std::vector<std::int32_t>{1, 2, 9});
  writer.end_document();
  writer.finish();
  writer.commit();
  const TokenFile file(folder / "t.h5");
  Config config;
  EXPECT_TRUE(contains(error_of<UsageError>([&] { resolve_model(config, file, -1); }),
                       "needs a mask token"));
  config.model.mask_token = 8;
  EXPECT_EQ(resolve_model(config, file, -1).model.mask_token, 8);
  config.model.mask_token = -1;
  config.train.objective = Objective::autoregressive;
  EXPECT_EQ(resolve_model(config, file, -1).model.mask_token, -1);
}

TEST(ChangesOnResume, AreTold) {
  Config before, now;
  EXPECT_TRUE(changes_on_resume(before, now, "k.h5").empty());
  before.train.steps = 1000;
  now.train.steps = 2000;
  now.optimizer.learning_rate = 2.5e-3;
  now.optimizer.schedule = Schedule::cosine;
  now.train.output = "elsewhere";  // moved: no change of the run
  now.compute.threads = 3;
  EXPECT_EQ(changes_on_resume(before, now, "k.h5"),
            (std::vector<std::string>{"optimizer.learning_rate: 0.001 -> 0.0025",
                                      "optimizer.schedule: \"wsd\" -> \"cosine\"",
                                      "train.steps: 1000 -> 2000"}));
}

TEST(ChangesOnResume, OfTheModelAreRefused) {
  const std::vector<std::pair<std::function<void(Config&)>, std::string>> changes = {
      {[](Config& c) { c.model.hidden_size = 512; }, "model.hidden_size = 512"},
      {[](Config& c) { c.model.num_layers = 5; }, "model.num_layers = 5"},
      {[](Config& c) { c.model.num_heads = 8; }, "model.num_heads = 8"},
      {[](Config& c) { c.model.num_kv_heads = 2; }, "model.num_kv_heads = 2"},
      {[](Config& c) { c.model.intermediate_size = 8; }, "model.intermediate_size = 8"},
      {[](Config& c) { c.model.vocab_size = 8; }, "model.vocab_size = 8"},
      {[](Config& c) { c.model.tie_embeddings = true; }, "model.tie_embeddings = true"},
      {[](Config& c) { c.model.attention = Attention::causal; }, "model.attention = \"causal\""},
      {[](Config& c) { c.model.mask_token = 3; }, "model.mask_token = 3"},
      {[](Config& c) { c.train.objective = Objective::autoregressive; },
       "train.objective = \"autoregressive\""}};
  for (const auto& [change, message] : changes) {
    Config now;
    change(now);
    const std::string error =
        error_of<UsageError>([&] { changes_on_resume(Config(), now, "k.h5"); });
    EXPECT_TRUE(contains(error, "k.h5 holds a model of")) << message;
    // Heads are named before the key heads that follow from them.
    EXPECT_TRUE(contains(error, message));
  }
  Config muon;
  muon.optimizer.name = OptimizerName::muon;
  EXPECT_EQ(error_of<UsageError>([&] { changes_on_resume(Config(), muon, "k.h5"); }),
            "optimizer.name = \"muon\", but k.h5 holds the states of \"adamw\"; set it to that, or "
            "begin a new run from it with train.init");
  Config same;
  same.model.num_kv_heads = same.model.num_heads;  // what 0 stands for
  EXPECT_TRUE(changes_on_resume(Config(), same, "k.h5").empty());
}

TEST(SourcesOnResume, WhatWasReadStays) {
  Config before;
  before.data.sources = {{"a.h5", 0.5}, {"b.h5", 0.5}};
  before.data.stages = {{100, {1, 3}}};
  const auto changed = [&](std::int64_t steps, const std::function<void(Config&)>& change) {
    Config now = before;
    change(now);
    return error_of<UsageError>([&] { check_sources_on_resume(before, now, steps); });
  };
  EXPECT_EQ(changed(50, [](Config&) {}), "");
  EXPECT_EQ(changed(50, [](Config& c) { c.data.stages[0].weights = {1, 9}; }), "");
  EXPECT_EQ(changed(100, [](Config& c) { c.data.stages[0].weights = {1, 9}; }), "");
  EXPECT_EQ(changed(200, [](Config& c) { c.data.stages.push_back({300, {1, 1}}); }), "");
  EXPECT_EQ(changed(200,
                    [](Config& c) {
                      c.data.sources.push_back({"c.h5", 0});
                      c.data.stages[0].weights.push_back(0);
                      c.data.stages.push_back({300, {1, 1, 1}});
                    }),
            "");
  EXPECT_EQ(changed(200, [](Config& c) { c.data.sources[0].max_epochs = 3; }), "");
  const std::string differ = "differ from those of the first 200 steps";
  for (const std::function<void(Config&)>& change : std::vector<std::function<void(Config&)>>{
           [](Config& c) {
             c.data.stages[0].weights = {1, 9};
           },
           [](Config& c) { c.data.stages.clear(); },
           [](Config& c) {
             c.data.stages.push_back({199, {1, 1}});
           },
           [](Config& c) { c.data.sources[0].weight = 0.6; },
           [](Config& c) { c.data.sources[0].path = "other.h5"; },
           [](Config& c) { std::swap(c.data.sources[0], c.data.sources[1]); },
           [](Config& c) { c.data.sources = {}, c.data.stages = {}; }})
    EXPECT_TRUE(contains(changed(200, change), differ));
  EXPECT_TRUE(contains(changed(50, [](Config& c) { c.train.batch_size = 7; }),
                       "train.batch_size = 7, but the run has taken steps of 32"));
  before.data.stages = {};
  EXPECT_EQ(changed(50, [](Config& c) { c.train.batch_size = 7; }), "");
}

TEST(CheckSameModel, ShapesAlone) {
  ModelConfig before, now;
  now.attention = Attention::causal;
  now.rope_theta = 1e6;
  check_same_model(before, now, "train.init = k.h5");
  now.intermediate_size = 1408;
  EXPECT_EQ(error_of<UsageError>([&] { check_same_model(before, now, "train.init = k.h5"); }),
            "model.intermediate_size = 1408, but train.init = k.h5 holds a model of "
            "model.intermediate_size = 704");
}

TEST(SameTokenizer, WhateverTheSpacing) {
  EXPECT_TRUE(same_tokenizer("", ""));
  EXPECT_TRUE(same_tokenizer(R"({"a":1,"b":[2]})", "{ \"b\": [2],\n\"a\": 1}"));
  EXPECT_FALSE(same_tokenizer(R"({"a":1})", R"({"a":2})"));
  EXPECT_FALSE(same_tokenizer("", "{}"));
  EXPECT_FALSE(same_tokenizer("not json", "not json either"));
}

}  // namespace
}  // namespace lacuna
