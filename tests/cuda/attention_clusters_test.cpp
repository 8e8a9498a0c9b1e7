#include <cstring>
#include <optional>

#include "kernels/cuda/attention.cuh"
#include "tests/cuda/support.h"
#include "tests/kernels/attention_case.h"

// The forward pass of "hopper_fused" with and without clusters, one level below CudaOps, which
// takes clusters for large products alone. attention_test.cpp compares both with the reference.

namespace lacuna::testing {
namespace {

constexpr std::int64_t kHeadDim = 128;

/// What one run leaves.
struct Results {
  std::vector<std::uint16_t> out;
  std::vector<float> lse;
  /// Tiles of queries that blocks without clusters took, those that found none left among them.
  std::int32_t taken;
};

class Attention {
 public:
  Attention(Ops& ops, Device& device, const AttentionCase& c)
      : q_(ops, c.q, DType::bf16),
        kv_(ops, c.kv, DType::bf16),
        out_(ops, c.q.shape, DType::bf16),
        lse_(ops, {c.queries(), c.heads.q}, DType::f32),
        query_offsets_(ops, c.shape().query_offsets.shape, c.rows.query_offsets),
        key_offsets_(ops, c.shape().key_offsets.shape, c.rows.key_offsets),
        query_keys_(ops, c.shape().query_keys.shape, DType::i32),
        workspace_(ops, {kPingpongWorkspace / 4}, DType::i32),
        queries_(c.queries()),
        keys_(c.keys()),
        device_(device) {
    ops.copy(query_keys_, c.shape().query_keys);
    const Tensor k = kv_.tensor().column_range(0, c.kv_cols());
    const Tensor v = kv_.tensor().column_range(c.kv_cols(), c.kv_cols());
    a_.q = q_.tensor().as<BFloat16>();
    a_.k = k.as<BFloat16>();
    a_.v = v.as<BFloat16>();
    a_.out = out_.tensor().as<BFloat16>();
    a_.lse = lse_.tensor().as<float>();
    a_.q_stride = q_.tensor().stride;
    a_.k_stride = k.stride;
    a_.v_stride = v.stride;
    a_.out_stride = out_.tensor().stride;
    a_.query_offsets = query_offsets_.tensor().as<std::int32_t>();
    a_.key_offsets = key_offsets_.tensor().as<std::int32_t>();
    a_.query_keys = query_keys_.tensor().as<std::int32_t>();
    a_.segments = int(c.rows.query_offsets.size()) - 1;
    a_.heads = int(c.heads.q);
    a_.kv_heads = int(c.heads.kv);
    a_.head_dim = int(kHeadDim);
    a_.scale = 0.088f;
    ops.synchronize();  // `device` has a stream of its own
  }
  Results run(std::optional<bool> clusters) {
    attention_hopper_pingpong_forward("test", device_.stream(), a_, queries_, keys_,
                                      device_.multiprocessors(), clusters,
                                      workspace_.tensor().as<std::int32_t>());
    device_.synchronize("test");
    EXPECT_TRUE(out_.guards_hold() && lse_.guards_hold());
    const HostArray out = out_.read();
    Results r{{}, lse_.read_as<float>(), workspace_.read_as<std::int32_t>()[0]};
    for (const float x : out.values) r.out.push_back(to_bf16(x).bits);
    return r;
  }

 private:
  DeviceArray q_, kv_, out_, lse_, query_offsets_, key_offsets_, query_keys_, workspace_;
  std::int64_t queries_, keys_;
  Device& device_;
  AttentionArguments<BFloat16> a_{};
};

class AttentionClusters : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Cuda, AttentionClusters, ::testing::ValuesIn(bf16_cases()), case_name);

std::vector<Segment> sequences(const std::vector<std::int64_t>& lengths) {
  std::vector<Segment> segments;
  for (const std::int64_t n : lengths) segments.push_back(whole_segment(n));
  return segments;
}

// Both tiles of a pair see the same keys in whole sequences. Clusters lose where one tile does not
// exist in the last pair of a sequence, and where some sequences are longer than others.
TEST_P(AttentionClusters, ComputeTheSameBitsAndAreTakenWhereTheyPay) {
  const ThreadOrderScope scope(std::get<1>(GetParam()));
  std::unique_ptr<CudaOps> ops;
  std::unique_ptr<Device> device;
  try {
    ops = std::make_unique<CudaOps>(DeviceOptions{.hopper_attention = true});
    device = std::make_unique<Device>(0);
  } catch (const Error& e) {
    GTEST_SKIP() << e.what();
  }
  if (!contains(ops->description(), "wgmma")) GTEST_SKIP() << ops->description();
  Segment neighbour = whole_segment(70);
  neighbour.diverged = true;
  const struct {
    Heads heads;
    AttentionRows rows;
    bool pay;
  } cases[] = {
      {{2, 1, kHeadDim}, masked_rows(Mask::bidirectional, sequences({250})), true},
      {{1, 1, kHeadDim}, masked_rows(Mask::bidirectional, sequences({256, 200})), true},
      {{1, 1, kHeadDim}, masked_rows(Mask::bidirectional, sequences({130, 500})), false},
      {{1, 1, kHeadDim}, masked_rows(Mask::bidirectional, sequences({300})), false},
      {{2, 2, kHeadDim},
       masked_rows(Mask::bidirectional, {neighbour, whole_segment(3), neighbour}),
       false},
      {{1, 1, kHeadDim}, masked_rows(Mask::causal, sequences({200})), false},
  };
  for (const auto& c : cases) {
    const AttentionCase attention_case(c.heads, c.rows, DType::bf16);
    SCOPED_TRACE(attention_case.name());
    const auto run = [&](std::optional<bool> clusters) {  // results begin as NaN
      return Attention(*ops, *device, attention_case).run(clusters);
    };
    const Results without = run(false), with = run(true), chosen = run(std::nullopt);
    EXPECT_GT(without.taken, 0);
    EXPECT_EQ(with.taken, 0);
    EXPECT_EQ(chosen.taken == 0, c.pay);
    for (const Results* r : {&with, &chosen}) {
      EXPECT_TRUE(r->out == without.out);
      EXPECT_EQ(std::memcmp(r->lse.data(), without.lse.data(), r->lse.size() * sizeof(float)), 0);
    }
  }
}

TEST(AttentionClustersInTheEnvironment, AreOnOrOff) {
  setenv("LACUNA_CLUSTERS", "both", 1);
  const std::string error = error_of([] { const CudaOps ops; });
  unsetenv("LACUNA_CLUSTERS");
  if (!error.empty() && !contains(error, "LACUNA_")) GTEST_SKIP() << error;  // no GPU
  EXPECT_EQ(error, "LACUNA_CLUSTERS is \"both\"; it must be on or off, or not be set");
}

}  // namespace
}  // namespace lacuna::testing
