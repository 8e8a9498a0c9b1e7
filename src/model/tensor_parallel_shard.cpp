#include "model/tensor_parallel_shard.h"

#include "core/check.h"

namespace lacuna {
namespace {

std::int64_t part_of(const char* key, std::int64_t whole, TensorParallelShard share) {
  if (whole % share.count != 0)
    fail_usage(
        str("parallel.tensor_parallel = ", share.count, " must divide model.", key, " = ", whole));
  return whole / share.count;
}

}  // namespace

ShardDims::ShardDims(const ModelConfig& m, TensorParallelShard share)
    : heads(part_of("num_heads", m.num_heads, share)),
      key_heads(part_of("num_kv_heads", m.kv_heads(), share)),
      head_dim(m.head_width()),
      ffn_width(part_of("intermediate_size", m.intermediate_size, share)),
      first_id(m.vocab_size * share.index / share.count),
      ids(m.vocab_size * (share.index + 1) / share.count - first_id) {
  CHECK(share.index >= 0 && share.index < share.count, "part ", share.index, " of a model in ",
        share.count, " parts");
  if (share.count > 1 && m.has_experts())
    fail_usage(str("parallel.tensor_parallel = ", share.count,
                   " is not supported for a model with ", "model.num_experts = ", m.num_experts,
                   ": its experts are not divided"));
  if (m.vocab_size < share.count)
    fail_usage(str("parallel.tensor_parallel = ", share.count,
                   " is more than model.vocab_size = ", m.vocab_size));
}

}  // namespace lacuna
