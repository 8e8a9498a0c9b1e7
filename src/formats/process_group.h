#pragma once
#include <string>
#include <vector>

namespace lacuna {

/// The processes that write a file together, seen from one of them. All make the same calls.
class ProcessGroup {
 public:
  virtual ~ProcessGroup() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Every member's bytes, by rank, on all of them. Returns when all have called it.
  virtual std::vector<std::string> gather(const std::string& mine) = 0;
};

/// One process alone.
class SingleProcess final : public ProcessGroup {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::vector<std::string> gather(const std::string& mine) override { return {mine}; }
};

}  // namespace lacuna
