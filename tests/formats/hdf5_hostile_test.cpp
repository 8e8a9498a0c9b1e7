// HDF5 files that nobody vouches for: of other programs, and made to mislead.
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <functional>

#include "core/atomic_file.h"
#include "formats/damage.h"
#include "formats/hdf5.h"
#include "formats/hdf5_bytes.h"
#include "tests/checkpoint/support.h"
#include "tests/support/paths.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::Tensors;

TEST(Hdf5Foreign, every_way_to_store_and_to_index) {
  for (const char* file_name : {"hdf5_earliest.h5", "hdf5_v110.h5"}) {
    const h5::File file = h5::File::open(testing::golden_path(file_name));
    Tensors own;
    for (const char* name : {"alias", "compact", "single", "fixed", "growing", "matrix",
                             "matrix_growing", "matrix_growing_both_ways"}) {
      const Tensor t = own.zeros(file.shape(name), DType::i32);
      file.read(name, t);  // and its checksum
      for (std::int64_t i = 0; i < t.count(); ++i) ASSERT_EQ(t.as<std::int32_t>()[i], i) << name;
      EXPECT_EQ(error_of([&] { file.verify(name); }), "");
    }
    // Parts that cross the chunks' borders.
    for (const char* name : {"matrix", "matrix_growing", "matrix_growing_both_ways"}) {
      const Tensor box = own.zeros({9, 3}, DType::i32);
      file.read_box(name, 3, 3, box);
      for (std::int32_t i = 0; i < 27; ++i)
        ASSERT_EQ(box.as<std::int32_t>()[i], (3 + i / 3) * 6 + 3 + i % 3);
    }
    const std::vector<std::string> many = file.list("/many");
    ASSERT_EQ(many.size(), 60u);
    for (std::size_t i = 0; i < many.size(); ++i) {
      std::int32_t value = -1;
      file.read("/many/" + many[i], Tensor(&value, {1}));
      EXPECT_EQ(value, std::int32_t(i));
    }
    for (int i = 0; i < 40; ++i)
      EXPECT_EQ(file.int_attribute("/many", str("attribute_0", i / 10, i % 10)), i);
    EXPECT_TRUE(file.exists("/deep/deep/deep"));
    if (file.has_attribute("/many", "large")) {
      EXPECT_EQ(file.string_attribute("/many", "large"), std::string(70'000, 'x'));
    }
  }
}

TEST(Hdf5Foreign, links_that_lead_elsewhere_are_not_followed) {
  for (const char* file_name : {"hdf5_earliest.h5", "hdf5_v110.h5"}) {
    const h5::File file = h5::File::open(testing::golden_path(file_name));
    for (const char* name : {"external", "soft"}) {
      const std::string error = error_of([&] { file.shape(name); });
      EXPECT_FALSE(file.exists(name));
      EXPECT_TRUE(contains(error, "is a link by name, which is not followed"));
    }
    // Of two names of one object the first counts.
    EXPECT_FALSE(file.exists("contiguous"));
    EXPECT_TRUE(file.exists("alias"));
    EXPECT_TRUE(contains(error_of([&] { file.verify("contiguous"); }), "is another name"));
  }
}

TEST(Hdf5Foreign, what_is_no_regular_file_is_not_waited_for) {
  const Folder folder;
  ASSERT_EQ(::mkfifo((folder / "fifo.h5").c_str(), 0600), 0);
  EXPECT_EQ(error_of([&] { h5::File::open(folder / "fifo.h5"); }),
            folder / "fifo.h5" + ": is not a regular file");
}

/// A file of ours with numbers in it replaced, and the checksums of object headers made to match.
class Forged {
 public:
  Forged() {
    Tensors own;
    h5::FileWriter file(folder_ / "a.h5");
    file.set_attribute("answer", 42);
    file.write("/group/matrix", own.random({kRows, kCols}));
    file.write("/group/vector", own.random({kCount}));
    file.close();
    bytes_ = read_file(folder_ / "a.h5");
  }
  std::size_t header_of_group() const {  // by its link, the only hard one of "/"
    return number_at(bytes_.find("group") + 5);
  }
  std::size_t number_at(std::size_t at) const {
    std::uint64_t n = 0;
    std::memcpy(&n, bytes_.data() + at, 8);
    return n;
  }
  void replace(std::uint64_t from, std::uint64_t to) {
    const std::string was(reinterpret_cast<char*>(&from), 8);
    const std::size_t at = bytes_.find(was);
    ASSERT_NE(at, std::string::npos) << from;
    put(at, to);
  }
  void put(std::size_t at, std::uint64_t value) { std::memcpy(bytes_.data() + at, &value, 8); }
  std::string path() {
    for (std::size_t at = bytes_.find("OHDR"); at != std::string::npos;
         at = bytes_.find("OHDR", at + 4)) {
      const auto flags = std::uint8_t(bytes_[at + 5]);
      const std::size_t before = 6 + (flags & 0x20 ? 16 : 0) + (flags & 0x10 ? 4 : 0),
                        width = std::size_t{1} << (flags & 3);
      std::size_t size = 0;
      std::memcpy(&size, bytes_.data() + at + before, width);
      seal(at, before + width + size);
    }
    return folder_.write("b.h5", bytes_);
  }
  std::string error() {
    const std::string file = path();
    return error_of<DamagedFile>([&] { h5::File::open(file); });
  }
  static constexpr std::int64_t kRows = 12'345, kCols = 7, kCount = 54'321;

 private:
  void seal(std::size_t at, std::size_t bytes) {
    const auto* begin = reinterpret_cast<const std::uint8_t*>(bytes_.data()) + at;
    const std::uint32_t crc = h5::metadata_checksum({begin, bytes});
    std::memcpy(bytes_.data() + at + bytes, &crc, 4);
  }
  Folder folder_;
  std::string bytes_;
};

TEST(Hdf5Hostile, forging_itself_does_no_harm) {
  Forged file;
  EXPECT_EQ(error_of([&] { h5::File::open(file.path()).verify("/group/matrix"); }), "");
}

TEST(Hdf5Hostile, declared_sizes_are_not_believed) {
  // Products that wrap around to few bytes, sizes that are merely too large, and one row too many.
  for (const std::uint64_t rows : {std::uint64_t{0x2000000000000000}, std::uint64_t{1} << 63,
                                   std::uint64_t{1} << 33, std::uint64_t{12'346}}) {
    Forged file;
    file.replace(Forged::kRows, rows);
    EXPECT_TRUE(contains(file.error(), ": damaged: the dataset's ")) << rows;
  }
  Forged empty;  // a count of 0 elements must not hide the rest
  empty.replace(Forged::kRows, 0);
  empty.replace(Forged::kCols, std::uint64_t{1} << 63);
  EXPECT_TRUE(contains(empty.error(), "declares more elements"));
}

TEST(Hdf5Hostile, a_group_that_holds_itself) {
  Forged file;
  file.replace(file.header_of_group(), 48);  // where the header of "/" is
  const h5::File opened = h5::File::open(file.path());
  EXPECT_FALSE(opened.exists("/group"));
  EXPECT_FALSE(opened.exists("/group/group"));
  EXPECT_EQ(opened.list("/"), std::vector<std::string>{"group"});
}

TEST(Hdf5Hostile, structures_outside_the_file) {
  for (const std::uint64_t at : {std::uint64_t{1} << 40, ~std::uint64_t{0}, ~std::uint64_t{7}}) {
    Forged file;
    file.replace(file.header_of_group(), at);
    EXPECT_TRUE(contains(file.error(), "does not lie in the file")) << at;
  }
}

TEST(Hdf5Hostile, every_byte_changed_is_an_error_or_a_file) {
  const Folder folder;
  Tensors own;
  {
    h5::FileWriter file(folder / "a.h5");
    file.set_attribute("large", std::string(100, 'x'));
    file.write("/group/matrix", own.random({2, 3}));
    file.close();
  }
  const std::string good = read_file(folder / "a.h5");
  std::size_t noticed = 0, at = 0;
  for (; at < good.size(); ++at) {
    std::string bytes = good;
    bytes[at] = char(bytes[at] ^ 0x41);
    const std::string path = folder.write("c.h5", bytes);
    noticed += error_of<DamagedFile>([&] { h5::File::open(path).verify("/group/matrix"); }) != "";
  }
  EXPECT_GT(noticed, at / 10);
}

TEST(Hdf5Writing, groups_keep_their_links_in_their_headers) {
  const Folder folder;
  Tensors own;
  {
    h5::FileWriter file(folder / "a.h5");
    for (int i = 0; i < 300; ++i) file.write(str("/a/b", i), own.zeros({1}));
    for (int i = 0; i < 30; ++i) file.write(str("/c", i), own.zeros({1}));
    file.close();
  }
  const std::string bytes = read_file(folder / "a.h5");
  EXPECT_EQ(bytes.find("FRHP"), std::string::npos);  // no heap
  EXPECT_EQ(h5::File::open(folder / "a.h5").list("/a").size(), 300u);
}

}  // namespace
}  // namespace lacuna
