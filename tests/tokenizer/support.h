#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "core/atomic_file.h"
#include "tests/support/paths.h"
#include "tests/support/support.h"
#include "tokenizer/tokenizer.h"

namespace lacuna::testing {

using Ids = std::vector<std::int32_t>;

/// What the `tokenizers` package makes of text: scripts/golden/tokenizer.py.
inline const nlohmann::json& golden() {
  static const auto json = nlohmann::json::parse(read_file(testing::golden_path("tokenizer.json")));
  return json;
}

/// The tokenizer.json of one of the golden variants, whose vocabulary is stored once.
inline nlohmann::json golden_tokenizer(const std::string& variant) {
  nlohmann::json file = golden()["variants"].at(variant);
  file["model"]["vocab"] = golden()["vocab"];
  file["model"]["merges"] = golden()["merges"];
  return file;
}

inline Tokenizer tokenizer_of(const nlohmann::json& file) {
  return Tokenizer::from_json(file.dump(), "tokenizer.json");
}

/// Every byte equally likely.
inline std::string random_bytes(std::mt19937& random, std::size_t n) {
  std::string bytes(n, '\0');
  for (char& b : bytes) b = char(random() & 255);
  return bytes;
}

}  // namespace lacuna::testing
