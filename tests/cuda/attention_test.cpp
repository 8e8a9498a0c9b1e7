// The CUDA backends that tests/kernels/attention_test.cpp runs on, and what is theirs alone.
#include "tests/cuda/support.h"
#include "tests/kernels/attention_backend.h"

namespace lacuna::testing {
namespace {

/// A backend's test on a device with these options, by kernels that it describes itself with.
void on_device(const DeviceOptions& options, ThreadOrder order, const std::string& kernels,
               const std::function<void(Ops&)>& test) {
  const ThreadOrderScope scope(order);
  std::unique_ptr<CudaOps> ops;
  try {
    ops = std::make_unique<CudaOps>(options);
  } catch (const Error& e) {
    GTEST_SKIP() << e.what();
  }
  if (!contains(ops->description(), kernels))
    GTEST_SKIP() << ops->description() << " has no " << kernels;
  test(*ops);
}

/// For any head dimension, f32 and bf16, by loops.
AttentionBackend simple(const Case& c) {
  const bool is_f32 = std::get<0>(c) == DType::f32;
  return {.name = "simple",
          .dtype = std::get<0>(c),
          .precision = {.sums = 5e-5},
          .heads = is_f32 ? std::vector<Heads>{{2, 1, 64}, {1, 1, 24}, {2, 2, 128}}
                          : std::vector<Heads>{{2, 1, 24}},
          .tile = 64,
          .gap = 3,
          .bidirectional = {{1, 64, 70}, {65, 3}},
          .causal = {{130, 5}, {97}},
          .blocks = {32, 32},
          .other_dims = {1, 6, 33, 80, 256},
          .random_cases = 3,
          .on_each = [c](const auto& test) {
            on_device({.hopper_attention = false}, std::get<1>(c), "", test);
          }};
}

/// bf16 on tensor cores, by mma.sync: tiles of 64 rows.
AttentionBackend mma(const Case& c) {
  return {.name = "mma",
          .dtype = DType::bf16,
          .precision = {.sums = 5e-5, .weights = 0x1p-8},
          .heads = {{2, 1, 64}, {2, 2, 128}},
          .tile = 64,
          .gap = 8,
          .bidirectional = {{1, 64, 70}, {65, 3}},
          .causal = {{130, 5}, {97}},
          .blocks = {32},
          .other_dims = {},
          .random_cases = 3,
          .on_each = [c](const auto& test) {
            on_device({.hopper_attention = false}, std::get<1>(c), "", test);
          }};
}

/// By wgmma and TMA: tiles of 128 rows, two under way at a time. Lengths are of more tiles than
/// there are stages. The fused ones compute forward in clusters at head dimension 128.
AttentionBackend hopper(const Case& c, bool fused) {
  AttentionBackend b = mma(c);
  b.name = fused ? "hopper_fused" : "hopper";
  b.heads = {{2, 1, 64}, {1, 1, 128}};
  b.tile = 128;
  b.bidirectional = {{1, 128, 300}, {127, 3, 290}};
  b.causal = {{330, 5}, {270}};
  b.blocks = {32, 32};
  b.random_cases = 2;
  b.on_each = [c, fused](const auto& test) {
    on_device({.hopper_attention = true,
               .fused_hopper_attention = fused,
               .attention_clusters = fused ? std::optional(true) : std::nullopt},
              std::get<1>(c), "attention by wgmma", test);
  };
  return b;
}

}  // namespace

std::vector<AttentionBackend> attention_backends() {
  std::vector<AttentionBackend> all;
  const auto add = [&](AttentionBackend b, const Case& c) {
    b.name = str(b.name, "_", name_of(c));
    all.push_back(b);
  };
  for (const Case& c : all_cases()) add(simple(c), c);
  for (const Case& c : bf16_cases()) {
    add(mma(c), c);
    add(hopper(c, false), c);
    add(hopper(c, true), c);
  }
  return all;
}

namespace {

using CudaAttentionTest = CudaOpsTest;
INSTANTIATE_TEST_SUITE_P(Cuda, CudaAttentionTest, ::testing::ValuesIn(all_cases()), case_name);

TEST_P(CudaAttentionTest, NamesTheLargestHeadDim) {
  DeviceArray x(device(), {0, 512}, type()), lse(device(), {0, 1}, DType::f32);
  DeviceArray offsets(device(), {1}, std::vector<std::int32_t>{0});
  DeviceArray intervals(device(), {0, 4}, DType::i32);
  AttentionShape shape;
  shape.heads = shape.kv_heads = 1;
  shape.head_dim = 512;
  shape.query_offsets = shape.key_offsets = offsets;
  shape.query_keys = intervals;
  EXPECT_TRUE(contains(error_of([&] { device().attention_forward(x, lse, x, x, x, shape); }),
                       "attention_forward: head_dim is 512; it must be 1 to 256"));
}

TEST(HopperAttention, IsTheDefaultOfADeviceThatHasIt) {
  try {
    const CudaOps with(DeviceOptions{.hopper_attention = true});
    if (!contains(with.description(), "attention by wgmma"))
      GTEST_SKIP() << with.description() << " has no wgmma";
  } catch (const Error& e) {
    GTEST_SKIP() << e.what();
  }
  EXPECT_TRUE(contains(CudaOps().description(), "attention by wgmma"));
  EXPECT_FALSE(contains(CudaOps(DeviceOptions{.hopper_attention = false}).description(), "wgmma"));
}

}  // namespace
}  // namespace lacuna::testing
