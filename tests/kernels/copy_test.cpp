#include <cmath>

#include "core/half.h"
#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

template <class T>
void copies_bits() {
  on_every_backend([](CpuOps& ops) {
    for (const std::int64_t rows : {1, 3, 100}) {
      for (const std::int64_t gap : {0, 5}) {
        Array<T> from(Shape{rows, 7}, gap), to(Shape{rows, 7}, 9);
        for (std::int64_t i = 0; i < from.count(); ++i)
          std::memset(static_cast<void*>(&from[i]), int(i % 251), sizeof(T));
        ops.copy(to, from);
        EXPECT_TRUE(to.same_bits(from));
        EXPECT_TRUE(to.guards_hold());
      }
    }
  });
}

TEST(Copy, MovesEveryDtypeBetweenStridedTensors) {
  copies_bits<float>();
  copies_bits<double>();
  copies_bits<BFloat16>();
  copies_bits<Float16>();
  copies_bits<std::int32_t>();
  copies_bits<std::int64_t>();
  copies_bits<std::uint8_t>();
}

TEST(Copy, CutsLongTensorsAmongThreads) {
  const std::int64_t n = 3 * 16384 + 5;
  Array<float> from = normal({n}, 1);
  on_every_backend([&](CpuOps& ops) {
    Array<float> to(Shape{n});
    ops.copy(to, from);
    EXPECT_TRUE(to.same_bits(from));
    EXPECT_TRUE(to.guards_hold());
  });
}

TEST(Copy, ConvertsBetweenFloatTypes) {
  on_every_backend([](CpuOps& ops) {
    Array<float> x = normal({37, 11}, 2, 100, 3), back({37, 11}, 1);
    Array<BFloat16> bf16({37, 11}, 2);
    Array<Float16> f16({37, 11}), from_bf16({37, 11});
    ops.copy(bf16, x);
    ops.copy(f16, x);
    ops.copy(from_bf16, bf16);
    for (std::int64_t i = 0; i < x.count(); ++i) {
      ASSERT_EQ(bf16[i].bits, to_bf16(x[i]).bits);
      ASSERT_EQ(f16[i].bits, to_f16(x[i]).bits);
      ASSERT_EQ(from_bf16[i].bits, to_f16(to_float(bf16[i])).bits);
    }
    ops.copy(back, bf16);
    // bf16 keeps 8 significant bits, f16 11 (fewer below 2^-14, whose last is worth 2^-24).
    EXPECT_TRUE(is_close(back, x, 0x1p-8, 0));
    ops.copy(back, f16);
    EXPECT_TRUE(is_close(back, x, 0x1p-11, 0x1p-25));
    EXPECT_TRUE(back.guards_hold() && bf16.guards_hold() && f16.guards_hold());
  });
}

TEST(Upload, OfSeveralTensors) {
  on_every_backend([](CpuOps& ops) {
    Array<float> x(Shape{3, 5}), x_to(Shape{3, 5}), nothing(Shape{0});
    Array<std::int32_t> i(Shape{7}), i_to(Shape{7});
    for (std::int64_t n = 0; n < x.count(); ++n) x[n] = float(n);
    for (std::int64_t n = 0; n < i.count(); ++n) i[n] = std::int32_t(-n);
    ops.upload({{x_to, x}, {nothing, nothing}, {i_to, i}});
    EXPECT_TRUE(x_to.same_bits(x) && i_to.same_bits(i));
    EXPECT_TRUE(x_to.guards_hold() && i_to.guards_hold());
  });
}

TEST(Upload, NamesWhatDisagrees) {
  CpuOps ops(1);
  Array<float> x(Shape{3, 5}), y(Shape{3, 5}), short_one(Shape{3, 4}), apart(Shape{3, 5}, 2);
  Array<BFloat16> half(Shape{3, 5});
  Array<std::int32_t> i(Shape{3, 5});
  const auto expect = [&](const Upload& wrong, const char* message) {
    EXPECT_TRUE(contains(error_of([&] { ops.upload({{y, x}, wrong}); }), message)) << message;
  };
  expect({x, short_one}, "upload: to is [3,5] f32 but from is [3,4] f32; their shapes must be");
  expect({apart, x}, "upload: to is [3,5] f32 with 7 elements between rows; it must be contiguous");
  expect({x, apart}, "upload: from is [3,5] f32 with 7 elements between rows");
  expect({x, i}, "upload: to is [3,5] f32 but from is [3,5] i32; both must be of one dtype");
  expect({half, half}, "both must be of one dtype of 4 or 8 bytes");
}

TEST(Copy, OfNothing) {
  CpuOps ops(2);
  Array<float> none(Shape{0, 5}), no_columns(Shape{5, 0});
  ops.copy(none, none);
  ops.copy(no_columns, no_columns);
}

TEST(Copy, NamesWhatDisagrees) {
  CpuOps ops(1);
  Array<float> x({2, 3}), y({3, 2});
  Array<std::int32_t> ids({2, 3});
  Array<double> wide({2, 3});
  EXPECT_EQ(error_of([&] { ops.copy(y, x); }),
            "copy: dst is [3,2] f32 but src is [2,3] f32; their shapes must be the same");
  EXPECT_EQ(error_of([&] { ops.copy(ids, x); }),
            "copy: dst is [2,3] i32 but src is [2,3] f32; their dtypes must be the same, or f32, "
            "bf16 or f16");
  EXPECT_TRUE(contains(error_of([&] { ops.copy(wide, x); }), "dst is [2,3] f64"));
  Tensor away = x;
  away.place = Place::device;
  EXPECT_EQ(error_of([&] { ops.copy(away, x); }),
            "copy: dst is on the device; it must be in main memory");
  Tensor nowhere = x;
  nowhere.data = nullptr;
  EXPECT_EQ(error_of([&] { ops.copy(x, nowhere); }), "copy: src [2,3] f32 has no memory");
}

}  // namespace
}  // namespace lacuna::testing
