#pragma once
#include <cstdint>
#include <string>

#include "comm/communicator.h"

namespace lacuna {

/// Which collective: what ranks compare before they exchange data, and what messages show.
struct Collective {
  enum class Kind : std::uint32_t { all_reduce, all_gather, reduce_scatter, broadcast, barrier };
  Kind kind = Kind::barrier;
  DType dtype = DType::u8;
  Reduce operation = Reduce::sum;
  int root = 0;
  std::int64_t count = 0;   // elements of x, or of `mine`
  std::int64_t number = 0;  // sequence number within the group, from 1

  bool operator==(const Collective&) const = default;
};

/// "all_reduce 17 (sum of 1000 f32)".
std::string describe(const Collective& c);

// Each throws an Error beginning with the collective's name when the tensors do not fit it.
Collective check_all_reduce(Tensor x, Reduce operation);
Collective check_all_gather(Tensor out, Tensor mine, int rank, int size);
Collective check_reduce_scatter(Tensor mine, Tensor in, Reduce operation, int rank, int size);
Collective check_broadcast(Tensor x, int root, int size);

}  // namespace lacuna
