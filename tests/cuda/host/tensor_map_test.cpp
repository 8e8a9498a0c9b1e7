// kernels/platform/gpu/tensor_map.cpp, and the rules of the call that it makes.
#include "kernels/platform/tensor_map.h"

#include <cuda.h>

#include <cstring>
#include <functional>

#include "kernels/platform/emulated/hopper.h"
#include "tests/cuda/host/stand_ins.h"

namespace lacuna::testing {
namespace {

constexpr std::int64_t kRows = 100, kColumns = 128, kStride = 136;

class TensorMaps : public StandInTest {
 protected:
  TensorMaps() {
    EXPECT_EQ(cudaMalloc(&memory, std::size_t(kRows * kStride * 2)), cudaSuccess);
    data = static_cast<BFloat16*>(memory);
  }
  ~TensorMaps() override { EXPECT_EQ(cudaFree(memory), cudaSuccess); }
  TensorMap make(std::int64_t rows, std::int64_t columns, std::int64_t stride, int box_rows,
                 std::int64_t shift = 0) {
    return tensor_map("an_op", data + shift, rows, columns, stride, box_rows);
  }
  std::string error(std::int64_t rows, std::int64_t columns, std::int64_t stride, int box_rows,
                    std::int64_t shift = 0) {
    return error_of([&] { make(rows, columns, stride, box_rows, shift); });
  }

