// Every reader that is fuzzed, on what fuzzing begins with and on what it once found.
#include <gtest/gtest.h>

#include <random>

#include "tests/fuzz/targets.h"

namespace lacuna::fuzz {
namespace {

class Replay : public ::testing::TestWithParam<Target> {};

TEST_P(Replay, SeedsAndWhatWasFound) {
  const std::vector<std::string> seeds = seeds_of(GetParam());
  EXPECT_FALSE(seeds.empty());
  for (const std::string& seed : seeds) GetParam().read(seed);
}

TEST_P(Replay, ChangedCutAndRepeated) {
  std::mt19937_64 random(1);
  for (const std::string& seed : seeds_of(GetParam())) {
    if (seed.empty() || seed.size() > 20'000) continue;
    for (int i = 0; i < 30; ++i) {
      std::string input = seed;
      const std::size_t at = random() % input.size();
      switch (i % 3) {
        case 0:
          input[at] = char(random());
          break;
        case 1:
          input.resize(at);
          break;
        default:
          input.insert(at, seed.substr(random() % seed.size(), 40));
      }
      GetParam().read(input);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Replay, ::testing::ValuesIn(targets().begin(), targets().end()),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace lacuna::fuzz
