#pragma once

namespace lacuna {

struct LinearBf16;  // kernels/cpu/linear_bf16.h

/// Whether this process may use the tiles of AMX, and their products of bf16: the processor has
/// them, the operating system keeps them, and has granted them to this process, which asks once.
bool may_use_amx();

/// Whether a product of small whole numbers, which every order of summing gives exactly, is right.
bool multiplies_exactly(const LinearBf16& product);

}  // namespace lacuna
