#pragma once
#include "core/parallel.h"
#include "kernels/platform/gemm.h"

namespace lacuna::emulator {

/// c = alpha op(a) op(b) + beta addend, where `product` says what op, a, b and c are; the addend,
/// read only if beta is not 0, lies as c does. Sums are f32, rounded once to c's type.
void multiply(ThreadPool& pool, const Gemm& product, float alpha, const void* addend, float beta);

}  // namespace lacuna::emulator
