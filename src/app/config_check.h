#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lacuna {

/// A run that is to be checked before it begins.
struct CheckRequest {
  std::string config;  // the file
  std::vector<std::string> overrides;
  std::string task;                     // of RunTask, or "": what data.train was prepared for
  std::string init;                     // sft, dpo: as --init; "": train.init
  int ranks = 0;                        // 0: parallel.tensor_parallel
  std::optional<std::uint64_t> memory;  // bytes per rank; none: this machine's, or an 80 GB GPU's
  bool resume = false;
};

/// One thing that was looked at.
struct Finding {
  enum class Verdict : std::uint8_t { ok, warning, error };
  Verdict verdict = Verdict::ok;
  std::string subject;  // "data.train"
  std::string text;
  bool usage = false;  // an error of the configuration itself: the run would end with exit code 2
};

/// What the run would find wrong with its configuration and the files and the machine that it
/// names, and what it would make of them, without computing or writing anything. Throws UsageError,
/// as the run itself would, when the configuration is not valid or, for fine-tuning, names no
/// checkpoint.
std::vector<Finding> check_run(const CheckRequest& request);

}  // namespace lacuna
