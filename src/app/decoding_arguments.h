#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "app/command_line.h"
#include "config/decoding_options.h"

namespace lacuna {

/// Options of a command that say how texts are generated: one for each field of DecodingOptions.
class DecodingArguments {
 public:
  /// Adds them to a command, which must not outlive this. `length` is what --help says of the
  /// default of --gen-length.
  void add_to(const Command& command, const std::string& length);
  /// The same without the fields that `left_out` names, whose defaults then count. --help shows
  /// `before` in front of each meaning.
  void add_some_to(const Command& command, const std::vector<std::string>& left_out,
                   const std::string& before, const std::string& length);
  /// Whether the command line has a number for gen_length, steps, block_length, …
  bool gives(const std::string& field) const;
  /// What the command line gives; of those numbers, where it gives none, what `defaults` says.
  /// Throws UsageError for a 0, which stands for the default in files alone.
  DecodingOptions options(const DecodingOptions& defaults) const;

 private:
  DecodingOptions values_;
  std::map<std::string, std::optional<std::int64_t>> lengths_;
  std::map<std::string, std::string> words_;
};

/// The option of a field: "--gen-length" of gen_length.
std::string option_name(const std::string& field);

}  // namespace lacuna
