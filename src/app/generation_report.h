#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "decoding/decoder.h"

namespace lacuna {

/// Figures of `stats`, which are of `decoders` that ran side by side for so long.
nlohmann::ordered_json json_of(const DecodingStats& stats, std::int64_t decoders, double seconds);

/// What `lacuna sample` says of how its texts came about.
class GenerationReport {
 public:
  /// `steps_map` names a file, or is empty.
  explicit GenerationReport(std::string steps_map) : path_(std::move(steps_map)) {}
  void add(const DecodingResult& result);
  /// Writes the steps map, the figures as JSON to the file `json` unless that is empty, and, if
  /// `print`, a line of them to standard error. `stats` are of `decoders` that ran side by side.
  void finish(const DecodingStats& stats, std::int64_t decoders, double seconds, bool print,
              const std::string& json);

 private:
  const std::string path_;
  std::string lines_;
};

}  // namespace lacuna
