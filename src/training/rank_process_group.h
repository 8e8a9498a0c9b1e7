#pragma once
#include "comm/communicator.h"
#include "formats/process_group.h"

namespace lacuna {

/// The ranks of a group as those who write a file together.
class RankProcessGroup final : public ProcessGroup {
 public:
  /// Borrows the group.
  explicit RankProcessGroup(Communicator& group) : group_(group) {}
  int rank() const override { return group_.rank(); }
  int size() const override { return group_.size(); }
  std::vector<std::string> gather(const std::string& mine) override {
    return gathered_texts(group_, mine);
  }

 private:
  Communicator& group_;
};

}  // namespace lacuna
