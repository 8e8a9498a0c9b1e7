#include "core/half.h"
#include "kernels/platform/emulated/emulator.h"

namespace lacuna::emulator {
namespace {

float low(std::uint32_t pair) { return to_float(BFloat16{std::uint16_t(pair)}); }
float high(std::uint32_t pair) { return to_float(BFloat16{std::uint16_t(pair >> 16)}); }

}  // namespace

// Which lane holds which elements: PTX ISA, "Matrix Fragments for mma.m16n8k16". With
// group = lane / 4 and member = lane % 4, register i of A holds row group (+8 for odd i), columns
// 2 member (+8 for i >= 2) and the next; register i of B rows 2 member + 8 i and the next of column
// group; element i of C row group (+8 for i >= 2), column 2 member + i % 2.
void multiply_fragments(WarpSlots& slots) {
  static float a[16][16], b[16][8], c[16][8];
  for (unsigned lane = 0; lane < 32; ++lane) {
    const auto x = slots.read<MultiplyArguments>(lane);
    const unsigned group = lane / 4, member = lane % 4;
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = group + i % 2 * 8, column = 2 * member + i / 2 * 8;
      a[row][column] = low(x.a[i]);
      a[row][column + 1] = high(x.a[i]);
      c[group + i / 2 * 8][2 * member + i % 2] = x.c[i];
    }
    for (unsigned i = 0; i < 2; ++i) {
      const unsigned row = 2 * member + 8 * i;
      b[row][group] = low(x.b[i]);
      b[row + 1][group] = high(x.b[i]);
    }
  }
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < 16; ++k)
      for (int column = 0; column < 8; ++column) c[row][column] += a[row][k] * b[k][column];
  for (unsigned lane = 0; lane < 32; ++lane) {
    const unsigned group = lane / 4, member = lane % 4;
    float mine[4];
    for (unsigned i = 0; i < 4; ++i) mine[i] = c[group + i / 2 * 8][2 * member + i % 2];
    slots.write(lane, mine, sizeof mine);
  }
}

}  // namespace lacuna::emulator
