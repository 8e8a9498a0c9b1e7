#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <sstream>

#include "config/config.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;

/// Any value a field can hold.
class Random {
 public:
  void operator()(std::int64_t& x) { x = std::int64_t(bits()) >> bits() % 64; }
  void operator()(double& x) {
    do x = std::bit_cast<double>(bits());
    while (std::isnan(x));  // equal to nothing, not even itself
    if (bits() % 4 == 0) x = double(std::int64_t(bits()) >> bits() % 64);
  }
  void operator()(StepCount& x) {
    double share = 0;
    (*this)(share);
    x = bits() % 2 ? StepCount(std::int64_t(bits())) : StepCount(share);
  }
  void operator()(bool& x) { x = bits() % 2; }
  template <class T>
  void operator()(std::vector<T>& x) {
    x.resize(bits() % 4);
    for (T& element : x) (*this)(element);
  }
  void operator()(std::string& x) {
    x.clear();
    for (std::uint64_t n = bits() % 20; n > 0; --n) x += character();
  }
  template <class T>
  requires requires(T& x) {
    T::fields(x, [](auto&, const char*, const char*) {});
  }
  void operator()(T& x) {
    T::fields(x, [&](auto& field, const char*, const char*) { (*this)(field); });
  }
  template <class E>
  requires std::is_enum_v<E>
  void operator()(E& x) { x = E(bits() % std::size(EnumWords<E>::words)); }
  void fill(Config& config) {
    Config::sections(config, [&](auto& section, const char*) {
      std::decay_t<decltype(section)>::fields(
          section, [&](auto& field, const char*, const char*) { (*this)(field); });
    });
  }

 private:
  std::uint64_t bits() { return rng_(); }
  std::string character() {
    const std::string unusual[] = {"\"", "'", "\\", "\"\"\"", "#", "\xc3\xa9", "\xf0\x9f\x99\x82"};
    if (bits() % 4 == 0) return unusual[bits() % std::size(unusual)];
    return std::string(1, char(bits() % 128));  // control characters and NUL too
  }
  std::mt19937_64 rng_{20};
};

TEST(WriteConfig, any_config_reads_back_equal) {
  Random random;
  Config config;
  for (int i = 0; i < 2000; ++i) {
    random.fill(config);
    const std::string text = to_toml(config);
    ASSERT_EQ(text.find('\0'), std::string::npos);  // checkpoints keep it in an attribute
    ASSERT_EQ(parse_config(text, "x"), config) << text;
    ASSERT_EQ(to_toml(parse_config(text, "x")), text);
  }
}

TEST(WriteConfig, doubles_keep_every_bit) {
  for (const double x : {0.0, -0.0, 0.1, 1.0, 1e300, 5e-324, 1e-8, 123456789012345680.0,
                         std::numeric_limits<double>::infinity()}) {
    Config config;
    config.model.rope_theta = x;
    const double back = parse_config(to_toml(config), "x").model.rope_theta;
    EXPECT_EQ(std::bit_cast<std::uint64_t>(back), std::bit_cast<std::uint64_t>(x)) << x;
  }
  Config config;
  config.model.rope_theta = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(std::isnan(parse_config(to_toml(config), "x").model.rope_theta));
}

TEST(WriteConfig, is_what_a_person_would_write) {
  const std::string text = to_toml(Config{});
  EXPECT_TRUE(text.starts_with("[model]\nvocab_size = 0\nnum_layers = 4\n")) << text;
  EXPECT_TRUE(contains(text, "\n\n[train]\nobjective = \"masked_diffusion\"\n"));
  EXPECT_TRUE(contains(text, "\nlearning_rate = 0.001\n"));
  EXPECT_TRUE(contains(text, "\ndecay_norms = false\n"));
  EXPECT_TRUE(contains(text, "\nwarmup_steps = 0.1\n"));
}

TEST(ConfigHelp, is_the_default_config_with_every_key_explained_in_one_column) {
  const std::string help = config_help();
  EXPECT_EQ(parse_config(help, "help"), Config{});
  std::set<std::size_t> columns;
  std::istringstream lines(help);
  int keys = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line[0] == '[') continue;
    ++keys;
    const auto hash = line.find("  # ");
    ASSERT_NE(hash, std::string::npos) << line;
    EXPECT_GT(line.size(), hash + 8) << line;
    columns.insert(hash);
  }
  int fields = 0;
  Config config;
  Config::sections(config, [&](auto& section, const char*) {
    std::decay_t<decltype(section)>::fields(section,
                                            [&](auto&, const char*, const char*) { ++fields; });
  });
  EXPECT_EQ(keys, fields);
  EXPECT_EQ(columns.size(), 1u);
}

}  // namespace
}  // namespace lacuna
