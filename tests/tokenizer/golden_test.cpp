// The ids and texts of Hugging Face's `tokenizers`.
#include <algorithm>

#include "tests/tokenizer/support.h"

namespace lacuna {
namespace {

using testing::golden;
using testing::golden_tokenizer;
using testing::Ids;
using testing::tokenizer_of;

class GoldenTest : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenTest, SameIdsAsThePackage) {
  const Tokenizer tokenizer = tokenizer_of(golden_tokenizer(GetParam()));
  int cases = 0;
  for (const auto& c : golden()["cases"]) {
    if (c["variant"] != GetParam()) continue;
    ++cases;
    const auto text = c["text"].get<std::string>();
    const auto ids = c["ids"].get<Ids>();
    EXPECT_EQ(tokenizer.encode(text), ids) << c["text"];
    EXPECT_EQ(tokenizer.encode(text, Tokenizer::Special::as_text),
              c.contains("ids_as_text") ? c["ids_as_text"].get<Ids>() : ids)
        << c["text"];
    // The package takes the é of an added token for the byte E9.
    if (std::find(ids.begin(), ids.end(), tokenizer.id_of("é").value_or(-1)) == ids.end()) {
      EXPECT_EQ(tokenizer.decode(ids, false), c["decoded"].get<std::string>());
    }
  }
  EXPECT_GE(cases, 20);
}

// Merges may be pairs, as the package writes them now, or strings, as it did.
TEST_P(GoldenTest, MergesAsStrings) {
  nlohmann::json file = golden_tokenizer(GetParam());
  const Tokenizer with_pairs = tokenizer_of(file);
  for (auto& merge : file["model"]["merges"])
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  file["model"]["merges"].insert(file["model"]["merges"].begin(), "#version: 0.2");
  const Tokenizer with_strings = tokenizer_of(file);
  const auto text = golden()["text"].get<std::string>();
  EXPECT_EQ(with_strings.encode(text), with_pairs.encode(text));
}

std::vector<std::string> variants() {
  std::vector<std::string> names;
  for (const auto& [name, file] : golden()["variants"].items()) names.push_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Variants, GoldenTest, ::testing::ValuesIn(variants()),
                         [](const auto& of) { return of.param; });

}  // namespace
}  // namespace lacuna
