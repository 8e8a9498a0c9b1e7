#pragma once
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "core/input_file.h"
#include "tests/support/device.h"

// For tests of the program with compute.device.

namespace lacuna::testing {

/// Losses and validation bounds of a run, in the order of its metrics.jsonl.
inline std::vector<double> losses(const std::string& run) {
  std::vector<double> found;
  std::istringstream lines(read_file(run + "/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const auto entry = nlohmann::json::parse(line);
    for (const char* key : {"loss", "validation_bound"})
      if (entry.contains(key)) found.push_back(entry[key]);
  }
  return found;
}

inline void expect_close(const std::vector<double>& a, const std::vector<double>& b,
                         double relative) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i] / b[i], 1, relative) << i;
}

}  // namespace lacuna::testing
