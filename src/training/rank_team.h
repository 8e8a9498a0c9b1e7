#pragma once
#include "checkpoint/team.h"
#include "comm/communicator.h"

namespace lacuna {

/// The ranks of a group as those who write a file together.
class RankTeam final : public Team {
 public:
  /// Borrows the group.
  explicit RankTeam(Communicator& group) : group_(group) {}
  int rank() const override { return group_.rank(); }
  int size() const override { return group_.size(); }
  std::vector<std::string> gather(const std::string& mine) override {
    return gathered_texts(group_, mine);
  }

 private:
  Communicator& group_;
};

}  // namespace lacuna
