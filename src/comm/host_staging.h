#pragma once
#include <cstddef>
#include <deque>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace lacuna {

class Ops;

/// Host memory that stands for device tensors while they are exchanged; host tensors stand for
/// themselves. Buffers are kept and used again.
class HostStaging {
 public:
  /// `ops` moves device tensors; null where there are none.
  explicit HostStaging(Ops* ops) : ops_(ops) {}
  Ops* ops() const { return ops_; }

  // Where a collective finds what it reads, and puts what it writes. Device tensors are read now;
  // what is written reaches them in finish(). Throws Error for a device tensor without Ops.
  std::byte* read(Tensor t);
  std::byte* written(Tensor t);
  std::byte* read_and_written(Tensor t);

  /// Whether finish() will write to memory of `t`.
  bool pending(Tensor t) const;
  /// Every collective is done: results go to their tensors.
  void finish();

 private:
  struct Buffer {
    std::vector<std::byte> bytes;
    bool taken = false;
  };
  Tensor take(Tensor t);

  Ops* ops_;
  std::deque<Buffer> buffers_;
  std::vector<std::pair<Tensor, Tensor>> returns_;  // device, host
};

}  // namespace lacuna
