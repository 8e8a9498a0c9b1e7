#include <bit>
#include <vector>

#include "formats/hdf5_index.h"

namespace lacuna::h5 {
namespace {

constexpr std::uint64_t kNodeOverhead = 10;  // signature, version, type, checksum

/// As many bytes as HDF5 writes a number of at most `most` in.
std::uint64_t bytes_for(std::uint64_t most) {
  return most == 0 ? 1 : std::uint64_t(std::bit_width(most) - 1) / 8 + 1;
}

struct Tree2 {
  // What a node of a level can hold; level 0 are the leaves.
  struct Level {
    std::uint64_t most_records, total_bytes;  // bytes of the number of records beneath a child
  };
  FileBytes& file;
  std::uint8_t type;
  std::uint64_t record_bytes, count_bytes;
  std::vector<Level> levels;
  const std::function<void(Cursor&)>& visit;

  void node(std::uint64_t address, std::uint64_t records, std::size_t level) const {
    const char* what = level == 0 ? "the B-tree leaf" : "the B-tree node";
    if (records > levels[level].most_records)
      file.damaged(str(what, " at byte ", address, " cannot hold ", records, " records"));
    const std::uint64_t pointer_bytes =
        level == 0 ? 0 : 8 + count_bytes + (level > 1 ? levels[level - 1].total_bytes : 0);
    const std::uint64_t bytes =
        kNodeOverhead + records * record_bytes + (level == 0 ? 0 : (records + 1) * pointer_bytes);
    const Block block = file.checksummed(address, bytes, what);
    Cursor cursor(file, block, address, what);
    cursor.expect(level == 0 ? "BTLF" : "BTIN");
    cursor.expect_version(0);
    if (cursor.u8() != type) cursor.damaged("is of another type than its tree");
    for (std::uint64_t i = 0; i < records; ++i) {
      const std::uint64_t place = cursor.address();
      Cursor record(file, cursor.take(record_bytes), place, "the B-tree record");
      visit(record);
    }
    if (level == 0) return;
    for (std::uint64_t i = 0; i <= records; ++i) {
      const std::uint64_t child = cursor.u64(), of_child = cursor.uint(count_bytes);
      if (level > 1) cursor.skip(levels[level - 1].total_bytes);
      node(child, of_child, level - 1);
    }
  }
};

struct Tree1 {
  FileBytes& file;
  std::uint8_t type;
  std::uint64_t key_bytes;
  const std::function<void(Cursor&, std::uint64_t)>& visit;

  /// `level` is the parent's; -1 at the root, which may be of any.
  void node(std::uint64_t address, int parent) const {
    constexpr const char* what = "the B-tree node";
    constexpr std::uint64_t head = 24;
    const Block start = file.metadata(address, head, what);
    Cursor cursor(file, start, address, what);
    cursor.expect("TREE");
    if (cursor.u8() != type) cursor.damaged("is of another type than its tree");
    const int level = cursor.u8();
    if (parent >= 0 && level != parent - 1) cursor.damaged("is of the wrong level");
    const std::uint64_t entries = cursor.u16();
    const Block rest = file.metadata(address + head, entries * (key_bytes + 8), what);
    Cursor body(file, rest, address + head, what);
    for (std::uint64_t i = 0; i < entries; ++i) {
      const std::uint64_t place = body.address();
      Cursor key(file, body.take(key_bytes), place, "the B-tree key");
      const std::uint64_t child = body.u64();
      if (level == 0)
        visit(key, child);
      else
        node(child, level);
    }
  }
};

}  // namespace

void for_each_record(FileBytes& file, std::uint64_t tree, std::uint8_t type,
                     const std::function<void(Cursor&)>& visit) {
  constexpr const char* what = "the B-tree";
  const Block block = file.checksummed(tree, 38, what);
  Cursor cursor(file, block, tree, what);
  cursor.expect("BTHD");
  cursor.expect_version(0);
  if (cursor.u8() != type) cursor.damaged("is of another type than what refers to it");
  const std::uint64_t node_bytes = cursor.u32(), record_bytes = cursor.u16();
  const std::size_t depth = cursor.u16();
  cursor.skip(2);  // at which fill nodes are split and merged
  const std::uint64_t root = cursor.u64(), in_root = cursor.u16();
  if (record_bytes == 0 || node_bytes < kNodeOverhead + record_bytes || depth > 20)
    cursor.damaged("has impossible sizes");
  if (root == kNowhere || (depth == 0 && in_root == 0)) return;

  const std::uint64_t in_leaf = (node_bytes - kNodeOverhead) / record_bytes;
  Tree2 nodes{file, type, record_bytes, bytes_for(in_leaf), {{in_leaf, 0}}, visit};
  std::uint64_t total = in_leaf;
  for (std::size_t level = 1; level <= depth; ++level) {
    const std::uint64_t pointer = 8 + nodes.count_bytes + nodes.levels.back().total_bytes;
    if (node_bytes < kNodeOverhead + pointer) cursor.damaged("has impossible sizes");
    const std::uint64_t most = (node_bytes - kNodeOverhead - pointer) / (record_bytes + pointer);
    if (__builtin_mul_overflow(most + 1, total, &total) ||
        __builtin_add_overflow(total, most, &total))
      cursor.damaged("has impossible sizes");
    nodes.levels.push_back({most, bytes_for(total)});
  }
  nodes.node(root, in_root, depth);
}

void for_each_child(FileBytes& file, std::uint64_t tree, std::uint8_t type, std::uint64_t key_bytes,
                    const std::function<void(Cursor&, std::uint64_t)>& visit) {
  Tree1{file, type, key_bytes, visit}.node(tree, -1);
}

}  // namespace lacuna::h5
