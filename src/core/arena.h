#pragma once
#include <limits>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace lacuna {

/// Where an Arena gets its memory from.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual Place place() const = 0;
  /// `bytes` of zeroed memory, aligned to 64. Throws Error when it cannot be had.
  virtual void* allocate(std::int64_t bytes) = 0;
  virtual void release(void* memory, std::int64_t bytes) noexcept = 0;
  /// Bytes that could be had now, as far as is known.
  virtual std::int64_t available() const { return std::numeric_limits<std::int64_t>::max(); }
};

/// Main memory, as anonymous pages (zeroed by the kernel, returned on release).
Memory& host_memory();

/// Names a tensor of a Plan.
struct Slot {
  int index = -1;
  explicit operator bool() const { return index >= 0; }
};

/// What will be needed, before any of it is allocated.
class Plan {
 public:
  struct Entry {
    std::string name;  // "kind/what", e.g. "weights/blocks.0.qkv"; the table sums by kind
    Shape shape;
    DType dtype;
    std::int64_t offset;  // in bytes, a multiple of 64
    bool alias;
  };
  Slot add(std::string name, Shape shape, DType dtype = DType::f32);
  /// What is added next begins at a multiple of `bytes`, itself a multiple of 64.
  void align(std::int64_t bytes);
  /// A second tensor over the memory of `base`, which must be at least as large.
  Slot alias(Slot base, std::string name, Shape shape, DType dtype = DType::f32);

  const std::vector<Entry>& entries() const { return entries_; }
  const Entry& operator[](Slot s) const;
  std::int64_t bytes() const { return bytes_; }
  /// Bytes by kind and the largest tensors, a line each.
  std::string table() const;

 private:
  std::vector<Entry> entries_;
  std::int64_t bytes_ = 0;
};

/// One allocation holding every tensor of a plan. Addresses never move.
class Arena {
 public:
  /// Throws Error with the first tensor that finds no room and the plan's table when memory does
  /// not suffice.
  Arena(Memory& memory, const Plan& plan);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  Tensor operator[](Slot s) const;
  const Plan& plan() const { return plan_; }

 private:
  Memory& memory_;
  Plan plan_;
  char* data_;
};

}  // namespace lacuna
