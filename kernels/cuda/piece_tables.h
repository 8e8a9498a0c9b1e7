#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/platform/device.h"

namespace lacuna {

/// Tables, on a device, of the tensors that a kernel works on in one launch. A training step asks
/// for the same ones as the step before: they are kept, and the host copies each once.
class PieceTables {
 public:
  explicit PieceTables(Device& device) : device_(device) {}
  ~PieceTables();
  PieceTables(const PieceTables&) = delete;
  PieceTables& operator=(const PieceTables&) = delete;

  /// What `table` holds; not empty. Valid for launches before the next call.
  template <class Entry>
  const Entry* on_device(const char* op, const std::vector<Entry>& table) {
    static_assert(std::has_unique_object_representations_v<Entry>, "equal tables have equal bytes");
    return static_cast<const Entry*>(
        on_device(op, table.data(), std::int64_t(table.size() * sizeof(Entry))));
  }
  /// An i32 that is 0 before each launch, and after it if the kernel leaves it so.
  std::int32_t* counter();

 private:
  const void* on_device(const char* op, const void* table, std::int64_t bytes);
  void release();

  Device& device_;
  std::map<std::string, void*> tables_;  // by what they hold
  std::int64_t bytes_ = 0;               // of all of them
  void* counter_ = nullptr;
};

}  // namespace lacuna
