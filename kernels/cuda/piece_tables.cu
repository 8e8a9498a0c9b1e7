#include "kernels/cuda/piece_tables.h"

namespace lacuna {
namespace {
// Of layouts that are no longer used; those of a model of 10^5 tensors have fewer.
constexpr std::int64_t kMostBytes = std::int64_t{16} << 20;
constexpr std::int64_t kCounterBytes = 4;
}  // namespace

PieceTables::~PieceTables() {
  release();
  if (counter_) device_.memory().release(counter_, kCounterBytes);
}

void PieceTables::release() {
  for (const auto& [table, memory] : tables_)
    device_.memory().release(memory, std::int64_t(table.size()));
  tables_.clear();
  bytes_ = 0;
}

const void* PieceTables::on_device(const char* op, const void* table, std::int64_t bytes) {
  const std::string key(static_cast<const char*>(table), std::size_t(bytes));
  if (const auto found = tables_.find(key); found != tables_.end()) return found->second;
  if (bytes_ + bytes > kMostBytes) release();
  void* memory = device_.memory().allocate(bytes);
  tables_[key] = memory;
  bytes_ += bytes;
  device_.copy(op, memory, Place::device, bytes, table, Place::host, bytes, bytes, 1);
  return memory;
}

std::int32_t* PieceTables::counter() {
  if (!counter_) counter_ = device_.memory().allocate(kCounterBytes);
  return static_cast<std::int32_t*>(counter_);
}

}  // namespace lacuna
