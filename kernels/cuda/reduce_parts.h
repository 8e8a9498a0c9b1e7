#pragma once
#include "core/reduce.h"
#include "core/tensor.h"

struct CUstream_st;  // *cudaStream_t

namespace lacuna {

/// out[i] = ((x_0[i] op x_1[i]) op x_2[i])…, the contributions of n ranks in exactly that order,
/// the sum divided by n for the mean: bit for bit what reduce_in_order (comm/reduction.h) gives on
/// the host. bf16 and f16 are reduced in f32 and rounded once; the maximum of anything with NaN is
/// NaN. x_rank is `own`, the others are the rows of `parts`; its row `rank` is not read. out, own
/// [count], parts [n,count] (may be strided), on the device, all f32, f64, bf16 or f16. out may be
/// own. Queued on `stream`.
void reduce_parts(Tensor out, Tensor own, Tensor parts, int rank, Reduce operation,
                  CUstream_st* stream);

}  // namespace lacuna
