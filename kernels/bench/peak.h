#pragma once
#include "kernels/ops.h"

namespace lacuna {

/// The most multiply-adds this machine does, as FLOP/s: the best of products of square matrices
/// through linear_forward, of f32 or bf16 numbers drawn from a normal distribution (a GPU draws
/// less power on constants, and runs faster). On the host: 0.3 s of 512 to 2048 rows, on every
/// thread of `ops`. On a device: up to 8192 rows, as long as a product takes less than 20 ms.
/// The denominator of the utilisation that training and `lacuna bench` print.
double measure_matmul_peak(Ops& ops, DType type = DType::f32);

/// Bytes per second read and written by Ops::copy between tensors of 256 MiB, larger than caches.
double measure_copy_bandwidth(Ops& ops);

}  // namespace lacuna
