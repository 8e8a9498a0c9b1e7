#pragma once
#include <cstdint>
#include <vector>

namespace lacuna {

/// Which two tokens merge, when, and to what. An open-addressed hash table: looking a pair up is
/// what encoding spends its time on.
class MergeTable {
 public:
  struct Merge {
    std::int32_t rank = -1;  // lower merges first; -1: the pair does not merge
    std::int32_t token = -1;
    explicit operator bool() const { return rank >= 0; }
  };

  explicit MergeTable(std::size_t merges = 0);
  /// A pair that is there already takes the new rank.
  void set(std::int32_t left, std::int32_t right, Merge merge);
  Merge find(std::int32_t left, std::int32_t right) const {
    const std::uint64_t key = key_of(left, right);
    for (std::size_t i = slot_of(key);; i = (i + 1) & mask_) {
      if (entries_[i].key == key) return entries_[i].merge;
      if (entries_[i].key == kEmpty) return {};
    }
  }

 private:
  struct Entry {
    std::uint64_t key = kEmpty;
    Merge merge;
  };
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};

  static std::uint64_t key_of(std::int32_t left, std::int32_t right) {
    return std::uint64_t{std::uint32_t(left)} << 32 | std::uint32_t(right);
  }
  std::size_t slot_of(std::uint64_t key) const {
    return std::size_t((key * 0x9E3779B97F4A7C15u) >> shift_) & mask_;
  }

  std::vector<Entry> entries_;
  std::size_t mask_;
  int shift_;
};

}  // namespace lacuna
