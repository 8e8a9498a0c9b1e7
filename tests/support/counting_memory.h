#pragma once
#include <cstdint>

#include "core/arena.h"

namespace lacuna::testing {

/// Counts what is taken from main memory, for tensors of `place`.
class CountingMemory final : public Memory {
 public:
  explicit CountingMemory(Place place) : place_(place) {}
  Place place() const override { return place_; }
  void* allocate(std::int64_t bytes) override {
    held += bytes;
    allocated += bytes;
    return host_memory().allocate(bytes);
  }
  void release(void* memory, std::int64_t bytes) noexcept override {
    held -= bytes;
    host_memory().release(memory, bytes);
  }
  std::int64_t held = 0, allocated = 0;  // now; in all

 private:
  const Place place_;
};

}  // namespace lacuna::testing
