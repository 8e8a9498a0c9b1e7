#include "config/decoding_options.h"

#include <gtest/gtest.h>

#include <cmath>

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

}  // namespace
}  // namespace lacuna
