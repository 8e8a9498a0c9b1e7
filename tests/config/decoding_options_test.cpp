#include "config/decoding_options.h"

#include <gtest/gtest.h>

#include <cmath>

#include "config/task.h"
#include "core/check.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

TEST(DecodingOptions, AreValidatedByTheNamesOfTheirFields) {
  const auto error = [](auto change) {
    DecodingOptions o{.gen_length = 12, .steps = 6, .block_length = 4};
    change(o);
    return error_of<UsageError>(
        [&] { validate(o, [](const std::string& f) { return "x." + f; }); });
  };
  EXPECT_EQ(error([](DecodingOptions&) {}), "");
  EXPECT_EQ(error([](DecodingOptions& o) { o.steps = o.block_length = 0; }), "");
  EXPECT_TRUE(contains(error([](auto& o) { o.gen_length = 0; }),
                       "x.gen_length is 0; it must be at least 1"));
  EXPECT_TRUE(contains(error([](auto& o) { o.block_length = -4; }), "x.block_length is -4"));
  EXPECT_TRUE(contains(error([](auto& o) { o.steps = -1; }), "x.steps is -1"));
  EXPECT_TRUE(contains(error([](auto& o) { o.block_length = 5; }),
                       "x.block_length 5 does not divide x.gen_length 12"));
  EXPECT_TRUE(contains(error([](auto& o) { o.steps = 7; }), "a multiple of 3"));
  EXPECT_TRUE(contains(error([](auto& o) { o.temperature = -1; }), "x.temperature is -1"));
  EXPECT_TRUE(contains(error([](auto& o) { o.temperature = NAN; }), "x.temperature is nan"));
  EXPECT_TRUE(contains(error([](auto& o) { o.temperature = INFINITY; }), "x.temperature"));
  EXPECT_TRUE(contains(error([](auto& o) { o.cfg_scale = -0.5; }), "x.cfg_scale is -0.5"));
}

// Zero stands for as many as there are tokens.
TEST(DecodingOptions, StepsAreSharedByBlocks) {
  DecodingOptions o{.gen_length = 12};
  EXPECT_EQ(o.blocks(), 1);
  EXPECT_EQ(o.tokens_per_block(), 12);
  EXPECT_EQ(o.steps_per_block(), 12);
  o.block_length = 4;
  EXPECT_EQ(o.blocks(), 3);
  EXPECT_EQ(o.steps_per_block(), 4);
  o.steps = 6;
  EXPECT_EQ(o.steps_per_block(), 2);
}

/// What is wrong with a task of that type and [sampler].
std::string task_error(const std::string& type, const std::string& sampler,
                       const std::vector<std::string>& overrides = {}) {
  const Folder folder;
  folder.write("t.toml", "[task]\ntype = \"" + type +
                             "\"\ndata = \"d.jsonl\"\nprompt = \"{q}\"\nreverse_prompt = \"{a}\"\n"
                             "reverse_answer = \"{q}\"\n[sampler]\n" +
                             sampler);
  return error_of<UsageError>([&] { (void)read_task(folder / "t.toml", overrides); });
}

TEST(DecodingOptions, OfATaskOfAnEarlierVersionNameTheKeyOfToday) {
  const std::string earlier = "random_remasking";  // words: kept
  EXPECT_TRUE(contains(task_error("generation", earlier + " = true"),
                       ":8:1: sampler." + earlier + " is now sampler.remasking; true: \"random\""));
}

TEST(EnumWords, AreParsedToTheirValues) {
  const std::vector<std::string> words = all_words<TaskType>();
  EXPECT_EQ(words.size(), 5u);
  for (std::size_t i = 0; i < words.size(); ++i) {
    EXPECT_EQ(parse_word<TaskType>(words[i]), TaskType(i));
    EXPECT_EQ(word_of(TaskType(i)), words[i]);
  }
  for (const char* other : {"", "generatio", "generation ", "Generation"})
    EXPECT_EQ(parse_word<TaskType>(other), std::nullopt) << other;
}

// By the key of the file, before any work.
TEST(DecodingOptions, OfATaskAreCheckedAsItIsRead) {
  const std::string uneven = "gen_length = 12\nblock_length = 4\nsteps = 7\n";
  for (const char* type : {"generation", "reversal"}) {
    const std::string error = task_error(type, uneven);
    EXPECT_TRUE(contains(error,
                         "t.toml: sampler.steps 7 cannot be shared evenly by 3 blocks "
                         "(sampler.gen_length 12 / sampler.block_length 4)"));
    EXPECT_FALSE(contains(error, "--"));
  }
  EXPECT_EQ(task_error("generation", uneven, {"sampler.steps=6"}), "");
  // Gaps are no blocks, and nothing else generates.
  for (const char* type : {"infilling", "multiple_choice", "perplexity"}) {
    EXPECT_EQ(task_error(type, uneven), "") << type;
    EXPECT_TRUE(contains(task_error(type, "temperature = -1.0"), "sampler.temperature is -1"));
  }
  EXPECT_TRUE(
      contains(task_error("generation", "seed = -1"), "sampler.seed must be an integer, 0"));
  EXPECT_TRUE(contains(task_error("generation", "remasking = \"high\""),
                       "sampler.remasking must be low_confidence or random"));
  EXPECT_EQ(task_error("generation", "remasking = \"random\"\nseed = 9223372036854775807"), "");
}

}  // namespace
}  // namespace lacuna