  void* memory = nullptr;
  BFloat16* data = nullptr;
};

TEST_F(TensorMaps, SaysWhatTheTmaUnitReads) {
  for (const int box_rows : {64, 128, 256}) {
    const TensorMap map = make(kRows, kColumns, kStride, box_rows);
    emulator::BoxMap box{};
    std::memcpy(&box, map.bytes, sizeof box);
    EXPECT_EQ(box.data, data);
    EXPECT_EQ(box.rows, kRows);
    EXPECT_EQ(box.columns, kColumns);
    EXPECT_EQ(box.stride, kStride);
    EXPECT_EQ(box.box_rows, box_rows);
  }
}

TEST_F(TensorMaps, NamesTheOperationAndTheTensor) {
  const auto is = [&](const std::string& message, const char* violation) {
    EXPECT_TRUE(only_violation(violation));
    return contains(message, "an_op: cuTensorMapEncodeTiled: error 1 for [");
  };
  EXPECT_TRUE(is(error(kRows, kColumns, 132, 64), "a stride of 264 bytes, no multiple of 16"));
  EXPECT_TRUE(is(error(kRows, kColumns, 120, 64), "a stride of 240 bytes over 256"));
  EXPECT_TRUE(is(error(kRows, kColumns, kStride, 257), "a box of 257, beyond 1 to 256"));
  EXPECT_TRUE(
      is(error(kRows - 1, kColumns, kStride, 64, 4), "an address that is no multiple of 16"));
  EXPECT_TRUE(is(error(kRows + 1, kColumns, kStride, 64), "bytes that are no device memory"));
  EXPECT_TRUE(is(error(0, kColumns, kStride, 64), "a size of 0"));
  EXPECT_EQ(error(kRows - 1, kColumns, kStride, 64, 8), "");
}

TEST_F(TensorMaps, NeedSm90) {
  EXPECT_EQ(cudaFree(std::exchange(memory, nullptr)), cudaSuccess);
  toolkit::start_machine({.devices = {toolkit::sm_80()}});
  EXPECT_TRUE(contains(error(kRows, kColumns, kStride, 64), "an_op: "));
  EXPECT_TRUE(only_violation("a device older than sm_90"));
}

/// In a process of its own: what was found once is kept.
TEST(TensorMapsDeathTest, NeedADriverThatHasThem) {
  const auto make_with_an_old_driver = [] {
    toolkit::start_machine({.driver = 11080, .runtime = 11080});
    try {
      tensor_map("an_op", nullptr, 1, 64, 64, 64);
    } catch (const Error& e) {
      std::fprintf(stderr, "%s\n", e.what());
    }
    std::_Exit(toolkit::calls("cuTensorMapEncodeTiled") == 0 ? 0 : 1);
  };
  EXPECT_EXIT(make_with_an_old_driver(), ::testing::ExitedWithCode(0),
              "an_op: the NVIDIA driver has no cuTensorMapEncodeTiled");
}

TEST_F(TensorMaps, EntryPoints) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result{};
  const auto find = [&](const char* name, unsigned version) {
    EXPECT_EQ(
        cudaGetDriverEntryPointByVersion(name, &function, version, cudaEnableDefault, &result),
        cudaSuccess);
    return result;
  };
  EXPECT_EQ(find("cuTensorMapEncodeTiled", 12000), cudaDriverEntryPointSuccess);
  EXPECT_EQ(function, reinterpret_cast<void*>(&cuTensorMapEncodeTiled));
  EXPECT_EQ(find("cuTensorMapEncodeTiled", 11080), cudaDriverEntryPointVersionNotSufficent);
  EXPECT_EQ(find("cuTensorMapEncode", 12000), cudaDriverEntryPointSymbolNotFound);
  EXPECT_EQ(function, nullptr);
}

/// The call itself, each rule broken alone.
TEST_F(TensorMaps, EveryRule) {
  struct Arguments {
    CUtensorMapDataType type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    cuuint32_t rank = 2;
    std::ptrdiff_t shift = 0, map_shift = 0;
    cuuint64_t sizes[5] = {128, 50, 1, 1, 1}, strides[4] = {256, 12800, 12800, 12800};
    cuuint32_t box[5] = {64, 64, 1, 1, 1}, steps[5] = {1, 1, 1, 1, 1};
    CUtensorMapInterleave interleave = CU_TENSOR_MAP_INTERLEAVE_NONE;
    CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_128B;
    CUtensorMapL2promotion promotion = CU_TENSOR_MAP_L2_PROMOTION_L2_128B;
    CUtensorMapFloatOOBfill fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
  };
  alignas(64) char place[256];
  const auto encode = [&](const std::function<void(Arguments&)>& change) {
    Arguments x;
    change(x);
    return cuTensorMapEncodeTiled(reinterpret_cast<CUtensorMap*>(place + x.map_shift), x.type,
                                  x.rank, static_cast<char*>(memory) + x.shift, x.sizes, x.strides,
                                  x.box, x.steps, x.interleave, x.swizzle, x.promotion, x.fill);
  };
  EXPECT_EQ(encode([](Arguments&) {}), CUDA_SUCCESS);
  const struct {
    const char* text;
    std::function<void(Arguments&)> change;
  } cases[] = {
      {"aligned to 64", [](Arguments& x) { x.map_shift = 32; }},
      {"type 15", [](Arguments& x) { x.type = CUtensorMapDataType(15); }},
      {"0 dimensions", [](Arguments& x) { x.rank = 0; }},
      {"6 dimensions", [](Arguments& x) { x.rank = 6; }},
      {"no multiple of 16", [](Arguments& x) { x.shift = 8; }},
      {"a size of 0", [](Arguments& x) { x.sizes[1] = 0; }},
      {"a size of 4294967297", [](Arguments& x) { x.sizes[1] = (1ull << 32) + 1; }},
      {"a stride of 264 bytes, no", [](Arguments& x) { x.strides[0] = 264; }},
      {"2^40 or more", [](Arguments& x) { x.strides[0] = 1ull << 40; }},
      {"a stride of 240 bytes over 256", [](Arguments& x) { x.strides[0] = 240; }},
      {"a box of 0", [](Arguments& x) { x.box[1] = 0; }},
      {"a box of 257", [](Arguments& x) { x.box[1] = 257; }},
      {"a box of 72 bytes per row, no multiple", [](Arguments& x) { x.box[0] = 36; }},
      {"a box of 144 bytes per row, swizzled within 128", [](Arguments& x) { x.box[0] = 72; }},
      {"128 bytes per row, swizzled within 64",
       [](Arguments& x) { x.swizzle = CU_TENSOR_MAP_SWIZZLE_64B; }},
      {"an element stride of 9", [](Arguments& x) { x.steps[1] = 9; }},
      {"an element stride of 0", [](Arguments& x) { x.steps[1] = 0; }},
      {"fewer than 3 dimensions",
       [](Arguments& x) { x.interleave = CU_TENSOR_MAP_INTERLEAVE_16B; }},
      {"without the swizzle of 32 bytes",
       [](Arguments& x) {
         x.rank = 3;
         x.interleave = CU_TENSOR_MAP_INTERLEAVE_32B;
       }},
      {"NaN beyond the edges of integers",
       [](Arguments& x) {
         x.type = CU_TENSOR_MAP_DATA_TYPE_UINT16;
         x.fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA;
       }},
      {"no device memory", [](Arguments& x) { x.sizes[1] = 1000; }},
  };
  for (const auto& [text, change] : cases)
    EXPECT_TRUE(refused(encode(change), CUDA_ERROR_INVALID_VALUE, text)) << text;
  EXPECT_TRUE(refused(encode([](Arguments& x) { x.swizzle = CU_TENSOR_MAP_SWIZZLE_NONE; }),
                      CUDA_ERROR_NOT_SUPPORTED, "the emulator has no such copies"));
}

}  // namespace
}  // namespace lacuna::testing
