#pragma once
#include <cstddef>
#include <memory>

#include "core/tensor.h"
#include "kernels/ops.h"

namespace lacuna {

/// Values that a host reads from a device later: wait() returns when the device has come to the
/// last of them, whatever was queued since.
class DeferredReads {
 public:
  virtual ~DeferredReads() = default;
  DeferredReads() = default;
  DeferredReads(const DeferredReads&) = delete;
  DeferredReads& operator=(const DeferredReads&) = delete;

  /// Begins anew; the values read before are gone.
  virtual void begin() = 0;
  /// Queues the copy of x, contiguous and on the device, to main memory: where its elements are
  /// after wait().
  template <class T>
  const T* add(Tensor x) {
    return reinterpret_cast<const T*>(add_bytes(x));
  }
  /// After the last add().
  virtual void end() = 0;
  virtual void wait() = 0;

 private:
  virtual const std::byte* add_bytes(Tensor x) = 0;
};

/// From the device of `ops`, which it borrows; null on the CPU, where nothing is deferred.
std::unique_ptr<DeferredReads> make_deferred_reads(Ops& ops);

}  // namespace lacuna
