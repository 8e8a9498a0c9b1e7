#pragma once
#include <functional>

struct CUstream_st;

// The streams of kernels/cuda/stream.h, played by a thread each. A GPU runs what is queued at some
// time between the call and the moment it is waited for; here a stream that was idle, or has come
// to an event, tosses a coin whether to go on at once, or as late as it may: when a host or another
// stream waits for it, or after some milliseconds, for those who wait elsewhere. So work that
// should wait for another stream, or a host that should wait for the device, and does not, soon
// gives wrong results.
//
// When work fails, the stream's later work is left out, and synchronize() throws the error.
//
// Under LACUNA_CUDA_SYNC=1 each call waits for its work, as with a GPU: for debuggers.

namespace lacuna::emulator {

/// Queues `work` on `stream`. Null, the stream of tests that launch kernels themselves: does it
/// now.
void enqueue(CUstream_st* stream, std::function<void()> work);

/// Returns when all streams of this process are done, as cudaFree does.
void finish_all_streams();

}  // namespace lacuna::emulator
