#include "kernels/cuda/reduce_parts.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "comm/reduction.h"
#include "core/tensor_of.h"
#include "tests/cuda/support.h"

// What adds up the ranks' contributions on a device, against what does it on the host.

namespace lacuna::testing {
namespace {

using CudaReducePartsTest = CudaOpsTest;
INSTANTIATE_TEST_SUITE_P(Cuda, CudaReducePartsTest, ::testing::ValuesIn(f32_cases()), case_name);

template <class T>
T from_double(double x) {
  if constexpr (std::is_same_v<T, BFloat16>)
    return to_bf16(float(x));
  else if constexpr (std::is_same_v<T, Float16>)
    return to_f16(float(x));
  else
    return T(x);
}

template <class T>
std::vector<T> numbers(std::int64_t n, std::uint64_t seed) {
  std::vector<T> x;
  for (const float value : normal({n}, seed, DType::f32).values) x.push_back(from_double<T>(value));
  return x;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

/// The rows lie `gap` elements apart; row `rank`, which is not to be read, holds NaN or -1.
template <class T>
void expect_as_on_the_host(CudaOps& ops, std::int64_t count, int ranks, int rank, Layout layout) {
  std::vector<std::vector<T>> x;
  std::vector<const void*> contributions;
  for (int r = 0; r < ranks; ++r) x.push_back(numbers<T>(count, std::uint64_t(r) + 1));
  for (const auto& part : x) contributions.push_back(part.data());
  DeviceArray parts(ops, {ranks, count}, dtype_of<T>, layout);
  for (int r = 0; r < ranks; ++r)
    if (r != rank)
      ops.copy(parts.tensor().row_range(r, 1), Tensor(x[std::size_t(r)].data(), {1, count}));
  for (const Reduce operation : {Reduce::sum, Reduce::mean, Reduce::max}) {
    std::vector<T> expected(std::size_t(count), T{});
    reduce_in_order(expected.data(), contributions, count, dtype_of<T>, operation);
    DeviceArray own(ops, {count}, dtype_of<T>, {0, layout.shift}), out(ops, {count}, dtype_of<T>);
    ops.copy(own, tensor_of(x[std::size_t(rank)]));
    reduce_parts(out, own, parts, rank, operation, ops.stream());
    EXPECT_TRUE(same_bits(out.template read_as<T>(), expected)) << count << " of rank " << rank;
    reduce_parts(own, own, parts, rank, operation, ops.stream());
    EXPECT_TRUE(same_bits(own.template read_as<T>(), expected)) << count << ", in place";
    EXPECT_TRUE(own.guards_hold() && out.guards_hold());
  }
}

TEST_P(CudaReducePartsTest, GivesTheHostsBits) {
  for (const std::int64_t count : {1, 8, 63, 1027})
    for (const Layout layout : {Layout{0, 0}, Layout{5, 1}, Layout{8 - count % 8, 0}}) {
      expect_as_on_the_host<float>(device(), count, 3, 1, layout);
      expect_as_on_the_host<double>(device(), count, 2, 0, layout);
      expect_as_on_the_host<BFloat16>(device(), count, 4, 3, layout);
      expect_as_on_the_host<Float16>(device(), count, 5, 0, layout);
    }
}

/// 256, 1, 1, 1: neighbours of 256 lie 2 apart in bf16, so that adding ones there never leaves it;
/// 259 lies between 258 and 260, and the even one is 260.
TEST_P(CudaReducePartsTest, RoundsOnce) {
  std::vector<BFloat16> own{to_bf16(256)}, others(4, to_bf16(1));
  DeviceArray x(device(), {1}, own), parts(device(), {4, 1}, others);
  reduce_parts(x, x, parts, 0, Reduce::sum, device().stream());
  EXPECT_EQ(to_float(x.read_as<BFloat16>()[0]), 260.0f);
}

TEST_P(CudaReducePartsTest, NaNIsTheGreatest) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (int where = 0; where < 3; ++where) {
    std::vector<float> all(3, 1.0f);
    all[std::size_t(where)] = nan;
    DeviceArray x(device(), {1}, std::vector<float>{all[1]}), parts(device(), {3, 1}, all);
    reduce_parts(x, x, parts, 1, Reduce::max, device().stream());
    EXPECT_TRUE(std::isnan(x.read()[0])) << "from rank " << where;
  }
}

TEST_P(CudaReducePartsTest, NamesWhatDoesNotFit) {
  DeviceArray x(device(), {4}, DType::f32), parts(device(), {2, 3}, DType::f32);
  DeviceArray ints(device(), {4}, DType::i32), more(device(), {2, 4}, DType::i32);
  const auto call = [&](Tensor own, Tensor others) {
    reduce_parts(own, own, others, 0, Reduce::sum, device().stream());
  };
  EXPECT_TRUE(contains(error_of([&] { call(x, parts); }), "do not fit for rank 0"));
  EXPECT_TRUE(contains(error_of([&] { call(x, more); }), "must be of one type"));
  EXPECT_TRUE(contains(error_of([&] { call(ints, more); }), "i32 must be of a float type"));
}

}  // namespace
}  // namespace lacuna::testing
