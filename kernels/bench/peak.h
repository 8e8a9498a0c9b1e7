#pragma once
#include "kernels/ops.h"

namespace lacuna {

/// The most multiply-adds this machine does, as FLOP/s: the best of about 0.3 s of f32 products of
/// 512 to 2048 rows through linear_forward, on every thread of `ops`. The denominator of the
/// utilisation that training and `lacuna bench` print.
double measure_matmul_peak(Ops& ops);

/// Bytes per second read and written by Ops::copy between tensors of 256 MiB, larger than caches.
double measure_copy_bandwidth(Ops& ops);

}  // namespace lacuna
